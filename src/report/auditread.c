/*
 * The whole audit log, proven line by line: every line's own digest, the chain,
 * head.json, and what the run reports say of it.  The lock is held only while the
 * end is looked at: what lies before it is never written again, and a reader
 * whose output waits in a pager must not keep backups from their log.
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

#define LINE_ARENA_BYTES (4U << 20)
#define BLOCK_BYTES      (256U << 10)
#define OPEN_FIRST       64
#define DENTS_BYTES      (32U << 10)

struct reader {
	struct audit_log log;
	const struct audit_reading *how;
	const char *state_dir;
	struct arena *a;   /* what the summary keeps */
	struct arena line; /* one entry */
	struct audit_summary sum;
	struct audit_mark at; /* the last entry proven */
	size_t open_room;
	size_t claim; /* the next to look at */
};

/* ---- begins without end ---- */

static enum ecode
open_add(struct reader *r, const struct audit_record *rec, struct err *e)
{
	struct audit_summary *s = &r->sum;
	size_t room = r->open_room == 0 ? OPEN_FIRST : r->open_room * 2;
	struct audit_open *o;
	void *more;
	enum ecode rc = E_OK;

	if (s->open_count == AUDIT_OPEN_MAX) {
		s->open_unlisted++;
		return E_OK;
	}
	if (s->open_count == r->open_room) {
		rc = arena_alloc(r->a, room * sizeof(*o), &more, e);
		if (rc != E_OK)
			return rc;
		if (s->open_count > 0)
			memcpy(more, s->open, s->open_count * sizeof(*o));
		s->open = more;
		r->open_room = room;
	}
	o = &s->open[s->open_count++];
	*o = (struct audit_open){ .time = rec->time, .seq = rec->seq };
	(void)snprintf(o->run_id, sizeof(o->run_id), "%s", rec->run_id);
	(void)snprintf(o->command, sizeof(o->command), "%s", rec->command);
	return E_OK;
}

/* Nearly always the newest: runs seldom overlap. */
static void
open_remove(struct reader *r, const struct audit_record *rec)
{
	struct audit_summary *s = &r->sum;

	for (size_t i = s->open_count; i > 0; i--) {
		struct audit_open *o = &s->open[i - 1];

		if (strncmp(o->run_id, rec->run_id, sizeof(o->run_id) - 1) != 0)
			continue;
		memmove(o, o + 1, (s->open_count - i) * sizeof(*o));
		s->open_count--;
		return;
	}
}

/* ---- one entry ---- */

static enum ecode
check_chain(const struct reader *r, const struct audit_record *rec, struct err *e)
{
	if (rec->seq != r->at.seq + 1)
		return err_set(e, E_AUDIT_BROKEN, 0,
			"entry %" PRIu64 " stands where entry %" PRIu64 " should", rec->seq,
			r->at.seq + 1);
	if (id_cmp(&rec->prev, &r->at.digest) != 0)
		return err_set(e, E_AUDIT_BROKEN, 0,
			"entry %" PRIu64 " does not follow the line before it", rec->seq);
	if (r->at.seq > 0 && strcmp(rec->log, r->at.log) != 0)
		return err_set(
			e, E_AUDIT_BROKEN, 0, "entry %" PRIu64 " is of another log", rec->seq);
	return E_OK;
}

/* Reports that name this entry must name it as it stands. */
static enum ecode
check_claims(struct reader *r, struct err *e)
{
	const struct audit_claim *c = r->how->claims;

	for (; r->claim < r->how->claim_count && c[r->claim].mark.seq <= r->at.seq; r->claim++) {
		const struct audit_claim *one = &c[r->claim];

		if (one->mark.seq < r->at.seq || strcmp(one->mark.log, r->at.log) != 0)
			continue;
		if (id_cmp(&one->mark.digest, &r->at.digest) != 0)
			return err_set(e, E_AUDIT_BROKEN, 0,
				"entry %" PRIu64 " is not the one that the report of run %s names",
				r->at.seq, one->run_id);
		r->sum.claims++;
	}
	return E_OK;
}

