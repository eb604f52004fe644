/* ls: the files of a snapshot, as restic lists them (format document 12.4). */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "cli/job.h"
#include "cli/pick.h"
#include "cli/units.h"
#include "engine/catalog.h"
#include "engine/incomplete.h"
#include "engine/inspect.h"
#include "engine/ownrecord.h"

#define LINE_MAX_BYTES (16U << 20) /* a snapshot's record, or a node with a very long path */

struct listing {
	struct cli *cli;
	const char **dirs; /* absolute and cleaned; none: everything */
	size_t dir_count;
};

static bool
inside_one(const struct listing *l, const char *path)
{
	for (size_t i = 0; i < l->dir_count; i++) {
		if (path_within(l->dirs[i], path))
			return true;
	}
	return l->dir_count == 0;
}

static bool
leads_to_one(const struct listing *l, const char *path)
{
	for (size_t i = 0; i < l->dir_count; i++) {
		if (path_within(path, l->dirs[i]))
			return true;
	}
	return l->dir_count == 0;
}

static void
put_node(struct json_out *w, const struct inspect_item *item)
{
	const struct node *n = item->node;
	char mode[24];

	mode_text(n->mode, mode);
	json_put_key(w, "name");
	json_put_text(w, n->name.p, n->name.len);
	json_member_str(w, "type", node_type_text(n->type));
	json_member_str(w, "path", item->path);
	json_member_u64(w, "uid", n->uid);
	json_member_u64(w, "gid", n->gid);
	if (n->type == NODE_FILE) {
		json_member_u64(w, "size", n->size);
	}
	json_member_some(w, "mode", n->mode);
	json_member_str(w, "permissions", mode);
	json_member_time(w, "mtime", n->mtime);
	json_member_time(w, "atime", n->atime);
	json_member_time(w, "ctime", n->ctime);
	json_member_some(w, "inode", n->inode);
	json_member_str(w, "message_type", "node");
	json_member_str(w, "struct_type", "node");
}

static enum ecode
tell_json(const struct listing *l, const struct inspect_item *item, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(LINE_MAX_BYTES);
	struct json_out w;
	enum ecode rc;

	json_begin(&w, &line);
	json_open_object(&w);
	put_node(&w, item);
	json_close_object(&w);
	rc = json_done(&w, e);
	if (rc == E_OK)
		rc = buf_add_byte(&line, '\n', e);
	if (rc == E_OK)
		screen_out_bytes(&l->cli->screen, line.p, line.len);
	return rc;
}

static enum ecode
tell_long(const struct listing *l, const struct inspect_item *item, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(LINE_MAX_BYTES);
	autoclean(buf_done) struct buf link = buf_limit(LINE_MAX_BYTES);
	const struct node *n = item->node;
	char mode[24], time[UNIT_TEXT_MAX];
	enum ecode rc = text_show(&path, item->path, strlen(item->path), e);

	if (rc == E_OK)
		rc = text_show(&link, n->linktarget.p, n->linktarget.len, e);
	if (rc != E_OK)
		return rc;
	mode_text(n->mode, mode);
	screen_out(&l->cli->screen, "%s %5" PRIu32 " %5" PRIu32 " %6" PRIu64 " %s %s%s%s", mode,
		n->uid, n->gid, n->size, local_text(n->mtime, time), (const char *)path.p,
		link.len > 0 ? " -> " : "", (const char *)link.p);
	return E_OK;
}

static enum ecode
tell_short(const struct listing *l, const struct inspect_item *item, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(LINE_MAX_BYTES);
	enum ecode rc = text_show(&path, item->path, strlen(item->path), e);

	if (rc == E_OK)
		screen_out(&l->cli->screen, "%s", (const char *)path.p);
	return rc;
}

static enum ecode
each(void *arg, const struct inspect_item *item, bool *descend, struct err *e)
{
	const struct listing *l = arg;
	bool inside = inside_one(l, item->path);

	*descend =
		leads_to_one(l, item->path) || (inside && flag_given(l->cli->opt, FLAG_RECURSIVE));
	if (!inside)
		return E_OK;
	if (l->cli->screen.json)
		return tell_json(l, item, e);
	return flag_given(l->cli->opt, FLAG_LONG) ? tell_long(l, item, e) : tell_short(l, item, e);
}

