/*
 * The end of the audit log: reading it, healing what an interrupted append
 * left, appending.  Lines are written at a known offset, not with O_APPEND: an
 * entry whose first write may not be durable (fsync said no, the kernel marked
 * its pages clean) is written again, same bytes, same place.
 *
 * Order of an append: line → fsync → head.json (temporary, fsync, rename, fsync
 * of the directory).  The directory is synced once more before anything is built
 * on the head that was found: so the head on the medium is never more than one
 * entry behind, and a head that is further behind was put there by somebody.
 */
#include "report/auditparts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/path.h"
#include "base/wire.h"
#include "os/io.h"

#define AUDIT_ARENA_BYTES (4U << 20) /* one parsed line and a path */
#define HEAD_MAX_BYTES    1024       /* it has about 150 */
#define LOCK_STEP_NS      10000000ULL
#define TORN_NAME_BYTES   64
#define INTERRUPTED_MAX   1000 /* as os/io.c */

void
audit_log_done(struct audit_log *g)
{
	io_close(g->os, &g->fd);
	io_close(g->os, &g->dir);
	buf_done(&g->beyond);
	if (g->hasher != NULL)
		hasher_close(&g->hasher);
}

void
audit_note_aside(const struct audit_log *g, const char *state_dir, struct err *e)
{
	const char *log = g->last.log[0] == '\0' ? "unreadable" : g->last.log;

	err_note(e, "put it aside: mv '%s/" AUDIT_DIR_NAME "' '%s/" AUDIT_DIR_NAME "-%s'",
		state_dir, state_dir, log);
}

static enum ecode
unreadable(struct err *e, const struct err *why)
{
	return err_set(e, E_AUDIT_READ, why->sys, "%s", why->detail);
}

static enum ecode
unwritable(struct err *e, const struct err *why)
{
	return err_set(e, E_AUDIT_WRITE, why->sys, "%s", why->detail);
}

/* Space that is missing here is the state directory's, not the vault's: no E_IO_SPACE. */
static enum ecode
kernel_refusal(struct err *e, enum ecode code, int rc, const char *call, const char *what)
{
	return err_set(e, code, -rc, "%s %s: %s", call, what, strerrordesc_np(-rc));
}

static enum ecode
lock(const struct audit_log *g, int operation, enum ecode code, struct err *e)
{
	int rc = -EWOULDBLOCK;

	for (uint64_t ms = 0; rc == -EWOULDBLOCK || rc == -EINTR; ms += LOCK_STEP_NS / 1000000) {
		if (ms >= AUDIT_LOCK_WAIT_MS)
			return err_set(e, code, EWOULDBLOCK,
				"another process held " AUDIT_LOG_NAME " for %d seconds",
				AUDIT_LOCK_WAIT_MS / 1000);
		if (ms > 0)
			g->os->sleep_ns(g->os, LOCK_STEP_NS);
		rc = g->os->flock(g->os, g->fd, operation | LOCK_NB);
	}
	return rc < 0 ? kernel_refusal(e, code, rc, "flock", AUDIT_LOG_NAME) : E_OK;
}

/* ---- the end of the log ---- */

static bool
head_member(struct json *j, struct slice key, struct audit_log *g)
{
	if (slice_is(key, "log"))
		return audit_take_log(j, g->last.log);
	if (slice_is(key, "seq"))
		return json_u64(j, &g->last.seq);
	if (slice_is(key, "digest"))
		return audit_take_id(j, &g->last.digest);
	if (slice_is(key, "bytes"))
		return json_u64(j, &g->bytes);
	return json_skip(j, NULL);
}

static bool
head_parse(struct audit_log *g, const struct buf *text)
{
	struct slice key;
	struct json j;

	json_init(&j, text->p, text->len);
	if (!json_enter_object(&j))
		return false;
	while (json_key(&j, &key)) {
		if (!head_member(&j, key, g))
			return false;
	}
	return json_end(&j) && g->last.seq > 0 && g->last.log[0] != '\0' && g->bytes > 0 &&
	       g->bytes <= AUDIT_LOG_MAX_BYTES;
}

static enum ecode
head_read(struct audit_log *g, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(HEAD_MAX_BYTES);
	struct err why;
	enum ecode rc = io_read_file(g->os, g->dir, AUDIT_HEAD_NAME, &text, &why);

	if (rc != E_OK && why.sys == ENOENT)
		return E_OK;
	if (rc == E_LIMIT)
		return err_set(e, E_AUDIT_BROKEN, 0, AUDIT_HEAD_NAME " is too long to be ours");
	if (rc != E_OK)
		return unreadable(e, &why);
	if (!head_parse(g, &text))
		return err_set(e, E_AUDIT_BROKEN, 0, AUDIT_HEAD_NAME " cannot be understood");
	g->has_head = true;
	return E_OK;
}

