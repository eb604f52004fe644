/*
 * The plan as a document: every candidate, every conflict, and what decides
 * about both, with digests (WC-10, WC-46).  The same snapshot, destination and
 * options give the same bytes, whatever the threads did; only `created_at` tells
 * the time (D-15).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "engine/restore_internal.h"
#include "engine/restore_lines.h"

#define PLAN_MAX_BYTES       (4U << 20) /* the plan's own text: patterns and counts */
/* Seconds of the estimate: what a spinning disk writes, and the entries it makes a second (performance.md). */
#define ESTIMATE_BYTES_PER_S UINT64_C(100000000)
#define ESTIMATE_ITEMS_PER_S 5000

/* ---- one object a candidate ---- */

void
restore_put_path(struct json_out *w, const char *key, const struct buf *path)
{
	json_put_key(w, key);
	json_put_text(w, restore_rel(path), path->len == 0 ? 0 : path->len - 1);
}

enum ecode
restore_table_write(
	struct restore *r, int dir, const struct restore_table *t, struct id *digest, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2);
	autoclean(lines_done) struct lines l = { .os = r->s->os, .fd = -1 };
	const struct restore_item *item;
	struct restore_iter it;
	uint64_t index = 0;
	enum ecode rc = lines_open(&l, r->s->os, dir, t->name, e);

	l.sync_later = t->sync_later && r->art.staged;
	restore_iter_begin(&it, r);
	while (rc == E_OK && (item = restore_iter_next(&it)) != NULL) {
		rc = restore_path(item->dir, item->name, &path, e);
		if (rc == E_OK)
			rc = t->put(r, &l, item, index++, &path, e);
	}
	if (rc == E_OK)
		rc = lines_close(&l, digest, e);
	return rc;
}

/* ---- candidates and conflicts ---- */

static const char *
candidate_type(const struct restore *r, const struct restore_item *item)
{
	if ((item->live & LIVE_THERE) == 0 ||
		(r->args->tree == TREE_EXACT && r->args->kind != RESTORE_IN_PLACE))
		return "copy_new";
	if (!restore_differs(r, item) || item->decision == CONFLICT_LIVE)
		return "skip_existing";
	return item->decision == CONFLICT_REFUSE ? "unresolved" : "overwrite_existing";
}

/* One digest for all pieces of a file: the SHA-256 over their ids; it is what two plans are compared by. */
static void
put_content(struct restore *r, struct json_out *w, const struct restore_item *item)
{
	struct id digest;

	if (item->type != NODE_FILE)
		return;
	hasher_sum(r->art.hasher, item->content, item->content_count * sizeof(*item->content),
		&digest);
	json_member_id(w, "content_digest", &digest);
}

static enum ecode
put_candidate(struct restore *r, struct lines *l, const struct restore_item *item, uint64_t index,
	const struct buf *path, struct err *e)
{
	struct json_out w;

	lines_begin(l, &w);
	lines_u64(&w, "candidate_index", index);
	lines_str(&w, "candidate_type", candidate_type(r, item));
	put_content(r, &w, item);
	lines_u64(&w, "gid", item->gid);
	lines_u64(&w, "mode", item->st_mode & 07777);
	lines_time(&w, "mtime", item->mtime);
	restore_put_path(&w, "relative_path", path);
	if (item->type == NODE_FILE)
		lines_u64(&w, "size", item->size);
	if (item->extra != NULL && item->extra->from != NULL)
		lines_str(&w, "source_path", item->extra->from + 1);
	lines_str(&w, "type", node_type_text(item->type));
	lines_u64(&w, "uid", item->uid);
	return lines_end(l, &w, e);
}

static const char *
decision_text(enum conflict_rule rule)
{
	switch (rule) {
	case CONFLICT_REFUSE:
		return "unresolved";
	case CONFLICT_SNAPSHOT:
		return "snapshot";
	case CONFLICT_LIVE:
		return "live";
	case CONFLICT_KEEP_BOTH:
		return "keep-both";
	case CONFLICT_NEWER:
	case CONFLICT_LARGER:
	case CONFLICT_ASK:
		break; /* settled into one of the others when they are compared */
	}
	return "?";
}

static void
put_differences(struct json_out *w, uint8_t live)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = { { LIVE_TYPE, "type" }, { LIVE_SIZE, "size" }, { LIVE_CONTENT, "content" },
		{ LIVE_TIME, "time" }, { LIVE_OWNER, "owner" }, { LIVE_MODE, "mode" },
		{ LIVE_LINK, "link" } };

	json_put_key(w, "differs");
	json_open_array(w);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if ((live & names[i].bit) != 0)
			json_put_str(w, names[i].name);
	json_close_array(w);
}

