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

/* Copy values until the depth is what it was; one bit a level: set for objects. */
static void
copy_value(struct json *j, struct json_out *w)
{
	uint64_t objects = 0;
	struct slice key;

	do {
		enum json_type type = json_peek(j);
		bool object = type == JSON_OBJECT;

		if (object || type == JSON_ARRAY) {
			uint64_t level = UINT64_C(1) << (j->depth & 63);

			objects = object ? objects | level : objects & ~level;
			if (!(object ? json_enter_object(j) : json_enter_array(j)))
				return;
			(object ? json_open_object : json_open_array)(w);
		} else if (type == JSON_STRING) {
			copy_string(j, w);
		} else {
			copy_other(j, w);
		}
		while (!j->bad && j->depth > 0) {
			object = (objects >> (j->depth - 1) & 1) != 0;
			if (object ? json_key(j, &key) : json_element(j)) {
				if (object)
					json_put_key(w, "k");
				break;
			}
			if (j->bad)
				return;
			(object ? json_close_object : json_close_array)(w);
		}
	} while (!j->bad && j->depth > 0);
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
	struct json_out w;
	struct json j;
	bool good;

	json_init(&j, data, size);
	json_begin(&w, &copy);
	copy_value(&j, &w);
	good = json_end(&j);
	invariant(good == skips(data, size));
	invariant(!good || (json_done(&w, NULL) == E_OK && skips(copy.p, copy.len)));
	return 0;
}
