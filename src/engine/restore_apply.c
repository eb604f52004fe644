/*
 * Reading a plan back.  Its text carries its own digest, so that an edited plan
 * is told from a plan that no longer fits; whether it still fits is decided by
 * planning again (artifacts_approved).
 */
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "engine/restore_internal.h"
#include "os/io.h"

struct reading_plan {
	struct json j;
	struct restore_approval *hold;
	struct restore_args *out;
	struct slice vault_id, plan;
	const char *sub, *snapshot;
};

static enum ecode
not_a_plan(struct err *e, const char *path, const char *why)
{
	return err_set(e, E_PLAN_FILE, 0, "%s: %s", path, why);
}

/* A text into the arena; null gives NULL. */
static enum ecode
take_text(struct reading_plan *p, const char **out, struct err *e)
{
	struct slice raw, text = { NULL, 0 };
	bool escaped;
	enum ecode rc;

	*out = NULL;
	if (json_null(&p->j))
		return E_OK;
	if (!json_string(&p->j, &raw, &escaped))
		return json_refusal(&p->j, "plan", e);
	rc = json_text(raw, escaped, PLAN_FILE_MAX_BYTES, &p->hold->arena, &text, e);
	*out = (const char *)text.p;
	return rc;
}

static bool
index_of(const char *text, const char *const *names, size_t n, unsigned *out)
{
	for (size_t i = 0; text != NULL && i < n; i++)
		if (strcmp(text, names[i]) == 0) {
			*out = (unsigned)i;
			return true;
		}
	return false;
}

static enum ecode
take_word(struct reading_plan *p, const char *const *names, size_t n, unsigned *out, struct err *e)
{
	const char *text;
	enum ecode rc = take_text(p, &text, e);

	if (rc == E_OK && !index_of(text, names, n, out))
		return err_set(e, E_PLAN_FILE, 0, "\"%s\" is not known to this program",
			text == NULL ? "null" : text);
	return rc;
}

static enum ecode
take_rule(struct reading_plan *p, struct rules *rules, struct err *e)
{
	const char *pattern = NULL;
	bool fold = false;
	struct slice key;
	enum ecode rc = E_OK;

	if (!json_enter_object(&p->j))
		return json_refusal(&p->j, "plan", e);
	while (rc == E_OK && json_key(&p->j, &key)) {
		if (slice_is(key, "pattern"))
			rc = take_text(p, &pattern, e);
		else if (!(slice_is(key, "ignore_case") ? json_bool(&p->j, &fold)
							: json_skip(&p->j, NULL)))
			rc = json_refusal(&p->j, "plan", e);
	}
	return rc == E_OK && pattern != NULL ? rules_add(rules, pattern, fold, e) : rc;
}

static enum ecode
take_rules(struct reading_plan *p, struct rules **out, struct err *e)
{
	enum ecode rc = E_OK;

	if (!json_enter_array(&p->j))
		return json_refusal(&p->j, "plan", e);
	while (rc == E_OK && json_element(&p->j)) {
		if (*out == NULL)
			rc = rules_open(out, e);
		if (rc == E_OK)
			rc = take_rule(p, *out, e);
	}
	return rc;
}

/* Room for one more of `size` bytes, doubled by moving; what was before stays in the arena. */
static enum ecode
more_room(struct reading_plan *p, const void *old, size_t n, size_t size, void **out, struct err *e)
{
	enum ecode rc;

	*out = (void *)(uintptr_t)old;
	if ((n & (n - 1)) != 0) /* 0, 1, 2, 4 …: full */
		return E_OK;
	rc = arena_alloc(&p->hold->arena, (n == 0 ? 1 : 2 * n) * size, out, e);
	if (rc == E_OK && n > 0)
		memcpy(*out, old, n * size);
	return rc;
}

static enum ecode
take_texts(struct reading_plan *p, const char *const **out, size_t *n, struct err *e)
{
	enum ecode rc = E_OK;

	if (!json_enter_array(&p->j))
		return json_refusal(&p->j, "plan", e);
	while (rc == E_OK && json_element(&p->j)) {
		void *room;
		const char **v;

		rc = more_room(p, *out, *n, sizeof(*v), &room, e);
		if (rc != E_OK)
			break;
		v = room;
		*out = v;
		rc = take_text(p, &v[*n], e);
		if (rc == E_OK && v[(*n)++] == NULL)
			rc = json_refusal(&p->j, "plan", e);
	}
	return rc;
}

