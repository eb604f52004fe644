#include "support/crash_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

#define NAME_MAX_BYTES 160
#define INODES_MAX     4096
#define ENTRIES_MAX    4096
#define EVENTS_MAX     8192
#define FDS_MAX        1024
#define STATES_MAX     65536 /* of one record */
#define ROOT           0
#define OUTSIDE        UINT32_MAX /* not below root, or not there */
#define FNV_START      UINT64_C(0xcbf29ce484222325)
#define FNV_STEP       UINT64_C(0x100000001b3)

struct content {
	uint8_t *p;
	size_t len;
};

struct inode {
	bool is_dir;
	struct content base; /* durable from the beginning */
};

struct entry {
	uint32_t dir, ino; /* ino OUTSIDE: the entry is gone */
	char name[NAME_MAX_BYTES];
};

struct entries {
	struct entry v[ENTRIES_MAX];
	uint32_t n;
};

enum event_kind {
	EV_MAKE, /* a file, a directory or a further name */
	EV_RENAME,
	EV_UNLINK,
	EV_WRITE,
	EV_CUT,
	EV_SYNC,
};

struct event {
	enum event_kind kind;
	uint32_t ino, dir, from_dir;
	char name[NAME_MAX_BYTES], from[NAME_MAX_BYTES];
	uint64_t off; /* EV_CUT: the new length */
	struct content data;
	char text[NAME_MAX_BYTES * 2]; /* for messages */
};

struct crash_record {
	char root[PATH_MAX];
	struct inode inode[INODES_MAX];
	uint32_t inodes;
	struct entries base, live;
	struct event event[EVENTS_MAX];
	struct {
		uint32_t ino;
		uint64_t pos;
	} fd[FDS_MAX];
	uint64_t seen[STATES_MAX];
	size_t states;
};

static struct crash_disk *
disk_of(const struct os *os)
{
	return (struct crash_disk *)(uintptr_t)os;
}

/* ---- names ---- */

static struct entry *
entry_find(struct entries *e, uint32_t dir, const char *name)
{
	for (uint32_t i = 0; i < e->n; i++)
		if (e->v[i].ino != OUTSIDE && e->v[i].dir == dir && strcmp(e->v[i].name, name) == 0)
			return &e->v[i];
	return NULL;
}

static void
entry_set(struct entries *e, uint32_t dir, const char *name, uint32_t ino)
{
	struct entry *at = entry_find(e, dir, name);

	for (uint32_t i = 0; at == NULL && i < e->n; i++)
		if (e->v[i].ino == OUTSIDE)
			at = &e->v[i];
	if (at == NULL) {
		invariant(e->n < ENTRIES_MAX);
		at = &e->v[e->n++];
	}
	at->dir = dir;
	at->ino = ino;
	(void)snprintf(at->name, sizeof(at->name), "%s", name);
}

/* Only if the name means that inode: a name that never reached the disk cannot be taken away. */
static void
entry_drop(struct entries *e, uint32_t dir, const char *name, uint32_t ino)
{
	struct entry *at = entry_find(e, dir, name);

	if (at != NULL && at->ino == ino)
		at->ino = OUTSIDE;
}

static uint32_t
inode_new(struct crash_record *r, bool is_dir)
{
	invariant(r->inodes < INODES_MAX);
	r->inode[r->inodes] = (struct inode){ .is_dir = is_dir };
	return r->inodes++;
}

/* Where a path leads: the directory's inode and the last name; ino OUTSIDE when there is none. */
struct where {
	uint32_t dir, ino;
	char name[NAME_MAX_BYTES];
};

