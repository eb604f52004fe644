/*
 * Does this place keep what a commit needs (DV-23, DV-36)?  One file of our own
 * goes the way of every object: made with O_EXCL, written, synced, read back
 * from the medium, renamed, its directory synced, removed.  Two syncs in all.
 *
 * Each of the five directories then sees a file made, renamed and removed, so
 * that an immutable or read-only one is found by trying, not by its mode.
 * Renaming from one directory to another is not asked for: no commit does it,
 * and union file systems that refuse it are sound for us.
 *
 * Permissions are judged only where the file system keeps them: our own fresh
 * file must show 0600.  World-writable is drift everywhere.  Group-writable is
 * drift in a private vault (config not group-readable), except for the vault's
 * own directory, which people make by hand under a umask of 002.
 *
 * The file in the root is made first and removed last: a leftover of it says
 * which names an interrupted probe may have left anywhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/io.h"
#include "store/local_internal.h"

#define PROBE_PREFIX   ".holdfast-probe-"
#define PROBE_DIGITS   8
#define PROBE_TMP_MARK "-a"
#define PROBE_NAME_MAX (sizeof(PROBE_PREFIX) + PROBE_DIGITS)
#define PROBE_TMP_MAX  (PROBE_NAME_MAX + sizeof(PROBE_TMP_MARK))
#define PROBE_PATH_MAX (PROBE_TMP_MAX + 16)
/* one block of most file systems; filled from one drawing of random bytes */
#define PROBE_BYTES    4096
#define PROBE_RANDOM   32
/* seconds; no probe lasts so long, so a file of that age was left behind */
#define PROBE_OLD_S    600

struct probe {
	struct local_store *l;
	int root;
	struct store_health health;
	struct os_meta top;  /* the vault's directory */
	struct os_meta made; /* our file in it: what a fresh file looks like here */
	struct os_meta dir[O_KINDS];
	char tmp[PROBE_TMP_MAX], name[PROBE_NAME_MAX];
	uint8_t bytes[PROBE_BYTES];
};

/* ---- refusals ---- */

static enum ecode
refuse(const struct probe *p, int rc, const char *call, const char *path, struct err *e)
{
	enum ecode code = E_STORE_PROBE;

	if (rc == -ENOSPC || rc == -EDQUOT)
		code = E_STORE_SPACE;
	return err_set(
		e, code, -rc, "%s %s in %s: %s", call, path, p->l->dir, strerrordesc_np(-rc));
}

static enum ecode
refuse_rename(const struct probe *p, int rc, const char *path, struct err *e)
{
	if (rc == -EIO || rc == -ENOSPC || rc == -EDQUOT || rc == -EROFS || rc == -EACCES)
		return refuse(p, rc, "rename", path, e);
	return err_set(e, E_STORE_ATOMIC, -rc, "rename %s within its directory in %s: %s", path,
		p->l->dir, strerrordesc_np(-rc));
}

static unsigned
wanted_mode(const struct probe *p, bool is_dir)
{
	if (is_dir)
		return p->health.shared ? 0770 : 0700;
	return p->health.shared ? 0440 : 0400;
}

/* What is wrong with `path`, and the one command that puts it back. */
static enum ecode
drift(const struct probe *p, const char *path, const struct os_meta *m, const char *what,
	struct err *e)
{
	unsigned want = wanted_mode(p, S_ISDIR(m->mode));

	err_set(e, E_STORE_DRIFT, 0, "%s in %s %s (mode %04o, owner %" PRIu32 ")", path, p->l->dir,
		what, m->mode & 07777U, m->uid);
	err_note(e, "it should have mode %04o and owner %" PRIu32 ": chmod %04o %s/%s", want,
		p->made.uid, want, p->l->dir, path);
	return E_STORE_DRIFT;
}

/* ---- the five directories ---- */