static enum ecode
count(struct reader *r, const struct audit_record *rec, struct err *e)
{
	struct audit_summary *s = &r->sum;

	if (s->entries == 0)
		s->first = rec->time;
	s->last = rec->time;
	s->entries++;
	s->bytes += rec->text.len + 1;
	memcpy(s->log, rec->log, sizeof(s->log));
	switch (rec->event) {
	case AUDIT_BEGIN:
		return open_add(r, rec, e);
	case AUDIT_END:
		open_remove(r, rec);
		return E_OK;
	case AUDIT_TORN:
		s->torn_entries++;
		return E_OK;
	case AUDIT_OTHER:
		return E_OK;
	}
	return E_OK; /* not reached: -Wswitch-enum proves the list above */
}

static enum ecode
take_line(struct reader *r, const uint8_t *line, size_t len, struct err *e)
{
	struct audit_record rec;
	enum ecode rc;

	arena_reset(&r->line);
	rc = audit_parse(line, len, &r->line, &rec, e);
	if (rc == E_OK)
		rc = check_chain(r, &rec, e);
	if (rc == E_AUDIT_BROKEN)
		err_note(e, "at byte %" PRIu64 " of " AUDIT_LOG_NAME ", behind entry %" PRIu64,
			r->sum.bytes, r->at.seq);
	if (rc != E_OK)
		return rc;
	r->at = audit_mark_of(&r->log, &rec);
	rc = check_claims(r, e);
	if (rc == E_OK)
		rc = count(r, &rec, e);
	if (rc == E_OK && r->how->each != NULL)
		rc = r->how->each(r->how->arg, &rec, e);
	return rc;
}

/* ---- all of them ---- */

/* Whole lines of `held` go; what is left waits for the next block. */
static enum ecode
take_lines(struct reader *r, struct buf *held, struct err *e)
{
	size_t at = 0;
	enum ecode rc = E_OK;

	while (rc == E_OK && at < held->len) {
		const uint8_t *line = held->p + at, *end = memchr(line, '\n', held->len - at);

		if (end == NULL)
			break;
		rc = take_line(r, line, (size_t)(end - line), e);
		at += (size_t)(end - line) + 1;
	}
	if (at > 0 && at < held->len)
		memmove(held->p, held->p + at, held->len - at);
	held->len -= at;
	if (rc == E_OK && held->len > AUDIT_LINE_MAX_BYTES)
		rc = err_set(e, E_AUDIT_BROKEN, 0,
			"the line behind entry %" PRIu64 " is too long to be ours", r->at.seq);
	return rc;
}

static enum ecode
read_block(struct reader *r, uint64_t off, uint64_t left, struct buf *held, struct err *e)
{
	size_t want = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES, got;
	struct err why;
	enum ecode rc = buf_reserve(held, want, e);

	if (rc != E_OK)
		return rc;
	rc = io_pread(
		r->log.os, r->log.fd, held->p + held->len, want, off, &got, AUDIT_LOG_NAME, &why);
	if (rc != E_OK)
		return err_set(e, E_AUDIT_READ, why.sys, "%s", why.detail);
	if (got != want)
		return err_set(e, E_AUDIT_TAIL, 0, AUDIT_LOG_NAME " became shorter meanwhile");
	held->len += got;
	return E_OK;
}

/* The lines of the first `bytes` bytes. */
static enum ecode
read_lines(struct reader *r, uint64_t bytes, struct err *e)
{
	autoclean(buf_done) struct buf held = buf_limit(AUDIT_LINE_MAX_BYTES + 2 * BLOCK_BYTES);
	enum ecode rc = E_OK;

	for (uint64_t off = 0; rc == E_OK && off < bytes; off += BLOCK_BYTES) {
		rc = read_block(r, off, bytes - off, &held, e);
		if (rc == E_OK)
			rc = take_lines(r, &held, e);
	}
	return rc;
}

static enum ecode
read_beyond(struct reader *r, enum audit_beyond beyond, struct err *e)
{
	switch (beyond) {
	case BEYOND_NOTHING:
		return E_OK;
	case BEYOND_ENTRY:
		r->sum.interrupted = true;
		return take_line(r, r->log.beyond.p, r->log.beyond.len - 1, e);
	case BEYOND_TORN:
		r->sum.torn_tail_bytes = r->log.beyond.len;
		return E_OK;
	}
	return E_OK; /* not reached: -Wswitch-enum proves the list above */
}

/* Put aside under the name that a refusal told. */
static bool
is_aside(const struct reader *r, const char *log)
{
	autoclean(arena_done) struct arena a = arena_limit(LINE_ARENA_BYTES);
	char name[sizeof(AUDIT_DIR_NAME) + AUDIT_LOG_ID_SIZE];
	struct os_meta meta;
	const char *path;
	struct err e;

	(void)snprintf(name, sizeof(name), AUDIT_DIR_NAME "-%s", log);
	return path_join(&a, r->state_dir, name, &path, &e) == E_OK &&
	       r->log.os->stat(r->log.os, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &meta) == 0;
}