static struct where
look_up(struct crash_record *r, int dir, const char *path)
{
	struct where w = { .dir = OUTSIDE, .ino = OUTSIDE };
	size_t root_len = strlen(r->root);

	if (path[0] == '/' && strncmp(path, r->root, root_len) == 0 &&
		(path[root_len] == '/' || path[root_len] == '\0')) {
		path += root_len;
		w.ino = ROOT;
	} else if (path[0] != '/' && dir >= 0) {
		invariant(dir < FDS_MAX);
		w.ino = r->fd[dir].ino;
	}
	while (w.ino != OUTSIDE || w.dir != OUTSIDE) {
		size_t len = strcspn(path, "/");

		if (len > 0 && !(len == 1 && path[0] == '.')) {
			struct entry *e;

			invariant(w.ino != OUTSIDE && len < sizeof(w.name));
			w.dir = w.ino;
			memcpy(w.name, path, len);
			w.name[len] = '\0';
			e = entry_find(&r->live, w.dir, w.name);
			w.ino = e == NULL ? OUTSIDE : e->ino;
		}
		path += len;
		if (path[0] == '\0')
			break;
		path++;
		if (w.ino == OUTSIDE && path[strspn(path, "/")] != '\0') {
			w.dir = OUTSIDE; /* a directory on the way is missing: the call fails */
			break;
		}
	}
	return w;
}

static void
path_of(struct crash_record *r, uint32_t ino, char out[static NAME_MAX_BYTES * 2])
{
	char rest[NAME_MAX_BYTES * 2];
	bool found = true;

	out[0] = '\0';
	while (ino != ROOT && found) {
		found = false;
		for (uint32_t i = 0; i < r->live.n && !found; i++) {
			const struct entry *e = &r->live.v[i];

			if (e->ino != ino)
				continue;
			(void)snprintf(rest, sizeof(rest), "%s", out);
			(void)snprintf(out, NAME_MAX_BYTES * 2, "%s%s%.150s", e->name,
				rest[0] == '\0' ? "" : "/", rest);
			ino = e->dir;
			found = true;
		}
	}
}

/* ---- recording ---- */

static struct event *
record(struct crash_disk *d, enum event_kind kind, uint32_t ino, const char *call, const char *text)
{
	struct event *ev;

	invariant(d->calls < EVENTS_MAX);
	ev = &d->record->event[d->calls++];
	*ev = (struct event){ .kind = kind, .ino = ino };
	(void)snprintf(ev->text, sizeof(ev->text), "%s %s", call, text);
	return ev;
}

/* A call that changes something below root and comes too late does nothing. */
static bool
too_late(struct crash_disk *d)
{
	if (d->stop_at != 0 && d->calls + 1 >= d->stop_at)
		d->stopped = true;
	return d->stopped;
}

static void
record_name(struct crash_disk *d, const struct where *w, uint32_t ino, const char *call)
{
	struct event *ev = record(d, EV_MAKE, ino, call, w->name);

	ev->dir = w->dir;
	(void)snprintf(ev->name, sizeof(ev->name), "%s", w->name);
	entry_set(&d->record->live, w->dir, w->name, ino);
}

static int
disk_open(const struct os *os, int dir, const char *path, int flags, mode_t mode)
{
	struct crash_disk *d = disk_of(os);
	struct where w = look_up(d->record, dir, path);
	bool makes = (flags & O_CREAT) != 0 && w.ino == OUTSIDE && w.dir != OUTSIDE;
	int fd;

	if (makes && too_late(d))
		return -EIO;
	invariant((flags & O_TRUNC) == 0 || w.dir == OUTSIDE); /* not modelled */
	fd = d->under->open(d->under, dir, path, flags, mode);
	if (fd < 0)
		return fd;
	invariant(fd < FDS_MAX);
	if (makes) {
		w.ino = inode_new(d->record, false);
		record_name(d, &w, w.ino, "create");
	}
	d->record->fd[fd].ino = w.ino;
	d->record->fd[fd].pos = 0;
	return fd;
}

static int
disk_close(const struct os *os, int fd)
{
	struct crash_disk *d = disk_of(os);

	if (fd >= 0 && fd < FDS_MAX)
		d->record->fd[fd].ino = OUTSIDE;
	return d->under->close(d->under, fd);
}

