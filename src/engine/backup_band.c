/*
 * The sanity band (catalogue L-21, X-15): a source that is not mounted looks
 * like an empty one, and an empty snapshot is a valid snapshot.  So what each
 * source holds is compared with what the parent snapshot says it held, and with
 * the least that was asked for.
 *
 * The parent says it in its own record (`sources`); where it has none, in its
 * summary when there is one source; else its trees are counted.
 *
 * A shrink is accepted by the token of its own refusal: what was counted, source by
 * source, and a digest that binds it to the parent and the paths.  The token says how
 * much may be missing: more than one percent below its counts needs a new one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "engine/backup_internal.h"
#include "engine/inspect.h"
#include "fs/space.h"

/* Of more sources at once there is no token: each entry is up to 42 bytes, the next step has ERR_NEXT_BYTES. */
#define SHRUNK_MAX      8
#define TOKEN_DIGITS    16 /* hex; 64 bits: a confirmation, not a secret */
#define TOKEN_MAX_BYTES (SHRUNK_MAX * 42 + TOKEN_DIGITS + 2)
#define TOKEN_SLACK_PCT 1 /* a further shrink up to this needs no new token */

/* ---- what the parent had ---- */

/* The path as our record writes it: what is not UTF-8 is replaced there, too. */
static struct source *
source_by_text(struct backup *b, struct slice raw)
{
	for (size_t i = 0; i < b->source_count; i++) {
		autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
		const char *path = b->source[i].path;

		if (json_escape(&text, path, strlen(path), NULL) != E_OK)
			continue;
		if (text.len == raw.len && memcmp(text.p, raw.p, raw.len) == 0)
			return &b->source[i];
	}
	return NULL;
}

static void
take_source(struct backup *b, struct json *j)
{
	struct slice key, path = { NULL, 0 };
	uint64_t files = 0, bytes = 0;
	unsigned seen = 0;
	bool escaped, ok = json_enter_object(j);
	struct source *s;

	while (ok && json_key(j, &key)) {
		if (slice_is(key, "path"))
			seen |= json_string(j, &path, &escaped) ? 1U : 0;
		else if (slice_is(key, "files"))
			seen |= json_u64(j, &files) ? 2U : 0;
		else if (slice_is(key, "bytes"))
			seen |= json_u64(j, &bytes) ? 4U : 0;
		else
			ok = json_skip(j, NULL);
	}
	s = j->bad || seen != 7 ? NULL : source_by_text(b, path);
	if (s == NULL)
		return;
	s->compare = true;
	s->had_files = files;
	s->had_bytes = bytes;
}

/* True when the record has the member, whether or not it names our sources. */
static bool
from_record(struct backup *b, struct slice record)
{
	struct slice key;
	bool found = false;
	struct json j;

	json_init(&j, record.p, record.len);
	if (record.len == 0 || !json_enter_object(&j))
		return false;
	while (json_key(&j, &key)) {
		if (!slice_is(key, "sources") || !json_enter_array(&j)) {
			if (!json_skip(&j, NULL))
				break;
			continue;
		}
		found = true;
		while (json_element(&j))
			take_source(b, &j);
	}
	return found && !j.bad;
}

static bool
from_summary(struct backup *b, const struct snapshot *parent)
{
	struct slice path;

	if (!parent->has_summary || parent->path_count != 1 || b->source_count != 1)
		return false;
	path = parent->paths[0];
	if (path.len != strlen(b->source[0].path) ||
		memcmp(path.p, b->source[0].path, path.len) != 0)
		return false;
	b->source[0].compare = true;
	b->source[0].had_files = parent->summary.total_files_processed;
	b->source[0].had_bytes = parent->summary.total_bytes_processed;
	return true;
}

/* The source that a path of the snapshot belongs to; *above: it may lie on the way to one. */
static struct source *
source_of(struct backup *b, const char *path, bool *above)
{
	const struct vnode *dir = b->targets;

	*above = true;
	while (*path == '/') {
		size_t len = strcspn(++path, "/");
		const struct vnode *v = dir->children;

		while (v != NULL && (strlen(v->name) != len || memcmp(v->name, path, len) != 0))
			v = v->next;
		*above = v != NULL;
		if (v == NULL)
			return NULL;
		if (v->leaf)
			return &b->source[v->source];
		dir = v;
		path += len;
	}
	return NULL;
}

static enum ecode
count_item(void *arg, const struct inspect_item *item, bool *descend, struct err *e)
{
	struct backup *b = arg;
	bool above;
	struct source *s = source_of(b, item->path, &above);

	(void)e;
	*descend = *descend && (above || s != NULL);
	if (s == NULL)
		return E_OK;
	s->compare = true;
	if (item->node->type != NODE_FILE)
		return E_OK;
	s->had_files++;
	s->had_bytes += item->node->size;
	return E_OK;
}