static enum ecode
take_without(struct reading_plan *p, struct err *e)
{
	const char *const *v = NULL;
	size_t n = 0;
	enum ecode rc = take_texts(p, &v, &n, e);

	for (size_t i = 0; rc == E_OK && i < n; i++) {
		bool *at = restore_without_named(&p->out->without, v[i]);

		if (at == NULL)
			return err_set(
				e, E_PLAN_FILE, 0, "\"%s\" is not known to this program", v[i]);
		*at = true;
	}
	return rc;
}

static enum ecode
take_pair(struct reading_plan *p, const char *const keys[2], const char *out[2], struct err *e)
{
	struct slice key;
	enum ecode rc = E_OK;

	out[0] = out[1] = NULL;
	if (!json_enter_object(&p->j))
		return json_refusal(&p->j, "plan", e);
	while (rc == E_OK && json_key(&p->j, &key)) {
		if (slice_is(key, keys[0]) || slice_is(key, keys[1]))
			rc = take_text(p, &out[slice_is(key, keys[1])], e);
		else if (!json_skip(&p->j, NULL))
			rc = json_refusal(&p->j, "plan", e);
	}
	if (rc == E_OK && (out[0] == NULL || out[1] == NULL))
		rc = err_set(e, E_PLAN_FILE, 0, "%s or %s is missing", keys[0], keys[1]);
	return rc;
}

static enum ecode
take_moves(struct reading_plan *p, struct err *e)
{
	static const char *const keys[2] = { "from", "to" };
	struct restore_args *out = p->out;
	enum ecode rc = E_OK;

	if (!json_enter_array(&p->j))
		return json_refusal(&p->j, "plan", e);
	while (rc == E_OK && json_element(&p->j)) {
		struct restore_move *v;
		const char *texts[2];
		void *room;

		rc = more_room(p, out->moves, out->move_count, sizeof(*v), &room, e);
		if (rc == E_OK)
			rc = take_pair(p, keys, texts, e);
		if (rc != E_OK)
			break;
		v = room;
		out->moves = v;
		v[out->move_count++] = (struct restore_move){ .from = texts[0], .to = texts[1] };
	}
	return rc;
}

/* GLOB and rule, in their order: the last that matches decides. */
static enum ecode
take_choice_rules(struct reading_plan *p, struct err *e)
{
	static const char *const keys[2] = { "pattern", "rule" };
	struct restore_args *out = p->out;
	size_t n = 0;
	enum ecode rc = E_OK;

	if (p->hold->choices != NULL || !json_enter_array(&p->j)) /* each glob has one rule */
		return json_refusal(&p->j, "plan", e);
	rc = rules_open(&p->hold->choices, e);
	while (rc == E_OK && json_element(&p->j)) {
		enum conflict_rule *v;
		const char *texts[2];
		void *room;

		rc = more_room(p, out->choice_rules, n, sizeof(*v), &room, e);
		if (rc == E_OK)
			rc = take_pair(p, keys, texts, e);
		if (rc != E_OK)
			break;
		v = room;
		out->choice_rules = v;
		if (!conflict_rule_named(texts[1], &v[n++]))
			return err_set(e, E_PLAN_FILE, 0,
				"the rule \"%s\" is not known to this program", texts[1]);
		if (v[n - 1] == CONFLICT_ASK)
			return err_set(e, E_PLAN_FILE, 0,
				"it would ask about \"%s\", and a plan asks nobody: make one with another rule",
				texts[0]);
		rc = rules_add(p->hold->choices, texts[0], false, e);
	}
	if (rc == E_OK && rules_count(p->hold->choices) != n)
		return err_set(e, E_PLAN_FILE, 0, "a glob for conflicts is none");
	return rc;
}