static void
record_write(struct crash_disk *d, int fd, const void *p, size_t len, uint64_t off)
{
	uint32_t ino = d->record->fd[fd].ino;
	char text[NAME_MAX_BYTES * 2];
	struct event *ev;

	path_of(d->record, ino, text);
	ev = record(d, EV_WRITE, ino, "write", text);
	ev->off = off;
	ev->data.p = malloc(len);
	ev->data.len = len;
	invariant(ev->data.p != NULL);
	memcpy(ev->data.p, p, len);
}

static ssize_t
disk_write(const struct os *os, int fd, const void *p, size_t len)
{
	struct crash_disk *d = disk_of(os);
	bool ours = d->record->fd[fd].ino != OUTSIDE;
	ssize_t n;

	if (ours && too_late(d))
		return -EIO;
	n = d->under->write(d->under, fd, p, len);
	if (ours && n > 0) {
		record_write(d, fd, p, (size_t)n, d->record->fd[fd].pos);
		d->record->fd[fd].pos += (uint64_t)n;
	}
	return n;
}

static ssize_t
disk_pwrite(const struct os *os, int fd, const void *p, size_t len, uint64_t off)
{
	struct crash_disk *d = disk_of(os);
	bool ours = d->record->fd[fd].ino != OUTSIDE;
	ssize_t n;

	if (ours && too_late(d))
		return -EIO;
	n = d->under->pwrite(d->under, fd, p, len, off);
	if (ours && n > 0)
		record_write(d, fd, p, (size_t)n, off);
	return n;
}

static int
disk_fsync(const struct os *os, int fd)
{
	struct crash_disk *d = disk_of(os);
	uint32_t ino = d->record->fd[fd].ino;
	char text[NAME_MAX_BYTES * 2];

	if (ino == OUTSIDE)
		return d->under->fsync(d->under, fd);
	if (too_late(d))
		return -EIO;
	path_of(d->record, ino, text);
	if (d->forget != NULL && d->forget(text, d->record->inode[ino].is_dir))
		d->forgotten++;
	else
		(void)record(d, EV_SYNC, ino, "fsync", text);
	return 0;
}

static int
disk_ftruncate(const struct os *os, int fd, uint64_t len)
{
	struct crash_disk *d = disk_of(os);
	uint32_t ino = d->record->fd[fd].ino;
	int rc;

	if (ino != OUTSIDE && too_late(d))
		return -EIO;
	rc = d->under->ftruncate(d->under, fd, len);
	if (rc == 0 && ino != OUTSIDE)
		record(d, EV_CUT, ino, "ftruncate", "")->off = len;
	return rc;
}

static int
disk_mkdir(const struct os *os, int dir, const char *path, mode_t mode)
{
	struct crash_disk *d = disk_of(os);
	struct where w = look_up(d->record, dir, path);
	int rc;

	if (w.dir != OUTSIDE && w.ino == OUTSIDE && too_late(d))
		return -EIO;
	rc = d->under->mkdir(d->under, dir, path, mode);
	if (rc == 0 && w.dir != OUTSIDE)
		record_name(d, &w, inode_new(d->record, true), "mkdir");
	return rc;
}

static int
disk_rename(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	struct crash_disk *d = disk_of(os);
	struct where a = look_up(d->record, from_dir, from), b = look_up(d->record, to_dir, to);
	struct event *ev;
	int rc;

	if (a.ino != OUTSIDE && too_late(d))
		return -EIO;
	rc = d->under->rename(d->under, from_dir, from, to_dir, to, flags);
	if (rc < 0 || a.ino == OUTSIDE)
		return rc;
	invariant((flags & RENAME_EXCHANGE) == 0 && b.dir != OUTSIDE); /* not modelled */
	ev = record(d, EV_RENAME, a.ino, "rename to", b.name);
	ev->dir = b.dir;
	ev->from_dir = a.dir;
	memcpy(ev->name, b.name, sizeof(ev->name));
	memcpy(ev->from, a.name, sizeof(ev->from));
	entry_drop(&d->record->live, a.dir, a.name, a.ino);
	entry_set(&d->record->live, b.dir, b.name, a.ino);
	return 0;
}