static enum ecode
look_at_dir(struct probe *p, enum okind kind, struct err *e)
{
	const char *path = okind_dir(kind);
	struct os_meta *m = &p->dir[kind];
	int rc = p->l->os->stat(p->l->os, p->root, path, 0, m);

	if (rc == -ENOENT)
		return err_set(e, E_STORE_DRIFT, ENOENT,
			"%s is missing in %s; if nothing was ever stored in it: mkdir -m %04o %s/%s",
			path, p->l->dir, wanted_mode(p, true), p->l->dir, path);
	if (rc < 0)
		return refuse(p, rc, "stat", path, e);
	if (!S_ISDIR(m->mode))
		return err_set(
			e, E_STORE_DRIFT, ENOTDIR, "%s in %s is not a directory", path, p->l->dir);
	if (m->dev != p->top.dev)
		return err_set(e, E_STORE_ATOMIC, EXDEV,
			"%s lies on another file system than %s (device %" PRIu64 ", not %" PRIu64
			")",
			path, p->l->dir, m->dev, p->top.dev);
	if (m->mnt_id != 0 && p->top.mnt_id != 0 && m->mnt_id != p->top.mnt_id)
		return err_set(e, E_STORE_ATOMIC, EXDEV, "a mount point lies between %s and %s",
			p->l->dir, path);
	return E_OK;
}

static enum ecode
look_at_dirs(struct probe *p, struct err *e)
{
	const struct os *os = p->l->os;
	enum ecode rc = local_learn_mode(p->l, p->root, &p->health.shared, e);
	int sys = os->stat(os, p->root, NULL, 0, &p->top);

	if (rc == E_OK && sys < 0)
		rc = refuse(p, sys, "stat", ".", e);
	for (unsigned kind = O_KEY; rc == E_OK && kind < O_KINDS; kind++)
		rc = look_at_dir(p, (enum okind)kind, e);
	return rc;
}

/* ---- our file in the root ---- */

static enum ecode
choose_names(struct probe *p, struct err *e)
{
	uint8_t random[PROBE_RANDOM];
	uint32_t number;
	int rc = p->l->os->random(p->l->os, random, sizeof(random));

	if (rc < 0)
		return refuse(p, rc, "get random bytes for a probe", ".", e);
	memcpy(&number, random, sizeof(number));
	(void)snprintf(p->name, sizeof(p->name), PROBE_PREFIX "%08" PRIx32, number);
	(void)snprintf(p->tmp, sizeof(p->tmp), "%s" PROBE_TMP_MARK, p->name);
	for (size_t i = 0; i < sizeof(p->bytes); i++)
		p->bytes[i] = (uint8_t)(random[i % sizeof(random)] ^ i / sizeof(random));
	return E_OK;
}

static enum ecode
create(const struct probe *p, const char *path, int *fd, struct err *e)
{
	struct err why = { 0 };

	if (io_open(p->l->os, p->root, path, O_CREAT | O_EXCL | O_RDWR, 0600, fd, &why) == E_OK)
		return E_OK;
	return refuse(p, -why.sys, "create", path, e);
}

static bool
sync_unsupported(int rc)
{
	return rc == -ENOTSUP || rc == -EINVAL;
}

static enum ecode
sync_fd(const struct probe *p, int fd, const char *path, struct err *e)
{
	int rc = p->l->os->fsync(p->l->os, fd);

	return rc < 0 && !sync_unsupported(rc) ? refuse(p, rc, "fsync", path, e) : E_OK;
}

/* What the file has is what was written. */
static enum ecode
compare(const struct probe *p, int fd, const char *path, enum ecode code, struct err *e)
{
	uint8_t back[PROBE_BYTES + 1]; /* one more: it must not have grown */
	struct err why = { 0 };
	size_t got = 0;

	if (io_pread(p->l->os, fd, back, sizeof(back), 0, &got, path, &why) != E_OK)
		return refuse(p, -why.sys, "read back", path, e);
	if (got == PROBE_BYTES && memcmp(back, p->bytes, PROBE_BYTES) == 0)
		return E_OK;
	return err_set(e, code, 0,
		"%s in %s does not read back as it was written (%zu bytes of %d)", path, p->l->dir,
		got, PROBE_BYTES);
}