static enum ecode
put_conflict(struct restore *r, struct lines *l, const struct restore_item *item, uint64_t index,
	const struct buf *path, struct err *e)
{
	struct json_out w;

	lines_begin(l, &w);
	lines_str(&w, "decision", decision_text((enum conflict_rule)item->decision));
	lines_str(&w, "destination_path", r->dest.path);
	put_differences(&w, item->live);
	if (item->extra != NULL && item->extra->live_told) {
		lines_time(&w, "live_mtime", item->extra->live_mtime);
		lines_u64(&w, "live_size", item->extra->live_size);
	}
	lines_u64(&w, "operation_index", index);
	lines_str(&w, "reason", "differs from what is there");
	restore_put_path(&w, "relative_path", path);
	return lines_end(l, &w, e);
}

static int
by_path(const void *a, const void *b)
{
	const struct restore_extra_live *const *x = a, *const *y = b;

	return strcmp((*x)->path, (*y)->path);
}

/* What only the destination has: in order, after the conflicts. */
static enum ecode
put_only_live(struct restore *r, struct lines *l, struct err *e)
{
	const struct restore_extra_live **v;
	size_t n = 0;
	enum ecode rc = E_OK;

	v = calloc((size_t)r->only_live_count + 1, sizeof(*v));
	if (v == NULL)
		return err_set(
			e, E_NOMEM, ENOMEM, "%" PRIu64 " paths", (uint64_t)r->only_live_count);
	for (const struct restore_extra_live *x = r->only_live; x != NULL; x = x->next)
		v[n++] = x;
	qsort(v, n, sizeof(*v), by_path);
	for (size_t i = 0; rc == E_OK && i < n; i++) {
		struct json_out w;

		lines_begin(l, &w);
		lines_str(&w, "decision",
			r->args->tree == TREE_EXACT && r->args->kind != RESTORE_IN_PLACE
				? "previous"
				: "live");
		lines_str(&w, "destination_path", r->dest.path);
		lines_str(&w, "reason", "only at the destination");
		lines_str(&w, "relative_path", v[i]->path);
		rc = lines_end(l, &w, e);
	}
	free(v);
	return rc;
}

static enum ecode
write_conflicts(struct restore *r, int dir, const char *name, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX + NAME_BYTES_MAX + 2);
	autoclean(lines_done) struct lines l = { .os = r->s->os, .fd = -1 };
	const struct restore_item *item;
	struct restore_iter it;
	uint64_t index = 0;
	enum ecode rc = lines_open(&l, r->s->os, dir, name, e);

	restore_iter_begin(&it, r);
	for (; rc == E_OK && (item = restore_iter_next(&it)) != NULL; index++) {
		if (!restore_differs(r, item))
			continue; /* nearly all of them: not even a path is made */
		rc = restore_path(item->dir, item->name, &path, e);
		if (rc == E_OK)
			rc = put_conflict(r, &l, item, index, &path, e);
	}
	if (rc == E_OK)
		rc = put_only_live(r, &l, e);
	if (rc == E_OK)
		rc = lines_close(&l, &r->art.conflicts, e);
	return rc;
}

/* ---- the plan ---- */

const char *
restore_kind_text(enum restore_kind kind)
{
	switch (kind) {
	case RESTORE_EMPTY:
		return "restore";
	case RESTORE_SWAP:
		return "restore-swap";
	case RESTORE_IN_PLACE:
		return "restore-in-place";
	}
	return "?"; /* not reached */
}

const char *
restore_tree_text(enum restore_tree tree)
{
	switch (tree) {
	case TREE_EXACT:
		return "exact";
	case TREE_MERGE:
		return "merge";
	case TREE_ADD_ONLY:
		return "add-only";
	}
	return "?"; /* not reached */
}

const char *
restore_verify_text(enum restore_verify verify)
{
	switch (verify) {
	case VERIFY_HASH:
		return "hash";
	case VERIFY_SIZE:
		return "size";
	case VERIFY_NONE:
		return "none";
	}
	return "?"; /* not reached */
}

static void
put_rules(struct json_out *w, const char *key, const struct rules *rules)
{
	json_put_key(w, key);
	json_open_array(w);
	for (unsigned i = 0; rules != NULL && i < rules_count(rules); i++) {
		json_open_object(w);
		json_member_bool(w, "ignore_case", rules_insensitive(rules, i));
		lines_str(w, "pattern", rules_text(rules, i));
		json_close_object(w);
	}
	json_close_array(w);
}

