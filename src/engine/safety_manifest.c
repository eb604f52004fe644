/*
 * The two manifests of a safety set.  manifest.toml has exactly the keys of
 * S3 (DF-12); TOML is UTF-8, so a byte of a name that is not stands there as
 * U+FFFD.  manifest.json has everything and is exact: such a name is in base64
 * under `<key>_b64`, which wins.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/path.h"
#include "base/utf8.h"
#include "engine/safety.h"

#define TIME_BYTES    80
#define REPLACEMENT   "\xef\xbf\xbd" /* U+FFFD */
#define ESCAPED_BYTES 8

/* ---- TOML ---- */

static enum ecode
toml_char(struct buf *out, const uint8_t *p, unsigned len, struct err *e)
{
	char escaped[ESCAPED_BYTES];

	if (len == 0)
		return buf_add_str(out, REPLACEMENT, e);
	if (len > 1 || (p[0] >= 0x20 && p[0] != '"' && p[0] != '\\' && p[0] != 0x7f))
		return buf_add(out, p, len, e);
	if (p[0] == '"' || p[0] == '\\')
		(void)snprintf(escaped, sizeof(escaped), "\\%c", p[0]);
	else if (p[0] == '\n')
		(void)snprintf(escaped, sizeof(escaped), "\\n");
	else if (p[0] == '\t')
		(void)snprintf(escaped, sizeof(escaped), "\\t");
	else
		(void)snprintf(escaped, sizeof(escaped), "\\u%04X", p[0]);
	return buf_add_str(out, escaped, e);
}

/* A basic string without its quotes. */
static enum ecode
toml_text(struct buf *out, const char *text, struct err *e)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t left = strlen(text);
	enum ecode rc = E_OK;

	while (rc == E_OK && left > 0) {
		uint32_t cp;
		unsigned len = utf8_next(p, left, &cp), step = len == 0 ? 1 : len;

		rc = toml_char(out, p, len, e);
		p += step;
		left -= step;
	}
	return rc;
}

static enum ecode
toml_pair(struct buf *out, const char *key, const char *prefix, const char *text, struct err *e)
{
	enum ecode rc = buf_printf(out, e, "%s = \"%s", key, prefix);

	if (rc == E_OK)
		rc = toml_text(out, text, e);
	return rc == E_OK ? buf_add_str(out, "\"\n", e) : rc;
}

/* "2026-01-31T14:30:52", UTC */
static void
time_text(struct instant t, char out[static TIME_BYTES])
{
	struct civil c;
	int year;

	t.off_min = 0;
	c = instant_civil(t);
	year = c.year < 0 ? 0 : c.year > 9999 ? 9999 : (int)c.year;
	(void)snprintf(out, TIME_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d", year, c.month % 100,
		c.day % 100, c.hour % 100, c.minute % 100, c.second % 100);
}

/* "~/x" below home, else from the root. */
static enum ecode
toml_original(const struct safety_story *story, const struct safety_entry *entry, struct buf *out,
	struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(PATH_TEXT_MAX * 2);
	bool homely = story->home != NULL && strcmp(story->home, "/") != 0;
	const char *path;
	enum ecode rc = path_join(&a, story->dest, entry->rel, &path, e);

	if (rc != E_OK)
		return rc;
	homely = homely && path_within(story->home, path);
	return toml_pair(out, "original_path", homely ? "~" : "",
		homely ? path + strlen(story->home) : path, e);
}

static enum ecode
toml_entry(const struct safety_story *story, const struct safety_entry *entry, struct buf *out,
	struct err *e)
{
	char modified[TIME_BYTES];
	enum ecode rc = buf_add_str(out, "\n[[backed_up_files]]\n", e);

	time_text(entry->meta.mtime, modified);
	if (rc == E_OK)
		rc = toml_original(story, entry, out, e);
	if (rc == E_OK)
		rc = toml_pair(out, "backup_path", "", entry->copy, e);
	if (rc == E_OK)
		rc = buf_printf(out, e, "size_bytes = %" PRIu64 "\nmodified = \"%s\"\n",
			entry->meta.size, modified);
	return rc;
}