static enum ecode
write_back(struct probe *p, int fd, struct err *e)
{
	const struct os *os = p->l->os;
	struct err why = { 0 };
	enum ecode rc = E_OK;
	int sys;

	if (io_write(os, fd, p->bytes, PROBE_BYTES, p->tmp, &why) != E_OK)
		return refuse(p, -why.sys, "write", p->tmp, e);
	rc = sync_fd(p, fd, p->tmp, e);
	if (rc != E_OK)
		return rc;
	sys = os->stat(os, fd, NULL, 0, &p->made);
	if (sys < 0)
		return refuse(p, sys, "stat", p->tmp, e);
	/* a file system that cannot forget its cache is still compared */
	(void)os->fadvise(os, fd, 0, 0, POSIX_FADV_DONTNEED);
	return compare(p, fd, p->tmp, E_STORE_PROBE, e);
}

static enum ecode
write_tmp(struct probe *p, struct err *e)
{
	int fd = -1, sys;
	enum ecode rc = create(p, p->tmp, &fd, e);

	if (rc != E_OK)
		return rc;
	rc = write_back(p, fd, e);
	sys = p->l->os->close(p->l->os, fd); /* asked: on some file systems it is the write */
	if (rc == E_OK && sys < 0)
		rc = refuse(p, sys, "close", p->tmp, e);
	return rc;
}

/* An empty file under the final name: what renaming must spare first and then replace. */
static enum ecode
make_target(struct probe *p, struct err *e)
{
	autoclean(io_fd_done) struct io_fd f = { .os = p->l->os, .fd = -1 };

	return create(p, p->name, &f.fd, e);
}

static enum ecode
rename_spares(struct probe *p, struct err *e)
{
	const struct os *os = p->l->os;
	int rc = os->rename(os, p->root, p->tmp, p->root, p->name, RENAME_NOREPLACE);

	if (rc == -EEXIST)
		p->health.noreplace = true;
	/* not known here: only told, no object is published this way */
	if (rc == -EEXIST || rc == -EINVAL || rc == -ENOSYS || rc == -ENOTSUP)
		return E_OK;
	if (rc < 0)
		return refuse_rename(p, rc, p->tmp, e);
	return err_set(e, E_STORE_ATOMIC, 0,
		"a rename in %s replaced a file that it was told to keep", p->l->dir);
}

static enum ecode
rename_replaces(struct probe *p, struct err *e)
{
	const struct os *os = p->l->os;
	autoclean(io_fd_done) struct io_fd f = { .os = os, .fd = -1 };
	struct os_meta left = { 0 };
	struct err why = { 0 };
	enum ecode rc;
	int sys = os->rename(os, p->root, p->tmp, p->root, p->name, 0);

	if (sys < 0)
		return refuse_rename(p, sys, p->tmp, e);
	/* by content, not by inode number: network file systems invent those */
	if (io_open(os, p->root, p->name, O_RDONLY, 0, &f.fd, &why) != E_OK)
		return refuse(p, -why.sys, "open the renamed", p->name, e);
	rc = compare(p, f.fd, p->name, E_STORE_ATOMIC, e);
	if (rc != E_OK)
		return rc;
	sys = os->stat(os, p->root, p->tmp, AT_SYMLINK_NOFOLLOW, &left);
	if (sys == 0)
		return err_set(
			e, E_STORE_ATOMIC, 0, "a rename in %s left the old name behind", p->l->dir);
	return sys == -ENOENT ? E_OK : refuse(p, sys, "stat", p->tmp, e);
}

static enum ecode
probe_root(struct probe *p, struct err *e)
{
	enum ecode rc = make_target(p, e);

	if (rc == E_OK)
		rc = write_tmp(p, e);
	if (rc == E_OK)
		rc = rename_spares(p, e);
	if (rc == E_OK)
		rc = rename_replaces(p, e);
	if (rc == E_OK)
		rc = sync_fd(p, p->root, ".", e);
	return rc;
}

/* ---- permissions ---- */

static enum ecode
judge(const struct probe *p, const char *path, const struct os_meta *m, struct err *e)
{
	bool is_top = strcmp(path, ".") == 0;

	if (!p->health.keeps_modes)
		return E_OK;
	if ((m->mode & S_IWOTH) != 0)
		return drift(p, path, m, "may be written by every user", e);
	if ((m->mode & S_IWGRP) != 0 && !p->health.shared && !is_top)
		return drift(p, path, m, "may be written by its group", e);
	/* root keeps a user's vault in order; what it made stays readable to it alone */
	if (m->uid != p->made.uid && m->uid != p->top.uid && !p->health.shared)
		return drift(p, path, m, "belongs to somebody else", e);
	return E_OK;
}