/* The last that matches decides, so their order is theirs. */
static void
put_choices(struct json_out *w, const struct restore_args *args)
{
	if (args->choices == NULL)
		return;
	json_put_key(w, "on_conflict");
	json_open_array(w);
	for (unsigned i = 0; i < rules_count(args->choices); i++) {
		json_open_object(w);
		lines_str(w, "pattern", rules_text(args->choices, i));
		lines_str(w, "rule", conflict_rule_text(args->choice_rules[i]));
		json_close_object(w);
	}
	json_close_array(w);
}

/* What few restores have is in the plan only where it is: plans of before stay equal. */
static void
put_moves(struct json_out *w, const struct restore_args *args)
{
	if (args->move_count == 0)
		return;
	json_put_key(w, "map");
	json_open_array(w);
	for (size_t i = 0; i < args->move_count; i++) {
		json_open_object(w);
		lines_str(w, "from", args->moves[i].from);
		lines_str(w, "to", args->moves[i].to);
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_texts(struct json_out *w, const char *key, const char *const *v, size_t n)
{
	if (n == 0)
		return;
	json_put_key(w, key);
	json_open_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_str(w, v[i]);
	json_close_array(w);
}

static void
put_strip(struct json_out *w, const struct restore *r)
{
	if (r->args->strip == 0)
		return;
	lines_u64(w, "strip_components", r->args->strip);
	lines_u64(w, "stripped_away", r->stripped);
}

static void
put_tables(struct restore *r, struct json_out *w)
{
	json_put_key(w, "artifacts");
	json_open_object(w);
	lines_id(w, "candidates_sha256", &r->art.candidates);
	lines_id(w, "conflicts_sha256", &r->art.conflicts);
	json_close_object(w);
	json_put_key(w, "conflicts");
	json_open_object(w);
	lines_u64(w, "differing", r->differing);
	lines_u64(w, "identical", r->identical);
	lines_u64(w, "new", r->fresh);
	lines_u64(w, "only_at_destination", r->only_live_count);
	lines_u64(w, "unresolved", r->unresolved);
	json_close_object(w);
	json_put_key(w, "counts");
	json_open_object(w);
	lines_u64(w, "bytes", r->planned.bytes);
	lines_u64(w, "directories", r->planned.dirs);
	lines_u64(w, "files", r->planned.files);
	lines_u64(w, "others", r->planned.others);
	json_close_object(w);
}

static uint64_t
estimate_s(const struct restore *r)
{
	uint64_t items = r->planned.files + r->planned.dirs + r->planned.others;

	return r->planned.bytes / ESTIMATE_BYTES_PER_S + items / ESTIMATE_ITEMS_PER_S + 1;
}

/* Everything that decides what will happen, and nothing that changes from run to run. */
static enum ecode
plan_object(struct restore *r, struct buf *out, struct err *e)
{
	const struct restore_args *args = r->args;
	struct json_out w;

	json_begin(&w, out);
	json_open_object(&w);
	if (args->allow_setid)
		json_member_bool(&w, "allow_setuid", true);
	put_tables(r, &w);
	lines_str(&w, "destination_root", r->dest.path);
	lines_u64(&w, "estimated_seconds", estimate_s(r));
	put_rules(&w, "exclude", args->excludes);
	lines_str(&w, "execution_strategy",
		args->kind == RESTORE_IN_PLACE ? "safety_set_then_atomic_replace"
					       : "staged_atomic_replace");
	put_rules(&w, "include", args->includes);
	put_moves(&w, args);
	if (args->metadata_auto)
		json_member_bool(&w, "metadata_auto", true);
	lines_u64(&w, "needed_bytes", r->needed);
	put_choices(&w, args);
	put_texts(&w, "owner_map", args->owner_map, args->owner_map_count);
	json_member_bool(&w, "ownership_by_name", args->ownership_by_name);
	put_texts(&w, "paths", args->only, args->only_count);
	lines_id(&w, "snapshot_id", &r->out->snapshot_id);
	json_member_bool(&w, "sparse", args->sparse);
	json_member_bool(&w, "strict_metadata", args->strict_metadata);
	put_strip(&w, r);
	lines_str(&w, "subfolder", r->sub);
	lines_str(&w, "tree", restore_tree_text(args->tree));
	lines_id(&w, "tree_id", &r->tree);
	lines_id(&w, "vault_id", &r->s->vault->repo_id);
	lines_str(&w, "verb", restore_kind_text(args->kind));
	lines_str(&w, "verify", restore_verify_text(args->verify));
	restore_put_without(&w, args);
	json_close_object(&w);
	return json_done(&w, e);
}

static enum ecode
write_plan(struct restore *r, int dir, const char *name, const struct buf *plan, struct err *e)
{
	autoclean(lines_done) struct lines l = { .os = r->s->os, .fd = -1 };
	struct json_out w;
	struct id ignored;
	enum ecode rc = lines_open(&l, r->s->os, dir, name, e);

	if (rc != E_OK)
		return rc;
	lines_begin(&l, &w);
	lines_time(&w, "created_at", r->s->os->wall(r->s->os));
	json_put_key(&w, "plan");
	json_put_raw(&w, plan->p, plan->len);
	lines_id(&w, "plan_sha256", &r->art.plan);
	lines_str(&w, "schema", "holdfast_restore_plan_v1");
	rc = lines_end(&l, &w, e);
	return rc == E_OK ? lines_close(&l, &ignored, e) : rc;
}

/* In this order: the plan names the digests of the two tables. */
static enum ecode
write_plan_set(struct restore *r, int dir, const char *const names[3], struct err *e)
{
	autoclean(buf_done) struct buf plan = buf_limit(PLAN_MAX_BYTES);
	const struct restore_table candidates = { .name = names[1], .put = put_candidate };
	enum ecode rc = restore_table_write(r, dir, &candidates, &r->art.candidates, e);

	if (rc == E_OK)
		rc = write_conflicts(r, dir, names[2], e);
	if (rc == E_OK)
		rc = plan_object(r, &plan, e);
	if (rc != E_OK)
		return rc;
	hasher_sum(r->art.hasher, plan.p, plan.len, &r->art.plan);
	r->out->plan_digest = r->art.plan;
	r->out->estimated_s = estimate_s(r);
	return write_plan(r, dir, names[0], &plan, e);
}

static const char *const plan_names[3] = { "restore_plan.json", "restore_candidates.jsonl",
	"restore_conflicts.jsonl" };

enum ecode
artifacts_plan_at(struct restore *r, int dir, const char *name, struct err *e)
{
	autoclean(buf_done) struct buf plan = buf_limit(PLAN_MAX_BYTES);
	enum ecode rc = E_OK;

	if (r->art.fd < 0 && r->args->plan_digest == NULL) /* else the tables are hashed already */
		rc = write_plan_set(r, LINES_NOWHERE, plan_names, e);
	if (rc == E_OK)
		rc = plan_object(r, &plan, e);
	return rc == E_OK ? write_plan(r, dir, name, &plan, e) : rc;
}

/* Hashed without being written: the plan that was approved must be the plan that is carried out. */
enum ecode
artifacts_approved(struct restore *r, struct err *e)
{
	char text[ID_HEX_SIZE];
	enum ecode rc;

	if (r->args->plan_digest == NULL)
		return E_OK;
	rc = write_plan_set(r, LINES_NOWHERE, plan_names, e);
	if (rc != E_OK)
		return rc;
	id_hex(&r->art.plan, text);
	if (strcmp(text, r->args->plan_digest) == 0)
		return E_OK;
	return err_set(e, E_PLAN_CHANGED, 0,
		"the plan was made as %.16s and would now be %.16s: the snapshot, the destination or "
		"the options are not what they were",
		r->args->plan_digest, text);
}

enum ecode
artifacts_plan(struct restore *r, struct err *e)
{
	enum ecode rc;

	if (r->art.fd < 0)
		return E_OK;
	rc = write_plan_set(r, r->art.fd, plan_names, e);
	if (rc != E_OK)
		return rc;
	artifacts_event(r, "restore_plan_built", NULL);
	artifacts_event(r, "restore_candidates_materialized", NULL);
	if (r->differing > 0)
		artifacts_event(r, "restore_conflicts_detected", NULL);
	artifacts_event(r, "restore_artifacts_written", r->art.path);
	return E_OK;
}

/* A file of the caller's choice, with the two tables beside it; nothing else is touched. */
enum ecode
artifacts_plan_file(struct restore *r, struct err *e)
{
	const char *names[3] = { r->args->plan_file, NULL, NULL };
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
	static const char *const tails[3] = { "", ".candidates.jsonl", ".conflicts.jsonl" };
	enum ecode rc = E_OK;

	for (size_t i = 1; rc == E_OK && i < 3; i++) {
		buf_clear(&text);
		rc = buf_printf(&text, e, "%s%s", r->args->plan_file, tails[i]);
		if (rc == E_OK)
			rc = arena_str(&r->arena, text.p, text.len, &names[i], e);
	}
	return rc == E_OK ? write_plan_set(r, AT_FDCWD, names, e) : rc;
}