/* Snapshots of others with several sources: only once, the next snapshot has the counts. */
static enum ecode
from_trees(struct backup *b, const struct snapshot *parent, struct err *e)
{
	struct err why = { .code = E_OK };
	enum ecode rc = inspect_walk(b->s, &parent->tree, count_item, b, &why);

	if (rc == E_OK)
		return E_OK;
	for (size_t i = 0; i < b->source_count; i++)
		b->source[i].compare = false;
	if (rc == E_NOMEM || rc == E_INTERRUPTED) {
		*e = why;
		return rc;
	}
	backup_warning(b, "/", rc,
		"the parent snapshot's files could not be counted; the sizes of the sources were not compared with it");
	return E_OK;
}

bool
band_known(struct backup *b, const struct snapshot *parent)
{
	if (parent == NULL || b->source_count == 0)
		return false;
	return from_record(b, parent->holdfast) || from_summary(b, parent);
}

/* ---- the least that was asked for ---- */

static enum ecode
judge_least(const struct backup *b, const struct source *s, struct err *e)
{
	const struct sanity_band *band = &b->args->band;
	uint64_t files = atomic_load(&s->files), bytes = atomic_load(&s->bytes);
	char found[SPACE_TEXT_MAX], wanted[SPACE_TEXT_MAX];

	if (files < band->min_files)
		return err_set(e, E_SRC_BAND, 0,
			"%.400s has %" PRIu64 " file%s; --min-files asks for %" PRIu64, s->path,
			files, files == 1 ? "" : "s", band->min_files);
	if (bytes < band->min_bytes)
		return err_set(e, E_SRC_BAND, 0, "%.400s has %s; --min-bytes asks for %s", s->path,
			space_text(bytes, found), space_text(band->min_bytes, wanted));
	return E_OK;
}

/* ---- shrinking ---- */

/* More than pct percent of `had` is gone.  No overflow: had = 100 q + r. */
static bool
lost_more(uint64_t had, uint64_t has, unsigned pct)
{
	return had > has && had - has > had / 100 * pct + had % 100 * pct / 100;
}

static bool
has_shrunk(const struct source *s, unsigned pct)
{
	uint64_t files = atomic_load(&s->files), bytes = atomic_load(&s->bytes);

	if (s->nested || !s->compare)
		return false;
	if (s->had_files > 0 && files == 0)
		return true;
	return lost_more(s->had_files, files, pct) || lost_more(s->had_bytes, bytes, pct);
}

struct shrunk {
	const struct source *v[SHRUNK_MAX];
	size_t n; /* all of them; only SHRUNK_MAX are in v */
};

static void
find_shrunk(const struct backup *b, struct shrunk *out)
{
	*out = (struct shrunk){ .n = 0 };
	if (b->args->band.max_shrink_pct == 0)
		return;
	for (size_t i = 0; i < b->source_count; i++) {
		if (!has_shrunk(&b->source[i], b->args->band.max_shrink_pct))
			continue;
		if (out->n < SHRUNK_MAX)
			out->v[out->n] = &b->source[i];
		out->n++;
	}
}

struct counts {
	uint64_t files, bytes;
};

/* What the token stands for: the parent, each source's path, what it had, and what was shown. */
static enum ecode
token_digest(struct backup *b, const struct id *parent, const struct shrunk *shrunk,
	const struct counts shown[static SHRUNK_MAX], char out[static TOKEN_DIGITS + 1],
	struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(SHRUNK_MAX * (PATH_TEXT_MAX + 128));
	char hex[ID_HEX_SIZE];
	struct id sum;
	enum ecode rc;

	id_hex(parent, hex);
	rc = buf_printf(&text, e, "accept-shrink of %s", hex);
	for (size_t i = 0; rc == E_OK && i < shrunk->n; i++) {
		const struct source *s = shrunk->v[i];

		rc = buf_add(&text, s->path, strlen(s->path) + 1, e);
		if (rc == E_OK)
			rc = buf_printf(&text, e,
				"%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", s->had_files,
				s->had_bytes, shown[i].files, shown[i].bytes);
	}
	if (rc != E_OK)
		return rc;
	blob_id(b->s->own, text.p, text.len, &sum);
	id_hex(&sum, hex);
	memcpy(out, hex, TOKEN_DIGITS);
	out[TOKEN_DIGITS] = '\0';
	return E_OK;
}

/* "12.34567+0.0-9f86d081884c7d65" */
static enum ecode
token_make(struct backup *b, const struct id *parent, const struct shrunk *shrunk,
	char out[static TOKEN_MAX_BYTES], struct err *e)
{
	struct counts shown[SHRUNK_MAX] = { { 0 } };
	char digest[TOKEN_DIGITS + 1];
	size_t at = 0;
	enum ecode rc;

	for (size_t i = 0; i < shrunk->n; i++) {
		shown[i].files = atomic_load(&shrunk->v[i]->files);
		shown[i].bytes = atomic_load(&shrunk->v[i]->bytes);
		at += (size_t)snprintf(out + at, TOKEN_MAX_BYTES - at, "%s%" PRIu64 ".%" PRIu64,
			i == 0 ? "" : "+", shown[i].files,
			shown[i].bytes); /* fits: see TOKEN_MAX_BYTES */
	}
	rc = token_digest(b, parent, shrunk, shown, digest, e);
	if (rc == E_OK)
		(void)snprintf(out + at, TOKEN_MAX_BYTES - at, "-%s", digest);
	return rc;
}