/* config or a key: by opening it, because access lists may say more than modes. */
static enum ecode
judge_file(const struct probe *p, const char *path, struct err *e)
{
	const struct os *os = p->l->os;
	autoclean(io_fd_done) struct io_fd f = { .os = os, .fd = -1 };
	struct os_meta m = { 0 };
	struct err why = { 0 };
	int rc = os->stat(os, p->root, path, 0, &m);

	if (rc == -ENOENT) /* a key removed meanwhile; without config nobody comes this far */
		return E_OK;
	if (rc < 0)
		return refuse(p, rc, "stat", path, e);
	if (io_open(os, p->root, path, O_RDONLY | O_NONBLOCK, 0, &f.fd, &why) != E_OK) {
		if (why.sys == EACCES || why.sys == EPERM)
			return drift(p, path, &m, "may not be read by this user", e);
		return why.sys == ENOENT ? E_OK : refuse(p, -why.sys, "open", path, e);
	}
	return judge(p, path, &m, e);
}

static enum ecode
judge_key(void *arg, const struct store_entry *entry, struct err *e)
{
	struct oname name = { .kind = O_KEY, .id = entry->id };
	char text[ONAME_TEXT_MAX];

	oname_text(&name, text);
	return judge_file(arg, text, e);
}

static enum ecode
judge_all(struct probe *p, struct err *e)
{
	struct err why = { 0 };
	enum ecode rc;

	p->health.keeps_modes = (p->made.mode & 07777) == 0600;
	rc = judge(p, ".", &p->top, e);
	for (unsigned kind = O_KEY; rc == E_OK && kind < O_KINDS; kind++)
		rc = judge(p, okind_dir((enum okind)kind), &p->dir[kind], e);
	if (rc == E_OK)
		rc = judge_file(p, "config", e);
	if (rc != E_OK)
		return rc;
	rc = store_list(&p->l->st, O_KEY, judge_key, p, &why);
	if (rc == E_STORE_READ) /* as a refusal of the probe */
		return err_set(e, E_STORE_PROBE, why.sys, "%s", why.detail);
	if (rc != E_OK && e != NULL)
		*e = why;
	return rc;
}

/* ---- writing into the five directories ---- */

static enum ecode
refuse_in_dir(const struct probe *p, enum okind kind, const struct err *why, struct err *e)
{
	if (why->sys == EACCES)
		return drift(
			p, okind_dir(kind), &p->dir[kind], "may not be written by this user", e);
	if (e != NULL)
		*e = *why;
	return why->code;
}

static enum ecode
probe_dir(const struct probe *p, enum okind kind, struct err *e)
{
	const struct os *os = p->l->os;
	autoclean(io_fd_done) struct io_fd f = { .os = os, .fd = -1 };
	char tmp[PROBE_PATH_MAX], name[PROBE_PATH_MAX];
	struct err why = { 0 };
	enum ecode rc;
	int sys;

	(void)snprintf(tmp, sizeof(tmp), "%s/%s", okind_dir(kind), p->tmp);
	(void)snprintf(name, sizeof(name), "%s/%s", okind_dir(kind), p->name);
	rc = create(p, tmp, &f.fd, &why);
	if (rc != E_OK)
		return refuse_in_dir(p, kind, &why, e);
	sys = os->rename(os, p->root, tmp, p->root, name, 0);
	if (sys < 0)
		return refuse_rename(p, sys, tmp, e);
	sys = os->unlink(os, p->root, name, 0);
	return sys < 0 ? refuse(p, sys, "unlink", name, e) : E_OK;
}

/* ---- tidying ---- */

/* Both names of a probe in a directory; what is not there is fine. */
static int
drop_names(const struct probe *p, const char *dir, const char *name)
{
	const struct os *os = p->l->os;
	char path[PROBE_PATH_MAX];
	int rc, worst = 0;

	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(
			path, sizeof(path), "%s/%s%s", dir, name, i == 0 ? PROBE_TMP_MARK : "");
		rc = os->unlink(os, p->root, path, 0);
		if (rc < 0 && rc != -ENOENT)
			worst = rc;
	}
	return worst;
}