/* Bytes [from, to) of the log. */
static enum ecode
range_read(struct audit_log *g, uint64_t from, uint64_t to, struct buf *out, struct err *e)
{
	struct err why;
	size_t got;
	enum ecode rc = buf_reserve(out, (size_t)(to - from), e);

	if (rc != E_OK)
		return rc;
	rc = io_pread(g->os, g->fd, out->p, (size_t)(to - from), from, &got, AUDIT_LOG_NAME, &why);
	if (rc != E_OK)
		return unreadable(e, &why);
	if (got != to - from)
		return err_set(e, E_AUDIT_TAIL, 0, AUDIT_LOG_NAME " became shorter meanwhile");
	out->len = got;
	return E_OK;
}

/* The line that head.json names must stand right before its offset. */
static enum ecode
check_last_line(struct audit_log *g, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(AUDIT_LINE_MAX_BYTES + 2);
	uint64_t room = AUDIT_LINE_MAX_BYTES + 2, from = g->bytes > room ? g->bytes - room : 0;
	autoclean(arena_done) struct arena a = arena_limit(AUDIT_ARENA_BYTES);
	struct audit_record r;
	struct audit_mark mark;
	const uint8_t *line;
	enum ecode rc = range_read(g, from, g->bytes, &text, e);

	if (rc != E_OK)
		return rc;
	if (text.p[text.len - 1] != '\n')
		return err_set(e, E_AUDIT_BROKEN, 0,
			"entry %" PRIu64 " does not end where " AUDIT_HEAD_NAME " says",
			g->last.seq);
	line = memrchr(text.p, '\n', text.len - 1);
	line = line == NULL ? text.p : line + 1;
	rc = audit_parse(line, (size_t)(text.p + text.len - 1 - line), &a, &r, e);
	if (rc != E_OK)
		return rc;
	mark = audit_mark_of(g, &r);
	if (mark.seq != g->last.seq || strcmp(mark.log, g->last.log) != 0 ||
		id_cmp(&mark.digest, &g->last.digest) != 0)
		return err_set(e, E_AUDIT_BROKEN, 0,
			"entry %" PRIu64 " is not the one that " AUDIT_HEAD_NAME " names",
			g->last.seq);
	return E_OK;
}

/* One whole entry that continues the chain. */
static bool
follows(struct audit_log *g, size_t len, struct arena *a)
{
	struct audit_record r;
	struct err e;

	return audit_parse(g->beyond.p, len, a, &r, &e) == E_OK && r.seq == g->last.seq + 1 &&
	       id_cmp(&r.prev, &g->last.digest) == 0 &&
	       (g->last.seq == 0 || strcmp(r.log, g->last.log) == 0);
}

/*
 * JSON text has neither a newline nor a NUL inside.  What a power cut leaves has no newline, or blocks of zeros before it.
 */
static enum ecode
judge_beyond(struct audit_log *g, enum audit_beyond *out, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(AUDIT_ARENA_BYTES);
	const uint8_t *end;

	*out = BEYOND_NOTHING;
	if (g->beyond.len == 0)
		return E_OK;
	*out = BEYOND_TORN;
	end = memchr(g->beyond.p, '\n', g->beyond.len);
	if (end == NULL)
		return E_OK;
	if (end != g->beyond.p + g->beyond.len - 1)
		return err_set(e, g->has_head ? E_AUDIT_BROKEN : E_AUDIT_TAIL, 0,
			g->has_head ? "more lines follow entry %" PRIu64
				      " than an interrupted append leaves"
				    : AUDIT_HEAD_NAME " is missing behind entry %" PRIu64,
			g->last.seq);
	*out = BEYOND_ENTRY;
	if (follows(g, g->beyond.len - 1, &a))
		return E_OK;
	*out = BEYOND_TORN;
	if (memchr(g->beyond.p, 0, g->beyond.len) != NULL)
		return E_OK;
	return err_set(e, E_AUDIT_BROKEN, 0, "a foreign line follows entry %" PRIu64, g->last.seq);
}

