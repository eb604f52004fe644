/*
 * What becomes of symbolic links (D-12, IX-19): saved as links, left out, or
 * followed.  A link is followed to a file or directory of its own source only, never to
 * a directory that it lies in, and from a directory that was itself reached
 * through a link only to files: no circle, and no tree that multiplies.
 * What is not followed is saved as the link that it is, and counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "os/io.h"

/* bytes, NUL included: PATH_MAX of Linux, which is also what /proc tells of an open file at most */
#define REAL_PATH_MAX 4096

/* Where an open descriptor is: 1; 0 when it has no name (any more) that fits; or -errno. */
static int
real_path(const struct os *os, int fd, char out[static REAL_PATH_MAX])
{
	char proc[sizeof("/proc/self/fd/") + 12];
	ssize_t got;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	do {
		got = os->readlink(os, AT_FDCWD, proc, out, REAL_PATH_MAX);
	} while (got == -EINTR);
	if (got < 0)
		return (int)got;
	if (got == 0 || got >= REAL_PATH_MAX || out[0] != '/')
		return 0;
	out[got] = '\0';
	return 1;
}

/* Opens what a path leads to, links and all, without reading it. */
static int
open_place(const struct os *os, int dir, const char *name)
{
	int fd;

	do {
		fd = os->open(os, dir, name, O_PATH | O_CLOEXEC, 0);
	} while (fd == -EINTR);
	return fd;
}

/* A source that cannot be found keeps its links, and that is told. */
static enum ecode
find_source(struct backup *b, struct source *source, struct arena *a, struct err *e)
{
	const struct os *os = b->s->os;
	char real[REAL_PATH_MAX];
	enum ecode rc = E_OK;
	int fd = open_place(os, AT_FDCWD, source->path);
	int found = fd < 0 ? fd : real_path(os, fd, real);

	if (found == 1)
		rc = arena_str(a, real, strlen(real), &source->real, e);
	else if (found != -ENOENT && found != -ENOTDIR) /* else it is told as missing */
		backup_warning(b, source->path, E_SRC_IO,
			"where it really is could not be found out, so its links are kept as links");
	if (fd >= 0)
		io_close(os, &fd);
	return rc;
}

enum ecode
links_begin(struct backup *b, struct arena *a, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && b->args->links == LINKS_FOLLOW && i < b->source_count; i++)
		rc = find_source(b, &b->source[i], a, e);
	return rc;
}

static bool
is_inside(const char *path, const char *root)
{
	size_t len = strlen(root);

	if (len == 1) /* "/" */
		return true;
	return strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Is it a directory that this child lies in?  Names may lie about that (bind mounts, other links): numbers do not. */
static bool
is_above(const struct dir_job *job, const struct os_meta *m)
{
	for (; job->up != NULL; job = job->up) {
		const struct os_meta *above = &job->up->child[job->up_child].meta;

		if (above->dev == m->dev && above->ino == m->ino)
			return true;
	}
	return false;
}

static bool
may_follow(
	const struct dir_job *job, const struct child *c, const struct os_meta *m, const char *real)
{
	const struct source *source = job->vnode != NULL ? c->source : job->source;

	if (!S_ISREG(m->mode) && !S_ISDIR(m->mode))
		return false;
	if (!c->explicit_target &&
		(source == NULL || source->real == NULL || !is_inside(real, source->real)))
		return false;
	return !S_ISDIR(m->mode) || (!job->followed && !is_above(job, m));
}

static enum ecode
look_behind(struct dir_job *job, struct child *c, int fd, struct err *e)
{
	const struct os *os = job->b->s->os;
	struct os_meta m;
	char real[REAL_PATH_MAX];
	int rc = os->stat(os, fd, "", AT_EMPTY_PATH, &m);

	if (rc < 0)
		return walk_refusal(e, rc, "stat", c->name);
	rc = real_path(os, fd, real);
	if (rc < 0)
		return walk_refusal(e, rc, "readlink", c->name);
	if (rc == 0 || !may_follow(job, c, &m, real))
		return E_OK;
	c->meta = m;
	c->followed = true;
	return arena_str(&job->arena, real, strlen(real), &c->open_name, e);
}

static enum ecode
follow(struct dir_job *job, struct child *c, struct err *e)
{
	enum ecode rc;
	int fd = open_place(job->b->s->os, job->fd, c->open_name);

	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return E_OK; /* it leads nowhere: the link is all there is */
	if (fd < 0)
		return walk_refusal(e, fd, "follow", c->name);
	rc = look_behind(job, c, fd, e);
	io_close(job->b->s->os, &fd);
	return rc;
}

enum ecode
link_decide(struct dir_job *job, struct child *c, struct err *e)
{
	struct backup *b = job->b;
	enum ecode rc = E_OK;

	if (!S_ISLNK(c->meta.mode) || c->vnode != NULL)
		return E_OK;
	if (b->args->links == LINKS_FOLLOW)
		rc = follow(job, c, e);
	c->left_out = b->args->links == LINKS_SKIP;
	return rc;
}

void
link_count(struct backup *b, const struct child *c)
{
	if (c->followed)
		atomic_fetch_add(&b->links_followed, 1);
	else if (S_ISLNK(c->meta.mode) && c->left_out)
		atomic_fetch_add(&b->links_left_out, 1);
	else if (S_ISLNK(c->meta.mode))
		atomic_fetch_add(&b->symlinks, 1);
}

enum ecode
link_landed(const struct backup *b, const struct child *c, int fd, struct err *e)
{
	char real[REAL_PATH_MAX];

	if (!c->followed)
		return E_OK;
	if (real_path(b->s->os, fd, real) == 1 && strcmp(real, c->open_name) == 0)
		return E_OK;
	return err_set(e, E_SRC_CHANGED, 0, "where the link %s leads changed", c->name);
}
