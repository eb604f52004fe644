/*
 * A restore of what is left of a damaged snapshot (D-20): it goes beside the
 * destination, to `<dest>.partial`, never over or into anything that is there.
 * A file is there whole or not at all; what is not is told, and listed.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "engine/restore_internal.h"
#include "os/io.h"

#define PARTIAL_SUFFIX ".partial"

static enum ecode
name_partial(struct restore *r, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
	struct restore_dest *d = &r->dest;
	enum ecode rc = buf_printf(&text, e, "%s" PARTIAL_SUFFIX, d->path);

	if (rc == E_OK)
		rc = arena_str(&r->arena, text.p, text.len, &d->partial_path, e);
	if (rc != E_OK)
		return rc;
	d->partial = path_base(d->partial_path);
	if (!name_is_safe(d->partial, strlen(d->partial)))
		return err_set(e, E_DEST_NOT_DIR, 0, "%s: the name is too long", d->partial_path);
	return E_OK;
}

enum ecode
restore_partial_check(struct restore *r, struct err *e)
{
	const struct os *os = r->s->os;
	struct os_meta m;
	enum ecode rc;
	int got;

	if (!r->args->allow_partial)
		return E_OK;
	if (r->args->kind != RESTORE_EMPTY)
		return err_set(e, E_USAGE, 0, "a partial restore never takes the place of data");
	rc = name_partial(r, e);
	if (rc != E_OK)
		return rc;
	got = os->stat(os, r->dest.parent_fd, r->dest.partial, AT_SYMLINK_NOFOLLOW, &m);
	if (got == -ENOENT)
		return E_OK;
	return got < 0 ? io_refusal(e, E_STAGE_IO, got, "stat", r->dest.partial_path)
		       : err_set(e, E_PARTIAL_THERE, 0, "%s", r->dest.partial_path);
}

void
restore_partial_missing(struct restore *r, const struct restore_dir *d, const char *name)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2);
	struct err ignored;
	size_t i = 0;

	if (restore_path(d, name, &path, &ignored) != E_OK)
		return; /* it is counted, and told, all the same */
	(void)pthread_mutex_lock(&r->live_lock);
	while (i < RESTORE_MISSING_TOLD && r->out->missing_path[i] != NULL)
		i++;
	if (i < RESTORE_MISSING_TOLD)
		r->out->missing_path[i] = strdup(path.len == 0 ? "/" : (const char *)path.p);
	(void)pthread_mutex_unlock(&r->live_lock);
}

/* The beginning of a file under the name of the whole would be worse than none. */
static enum ecode
drop_item(struct restore *r, struct restore_item *item, struct err *e)
{
	struct restore_worker *w = &r->worker[r->s->workers];
	enum ecode rc;
	int dir, got;

	r->left.files++;
	r->left.bytes += item->size;
	rc = restore_open_dir(r, w, item->dir, &dir, e);
	if (rc != E_OK)
		return rc;
	got = r->s->os->unlink(r->s->os, dir, item->name, 0);
	return got < 0 && got != -ENOENT ? io_refusal(e, E_STAGE_IO, got, "unlink", item->name)
					 : E_OK;
}

enum ecode
restore_partial_drop(struct restore *r, struct err *e)
{
	enum ecode rc = E_OK;

	if (!r->args->allow_partial || r->damaged == 0)
		return E_OK;
	for (size_t i = 0; rc == E_OK && i < r->dir_count; i++)
		for (size_t k = 0; rc == E_OK && k < r->dirs[i]->count; k++)
			if (r->dirs[i]->items[k].damaged)
				rc = drop_item(r, &r->dirs[i]->items[k], e);
	r->out->missing = r->damaged;
	return rc;
}

enum ecode
restore_partial_records(struct restore *r, struct err *e)
{
	const char *dir;
	enum ecode rc = path_join(&r->arena, r->dest.partial_path, ARTIFACTS_DIR, &dir, e);

	return rc == E_OK ? path_join(&r->arena, dir, r->args->run_id, &r->art.path, e) : rc;
}