enum ecode
audit_end(struct audit_log *g, enum audit_beyond *beyond, struct err *e)
{
	struct os_meta meta = { .size = 0 };
	enum ecode rc = g->dir < 0 ? E_OK : head_read(g, e);
	int told = g->fd < 0 || rc != E_OK ? 0 : g->os->stat(g->os, g->fd, NULL, 0, &meta);

	if (told < 0)
		return kernel_refusal(e, E_AUDIT_READ, told, "stat", AUDIT_LOG_NAME);
	g->size = meta.size;
	if (rc == E_OK && meta.size < g->bytes)
		rc = err_set(e, E_AUDIT_TAIL, 0,
			AUDIT_LOG_NAME " has %" PRIu64 " bytes, " AUDIT_HEAD_NAME " knows %" PRIu64
				       " up to entry %" PRIu64,
			meta.size, g->bytes, g->last.seq);
	if (rc == E_OK && meta.size - g->bytes > AUDIT_LINE_MAX_BYTES)
		rc = g->has_head ? err_set(e, E_AUDIT_BROKEN, 0,
					   "more follows entry %" PRIu64
					   " than an append can have left",
					   g->last.seq)
				 : err_set(e, E_AUDIT_TAIL, 0, AUDIT_HEAD_NAME " is missing");
	if (rc == E_OK && g->has_head)
		rc = check_last_line(g, e);
	if (rc == E_OK && meta.size > g->bytes)
		rc = range_read(g, g->bytes, meta.size, &g->beyond, e);
	return rc == E_OK ? judge_beyond(g, beyond, e) : rc;
}

/* ---- opening ---- */

static struct audit_log
log_of(const struct os *os)
{
	return (struct audit_log){
		.os = os, .dir = -1, .fd = -1, .beyond = buf_limit(AUDIT_LINE_MAX_BYTES)
	};
}

enum ecode
audit_open_reading(struct audit_log *g, const char *state_dir, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(AUDIT_ARENA_BYTES);
	const struct os *os = g->os;
	const char *path;
	struct err why;
	enum ecode rc;

	*g = log_of(os);
	rc = hasher_open(&g->hasher, e);
	if (rc == E_OK)
		rc = path_join(&a, state_dir, AUDIT_DIR_NAME, &path, e);
	if (rc != E_OK)
		return rc;
	rc = io_open(os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &g->dir, &why);
	if (rc == E_OK)
		rc = io_open(os, g->dir, AUDIT_LOG_NAME, O_RDONLY | O_NOFOLLOW, 0, &g->fd, &why);
	if (rc != E_OK)
		return why.sys == ENOENT ? E_OK : unreadable(e, &why);
	return lock(g, LOCK_SH, E_AUDIT_READ, e);
}

static enum ecode
open_writing(struct audit_log *g, const char *state_dir, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(AUDIT_ARENA_BYTES);
	const struct os *os = g->os;
	const char *path;
	struct err why;
	enum ecode rc;

	*g = log_of(os);
	rc = hasher_open(&g->hasher, e);
	if (rc == E_OK)
		rc = path_join(&a, state_dir, AUDIT_DIR_NAME, &path, e);
	if (rc != E_OK)
		return rc;
	rc = io_mkdirs(os, AT_FDCWD, path, 0700, &why);
	if (rc == E_OK)
		rc = io_open(
			os, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &g->dir, &why);
	if (rc == E_OK)
		rc = io_open(os, g->dir, AUDIT_LOG_NAME, O_RDWR | O_CREAT | O_NOFOLLOW, 0600,
			&g->fd, &why);
	return rc == E_OK ? lock(g, LOCK_EX, E_AUDIT_WRITE, e) : unwritable(e, &why);
}

/* ---- appending ---- */

static enum ecode
sync_fd(struct audit_log *g, int fd, const char *what, struct err *e)
{
	int rc = -EINTR;

	for (unsigned i = 0; rc == -EINTR && i < INTERRUPTED_MAX; i++)
		rc = g->os->fsync(g->os, fd);
	if (rc == -ENOTSUP || rc == -EINVAL)
		return E_OK; /* as os/io.h: a file system without it */
	return rc < 0 ? kernel_refusal(e, E_AUDIT_WRITE, rc, "fsync", what) : E_OK;
}

static enum ecode
head_write(struct audit_log *g, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(HEAD_MAX_BYTES);
	struct io_publish how = {
		.dir = g->dir, .name = AUDIT_HEAD_NAME, .mode = 0600, .fsync = true
	};
	char hex[ID_HEX_SIZE];
	struct slice part;
	struct err why;
	enum ecode rc;

	id_hex(&g->last.digest, hex);
	rc = buf_printf(&text, e,
		"{\"log\":\"%s\",\"seq\":%" PRIu64 ",\"digest\":\"%s\",\"bytes\":%" PRIu64 "}\n",
		g->last.log, g->last.seq, hex, g->bytes);
	if (rc != E_OK)
		return rc;
	part = buf_slice(&text);
	rc = io_publish(g->os, &how, &part, 1, &why);
	g->has_head = g->has_head || rc == E_OK;
	return rc == E_OK ? E_OK : unwritable(e, &why);
}

