/*
 * Any bytes are scanned three ways, which must agree: skipped whole, walked
 * value by value, and rewritten compactly, where strings are decoded and
 * escaped again.
 */
#include <string.h>

#include "base/json.h"

#define TEXT_MAX_BYTES (64U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
copy_string(struct json *j, struct json_out *w)
{
	autoclean(buf_done) struct buf text = buf_limit(TEXT_MAX_BYTES);
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped))
		return;
	invariant(json_unescape(&text, raw, NULL) == E_OK); /* the scanner let it pass */
	invariant(escaped ||
		  (text.len == raw.len && (raw.len == 0 || memcmp(text.p, raw.p, raw.len) == 0)));
	json_put_text(w, text.p, text.len);
}

static void
copy_other(struct json *j, struct json_out *w)
{
	struct json ahead = *j;
	struct slice raw;
	uint64_t u;
	int64_t i;

	if (json_u64(&ahead, &u)) {
		*j = ahead;
		json_put_u64(w, u);
		return;
	}
	ahead = *j;
	if (json_i64(&ahead, &i)) {
		*j = ahead;
		json_put_i64(w, i);
		return;
	}
	if (json_skip(j, &raw))
		json_put_raw(w, raw.p, raw.len);
}

/* What is open now, one bit a level: set for objects. */
struct levels {
	uint64_t objects;
};

static void
open_level(struct levels *levels, struct json *j, struct json_out *w, bool object)
{
	uint64_t level = UINT64_C(1) << (j->depth % JSON_DEPTH_MAX);

	if (object && json_enter_object(j)) {
		levels->objects |= level;
		json_open_object(w);
	} else if (!object && json_enter_array(j)) {
		levels->objects &= ~level;
		json_open_array(w);
	}
}

static void
copy_value(struct levels *levels, struct json *j, struct json_out *w)
{
	enum json_type type = json_peek(j);

	if (type == JSON_OBJECT || type == JSON_ARRAY)
		open_level(levels, j, w, type == JSON_OBJECT);
	else if (type == JSON_STRING)
		copy_string(j, w);
	else
		copy_other(j, w);
}

/* Go to the next value, closing what ends before it; false when there is none. */
static bool
next_value(const struct levels *levels, struct json *j, struct json_out *w)
{
	while (!j->bad && j->depth > 0) {
		bool object = (levels->objects >> (j->depth - 1) & 1) != 0;
		struct slice key;

		if (object && json_key(j, &key)) {
			json_put_key(w, "k");
			return true;
		}
		if (!object && json_element(j))
			return true;
		if (object)
			json_close_object(w);
		else
			json_close_array(w);
	}
	return false;
}

static bool
skips(const uint8_t *text, size_t len)
{
	struct json j;

	json_init(&j, text, len);
	return json_skip(&j, NULL) && json_end(&j);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(buf_done) struct buf copy = buf_limit(TEXT_MAX_BYTES);
	struct levels levels = { 0 };
	struct json_out w;
	struct json j;
	bool good;

	json_init(&j, data, size);
	json_begin(&w, &copy);
	do {
		copy_value(&levels, &j, &w);
	} while (next_value(&levels, &j, &w));
	good = json_end(&j);
	invariant(good == skips(data, size));
	invariant(!good || (json_done(&w, NULL) == E_OK && skips(copy.p, copy.len)));
	return 0;
}