static int
drop_everywhere(const struct probe *p, const char *name)
{
	int rc = 0;

	for (unsigned kind = O_KEY; rc == 0 && kind < O_KINDS; kind++)
		rc = drop_names(p, okind_dir((enum okind)kind), name);
	return rc == 0 ? drop_names(p, ".", name) : rc; /* the mark goes last */
}

static bool
is_probe_name(const char *name)
{
	const char *digits = name + strlen(PROBE_PREFIX);

	if (strspn(digits, "0123456789abcdef") != PROBE_DIGITS)
		return false;
	return digits[PROBE_DIGITS] == '\0' || strcmp(digits + PROBE_DIGITS, PROBE_TMP_MARK) == 0;
}

/* One name in the root: another probe's.  Old ones go; what cannot be removed stays. */
static enum ecode
sweep_name(void *arg, const char *found, struct err *e)
{
	struct probe *p = arg;
	const struct os *os = p->l->os;
	struct os_meta m = { 0 };
	char name[PROBE_NAME_MAX];
	int64_t age_s;

	(void)e;
	if (!is_probe_name(found) || strncmp(found, p->name, strlen(p->name)) == 0 ||
		os->stat(os, p->root, found, AT_SYMLINK_NOFOLLOW, &m) < 0 || !S_ISREG(m.mode))
		return E_OK;
	/* by the clock of that file system: our own file was written a moment ago */
	if (__builtin_sub_overflow(p->made.mtime.s, m.mtime.s, &age_s) ||
		(age_s <= PROBE_OLD_S && age_s >= -PROBE_OLD_S))
		return E_OK;
	(void)snprintf(
		name, sizeof(name), "%.*s", (int)(strlen(PROBE_PREFIX) + PROBE_DIGITS), found);
	if (drop_everywhere(p, name) == 0)
		p->health.leftovers++;
	return E_OK;
}

/* ---- all of it ---- */

static enum ecode
probe_steps(struct probe *p, struct err *e)
{
	enum ecode rc = probe_root(p, e);

	if (rc == E_OK)
		rc = judge_all(p, e);
	for (unsigned kind = O_KEY; rc == E_OK && kind < O_KINDS; kind++)
		rc = probe_dir(p, (enum okind)kind, e);
	if (rc == E_OK && local_root_names(p->l, PROBE_PREFIX, sweep_name, p, NULL) != E_OK)
		p->health.leftovers = 0; /* only tidying: the next probe looks again */
	return rc;
}

enum ecode
local_probe(struct store *st, struct store_health *out, struct err *e)
{
	struct probe p = { .l = local_of(st), .health = { .probed = true } };
	int sys = local_root(p.l, &p.root), left;
	enum ecode rc;

	if (sys < 0)
		return refuse(&p, sys, "open", ".", e);
	rc = look_at_dirs(&p, e);
	if (rc == E_OK)
		rc = choose_names(&p, e);
	if (rc != E_OK)
		return rc;
	rc = probe_steps(&p, e);
	left = rc == E_OK ? drop_names(&p, ".", p.name) : drop_everywhere(&p, p.name);
	if (rc == E_OK && left < 0)
		rc = refuse(&p, left, "unlink", p.name, e);
	else if (left < 0)
		err_note(e, "the probe's files %s* could not be removed", p.name);
	if (rc == E_OK)
		*out = p.health;
	return rc;
}

void
local_go_cold(struct store *st, const struct oname *name)
{
	struct local_store *l = local_of(st);
	autoclean(io_fd_done) struct io_fd f = { .os = l->os, .fd = -1 };
	char text[ONAME_TEXT_MAX];
	int root;

	oname_text(name, text);
	/* a hint: whatever is refused here, the get that follows tells */
	if (local_root(l, &root) == 0 &&
		io_open(l->os, root, text, O_RDONLY | O_NONBLOCK, 0, &f.fd, NULL) == E_OK)
		(void)l->os->fadvise(l->os, f.fd, 0, 0, POSIX_FADV_DONTNEED);
}
