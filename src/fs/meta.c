/*
 * Names of users are asked from the C library, which may read files or ask a
 * server; so each number is asked once.  The cache only grows: buckets of
 * lists whose heads are swapped in atomically, so readers take no lock.  Two
 * threads may add the same name at once; both entries are equal and stay.
 */
#include "fs/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fs/walk.h"

/* bytes on the stack for the first look: small, because the compiler clears them for every file */
#define XATTR_PROBE_BYTES 256
/* bytes tried first for a list or a value: one call for nearly all */
#define XATTR_FIRST_BYTES 2048
/* an attribute that grows between two calls: tries before it counts as unreadable */
#define XATTR_TRIES       8
/* bytes, NUL included; Linux's LOGIN_NAME_MAX is 256, directory services give longer ones */
#define ACCOUNT_NAME_MAX  1024
#define NAME_BUCKETS      256

static const char capability[] = "security.capability";
/* Put there by the system's policy on every file; nobody may remove it. */
static const char selinux_label[] = "security.selinux";

/* ---- reading attributes ---- */

struct xattr_source {
	const struct os *os;
	int dir;
	const char *path;
};

/* One call: the list (name NULL) or a value.  With len 0 the length needed. */
static ssize_t
ask_xattr(const struct xattr_source *src, const char *name, void *p, size_t len)
{
	const struct os *os = src->os;
	ssize_t got = -EINTR;

	while (got == -EINTR)
		got = name == NULL ? os->listxattr(os, src->dir, src->path, p, len)
				   : os->getxattr(os, src->dir, src->path, name, p, len);
	return got;
}

/* Room for `want` bytes in an emptied buf: 0, -E2BIG above its limit, -ENOMEM. */
static ssize_t
make_room(struct buf *b, size_t want)
{
	enum ecode rc;

	buf_clear(b);
	rc = buf_reserve(b, want, NULL);
	if (rc == E_OK)
		return 0;
	return rc == E_LIMIT ? -E2BIG : -ENOMEM;
}

/* A list (name NULL) or a value into `b`, replacing it.  Length or -errno; -E2BIG above limit, -ENOMEM. */
static ssize_t
fetch(const struct xattr_source *src, const char *name, struct buf *b)
{
	size_t room = XATTR_FIRST_BYTES;

	for (unsigned n = 0; n < XATTR_TRIES; n++) {
		ssize_t got = make_room(b, room);

		if (got == 0)
			got = ask_xattr(src, name, b->p, room);
		if (got >= 0)
			b->len = (size_t)got;
		if (got != -ERANGE)
			return got;
		got = ask_xattr(src, name, NULL, 0);
		if (got < 0)
			return got;
		room = got > 0 ? (size_t)got : room;
	}
	return -EAGAIN;
}

/* The next name of a list; false at its end.  A last name without NUL is not one. */
static bool
next_name(const struct buf *list, size_t *at, struct slice *name)
{
	const uint8_t *begin = list->p + *at;
	const uint8_t *nul = *at < list->len ? memchr(begin, '\0', list->len - *at) : NULL;

	if (nul == NULL)
		return false;
	*name = (struct slice){ begin, (size_t)(nul - begin) };
	*at += name->len + 1;
	return true;
}

static size_t
count_names(const struct buf *list)
{
	size_t at = 0, n = 0;
	struct slice name;

	while (next_name(list, &at, &name))
		n++;
	return n;
}

static enum ecode
keep(struct arena *a, struct slice name, const struct buf *value, struct meta_xattr *x,
	struct err *e)
{
	enum ecode rc = arena_copy(a, name.p, name.len, &x->name, e);

	if (rc == E_OK)
		rc = arena_copy(a, value->p, value->len, &x->value, e);
	return rc;
}

static enum ecode
read_values(const struct xattr_source *src, const struct buf *list, struct arena *a,
	struct meta_xattrs *out, void (*skipped)(void *arg, const char *name, int sys), void *arg,
	struct err *e)
{
	autoclean(buf_done) struct buf value = buf_limit(XATTR_VALUE_MAX_BYTES);
	enum ecode rc = E_OK;
	struct slice name;
	size_t at = 0;

	while (rc == E_OK && next_name(list, &at, &name)) {
		const char *text = (const char *)name.p; /* its NUL follows in the list */
		ssize_t got = fetch(src, text, &value);

		if (got == -ENOMEM)
			return err_set(e, E_NOMEM, ENOMEM, "attribute %s", text);
		if (got >= 0)
			rc = keep(a, name, &value, &out->v[out->n++], e);
		else if (got != -ENODATA &&
			 skipped != NULL) /* ENODATA: removed since it was listed */
			skipped(arg, text, (int)-got);
	}
	return rc;
}

static bool
means_none(ssize_t rc)
{
	return rc == 0 || rc == -ENOTSUP || rc == -ENODATA; /* EOPNOTSUPP is ENOTSUP on Linux */
}

static enum ecode
list_refusal(ssize_t rc, const char *path, struct err *e)
{
	return walk_refusal(e, (int)rc, "listxattr", path != NULL ? path : "(open file)");
}