static enum ecode
take_strip(struct reading_plan *p, struct err *e)
{
	uint64_t v;

	if (!json_u64(&p->j, &v) || v > PATH_TEXT_MAX)
		return json_refusal(&p->j, "plan", e);
	p->out->strip = (size_t)v;
	return E_OK;
}

static enum ecode
take_bool(struct reading_plan *p, bool *out, struct err *e)
{
	return json_bool(&p->j, out) ? E_OK : json_refusal(&p->j, "plan", e);
}

static enum ecode
take_choice(struct reading_plan *p, struct slice key, struct err *e)
{
	static const char *const verbs[] = { "restore", "restore-swap", "restore-in-place" };
	static const char *const trees[] = { "exact", "merge", "add-only" };
	static const char *const verifies[] = { "hash", "size", "none" };
	unsigned v = 0;
	enum ecode rc;

	if (slice_is(key, "verb")) {
		rc = take_word(p, verbs, 3, &v, e);
		p->out->kind = (enum restore_kind)v;
	} else if (slice_is(key, "tree")) {
		rc = take_word(p, trees, 3, &v, e);
		p->out->tree = (enum restore_tree)v;
	} else {
		rc = take_word(p, verifies, 3, &v, e);
		p->out->verify = (enum restore_verify)v;
	}
	return rc;
}

static enum ecode
take_plan_member(struct reading_plan *p, struct slice key, struct err *e)
{
	struct restore_args *out = p->out;
	bool escaped;

	if (slice_is(key, "verb") || slice_is(key, "tree") || slice_is(key, "verify"))
		return take_choice(p, key, e);
	if (slice_is(key, "destination_root"))
		return take_text(p, &out->dest, e);
	if (slice_is(key, "snapshot_id"))
		return take_text(p, &p->snapshot, e);
	if (slice_is(key, "subfolder"))
		return take_text(p, &p->sub, e);
	if (slice_is(key, "include"))
		return take_rules(p, &p->hold->includes, e);
	if (slice_is(key, "exclude"))
		return take_rules(p, &p->hold->excludes, e);
	if (slice_is(key, "on_conflict"))
		return take_choice_rules(p, e);
	if (slice_is(key, "map"))
		return take_moves(p, e);
	if (slice_is(key, "paths"))
		return take_texts(p, &out->only, &out->only_count, e);
	if (slice_is(key, "owner_map"))
		return take_texts(p, &out->owner_map, &out->owner_map_count, e);
	if (slice_is(key, "without"))
		return take_without(p, e);
	if (slice_is(key, "allow_setuid"))
		return take_bool(p, &out->allow_setid, e);
	if (slice_is(key, "metadata_auto"))
		return take_bool(p, &out->metadata_auto, e);
	if (slice_is(key, "strip_components"))
		return take_strip(p, e);
	if (slice_is(key, "sparse"))
		return take_bool(p, &out->sparse, e);
	if (slice_is(key, "strict_metadata"))
		return take_bool(p, &out->strict_metadata, e);
	if (slice_is(key, "ownership_by_name"))
		return take_bool(p, &out->ownership_by_name, e);
	if (slice_is(key, "vault_id") ? json_string(&p->j, &p->vault_id, &escaped)
				      : json_skip(&p->j, NULL))
		return E_OK;
	return json_refusal(&p->j, "plan", e);
}

static enum ecode
take_plan(struct reading_plan *p, struct err *e)
{
	struct slice key;
	enum ecode rc = E_OK;

	json_init(&p->j, p->plan.p, p->plan.len);
	if (!json_enter_object(&p->j))
		return json_refusal(&p->j, "plan", e);
	while (rc == E_OK && json_key(&p->j, &key))
		rc = take_plan_member(p, key, e);
	return rc == E_OK && p->j.bad ? json_refusal(&p->j, "plan", e) : rc;
}

