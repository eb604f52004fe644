/*
 * A pattern is a list of components; "**" stands for any number of them.  One
 * greedy walk decides: on a mismatch it goes back to the last "**" and lets
 * that take one component more.  A relative pattern is one that begins with
 * "**"; and since everything below a match matches too, a walk ends in success
 * as soon as the pattern is used up.
 *
 * Patterns are checked whole when added, so matching cannot fail.  Most
 * components are plain text, "*", "*text" or "text*": these never reach the
 * general matcher (glob.c).
 */
#include "fs/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/path.h"
#include "fs/glob.h"
#include "os/io.h"

/* bytes of one pattern, after expansion of variables */
#define PATTERN_MAX_BYTES    ((size_t)64 << 10)
/* bytes of a pattern file: RULES_MAX lines of 160 bytes */
#define RULES_FILE_MAX_BYTES ((size_t)16 << 20)
#define RULES_ARENA_BYTES    ((size_t)1 << 30)

enum part_kind {
	PART_LITERAL, /* text */
	PART_ANY,     /* * */
	PART_SUFFIX,  /* *text */
	PART_PREFIX,  /* text* */
	PART_GLOB,    /* anything else */
	PART_DEEP,    /* ** */
};
struct part {
	enum part_kind kind;
	struct slice
		text; /* lower-cased when insensitive; without the star for suffix and prefix */
};
struct rule {
	const struct part *part;
	size_t parts;
	const char *given;
	bool negated, anywhere, insensitive;
};
struct rules {
	struct rule *v;
	size_t n, cap;
	struct arena arena;
};

enum ecode
rules_open(struct rules **out, struct err *e)
{
	struct rules *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "list of patterns");
	r->arena = arena_limit(RULES_ARENA_BYTES);
	*out = r;
	return E_OK;
}

void
rules_close(struct rules **r)
{
	if (*r == NULL)
		return;
	arena_done(&(*r)->arena);
	free((*r)->v);
	free(*r);
	*r = NULL;
}

size_t
rules_count(const struct rules *r)
{
	return r->n;
}

const char *
rules_text(const struct rules *r, unsigned i)
{
	return i < r->n ? r->v[i].given : NULL;
}

bool
rules_insensitive(const struct rules *r, unsigned i)
{
	return i < r->n && r->v[i].insensitive;
}

/* ---- one component ---- */

static bool
equal(const uint8_t *a, const uint8_t *b, size_t len, bool lower)
{
	if (!lower)
		return memcmp(a, b, len) == 0;
	for (size_t i = 0; i < len; i++)
		if (a[i] != glob_fold(b[i]))
			return false;
	return true;
}

static bool
part_match(const struct part *part, struct slice name, bool lower)
{
	const struct slice *t = &part->text;

	switch (part->kind) {
	case PART_LITERAL:
		return name.len == t->len && equal(t->p, name.p, t->len, lower);
	case PART_SUFFIX:
		return name.len >= t->len && equal(t->p, name.p + name.len - t->len, t->len, lower);
	case PART_PREFIX:
		return name.len >= t->len && equal(t->p, name.p, t->len, lower);
	case PART_GLOB:
		return glob_match(*t, name, lower);
	case PART_ANY:
	case PART_DEEP:
		return true;
	}
	return false; /* not reached */
}

/* ---- building ---- */

static bool
has_magic(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (strchr("*?[\\", s.p[i]) != NULL)
			return true;
	return false;
}

static struct part
part_of(struct slice text)
{
	struct slice tail = { text.p + 1, text.len - 1 }, head = { text.p, text.len - 1 };

	if (text.len == 2 && text.p[0] == '*' && text.p[1] == '*')
		return (struct part){ PART_DEEP, text };
	if (text.len == 1 && text.p[0] == '*')
		return (struct part){ PART_ANY, text };
	if (!has_magic(text))
		return (struct part){ PART_LITERAL, text };
	if (text.p[0] == '*' && !has_magic(tail))
		return (struct part){ PART_SUFFIX, tail };
	if (text.p[text.len - 1] == '*' && !has_magic(head))
		return (struct part){ PART_PREFIX, head };
	return (struct part){ PART_GLOB, text };
}

/* The next component of [*at, len), slashes skipped; false when there is none. */
static bool
next_part(const uint8_t *p, size_t len, size_t *at, struct slice *part)
{
	size_t begin = *at, end;

	while (begin < len && p[begin] == '/')
		begin++;
	if (begin == len)
		return false;
	const uint8_t *slash = memchr(p + begin, '/', len - begin);

	end = slash != NULL ? (size_t)(slash - p) : len;
	*part = (struct slice){ p + begin, end - begin };
	*at = end;
	return true;
}

