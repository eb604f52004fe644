/*
 * Vault and sources must not lie in each other: a snapshot of the vault would
 * hold itself, and grow for ever.  Two looks.  The way up by ".." compares
 * devices and inodes, which needs no list and follows links.  The list of
 * mounts tells what ".." cannot: the same directory shown at a second place.
 */
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "os/io.h"

/* A chain of parents longer than this is not a path the kernel could have given (PATH_MAX / 2). */
#define PARENT_CHAIN_MAX 2048

struct place_id {
	uint64_t dev, ino;
};

struct vault_place {
	const char *text; /* absolute, as it was named */
	bool excluded;    /* by that name */
	struct mount_place at;
};

/* Is `want` this directory or one above it?  Follows ".." of the kernel, so links and bind mounts count. */
static bool
lies_within(const struct os *os, const char *path, struct place_id want)
{
	struct place_id last = { 0, 0 };
	struct os_meta m;
	int fd = -1, next;
	bool found = false;

	if (io_open(os, AT_FDCWD, path, O_PATH | O_DIRECTORY, 0, &fd, NULL) != E_OK)
		return false;
	for (unsigned i = 0; i < PARENT_CHAIN_MAX && !found; i++) {
		if (os->stat(os, fd, "", AT_EMPTY_PATH, &m) < 0)
			break;
		if (i > 0 && m.dev == last.dev && m.ino == last.ino)
			break; /* ".." of the root is the root */
		found = m.dev == want.dev && m.ino == want.ino;
		last = (struct place_id){ m.dev, m.ino };
		next = os->open(os, fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
		io_close(os, &fd);
		if (next < 0)
			return found;
		fd = next;
	}
	io_close(os, &fd);
	return found;
}

/* Excluded by name, itself or a directory above it: then it may lie inside a source. */
static bool
excluded_by_name(const struct backup *b, const char *path)
{
	size_t len = strlen(path);

	if (b->args->excludes == NULL)
		return false;
	for (size_t i = 1; i <= len; i++) {
		if ((path[i] == '/' || path[i] == '\0') &&
			rules_match(b->args->excludes, path, i) != 0)
			return true;
	}
	return false;
}

static enum ecode
refuse_vault_inside(const char *vault, const char *target, struct err *e)
{
	return err_set(
		e, E_SRC_OVERLAP, 0, "the vault %s lies inside the source %s", vault, target);
}

static enum ecode
refuse_source_inside(const char *vault, const char *target, struct err *e)
{
	return err_set(
		e, E_SRC_OVERLAP, 0, "the source %s lies inside the vault %s", target, vault);
}

static enum ecode
overlap_upwards(struct backup *b, const struct vault_place *v, const char *target,
	const char *clean, struct err *e)
{
	const struct os *os = b->s->os;
	struct os_meta m;

	if (os->stat(os, AT_FDCWD, clean, AT_SYMLINK_NOFOLLOW, &m) < 0)
		return E_OK; /* absent: told where the sources are looked at */
	if (!v->excluded && lies_within(os, v->text, (struct place_id){ m.dev, m.ino }))
		return refuse_vault_inside(v->text, target, e);
	if (lies_within(os, clean, (struct place_id){ b->vault_dev, b->vault_ino }))
		return refuse_source_inside(v->text, target, e);
	return E_OK;
}

/* `inside` of the vault's file system is shown at `at`: is the vault below that, and not excluded by the name it has there? */
static enum ecode
shown_vault(struct backup *b, const struct vault_place *v, const char *inside, const char *at,
	struct arena *a, bool *shown, struct err *e)
{
	const char *name;
	enum ecode rc;

	*shown = false;
	if (!path_within(inside, v->at.inside))
		return E_OK;
	rc = path_join(a, at, mounts_rest(inside, v->at.inside), &name, e);
	if (rc == E_OK)
		rc = target_clean(a, name, &name, e);
	if (rc == E_OK)
		*shown = !excluded_by_name(b, name);
	return rc;
}

/* Mounts below a target, which the walk would enter. */
static enum ecode
overlap_below(struct backup *b, const struct vault_place *v, const char *target,
	const struct mount_place *at, struct arena *a, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < b->mounts.n; i++) {
		const struct mount *m = &b->mounts.v[i];
		bool shown;

		if (m->dev != v->at.dev || !path_within(at->real, m->point) ||
			strcmp(m->point, at->real) == 0)
			continue;
		if (b->args->one_file_system && m->dev != at->dev)
			continue;
		rc = shown_vault(b, v, m->root, m->point, a, &shown, e);
		if (rc == E_OK && shown)
			return refuse_vault_inside(v->text, target, e);
		if (rc == E_OK && path_within(v->at.inside, m->root) &&
			!excluded_by_name(b, m->point))
			return err_set(e, E_SRC_OVERLAP, 0,
				"a part of the vault %s is mounted at %s, inside the source %s",
				v->text, m->point, target);
	}
	return rc;
}

static enum ecode
overlap_by_mounts(struct backup *b, const struct vault_place *v, const char *target,
	const char *clean, struct arena *a, struct err *e)
{
	struct mount_place at;
	bool shown = false;
	enum ecode rc = mounts_locate_path(&b->mounts, b->s->os, clean, a, &at, e);

	if (rc != E_OK || at.inside == NULL)
		return rc;
	if (at.dev == v->at.dev && path_within(v->at.inside, at.inside))
		return refuse_source_inside(v->text, target, e);
	if (at.dev == v->at.dev)
		rc = shown_vault(b, v, at.inside, at.real, a, &shown, e);
	if (rc == E_OK && shown)
		return refuse_vault_inside(v->text, target, e);
	return rc == E_OK ? overlap_below(b, v, target, &at, a, e) : rc;
}

static enum ecode
locate_vault(
	struct backup *b, const char *text, struct arena *a, struct vault_place *v, struct err *e)
{
	const char *clean, *dot;
	enum ecode rc = target_clean(a, text, &clean, e);

	if (rc == E_OK)
		rc = target_absolute(b, a, clean, &v->text, e);
	if (rc == E_OK)
		rc = mounts_load(b->s->os, a, &b->mounts, e);
	if (rc == E_OK)
		rc = path_join(a, clean, ".", &dot, e); /* follows a link to the vault */
	if (rc == E_OK)
		rc = mounts_locate_path(&b->mounts, b->s->os, dot, a, &v->at, e);
	v->excluded = rc == E_OK && excluded_by_name(b, v->text);
	return rc;
}

enum ecode
gate_overlap(struct backup *b, struct arena *a, struct err *e)
{
	const char *vault = store_local_path(b->s->store), *clean;
	struct vault_place v = { 0 };
	struct os_meta m;
	enum ecode rc;

	if (b->source_count == 0 || vault == NULL ||
		b->s->os->stat(b->s->os, AT_FDCWD, vault, 0, &m) < 0)
		return E_OK;
	b->vault_dev = m.dev;
	b->vault_ino = m.ino;
	b->vault_known = true;
	rc = locate_vault(b, vault, a, &v, e);
	for (size_t i = 0; rc == E_OK && i < b->source_count; i++) {
		const char *target = b->args->targets[i];

		rc = target_clean(a, target, &clean, e);
		if (rc == E_OK)
			rc = overlap_upwards(b, &v, target, clean, e);
		if (rc == E_OK && v.at.inside != NULL)
			rc = overlap_by_mounts(b, &v, target, clean, a, e);
	}
	return rc;
}
