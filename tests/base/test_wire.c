#include "base/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char zero_digits[] =
	"0000000000000000000000000000000000000000000000000000000000000000";

static void
test_le32(void **state)
{
	uint8_t b[4];

	(void)state;
	le32_put(b, 0x01020380U);
	assert_memory_equal(b, "\x80\x03\x02\x01", 4);
	assert_int_equal(le32_get((const uint8_t *)"\xff\x00\x00\xfe"), 0xfe0000ffU);
}

static void
test_id_text(void **state)
{
	const char *text = "00ff0123456789abcdef1032547698badcfe7f80a0b0c0d0e0f00a0b0c0d0e0f";
	char out[ID_HEX_SIZE], brief[9];
	struct id id;

	(void)state;
	assert_true(id_parse(text, 64, &id));
	assert_int_equal(id.b[0], 0x00);
	assert_int_equal(id.b[1], 0xff);
	assert_int_equal(id.b[2], 0x01);
	assert_int_equal(id.b[31], 0x0f);
	id_hex(&id, out);
	assert_string_equal(out, text);
	id_short(&id, brief);
	assert_string_equal(brief, "00ff0123");
	assert_false(id_is_zero(&id));
	assert_true(id_parse(zero_digits, 64, &id));
	assert_true(id_is_zero(&id));
}

/* Every byte value in every byte of an id, both ways. */
static void
test_id_digits_telling(void **state)
{
	(void)state;
	assert_int_equal(id_digits_telling(0), 8);
	assert_int_equal(id_digits_telling(4), 8);
	assert_int_equal(id_digits_telling(5), 9);
	assert_int_equal(id_digits_telling(60), 64);
	assert_int_equal(id_digits_telling(64), 64);
	assert_int_equal(id_digits_telling(SIZE_MAX), 64);
}

static void
test_id_every_byte(void **state)
{
	(void)state;
	for (unsigned at = 0; at < 32; at++) {
		for (unsigned v = 0; v < 256; v++) {
			struct id id = { { 0 } }, back;
			char out[ID_HEX_SIZE], want[3];

			id.b[at] = (uint8_t)v;
			id_hex(&id, out);
			(void)snprintf(want, sizeof(want), "%02x", v);
			assert_memory_equal(out + (size_t)2 * at, want, 2);
			assert_true(id_parse(out, 64, &back));
			assert_int_equal(id_cmp(&id, &back), 0);
		}
	}
}

/* Only 0-9 and a-f pass, at every position; a refusal leaves the id alone. */
static void
test_id_foreign_character(void **state)
{
	char text[64];
	struct id id, before;

	(void)state;
	memset(&id, 0x5a, sizeof(id));
	before = id;
	for (unsigned at = 0; at < 64; at++) {
		for (unsigned c = 0; c < 256; c++) {
			bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');

			if (digit)
				continue;
			memset(text, 'a', sizeof(text));
			text[at] = (char)c;
			assert_false(id_parse(text, 64, &id));
			assert_memory_equal(&id, &before, sizeof(id));
		}
	}
}

static void
test_id_length(void **state)
{
	char text[66];
	struct id id;

	(void)state;
	memset(text, '0', sizeof(text));
	assert_false(id_parse(text, 0, &id));
	assert_false(id_parse(text, 63, &id));
	assert_false(id_parse(text, 65, &id));
	assert_true(id_parse(text, 64, &id));
}

static void
test_id_order(void **state)
{
	struct id a = { { 0 } }, b = { { 0 } };

	(void)state;
	b.b[31] = 1;
	assert_true(id_cmp(&a, &b) < 0);
	a.b[0] = 0x80;
	assert_true(id_cmp(&a, &b) > 0);
}

static void
test_hex(void **state)
{
	uint8_t out[4];
	char text[8];

	(void)state;
	assert_true(hex_read("00aBfF9", 6, out));
	assert_memory_equal(out, "\x00\xab\xff", 3);
	assert_false(hex_read("abc", 3, out));
	assert_false(hex_read("0g", 2, out));
	assert_false(hex_read("g0", 2, out));
	assert_false(hex_read("\0\0", 2, out));
	assert_true(hex_read("", 0, out));
	hex_write("\x01\xfe\x80\x0a", 4, text);
	assert_memory_equal(text, "01fe800a", 8);
}

struct pair {
	const char *plain, *text;
};

/* RFC 4648, section 10 */
static const struct pair rfc4648[] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" },
	{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
	{ "foobar", "Zm9vYmFy" } };

static void
test_base64_rfc(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rfc4648) / sizeof(rfc4648[0]); i++) {
		autoclean(buf_done) struct buf b = buf_limit(64);
		const struct pair *pair = &rfc4648[i];
		uint8_t plain[16];
		size_t len = 99;

		assert_int_equal(base64_write(&b, pair->plain, strlen(pair->plain), NULL), E_OK);
		assert_int_equal(b.len, strlen(pair->text));
		if (b.len > 0)
			assert_memory_equal(b.p, pair->text, b.len);
		assert_true(base64_read(pair->text, strlen(pair->text), plain, &len));
		assert_int_equal(len, strlen(pair->plain));
		assert_memory_equal(plain, pair->plain, len);
	}
}

static void
test_base64_all_values(void **state)
{
	uint8_t plain[256], back[256];
	char text[344];
	size_t len;

	(void)state;
	for (unsigned i = 0; i < 256; i++)
		plain[i] = (uint8_t)(i * 167 + 13);
	for (size_t n = 0; n <= 256; n++) {
		base64_write_raw(text, plain, n);
		assert_true(base64_read(text, base64_size(n), back, &len));
		assert_int_equal(len, n);
		assert_memory_equal(back, plain, n);
	}
}

static void
test_base64_refused(void **state)
{
	static const char *const bad[] = { "A", "AA", "AAA", "A===", "====", "AA=A", "AAA=AAAA",
		"A A=", "AA-_", "Zh==", "Zm9=", "AAAA\n", "=AAA" };
	uint8_t out[16];
	size_t len = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(base64_read(bad[i], strlen(bad[i]), out, &len));
		assert_int_equal(len, 77);
	}
}

static void
test_base64_limit(void **state)
{
	autoclean(buf_done) struct buf b = buf_limit(300);
	uint8_t plain[225] = { 0 };

	(void)state;
	assert_int_equal(base64_write(&b, plain, sizeof(plain), NULL), E_OK);
	assert_int_equal(base64_write(&b, "f", 1, NULL), E_LIMIT);
	assert_int_equal(b.len, 300);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_le32),
		cmocka_unit_test(test_id_text),
		cmocka_unit_test(test_id_digits_telling),
		cmocka_unit_test(test_id_every_byte),
		cmocka_unit_test(test_id_foreign_character),
		cmocka_unit_test(test_id_length),
		cmocka_unit_test(test_id_order),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_base64_rfc),
		cmocka_unit_test(test_base64_all_values),
		cmocka_unit_test(test_base64_refused),
		cmocka_unit_test(test_base64_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