static int
disk_link(const struct os *os, int from_dir, const char *from, int to_dir, const char *to,
	int at_flags)
{
	struct crash_disk *d = disk_of(os);
	struct where a = look_up(d->record, from_dir, from), b = look_up(d->record, to_dir, to);
	int rc;

	if (a.ino != OUTSIDE && too_late(d))
		return -EIO;
	rc = d->under->link(d->under, from_dir, from, to_dir, to, at_flags);
	if (rc == 0 && a.ino != OUTSIDE)
		record_name(d, &b, a.ino, "link");
	return rc;
}

static int
disk_unlink(const struct os *os, int dir, const char *path, int at_flags)
{
	struct crash_disk *d = disk_of(os);
	struct where w = look_up(d->record, dir, path);
	struct event *ev;
	int rc;

	if (w.ino != OUTSIDE && too_late(d))
		return -EIO;
	rc = d->under->unlink(d->under, dir, path, at_flags);
	if (rc < 0 || w.ino == OUTSIDE)
		return rc;
	ev = record(d, EV_UNLINK, w.ino, "unlink", w.name);
	ev->dir = w.dir;
	memcpy(ev->name, w.name, sizeof(ev->name));
	entry_drop(&d->record->live, w.dir, w.name, w.ino);
	return 0;
}

static int
disk_chmod(const struct os *os, int dir, const char *path, mode_t mode)
{
	struct crash_disk *d = disk_of(os);

	if (d->stopped)
		return -EIO;
	return d->under->chmod(d->under, dir, path, mode); /* what is lost is a mode: no state */
}

/* ---- what is not modelled may not touch the disk ---- */

static int
disk_syncfs(const struct os *os, int fd)
{
	struct crash_disk *d = disk_of(os);

	invariant(d->record->fd[fd].ino == OUTSIDE);
	return d->under->syncfs(d->under, fd);
}

static int
disk_fallocate(const struct os *os, int fd, uint64_t off, uint64_t len)
{
	struct crash_disk *d = disk_of(os);

	invariant(d->record->fd[fd].ino == OUTSIDE);
	return d->under->fallocate(d->under, fd, off, len);
}

static int
disk_clone(const struct os *os, int to, int from)
{
	struct crash_disk *d = disk_of(os);

	invariant(d->record->fd[to].ino == OUTSIDE);
	return d->under->clone(d->under, to, from);
}

static ssize_t
disk_copy_range(const struct os *os, int to, int from, uint64_t off, size_t len)
{
	struct crash_disk *d = disk_of(os);

	invariant(d->record->fd[to].ino == OUTSIDE);
	return d->under->copy_range(d->under, to, from, off, len);
}

/* ---- a state after a cut ---- */

struct state {
	const struct crash_record *r;
	unsigned long calls;
	enum crash_choice how;
	uint64_t *seed;
	unsigned long last_sync
		[INODES_MAX]; /* number of the last fsync before the cut, from 1; 0: none */
	struct content content[INODES_MAX];
	struct entries names;
};