/* `line` ends in its newline; afterwards it is the last entry, for the medium too. */
static enum ecode
put_line(struct audit_log *g, const struct buf *line, struct err *e)
{
	struct audit_mark before = g->last;
	struct err why;
	enum ecode rc = E_OK;

	if (g->bytes + line->len > AUDIT_LOG_MAX_BYTES)
		return err_set(
			e, E_AUDIT_FULL, 0, AUDIT_LOG_NAME " has %" PRIu64 " bytes", g->bytes);
	if (io_pwrite(g->os, g->fd, line->p, line->len, g->bytes, AUDIT_LOG_NAME, &why) != E_OK)
		rc = unwritable(e, &why);
	if (rc == E_OK)
		rc = sync_fd(g, g->fd, AUDIT_LOG_NAME, e);
	if (rc != E_OK)
		return rc;
	g->last.seq = before.seq + 1;
	hasher_sum(g->hasher, line->p, line->len - 1, &g->last.digest);
	g->bytes += line->len;
	return head_write(g, e);
}

static enum ecode
add(struct audit_log *g, const struct audit_line *what, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(AUDIT_LINE_MAX_BYTES + 1);
	uint8_t random[(AUDIT_LOG_ID_SIZE - 1) / 2];
	int rc = 0;
	enum ecode made;

	if (g->last.log[0] == '\0') {
		rc = g->os->random(g->os, random, sizeof(random));
		if (rc < 0)
			return err_set(e, E_AUDIT_WRITE, -rc, "no random name for a new log");
		hex_write(random, sizeof(random), g->last.log);
		g->last.log[AUDIT_LOG_ID_SIZE - 1] = '\0';
	}
	made = audit_line_make(g, what, &line, e);
	if (made == E_OK)
		made = buf_add_byte(&line, '\n', e);
	return made == E_OK ? put_line(g, &line, e) : made;
}

/* The entry stands in the log; its durability is not known, so it is written again. */
static enum ecode
take_in(struct audit_log *g, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(AUDIT_ARENA_BYTES);
	struct audit_record r;
	enum ecode rc = audit_parse(g->beyond.p, g->beyond.len - 1, &a, &r, e);

	if (rc == E_OK) {
		memcpy(g->last.log, r.log, sizeof(g->last.log));
		rc = put_line(g, &g->beyond, e);
	}
	return rc;
}

/* A copy first, durable and under a name made from its content; only then the log is cut back to its last entry. */
static enum ecode
put_away(struct audit_log *g, struct err *e)
{
	struct audit_entry entry = { .event = AUDIT_TORN };
	struct audit_line what = { .entry = &entry, .torn_bytes = g->beyond.len };
	struct slice part = buf_slice(&g->beyond);
	char name[TORN_NAME_BYTES], hex[ID_HEX_SIZE];
	struct io_publish how = { .dir = g->dir, .name = name, .mode = 0400, .fsync = true };
	struct id digest;
	struct err why;
	int rc;

	hasher_sum(g->hasher, part.p, part.len, &digest);
	id_hex(&digest, hex);
	(void)snprintf(name, sizeof(name), "torn-%" PRIu64 "-%.16s", g->last.seq + 1, hex);
	if (io_publish(g->os, &how, &part, 1, &why) != E_OK)
		return unwritable(e, &why);
	rc = g->os->ftruncate(g->os, g->fd, g->bytes);
	if (rc < 0)
		return kernel_refusal(e, E_AUDIT_WRITE, rc, "ftruncate", AUDIT_LOG_NAME);
	what.torn_file = name;
	what.torn_digest = &digest;
	return add(g, &what, e);
}

static enum ecode
heal(struct audit_log *g, enum audit_beyond beyond, struct err *e)
{
	switch (beyond) {
	case BEYOND_NOTHING:
		return E_OK;
	case BEYOND_ENTRY:
		return take_in(g, e);
	case BEYOND_TORN:
		return put_away(g, e);
	}
	return E_OK; /* not reached: -Wswitch-enum proves the list above */
}

enum ecode
audit_append(const struct os *os, const char *state_dir, const struct audit_entry *entry,
	struct audit_mark *out, struct err *e)
{
	autoclean(audit_log_done) struct audit_log g = { .os = os, .dir = -1, .fd = -1 };
	struct audit_line what = { .entry = entry };
	enum audit_beyond beyond = BEYOND_NOTHING;
	enum ecode rc = open_writing(&g, state_dir, e);

	if (rc == E_OK)
		rc = audit_end(&g, &beyond, e);
	if (rc == E_OK)
		rc = sync_fd(&g, g.dir, AUDIT_DIR_NAME, e);
	if (rc == E_OK)
		rc = heal(&g, beyond, e);
	if (rc == E_OK)
		rc = add(&g, &what, e);
	if (rc == E_AUDIT_FULL || rc == E_AUDIT_BROKEN || rc == E_AUDIT_TAIL)
		audit_note_aside(&g, state_dir, e);
	if (rc == E_OK)
		*out = g.last;
	return rc;
}