static size_t
count_parts(struct slice s)
{
	size_t at = 0, n = 0;
	struct slice part;

	while (next_part(s.p, s.len, &at, &part))
		n++;
	return n;
}

/* Split cleaned text, already in the arena. */
static enum ecode
rule_split(struct arena *a, struct slice text, struct rule *rule, struct err *e)
{
	void *mem = NULL;
	struct slice one;
	size_t at = 0, n = 0;
	enum ecode rc = arena_alloc(
		a, count_parts(text) * sizeof(struct part), &mem, e); /* text is bounded */
	struct part *v = mem;

	if (rc != E_OK)
		return rc;
	while (next_part(text.p, text.len, &at, &one)) {
		v[n] = part_of(one);
		if (v[n].kind == PART_GLOB && !glob_is_valid(one))
			return err_set(e, E_PATTERN, 0, "%s", rule->given);
		n++;
	}
	rule->part = v;
	rule->parts = n;
	rule->anywhere = text.p[0] != '/';
	return E_OK;
}

static enum ecode
rule_make(struct arena *a, const char *pattern, struct rule *rule, struct err *e)
{
	autoclean(buf_done) struct buf clean = buf_limit(PATTERN_MAX_BYTES);
	const char *body = pattern + (rule->negated ? 1 : 0);
	struct slice text;
	enum ecode rc;

	if (body[0] == '\0')
		return err_set(e, E_PATTERN, 0, "\"%s\" names nothing", pattern);
	if (strlen(pattern) > PATTERN_MAX_BYTES / 2)
		return err_set(e, E_PATTERN, 0, "%zu bytes are too long: %.40s…", strlen(pattern),
			pattern);
	rc = path_clean(&clean, body, strlen(body), e);
	for (size_t i = 0; rc == E_OK && rule->insensitive && i < clean.len; i++)
		clean.p[i] = glob_fold(clean.p[i]);
	if (rc == E_OK)
		rc = arena_copy(a, clean.p, clean.len, &text, e);
	if (rc == E_OK)
		rc = arena_str(a, pattern, strlen(pattern), &rule->given, e);
	if (rc == E_OK)
		rc = rule_split(a, text, rule, e);
	return rc;
}

static enum ecode
rules_grow(struct rules *r, struct err *e)
{
	size_t cap = r->cap == 0 ? 16 : r->cap * 2; /* bounded by RULES_MAX */
	struct rule *v;

	if (r->n >= RULES_MAX)
		return err_set(e, E_LIMIT, 0, "more than %d patterns", RULES_MAX);
	if (r->n < r->cap)
		return E_OK;
	v = realloc(r->v, cap * sizeof(*v));
	if (v == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "%zu patterns", cap);
	r->v = v;
	r->cap = cap;
	return E_OK;
}

enum ecode
rules_add(struct rules *r, const char *pattern, bool insensitive, struct err *e)
{
	struct rule rule = { .insensitive = insensitive, .negated = pattern[0] == '!' };
	enum ecode rc = rules_grow(r, e);

	if (rc == E_OK)
		rc = rule_make(&r->arena, pattern, &rule, e);
	if (rc == E_OK)
		r->v[r->n++] = rule;
	return rc;
}

/* ---- files of patterns ---- */