/* The frame around the plan: its schema, its raw text and its digest. */
static enum ecode
take_frame(struct reading_plan *p, const struct buf *text, const char **digest, struct err *e)
{
	const char *schema = NULL;
	struct slice key;
	enum ecode rc = E_OK;

	json_init(&p->j, text->p, text->len);
	if (!json_enter_object(&p->j))
		return json_refusal(&p->j, "plan", e);
	while (rc == E_OK && json_key(&p->j, &key)) {
		if (slice_is(key, "schema"))
			rc = take_text(p, &schema, e);
		else if (slice_is(key, "plan_sha256"))
			rc = take_text(p, digest, e);
		else if (!json_skip(&p->j, slice_is(key, "plan") ? &p->plan : NULL))
			rc = json_refusal(&p->j, "plan", e);
	}
	if (rc == E_OK && !json_end(&p->j))
		rc = json_refusal(&p->j, "plan", e);
	if (rc == E_OK && (schema == NULL || strcmp(schema, "holdfast_restore_plan_v1") != 0))
		return err_set(
			e, E_PLAN_FILE, 0, "its schema is %s", schema == NULL ? "missing" : schema);
	return rc;
}

static enum ecode
check_digest(const struct reading_plan *p, const char *digest, struct err *e)
{
	struct hasher *h = NULL;
	char text[ID_HEX_SIZE];
	struct id id;
	enum ecode rc = hasher_open(&h, e);

	if (rc != E_OK)
		return rc;
	hasher_sum(h, p->plan.p, p->plan.len, &id);
	hasher_close(&h);
	id_hex(&id, text);
	if (digest == NULL || strcmp(digest, text) != 0)
		return err_set(e, E_PLAN_FILE, 0, "its text was changed after it was made");
	return E_OK;
}

/* The vault's id, and a snapshot written as a restore takes it. */
static enum ecode
complete(struct reading_plan *p, const struct id *vault_id, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
	char id[ID_HEX_SIZE];
	enum ecode rc;

	if (p->snapshot == NULL || p->out->dest == NULL)
		return err_set(e, E_PLAN_FILE, 0, "it names no snapshot or no destination");
	if (vault_id != NULL) {
		id_hex(vault_id, id);
		if (!slice_is(p->vault_id, id))
			return err_set(e, E_PLAN_FILE, 0, "it was made for another vault");
	}
	rc = buf_printf(&text, e, "%s%s%s", p->snapshot, p->sub == NULL ? "" : ":",
		p->sub == NULL ? "" : p->sub);
	p->out->includes = p->hold->includes;
	p->out->excludes = p->hold->excludes;
	p->out->choices = p->hold->choices;
	return rc == E_OK ? arena_str(&p->hold->arena, text.p, text.len, &p->out->snapshot, e) : rc;
}

enum ecode
restore_plan_take(const struct buf *text, const struct id *vault_id, struct restore_approval *hold,
	struct restore_args *out, struct err *e)
{
	struct reading_plan p = { .hold = hold, .out = out };
	enum ecode rc = take_frame(&p, text, &out->plan_digest, e);

	if (rc == E_OK && p.plan.len == 0)
		rc = err_set(e, E_PLAN_FILE, 0, "it has no plan");
	if (rc == E_OK)
		rc = check_digest(&p, out->plan_digest, e);
	if (rc == E_OK)
		rc = take_plan(&p, e);
	return rc == E_OK ? complete(&p, vault_id, e) : rc;
}

enum ecode
restore_plan_load(const struct os *os, const char *path, const struct id *vault_id,
	struct restore_approval *hold, struct restore_args *out, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PLAN_FILE_MAX_BYTES);
	struct err why = { .code = E_OK };
	enum ecode rc = io_read_file(os, AT_FDCWD, path, &text, &why);

	*hold = (struct restore_approval){ .arena = arena_limit(PLAN_ARENA_BYTES) };
	if (rc == E_OK)
		rc = restore_plan_take(&text, vault_id, hold, out, &why);
	if (rc == E_OK || rc == E_NOMEM) {
		if (rc != E_OK && e != NULL)
			*e = why;
		return rc;
	}
	return not_a_plan(e, path, why.detail);
}

void
restore_approval_done(struct restore_approval *hold)
{
	if (hold->includes != NULL)
		rules_close(&hold->includes);
	if (hold->excludes != NULL)
		rules_close(&hold->excludes);
	if (hold->choices != NULL)
		rules_close(&hold->choices);
	arena_done(&hold->arena);
}