/* Digits up to `end`, which is taken too.  False: something else stands there. */
static bool
take_count(const char **p, char end, uint64_t *out)
{
	uint64_t v = 0;
	unsigned n = 0;

	for (; n < 19 && (*p)[n] >= '0' && (*p)[n] <= '9'; n++)
		v = v * 10 + (uint64_t)((*p)[n] - '0');
	if (n == 0 || (*p)[n] != end)
		return false;
	*out = v;
	*p += n + 1;
	return true;
}

/* The token is of this refusal, and not much more is missing than it shows. */
static enum ecode
token_judge(struct backup *b, const struct id *parent, const struct shrunk *shrunk, bool *fits,
	struct err *e)
{
	struct counts shown[SHRUNK_MAX] = { { 0 } };
	const char *token = b->args->accept_shrink;
	char digest[TOKEN_DIGITS + 1];
	enum ecode rc;

	*fits = false;
	if (token == NULL)
		return E_OK;
	for (size_t i = 0; i < shrunk->n; i++) {
		char end = i + 1 == shrunk->n ? '-' : '+';

		if (!take_count(&token, '.', &shown[i].files) ||
			!take_count(&token, end, &shown[i].bytes))
			return E_OK;
	}
	rc = token_digest(b, parent, shrunk, shown, digest, e);
	if (rc != E_OK || strcmp(token, digest) != 0)
		return rc;
	*fits = true;
	for (size_t i = 0; i < shrunk->n; i++) {
		const struct source *s = shrunk->v[i];

		if (lost_more(shown[i].files, atomic_load(&s->files), TOKEN_SLACK_PCT) ||
			lost_more(shown[i].bytes, atomic_load(&s->bytes), TOKEN_SLACK_PCT))
			*fits = false;
	}
	return E_OK;
}

/* ---- saying so ---- */

static void
note_counts(const struct shrunk *shrunk, struct err *e)
{
	char had[SPACE_TEXT_MAX], has[SPACE_TEXT_MAX];
	size_t shown = shrunk->n < ERR_NOTES_MAX ? shrunk->n : ERR_NOTES_MAX - 1;

	for (size_t i = 0; i < shown; i++) {
		const struct source *s = shrunk->v[i];

		err_note(e, "%.60s had %" PRIu64 " files, %s; now %" PRIu64 " files, %s", s->path,
			s->had_files, space_text(s->had_bytes, had), atomic_load(&s->files),
			space_text(atomic_load(&s->bytes), has));
	}
	if (shown < shrunk->n)
		err_note(e, "and %zu more sources", shrunk->n - shown);
}

static enum ecode
refuse_shrunk(struct backup *b, const struct shrunk *shrunk, const char *token, struct err *e)
{
	const struct source *s = shrunk->v[0];
	enum ecode rc = b->args->accept_shrink == NULL ? E_SRC_SHRUNK : E_SHRINK_TOKEN;

	if (shrunk->n > 1)
		rc = err_set(e, rc, 0, "%zu sources lost all files, or more than %u %% of them",
			shrunk->n, b->args->band.max_shrink_pct);
	else if (atomic_load(&s->files) == 0)
		rc = err_set(e, rc, 0, "%.400s is empty and had %" PRIu64 " files", s->path,
			s->had_files);
	else
		rc = err_set(e, rc, 0, "%.400s lost more than %u %% of its files or bytes", s->path,
			b->args->band.max_shrink_pct);
	note_counts(shrunk, e);
	if (shrunk->n > SHRUNK_MAX)
		err_next(e, "If this is right, back up at most %d of them at a time.", SHRUNK_MAX);
	else
		err_next(e, "If this is right, run the same command again with --accept-shrink %s",
			token);
	return rc;
}

static enum ecode
judge_shrink(struct backup *b, const struct snapshot *parent, struct err *e)
{
	const struct listener *l = b->s->listener;
	char token[TOKEN_MAX_BYTES] = "";
	struct shrunk shrunk;
	bool fits = false;
	enum ecode rc = E_OK;

	find_shrunk(b, &shrunk);
	if (shrunk.n == 0)
		return E_OK;
	if (shrunk.n <= SHRUNK_MAX)
		rc = token_judge(b, &parent->id, &shrunk, &fits, e);
	if (rc == E_OK && fits) {
		l->note(l->arg, "source_shrink_accepted", b->args->accept_shrink);
		return E_OK;
	}
	if (rc == E_OK && shrunk.n <= SHRUNK_MAX)
		rc = token_make(b, &parent->id, &shrunk, token, e);
	return rc == E_OK ? refuse_shrunk(b, &shrunk, token, e) : rc;
}

enum ecode
gate_band(struct backup *b, const struct record *rec, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < b->source_count; i++) {
		if (!b->source[i].nested)
			rc = judge_least(b, &b->source[i], e);
	}
	if (rc != E_OK || rec->parent == NULL || b->args->band.max_shrink_pct == 0)
		return rc;
	if (!band_known(b, rec->parent))
		rc = from_trees(b, rec->parent, e);
	return rc == E_OK ? judge_shrink(b, rec->parent, e) : rc;
}