static uint64_t
next_random(uint64_t *seed)
{
	uint64_t z;

	*seed += UINT64_C(0x9e3779b97f4a7c15);
	z = *seed;
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static bool
name_survives(const struct state *s, const struct event *ev, unsigned long number)
{
	if (number < s->last_sync[ev->dir] &&
		(ev->kind != EV_RENAME || number < s->last_sync[ev->from_dir]))
		return true;
	switch (s->how) {
	case CRASH_LOSES:
	case CRASH_DATA:
		return false;
	case CRASH_KEEPS:
	case CRASH_ZEROS:
		return true;
	case CRASH_RANDOM:
		return next_random(s->seed) % 2 == 0;
	}
	return false;
}

static void
apply_name(struct state *s, const struct event *ev)
{
	if (ev->kind == EV_UNLINK) {
		entry_drop(&s->names, ev->dir, ev->name, ev->ino);
		return;
	}
	if (ev->kind == EV_RENAME)
		entry_drop(&s->names, ev->from_dir, ev->from, ev->ino);
	entry_set(&s->names, ev->dir, ev->name, ev->ino);
}

static void
content_size(struct content *c, size_t len)
{
	uint8_t *p = realloc(c->p, len + 1);

	invariant(p != NULL);
	if (len > c->len)
		memset(p + c->len, 0, len - c->len);
	c->p = p;
	c->len = len;
}

/* What of a write came through: nothing, zeros, a part from the front, or all. */
enum through {
	THROUGH_NOT,
	THROUGH_ZEROS,
	THROUGH_FRONT,
	THROUGH_ALL
};

static enum through
data_survives(const struct state *s, const struct event *ev, unsigned long number)
{
	if (number < s->last_sync[ev->ino])
		return THROUGH_ALL;
	switch (s->how) {
	case CRASH_LOSES:
		return THROUGH_NOT;
	case CRASH_ZEROS:
		return THROUGH_ZEROS;
	case CRASH_KEEPS:
	case CRASH_DATA:
		return THROUGH_ALL;
	case CRASH_RANDOM:
		return (enum through)(next_random(s->seed) % 4);
	}
	return THROUGH_NOT;
}

static void
apply_data(struct state *s, const struct event *ev, unsigned long number)
{
	struct content *c = &s->content[ev->ino];
	enum through how = data_survives(s, ev, number);
	size_t end = (size_t)ev->off + ev->data.len, len = ev->data.len;

	if (how == THROUGH_NOT)
		return;
	if (ev->kind == EV_CUT) {
		content_size(c, (size_t)ev->off);
		return;
	}
	if (c->len < end)
		content_size(c, end);
	if (how == THROUGH_FRONT)
		len = (size_t)(next_random(s->seed) % (ev->data.len + 1));
	if (how != THROUGH_ZEROS)
		memcpy(c->p + ev->off, ev->data.p, len);
}

static void
apply_all(struct state *s)
{
	const struct crash_record *r = s->r;

	for (unsigned long i = 0; i < s->calls; i++)
		if (r->event[i].kind == EV_SYNC)
			s->last_sync[r->event[i].ino] = i + 1;
	s->names = r->base;
	for (uint32_t i = 0; i < r->inodes; i++) {
		if (r->inode[i].base.len > 0) {
			content_size(&s->content[i], r->inode[i].base.len);
			memcpy(s->content[i].p, r->inode[i].base.p, r->inode[i].base.len);
		}
	}
	for (unsigned long i = 0; i < s->calls; i++) {
		const struct event *ev = &r->event[i];

		switch (ev->kind) {
		case EV_MAKE:
		case EV_RENAME:
		case EV_UNLINK:
			if (name_survives(s, ev, i + 1))
				apply_name(s, ev);
			break;
		case EV_WRITE:
		case EV_CUT:
			apply_data(s, ev, i + 1);
			break;
		case EV_SYNC:
			break;
		}
	}
}

static uint64_t
fnv(uint64_t h, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * FNV_STEP;
	return h;
}

/* Everything reachable from the root; `to` NULL: only a number that tells states apart. */
static uint64_t
walk_state(const struct state *s, uint32_t dir, const char *path, const char *to, unsigned depth)
{
	uint64_t sum = 0;

	invariant(depth < 8);
	for (uint32_t i = 0; i < s->names.n; i++) {
		const struct entry *e = &s->names.v[i];
		const struct content *c;
		char name[PATH_MAX], full[PATH_MAX + 2];
		int fd;

		if (e->ino == OUTSIDE || e->dir != dir)
			continue;
		(void)snprintf(name, sizeof(name), "%.2000s/%s", path, e->name);
		(void)snprintf(full, sizeof(full), "%s%.3000s", to == NULL ? "" : to, name);
		c = &s->content[e->ino];
		sum += fnv(fnv(FNV_START, name, strlen(name)), c->p, c->len);
		if (s->r->inode[e->ino].is_dir) {
			invariant(to == NULL || mkdir(full, 0700) == 0);
			sum += walk_state(s, e->ino, name, to, depth + 1);
			continue;
		}
		if (to == NULL)
			continue;
		fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
		invariant(fd >= 0 && write(fd, c->p, c->len) == (ssize_t)c->len && close(fd) == 0);
	}
	return sum;
}

static bool
seen_before(struct crash_record *r, uint64_t sum)
{
	for (size_t i = 0; i < r->states; i++)
		if (r->seen[i] == sum)
			return true;
	invariant(r->states < STATES_MAX);
	r->seen[r->states++] = sum;
	return false;
}

bool
crash_disk_make(struct crash_disk *d, unsigned long calls, enum crash_choice how, uint64_t *seed,
	const char *to)
{
	struct state *s = calloc(1, sizeof(*s));
	bool fresh;

	invariant(s != NULL && calls <= d->calls);
	s->r = d->record;
	s->calls = calls;
	s->how = how;
	s->seed = seed;
	apply_all(s);
	fresh = !seen_before(d->record, walk_state(s, ROOT, "", NULL, 0));
	if (fresh) {
		invariant(mkdir(to, 0700) == 0);
		(void)walk_state(s, ROOT, "", to, 0);
	}
	for (uint32_t i = 0; i < d->record->inodes; i++)
		free(s->content[i].p);
	free(s);
	return fresh;
}

const char *
crash_disk_call(const struct crash_disk *d, unsigned long n)
{
	return n >= 1 && n <= d->calls ? d->record->event[n - 1].text : "nothing";
}

/* ---- life ---- */

static struct crash_record *loading; /* nftw has no argument; one thread */

static int
load_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	struct where w = look_up(loading, AT_FDCWD, path);
	struct inode *inode;
	uint32_t ino;
	int fd;

	if (where->level == 0)
		return 0;
	ino = inode_new(loading, type == FTW_D);
	inode = &loading->inode[ino];
	entry_set(&loading->live, w.dir, w.name, ino);
	if (type == FTW_D)
		return 0;
	inode->base.len = (size_t)st->st_size;
	inode->base.p = malloc(inode->base.len + 1);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	invariant(type == FTW_F && inode->base.p != NULL && fd >= 0);
	invariant(read(fd, inode->base.p, inode->base.len) == (ssize_t)inode->base.len);
	(void)close(fd);
	return 0;
}

