/*
 * The safety sets that are there, and which of them go.  A directory is listed
 * and removed only when it has the name and the mark of a set.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "engine/safety.h"
#include "fs/remove.h"
#include "fs/walk.h"
#include "os/io.h"

/* ---- names of sets ---- */

/* YYYY-MM-DD_HHMMSS, or that and _N. */
bool
safety_is_name(const char *name)
{
	static const char shape[] = "dddd-dd-dd_dddddd";
	size_t i = 0;

	for (; shape[i] != '\0'; i++)
		if (shape[i] == 'd' ? name[i] < '0' || name[i] > '9' : name[i] != shape[i])
			return false;
	if (name[i] == '\0')
		return true;
	if (name[i] != '_' || name[i + 1] == '\0')
		return false;
	return name[i + 1 + strspn(name + i + 1, "0123456789")] == '\0';
}

/* By time, then by number: _10 comes after _9. */
static int
set_order(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	int order = strncmp(a, b, strlen("YYYY-MM-DD_HHMMSS"));

	if (order == 0 && la != lb)
		return la < lb ? -1 : 1;
	return order == 0 ? strcmp(a, b) : order;
}

/* ---- the list ---- */

/* A set of ours: the mark of its first moment lies in it. */
static bool
has_mark(const struct os *os, int base, const char *name)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	struct os_meta m;

	return io_open(os, base, name, flags, 0, &dir.fd, NULL) == E_OK &&
	       os->stat(os, dir.fd, SAFETY_BEGUN, AT_SYMLINK_NOFOLLOW, &m) >= 0 && S_ISREG(m.mode);
}

static void
add_sorted(struct safety_sets *sets, struct safety_set set)
{
	size_t i = sets->n++;

	for (; i > 0 && set_order(sets->v[i - 1].name, set.name) > 0; i--)
		sets->v[i] = sets->v[i - 1];
	sets->v[i] = set;
}

static enum ecode
list_at(const struct os *os, int base, const char *base_path, struct arena *a,
	struct safety_sets *out, struct err *e)
{
	struct walk_list list = { 0 };
	enum ecode rc = walk_dir(os, base, base_path, a, &list, e);
	void *p;

	if (rc == E_OK)
		rc = arena_alloc(a, (list.n + 1) * sizeof(*out->v), &p, e);
	if (rc != E_OK)
		return rc;
	*out = (struct safety_sets){ .v = p };
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		struct safety_set set = { .name = list.v[i].name };

		if (!list.v[i].have_meta || !S_ISDIR(list.v[i].meta.mode) ||
			!safety_is_name(set.name) || !has_mark(os, base, set.name))
			continue;
		rc = path_join(a, base_path, set.name, &set.path, e);
		add_sorted(out, set);
	}
	return rc;
}

static enum ecode
open_base(const struct os *os, const char *base, int *fd, bool *there, struct err *e)
{
	struct err why;
	enum ecode rc = io_open(os, AT_FDCWD, base, O_RDONLY | O_DIRECTORY, 0, fd, &why);

	*there = rc == E_OK;
	if (rc == E_OK || why.sys == ENOENT)
		return E_OK;
	return err_set(e, E_IO_READ, why.sys, "%s", why.detail);
}

enum ecode
safety_list(const struct os *os, const char *base, struct arena *a, struct safety_sets *out,
	struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	bool there;
	enum ecode rc = open_base(os, base, &dir.fd, &there, e);

	*out = (struct safety_sets){ .n = 0 };
	if (rc == E_OK && there)
		rc = list_at(os, dir.fd, base, a, out, e);
	for (size_t i = 0; rc == E_OK && i < out->n; i++) {
		rc = safety_look(os, dir.fd, &out->v[i], a, NULL);
		out->v[i].whole = rc == E_OK;
		rc = rc == E_NOMEM ? err_set(e, E_NOMEM, ENOMEM, "safety sets") : E_OK;
	}
	return rc;
}

/* ---- old ones go ---- */

/* The mark in a set is among the first that goes: what is half removed is known by its name. */
static bool
is_leftover(const struct walk_entry *entry)
{
	const size_t len = strlen(SAFETY_REMOVING);

	return strncmp(entry->name, SAFETY_REMOVING, len) == 0 &&
	       safety_is_name(entry->name + len) && entry->have_meta && S_ISDIR(entry->meta.mode);
}

static enum ecode
remove_set(const struct os *os, int base, const char *name, const struct safety_retain_args *args,
	struct arena *a, struct err *e)
{
	const struct retire_listener *l = &args->listener;
	const char *path;
	struct err why;
	enum ecode rc = path_join(a, args->base, name, &path, e);

	if (rc != E_OK)
		return rc;
	if (args->dry_run || remove_tree_at(os, base, name, &why) == E_OK)
		l->tell(l->arg, RETIRED_GONE, path, NULL);
	else
		l->tell(l->arg, RETIRED_UNDONE, path, why.detail);
	return E_OK;
}

static enum ecode
finish_earlier(const struct os *os, int base, const struct safety_retain_args *args,
	struct arena *a, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	struct walk_list list = { 0 };
	enum ecode rc = io_open(os, base, ".", O_RDONLY | O_DIRECTORY, 0, &dir.fd, e);

	if (rc == E_OK)
		rc = walk_dir(os, dir.fd, args->base, a, &list, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++)
		if (is_leftover(&list.v[i]))
			rc = remove_set(os, base, list.v[i].name, args, a, e);
	return rc;
}

static enum ecode
retire(const struct os *os, int base, const struct safety_set *set,
	const struct safety_retain_args *args, struct arena *a, struct err *e)
{
	const struct retire_listener *l = &args->listener;
	char name[NAME_BYTES_MAX + 1];
	int rc;

	if (args->dry_run)
		return remove_set(os, base, set->name, args, a, e);
	(void)snprintf(name, sizeof(name), SAFETY_REMOVING "%s", set->name);
	rc = os->rename(os, base, set->name, base, name, 0);
	if (rc >= 0)
		return remove_set(os, base, name, args, a, e);
	l->tell(l->arg, RETIRED_STAYS, set->path, "it cannot be renamed");
	return E_OK;
}

enum ecode
safety_retain(
	const struct os *os, const struct safety_retain_args *args, struct arena *a, struct err *e)
{
	autoclean(io_fd_done) struct io_fd dir = { .os = os, .fd = -1 };
	struct safety_sets sets = { .n = 0 };
	size_t keep = args->keep > 0 ? args->keep : 1;
	bool there;
	enum ecode rc = open_base(os, args->base, &dir.fd, &there, e);

	if (rc == E_OK && there)
		rc = finish_earlier(os, dir.fd, args, a, e);
	if (rc == E_OK && there)
		rc = list_at(os, dir.fd, args->base, a, &sets, e);
	for (size_t i = 0; rc == E_OK && i + keep < sets.n; i++)
		rc = retire(os, dir.fd, &sets.v[i], args, a, e);
	return rc;
}
