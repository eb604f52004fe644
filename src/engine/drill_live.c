/* The live file at the same path: where nobody touched it since the backup, it must be the same bytes. */
#include <errno.h>
#include <fcntl.h>

#include "base/path.h"
#include "engine/drill_internal.h"
#include "fs/walk.h"
#include "os/io.h"

/*
 * "backup src" stores the tree /src and the path /home/ada/src: its live files
 * are below /home/ada.  A wrong guess does no harm: only a file of the recorded
 * inode and times counts.
 */
enum ecode
drill_live_begin(struct drill *d, struct err *e)
{
	const struct snapshot *snap = d->snap;
	const struct slice *path = snap->paths;
	size_t len;

	d->live_base = NULL;
	if (snap->path_count != 1 || path->len < 2 || path->p[0] != '/')
		return E_OK;
	for (len = path->len; path->p[len - 1] != '/'; len--)
		;
	return len == 1 ? E_OK : arena_str(&d->arena, path->p, len - 1, &d->live_base, e);
}

/* The file that was backed up as this one is there, and was not changed since. */
static bool
is_unchanged_at(const struct drill *d, const struct match_record *r, const char *live)
{
	const struct os *os = d->s->os;
	const struct node *n = r->node;
	struct os_meta m;

	return os->stat(os, AT_FDCWD, live, AT_SYMLINK_NOFOLLOW, &m) == 0 && S_ISREG(m.mode) &&
	       m.size == n->size && m.ino == n->inode && instant_cmp(m.mtime, n->mtime) == 0 &&
	       instant_cmp(m.ctime, n->ctime) == 0;
}

/* Where its live file is, unchanged; NULL: nowhere. */
static enum ecode
find_live(const struct drill *d, const struct match_record *r, struct buf *room, const char **out,
	struct err *e)
{
	enum ecode rc;

	*out = r->path;
	if (is_unchanged_at(d, r, r->path))
		return E_OK;
	*out = NULL;
	if (d->live_base == NULL)
		return E_OK;
	rc = buf_printf(room, e, "%s%s", d->live_base, r->path);
	if (rc == E_OK)
		rc = buf_add_byte(room, '\0', e);
	if (rc == E_LIMIT)
		return E_OK; /* a path that no system call takes */
	if (rc == E_OK && is_unchanged_at(d, r, (const char *)room->p))
		*out = (const char *)room->p;
	return rc;
}

static enum ecode
compare(const struct drill *d, struct match_hand *h, const struct match_record *r, const char *live,
	unsigned *found, struct err *e)
{
	autoclean(io_fd_done) struct io_fd f = { .os = d->s->os, .fd = -1 };
	struct err why = { .code = E_OK };
	bool same = false;
	enum ecode rc = walk_open_file(d->s->os, AT_FDCWD, live, &f.fd, &why);

	if (rc == E_OK)
		rc = d->same(h, r->node, f.fd, &same, &why);
	if (rc == E_NOMEM || rc == E_INTERRUPTED) {
		*e = why;
		return rc;
	}
	if (rc != E_OK || (!same && !is_unchanged_at(d, r, live)))
		*found = DRILL_LIVE_CHANGED; /* not to be read by us, or written to just now */
	else
		*found = same ? DRILL_LIVE_SAME : DRILL_LIVE_OTHER;
	return E_OK;
}

enum ecode
drill_live_compare(void *drill, struct match_hand *h, const struct match_record *r, unsigned *found,
	struct err *e)
{
	autoclean(buf_done) struct buf room = buf_limit(2 * PATH_TEXT_MAX + NAME_BYTES_MAX + 2);
	const struct drill *d = drill;
	const char *live = NULL;
	enum ecode rc;

	*found = DRILL_LIVE_NONE;
	if (r->node->type != NODE_FILE)
		return E_OK;
	rc = find_live(d, r, &room, &live, e);
	if (rc == E_OK && live != NULL)
		return compare(d, h, r, live, found, e);
	*found = DRILL_LIVE_CHANGED;
	return rc;
}