static bool
is_blank(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct slice
trimmed(struct slice s)
{
	while (s.len > 0 && is_blank(s.p[0])) {
		s.p++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

static bool
is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

static enum ecode
add_variable(
	struct buf *out, struct slice name, const char *(*env)(const char *name), struct err *e)
{
	char text[256]; /* longer names are nobody's */
	const char *value;

	if (name.len >= sizeof(text))
		return err_set(e, E_PATTERN, 0, "a variable's name has %zu bytes", name.len);
	memcpy(text, name.p, name.len);
	text[name.len] = '\0';
	value = env != NULL ? env(text) : NULL;
	return value != NULL ? buf_add_str(out, value, e) : E_OK;
}

/* What follows a '$' at line.p[at - 1]; *at moves behind it. */
static enum ecode
expand_one(struct buf *out, struct slice line, size_t *at, const char *(*env)(const char *name),
	struct err *e)
{
	bool braced = *at < line.len && line.p[*at] == '{';
	size_t begin = *at + (braced ? 1 : 0), end = begin;

	if (*at < line.len && line.p[*at] == '$') {
		(*at)++;
		return buf_add_byte(out, '$', e);
	}
	while (end < line.len && is_name_byte(line.p[end]))
		end++;
	if (braced && (end == begin || end == line.len || line.p[end] != '}'))
		return err_set(e, E_PATTERN, 0, "variable without end or name: %.*s",
			line.len < 300 ? (int)line.len : 300, (const char *)line.p);
	if (end == begin) /* a lone dollar stands for itself */
		return buf_add_byte(out, '$', e);
	*at = end + (braced ? 1 : 0);
	return add_variable(out, (struct slice){ line.p + begin, end - begin }, env, e);
}

static enum ecode
expand(struct buf *out, struct slice line, const char *(*env)(const char *name), struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t at = 0; rc == E_OK && at < line.len;) {
		uint8_t c = line.p[at++];

		rc = c == '$' ? expand_one(out, line, &at, env, e) : buf_add_byte(out, c, e);
	}
	if (rc == E_OK && out->len > 0)
		rc = buf_add_byte(out, '\0', e);
	return rc;
}

static enum ecode
add_line(struct rules *r, struct slice line, bool insensitive, const char *(*env)(const char *name),
	struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(PATTERN_MAX_BYTES);
	enum ecode rc = E_OK;

	line = trimmed(line);
	if (line.len == 0 || line.p[0] == '#')
		return E_OK;
	if (memchr(line.p, '\0', line.len) != NULL)
		return err_set(e, E_PATTERN, 0, "a NUL byte in: %s", (const char *)line.p);
	rc = expand(&b, line, env, e);
	if (rc == E_LIMIT)
		return err_set(e, E_PATTERN, 0, "a line is too long: %.40s…", (const char *)line.p);
	if (rc == E_OK && b.len > 0)
		rc = rules_add(r, (const char *)b.p, insensitive, e);
	return rc;
}

/* The byte order mark that editors on Windows put first. */
static size_t
mark_length(const struct buf *b)
{
	return b->len >= 3 && memcmp(b->p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

enum ecode
rules_add_file(struct rules *r, const struct os *os, const char *path, bool insensitive,
	const char *(*env)(const char *name), struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(RULES_FILE_MAX_BYTES);
	enum ecode rc = io_read_file(os, AT_FDCWD, path, &b, e);
	size_t before = r->n;
	unsigned line = 0;

	for (size_t at = mark_length(&b); rc == E_OK && at < b.len;) {
		const uint8_t *nl = memchr(b.p + at, '\n', b.len - at);
		size_t len = nl != NULL ? (size_t)(nl - (b.p + at)) : b.len - at;

		rc = add_line(r, (struct slice){ b.p + at, len }, insensitive, env, e);
		at += len + 1;
		line++;
	}
	if (rc != E_OK && line > 0)
		err_note(e, "in pattern file %s, line %u", path, line);
	if (rc != E_OK)
		r->n = before;
	return rc;
}

/* ---- matching ---- */

/* Where a walk may go back to: the pattern behind the last "**", and how much that has taken. */
struct back {
	size_t part, at;
	bool set;
};

/* Does the rule match the path or something above it? */
static bool
rule_match(const struct rule *rule, const uint8_t *path, size_t len)
{
	struct back back = { .set = rule->anywhere };
	size_t at = 0, i = 0;

	while (i < rule->parts) {
		struct slice name;

		if (rule->part[i].kind == PART_DEEP) {
			back = (struct back){ .part = ++i, .at = at, .set = true };
			continue;
		}
		if (!next_part(path, len, &at, &name))
			return false;
		if (part_match(&rule->part[i], name, rule->insensitive)) {
			i++;
			continue;
		}
		if (!back.set)
			return false;
		(void)next_part(
			path, len, &back.at, &name); /* there is one: the walk was beyond it */
		at = back.at;
		i = back.part;
	}
	return true;
}

/* The last rule that matches decides, so the list is read from its end. */
unsigned
rules_match(const struct rules *r, const char *path, size_t len)
{
	for (size_t i = r->n; i > 0; i--)
		if (rule_match(&r->v[i - 1], (const uint8_t *)path, len))
			return r->v[i - 1].negated ? 0 : (unsigned)i;
	return 0;
}

/* Could the rule match something below dir, or dir with all that is below it? */
static bool
rule_may_match_below(const struct rule *rule, const uint8_t *dir, size_t len)
{
	struct slice name;
	size_t at = 0;

	if (rule->anywhere)
		return true;
	for (size_t i = 0; i < rule->parts && rule->part[i].kind != PART_DEEP; i++) {
		if (!next_part(dir, len, &at, &name))
			return true;
		if (!part_match(&rule->part[i], name, rule->insensitive))
			return false;
	}
	return true;
}

bool
rules_may_match_below(const struct rules *r, const char *dir, size_t len)
{
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].negated && rule_may_match_below(&r->v[i], (const uint8_t *)dir, len))
			return true;
	return false;
}