enum ecode
meta_xattrs_read(const struct os *os, int dir, const char *path, struct arena *a,
	struct meta_xattrs *out, void (*skipped)(void *arg, const char *name, int sys), void *arg,
	struct err *e)
{
	autoclean(buf_done) struct buf list = buf_limit(XATTR_LIST_MAX_BYTES);
	struct xattr_source src = { .os = os, .dir = dir, .path = path };
	struct meta_xattrs found = { .n = 0 };
	char first[XATTR_PROBE_BYTES];
	void *v = NULL;
	ssize_t got;
	enum ecode rc;

	/* most files have none: no memory is taken for them */
	got = ask_xattr(&src, NULL, first, sizeof(first));
	if (means_none(got)) {
		*out = found;
		return E_OK;
	}
	got = fetch(&src, NULL, &list);
	if (got < 0 && !means_none(got))
		return list_refusal(got, path, e);
	rc = arena_alloc(
		a, count_names(&list) * sizeof(*found.v), &v, e); /* the list is at most 1 MiB */
	if (rc == E_OK) {
		found.v = v;
		rc = read_values(&src, &list, a, &found, skipped, arg, e);
	}
	if (rc == E_OK)
		*out = found;
	return rc;
}

/* ---- names of users and groups ---- */

struct account {
	struct account *next;
	uint32_t number;
	uint32_t len;
	char text[];
};
struct accounts {
	_Atomic(struct account *) bucket[NAME_BUCKETS];
};
struct meta_names {
	const struct os *os;
	struct accounts users, groups;
};

enum ecode
meta_names_open(const struct os *os, struct meta_names **out, struct err *e)
{
	struct meta_names *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "names of users");
	n->os = os;
	*out = n;
	return E_OK;
}

static void
accounts_done(struct accounts *t)
{
	for (size_t i = 0; i < NAME_BUCKETS; i++) {
		struct account *a = atomic_load(&t->bucket[i]);

		while (a != NULL) {
			struct account *next = a->next;

			free(a);
			a = next;
		}
	}
}

void
meta_names_close(struct meta_names **n)
{
	if (*n == NULL)
		return;
	accounts_done(&(*n)->users);
	accounts_done(&(*n)->groups);
	free(*n);
	*n = NULL;
}

static const struct account *
remember(struct accounts *t, uint32_t number, const char *text)
{
	size_t len = strlen(text);
	struct account *a = malloc(sizeof(*a) + len + 1);

	if (a == NULL)
		return NULL;
	a->number = number;
	a->len = (uint32_t)len;
	memcpy(a->text, text, len + 1);
	a->next = atomic_load(&t->bucket[number % NAME_BUCKETS]);
	while (!atomic_compare_exchange_weak(&t->bucket[number % NAME_BUCKETS], &a->next, a))
		;
	return a;
}

/* A failing question (not: a number without a name) is asked again next time. */
static struct slice
account_name(const struct os *os, struct accounts *t, uint32_t number,
	int (*ask)(const struct os *os, uint32_t id, char *p, size_t len))
{
	const struct account *a = atomic_load(&t->bucket[number % NAME_BUCKETS]);
	char text[ACCOUNT_NAME_MAX] = "";

	while (a != NULL && a->number != number)
		a = a->next;
	if (a == NULL && ask(os, number, text, sizeof(text)) >= 0)
		a = remember(t, number, text);
	return a == NULL ? (struct slice){ NULL, 0 }
			 : (struct slice){ (const uint8_t *)a->text, a->len };
}

struct slice
meta_user(struct meta_names *n, uint32_t uid)
{
	return account_name(n->os, &n->users, uid, n->os->user_name);
}

struct slice
meta_group(struct meta_names *n, uint32_t gid)
{
	return account_name(n->os, &n->groups, gid, n->os->group_name);
}

/* ---- putting ---- */

struct put {
	struct xattr_source to;
	const struct meta_apply *m;
	unsigned failures;
	bool other_owner; /* it could not be given to whom it belongs */
	void (*failed)(void *arg, enum meta_part part, const char *xattr, int sys);
	void *arg;
};

static void
note_failure(struct put *p, enum meta_part part, const char *xattr, int rc)
{
	if (rc >= 0)
		return;
	p->failures++;
	if (p->failed != NULL)
		p->failed(p->arg, part, xattr, -rc);
}

static void
put_owner(struct put *p)
{
	const struct os *os = p->to.os;
	struct os_ids ids = os->ids(os);
	int rc;

	/* fs/place sees to it that what it makes has our own user and group */
	if (p->m->fresh && p->m->uid == ids.uid && p->m->gid == ids.gid)
		return;
	do {
		/* the kernel takes the highest number for "unchanged": it would stay ours */
		rc = p->m->uid == UINT32_MAX || p->m->gid == UINT32_MAX
			     ? -EINVAL
			     : os->chown(os, p->to.dir, p->to.path, p->m->uid, p->m->gid,
				       p->to.path != NULL ? AT_SYMLINK_NOFOLLOW : 0);
	} while (rc == -EINTR);
	p->other_owner = rc < 0;
	note_failure(p, META_OWNER, NULL, rc);
}