void
crash_disk_init(struct crash_disk *d, const char *root)
{
	struct crash_record *r = calloc(1, sizeof(*r));

	invariant(r != NULL);
	*d = (struct crash_disk){ .os = *os_posix(), .under = os_posix(), .record = r };
	d->os.open = disk_open;
	d->os.close = disk_close;
	d->os.write = disk_write;
	d->os.pwrite = disk_pwrite;
	d->os.fsync = disk_fsync;
	d->os.syncfs = disk_syncfs;
	d->os.fallocate = disk_fallocate;
	d->os.clone = disk_clone;
	d->os.copy_range = disk_copy_range;
	d->os.ftruncate = disk_ftruncate;
	d->os.mkdir = disk_mkdir;
	d->os.rename = disk_rename;
	d->os.link = disk_link;
	d->os.unlink = disk_unlink;
	d->os.chmod = disk_chmod;
	for (size_t i = 0; i < FDS_MAX; i++)
		r->fd[i].ino = OUTSIDE;
	(void)snprintf(r->root, sizeof(r->root), "%s", root);
	(void)inode_new(r, true);
	loading = r;
	invariant(nftw(root, load_one, 16, FTW_PHYS) == 0);
	loading = NULL;
	r->base = r->live;
}

void
crash_disk_done(struct crash_disk *d)
{
	for (unsigned long i = 0; i < d->calls; i++)
		free(d->record->event[i].data.p);
	for (uint32_t i = 0; i < d->record->inodes; i++)
		free(d->record->inode[i].base.p);
	free(d->record);
	d->record = NULL;
}
