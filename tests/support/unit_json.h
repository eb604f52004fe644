/* For tests: values of a vector file, looked up by key.  Every failure fails the test that asked. */
#ifndef HF_TESTS_SUPPORT_UNIT_JSON_H
#define HF_TESTS_SUPPORT_UNIT_JSON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/wire.h"

#define VECTORS_MAX_BYTES ((size_t)8 << 20)

/* A file below tests/vectors, appended to out. */
static inline void
vectors_read(const char *name, struct buf *out)
{
	const char *root = getenv("HOLDFAST_SOURCE_ROOT");
	char path[4096], piece[4096];
	size_t n;
	FILE *f;

	assert_non_null(root);
	(void)snprintf(path, sizeof(path), "%s/tests/vectors/%s", root, name);
	f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("cannot open %s", path);
	for (n = fread(piece, 1, sizeof(piece), f); n > 0; n = fread(piece, 1, sizeof(piece), f))
		assert_int_equal(buf_add(out, piece, n, NULL), E_OK);
	assert_int_equal(ferror(f), 0);
	assert_int_equal(fclose(f), 0);
}

/* The text of the member `key` of the object `text`. */
static inline struct slice
vectors_member(struct slice text, const char *key)
{
	struct slice found = { NULL, 0 }, name, value;
	struct json j;

	json_init(&j, text.p, text.len);
	assert_true(json_enter_object(&j));
	while (json_key(&j, &name)) {
		assert_true(json_skip(&j, &value));
		if (slice_is(name, key))
			found = value;
	}
	assert_false(j.bad);
	if (found.p == NULL)
		fail_msg("the vectors have no %s", key);
	return found;
}

/* A string member, escapes decoded, replacing what out held. */
static inline void
vectors_text(struct slice text, const char *key, struct buf *out)
{
	struct slice member = vectors_member(text, key), raw;
	bool escaped = false;
	struct json j;

	buf_clear(out);
	json_init(&j, member.p, member.len);
	assert_true(json_string(&j, &raw, &escaped));
	assert_int_equal(json_unescape(out, raw, NULL), E_OK);
}

/* A string member of hex digits, decoded, replacing what out held. */
static inline void
vectors_hex(struct slice text, const char *key, struct buf *out)
{
	struct buf digits = buf_limit(VECTORS_MAX_BYTES);

	buf_clear(out);
	vectors_text(text, key, &digits);
	assert_int_equal(buf_reserve(out, digits.len / 2, NULL), E_OK);
	if (digits.len > 0)
		assert_true(hex_read(digits.p, digits.len, out->p));
	out->len = digits.len / 2;
	buf_done(&digits);
}

static inline uint64_t
vectors_u64(struct slice text, const char *key)
{
	struct slice member = vectors_member(text, key);
	uint64_t v = 0;
	struct json j;

	json_init(&j, member.p, member.len);
	assert_true(json_u64(&j, &v));
	return v;
}

#endif