static bool
same(struct slice s, const char *text)
{
	size_t len = strlen(text);

	return s.len == len && memcmp(s.p, text, len) == 0;
}

/* Longest attribute name of Linux (XATTR_NAME_MAX), NUL included. */
#define XATTR_NAME_BYTES 256

static void
put_xattr(struct put *p, const struct meta_xattr *x)
{
	static const char empty[1];
	const struct os *os = p->to.os;
	char name[XATTR_NAME_BYTES];
	int rc;

	if (x->name.len == 0 || x->name.len >= sizeof(name) ||
		memchr(x->name.p, '\0', x->name.len) != NULL) {
		note_failure(p, META_XATTR, "(impossible name)", -EINVAL);
		return;
	}
	memcpy(name, x->name.p, x->name.len);
	name[x->name.len] = '\0';
	do {
		rc = os->setxattr(os, p->to.dir, p->to.path, name,
			x->value.len != 0 ? (const void *)x->value.p : empty, x->value.len);
	} while (rc == -EINTR);
	note_failure(p, META_XATTR, name, rc);
}

static bool
is_wanted(const struct meta_apply *m, struct slice name)
{
	for (size_t i = 0; i < m->xattr_count; i++) {
		const struct meta_xattr *x = &m->xattr[i];

		if (x->name.len == name.len && memcmp(x->name.p, name.p, name.len) == 0)
			return true;
	}
	return same(name, selinux_label);
}

static void
remove_foreign(struct put *p)
{
	autoclean(buf_done) struct buf list = buf_limit(XATTR_LIST_MAX_BYTES);
	const struct os *os = p->to.os;
	ssize_t got = fetch(&p->to, NULL, &list);
	struct slice name;
	size_t at = 0;

	if (got < 0 && !means_none(got)) {
		note_failure(p, META_XATTR, "(list)", (int)got);
		return;
	}
	while (next_name(&list, &at, &name)) {
		int rc;

		if (is_wanted(p->m, name))
			continue;
		rc = os->removexattr(os, p->to.dir, p->to.path, (const char *)name.p);
		if (rc != -ENODATA)
			note_failure(p, META_XATTR, (const char *)name.p, rc);
	}
}

/* Capabilities last: the kernel drops them when anything else about the file changes. */
static void
put_xattrs(struct put *p)
{
	const struct meta_apply *m = p->m;

	if (!m->fresh)
		remove_foreign(p);
	for (size_t i = 0; i < m->xattr_count; i++)
		if (!same(m->xattr[i].name, capability))
			put_xattr(p, &m->xattr[i]);
	for (size_t i = 0; i < m->xattr_count; i++)
		if (same(m->xattr[i].name, capability))
			put_xattr(p, &m->xattr[i]);
}

/* The kernel drops a set-group-ID bit silently when the caller is not in the group: look. */
static int
mode_took(const struct put *p)
{
	const struct os *os = p->to.os;
	bool by_fd = p->to.path == NULL;
	struct os_meta now;
	int rc = os->stat(os, p->to.dir, by_fd ? "" : p->to.path,
		by_fd ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW, &now);

	if (rc < 0)
		return rc;
	return (now.mode & 07777) == (p->m->st_mode & 07777) ? 0 : -EPERM;
}

static void
put_mode(struct put *p)
{
	const struct os *os = p->to.os;
	mode_t mode = p->m->st_mode & 07777;
	bool refused =
		p->other_owner && p->m->setid_with_owner && (mode & (S_ISUID | S_ISGID)) != 0;
	int rc;

	if (p->m->is_symlink)
		return;
	if (refused)
		mode &= ~(mode_t)(S_ISUID | S_ISGID);
	do {
		rc = os->chmod(os, p->to.dir, p->to.path, mode);
	} while (rc == -EINTR);
	if (rc >= 0 && (mode & (S_ISUID | S_ISGID)) != 0)
		rc = mode_took(p);
	if (rc >= 0 && refused)
		rc = -EPERM;
	note_failure(p, META_MODE, NULL, rc);
}

static void
put_times(struct put *p)
{
	const struct os *os = p->to.os;
	int rc;

	do {
		rc = os->utimens(os, p->to.dir, p->to.path, p->m->atime, p->m->mtime,
			p->to.path != NULL ? AT_SYMLINK_NOFOLLOW : 0);
	} while (rc == -EINTR);
	note_failure(p, META_TIMES, NULL, rc);
}

unsigned
meta_put(const struct os *os, int dir, const char *path, const struct meta_apply *m,
	void (*failed)(void *arg, enum meta_part part, const char *xattr, int sys), void *arg)
{
	struct put p = {
		.to = { .os = os, .dir = dir, .path = path },
		.m = m,
		.failed = failed,
		.arg = arg,
	};

	if (m->owner)
		put_owner(&p);
	if (m->xattrs)
		put_xattrs(&p);
	if (m->mode)
		put_mode(&p);
	if (m->times)
		put_times(&p);
	return p.failures;
}