static enum ecode
take_dirs(struct listing *l, struct err *e)
{
	const struct options *o = l->cli->opt;
	void *room;
	enum ecode rc = arena_alloc(&l->cli->arena, (o->arg_count + 1) * sizeof(char *), &room, e);

	if (rc != E_OK)
		return rc;
	l->dirs = room;
	for (size_t i = 1; rc == E_OK && i < o->arg_count; i++) {
		if (o->args[i][0] != '/')
			return err_set(e, E_USAGE, 0, "%s: directories in a snapshot begin with /",
				o->args[i]);
		rc = pick_absolute(l->cli, o->args[i], &l->dirs[l->dir_count], e);
		l->dir_count++;
	}
	return rc;
}

/* On stderr, so that whoever takes the list for all there was is told, and a script's list stays as it was. */
static void
warn_partial(struct cli *cli, enum completeness state, uint64_t lost)
{
	if (cli->screen.quiet)
		return;
	if (state == COMPLETENESS_PARTIAL)
		screen_err(&cli->screen,
			"note: this snapshot is partial: %" PRIu64
			" path%s could not be read when it was made",
			lost, lost == 1 ? "" : "s");
	else if (state == COMPLETENESS_UNREADABLE)
		screen_err(&cli->screen,
			"note: whether this snapshot is complete cannot be read from it");
}

static enum ecode
tell_head(struct cli *cli, const struct snapshot *s, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(LINE_MAX_BYTES);
	char time[UNIT_TEXT_MAX];
	uint64_t lost;
	enum completeness state = own_completeness(s, &lost);
	enum ecode rc;

	if (!cli->screen.json) {
		warn_partial(cli, state, lost);
		if (!cli->screen.quiet)
			screen_out(&cli->screen, "snapshot %s of %s at %s:", cli_short(cli, &s->id),
				cli_shown(cli, s->hostname.p, s->hostname.len),
				local_text(s->time, time));
		return E_OK;
	}
	rc = catalog_record_open(s, &line, e);
	if (rc == E_OK)
		rc = buf_printf(&line, e,
			",\"id\":\"%s\",\"short_id\":\"%s\",\"completeness\":\"%s\",\"message_type\":\"snapshot\",\"struct_type\":\"snapshot\"}\n",
			cli_id(cli, &s->id), cli_short(cli, &s->id), completeness_text(state));
	if (rc == E_OK)
		screen_out_bytes(&cli->screen, line.p, line.len);
	return rc;
}

static enum ecode
show(struct listing *l, struct session *s, struct err *e)
{
	struct cli *cli = l->cli;
	struct snapshot_list list;
	struct snapshot_filter filter;
	const struct snapshot *snapshot;
	const char *sub = NULL;
	struct id tree;
	enum ecode rc = catalog_list(s, &cli->arena, &list, e);

	if (rc == E_OK)
		rc = pick_filter(cli, &filter, e);
	if (rc == E_OK)
		rc = snapshot_select(
			&list, &filter, cli->opt->args[0], &cli->arena, &snapshot, &sub, e);
	if (rc != E_OK)
		return incomplete_named(s, cli->opt->args[0], rc, e);
	if (rc == E_OK)
		rc = session_load_index(s, e);
	if (rc != E_OK)
		return rc;
	tree = snapshot->tree;
	if (sub != NULL)
		rc = inspect_subtree(s, &snapshot->tree, sub, &tree, e);
	if (rc == E_OK)
		rc = tell_head(cli, snapshot, e);
	return rc == E_OK ? inspect_walk(s, &tree, each, l, e) : rc;
}

enum ecode
cmd_ls(struct cli *cli, struct err *e)
{
	struct job_args args = { .kind = TICKER_OTHER };
	struct job_open_args how = { .lock = SESSION_SHARED };
	struct listing listing = { .cli = cli };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc = take_dirs(&listing, e);

	args.operation = cli_text(cli, "listing %s", cli->opt->args[0]);
	if (rc == E_OK)
		rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = show(&listing, &s, e);
	return job_end(&job, &s, rc, e);
}