enum ecode
safety_write_toml(const struct safety_story *story, const struct safety_entry *first,
	struct buf *out, struct err *e)
{
	char when[TIME_BYTES];
	enum ecode rc = buf_add_str(out, "[restore_operation]\n", e);

	time_text(story->when, when);
	if (rc == E_OK)
		rc = toml_pair(out, "timestamp", "", when, e);
	if (rc == E_OK)
		rc = toml_pair(out, "source_backup", "", story->source, e);
	if (rc == E_OK)
		rc = toml_pair(out, "hostname", "", story->host, e);
	if (rc == E_OK)
		rc = buf_printf(out, e, "file_count = %" PRIu64 "\n", story->files);
	for (; rc == E_OK && first != NULL; first = first->next)
		if (first->copy != NULL)
			rc = toml_entry(story, first, out, e);
	return rc;
}

/* ---- JSON ---- */

static void
put_name(struct json_out *w, const char *key, const char *key_b64, const char *text)
{
	if (text == NULL)
		return;
	json_member_str(w, key, text);
	if (utf8_valid(text, strlen(text)))
		return;
	json_put_key(w, key_b64);
	json_put_base64(w, text, strlen(text));
}

static void
put_time(struct json_out *w, const char *key, struct instant t)
{
	json_put_key(w, key);
	json_open_array(w); /* seconds and nanoseconds: exact for every year */
	json_put_i64(w, t.s);
	json_put_i64(w, t.ns);
	json_close_array(w);
}

static void
put_xattrs(struct json_out *w, const struct meta_xattrs *x)
{
	if (x->n == 0)
		return;
	json_put_key(w, "xattrs");
	json_open_array(w);
	for (size_t i = 0; i < x->n; i++) {
		json_open_object(w);
		json_put_key(w, "name_b64");
		json_put_base64(w, x->v[i].name.p, x->v[i].name.len);
		json_put_key(w, "value_b64");
		json_put_base64(w, x->v[i].value.p, x->v[i].value.len);
		json_close_object(w);
	}
	json_close_array(w);
}

static void
put_entry(struct json_out *w, const struct safety_entry *entry)
{
	const struct os_meta *m = &entry->meta;

	json_open_object(w);
	put_name(w, "path", "path_b64", entry->rel);
	if (entry->created) {
		json_member_bool(w, "created", true);
		json_close_object(w);
		return;
	}
	put_name(w, "copy", "copy_b64", entry->copy);
	json_member_u64(w, "mode", m->mode);
	json_member_u64(w, "uid", m->uid);
	json_member_u64(w, "gid", m->gid);
	json_member_u64(w, "size", m->size);
	json_member_u64(w, "rdev", m->rdev);
	put_time(w, "mtime", m->mtime);
	put_time(w, "atime", m->atime);
	if (S_ISREG(m->mode)) {
		json_member_id(w, "sha256", &entry->hash);
	}
	put_name(w, "target", "target_b64", entry->target);
	put_xattrs(w, &entry->xattrs);
	json_close_object(w);
}

enum ecode
safety_write_json(const struct safety_story *story, const struct safety_entry *first,
	struct buf *out, struct err *e)
{
	char when[TIME_BYTES];
	struct json_out w;
	enum ecode rc;

	time_text(story->when, when);
	json_begin(&w, out);
	json_open_object(&w);
	put_name(&w, "owner", NULL, SAFETY_MARK);
	json_member_u64(&w, "version", SAFETY_VERSION);
	put_name(&w, "timestamp", NULL, when);
	put_name(&w, "source_backup", "source_backup_b64", story->source);
	put_name(&w, "hostname", "hostname_b64", story->host);
	put_name(&w, "run_id", "run_id_b64", story->run_id);
	put_name(&w, "destination", "destination_b64", story->dest);
	json_member_u64(&w, "file_count", story->files);
	json_put_key(&w, "entries");
	json_open_array(&w);
	for (; first != NULL; first = first->next)
		put_entry(&w, first);
	json_close_array(&w);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}