static enum ecode
check_other_claims(struct reader *r, struct err *e)
{
	const struct audit_reading *how = r->how;

	for (size_t i = 0; i < how->claim_count; i++) {
		const struct audit_claim *c = &how->claims[i];

		if (strcmp(c->mark.log, r->at.log) == 0) {
			if (c->mark.seq <= r->at.seq)
				continue;
			return err_set(e, E_AUDIT_TAIL, 0,
				"run %s wrote entry %" PRIu64 "; the log ends at %" PRIu64,
				c->run_id, c->mark.seq, r->at.seq);
		}
		if (!is_aside(r, c->mark.log))
			return err_set(e, E_AUDIT_TAIL, 0,
				"run %s wrote entry %" PRIu64 " of log %s, which is not here",
				c->run_id, c->mark.seq, c->mark.log);
		r->sum.claims_elsewhere++;
	}
	return E_OK;
}

/* Torn lines kept as files: more than entries about them means that a heal was interrupted. */
static enum ecode
count_torn_files(struct reader *r, struct err *e)
{
	const struct os *os = r->log.os;
	struct os_dirent entry;
	uint64_t files = 0;
	ssize_t got = 1;
	void *dents;
	enum ecode rc = arena_alloc(&r->line, DENTS_BYTES, &dents, e);

	while (rc == E_OK && r->log.dir >= 0 && got > 0) {
		size_t at = 0;

		got = os->getdents(os, r->log.dir, dents, DENTS_BYTES);
		if (got < 0)
			rc = err_set(e, E_AUDIT_READ, (int)-got, "listing the audit folder");
		while (got > 0 && os_dirent_next(dents, (size_t)got, &at, &entry))
			files += strncmp(entry.name, "torn-", 5) == 0;
	}
	if (rc == E_OK && files > r->sum.torn_entries)
		r->sum.torn_untold = files - r->sum.torn_entries;
	return rc;
}

/* How far the chain holds: a break says more than an end that does not fit. */
static enum ecode
read_broken(struct reader *r, enum ecode told, struct err *e)
{
	struct err end = *e;
	enum ecode rc;

	if ((told != E_AUDIT_BROKEN && told != E_AUDIT_TAIL) || r->log.fd < 0)
		return told;
	rc = read_lines(r, r->log.size, e);
	if (rc == E_AUDIT_BROKEN)
		return rc;
	*e = end;
	return told;
}

static enum ecode
prove(struct reader *r, struct err *e)
{
	enum audit_beyond beyond = BEYOND_NOTHING;
	enum ecode rc = audit_end(&r->log, &beyond, e);

	if (r->log.fd >= 0)
		(void)r->log.os->flock(r->log.os, r->log.fd, LOCK_UN); /* closing lets go too */
	if (rc != E_OK)
		return read_broken(r, rc, e);
	rc = read_lines(r, r->log.bytes, e);
	if (rc == E_OK && r->at.seq != r->log.last.seq)
		rc = err_set(e, E_AUDIT_BROKEN, 0,
			"the log's last entry is %" PRIu64 ", " AUDIT_HEAD_NAME " says %" PRIu64,
			r->at.seq, r->log.last.seq);
	if (rc == E_OK)
		rc = read_beyond(r, beyond, e);
	if (rc == E_OK)
		rc = check_other_claims(r, e);
	if (rc == E_OK)
		rc = count_torn_files(r, e);
	return rc;
}

enum ecode
audit_read(const struct os *os, const char *state_dir, const struct audit_reading *how,
	struct arena *a, struct audit_summary *out, struct err *e)
{
	struct reader r = { .log = { .os = os, .dir = -1, .fd = -1 },
		.how = how,
		.state_dir = state_dir,
		.a = a,
		.line = arena_limit(LINE_ARENA_BYTES) };
	enum ecode rc = audit_open_reading(&r.log, state_dir, e);

	if (rc == E_OK)
		rc = prove(&r, e);
	if (rc == E_AUDIT_BROKEN || rc == E_AUDIT_TAIL)
		audit_note_aside(&r.log, state_dir, e);
	arena_done(&r.line);
	audit_log_done(&r.log);
	*out = r.sum;
	return rc;
}
