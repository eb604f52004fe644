/*
 * Any text is refused or is an instant that formats to a text of the same
 * instant and offset; any 14 bytes are an instant that formats to valid text.
 */
#include <string.h>

#include "base/instant.h"

#define RAW_BYTES    14 /* seconds, nanoseconds, offset */
#define NS_PER_S     1000000000U
#define PERSON_BYTES 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
same(struct instant a, struct instant b)
{
	return a.s == b.s && a.ns == b.ns && a.off_min == b.off_min;
}

static void
check_text(const uint8_t *data, size_t size)
{
	char text[INSTANT_TEXT_MAX];
	struct instant t, back;
	size_t len;

	if (!instant_parse(data, size, &t))
		return;
	len = instant_format(t, text);
	invariant(len < sizeof(text) && text[len] == '\0');
	invariant(instant_parse(text, len, &back) && same(t, back));
}

static void
check_raw(const uint8_t *data)
{
	char text[INSTANT_TEXT_MAX], again[INSTANT_TEXT_MAX];
	struct instant t, back;
	uint32_t ns;
	int16_t off;
	size_t len;

	memcpy(&t.s, data, 8);
	memcpy(&ns, data + 8, 4);
	memcpy(&off, data + 12, 2);
	t.ns = (int32_t)(ns % NS_PER_S);
	t.off_min = (int16_t)(off % (24 * 60));
	len = instant_format(t, text);
	invariant(instant_parse(text, len, &back));
	invariant(instant_format(back, again) == len && memcmp(text, again, len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char person[PERSON_BYTES];
	struct instant t;
	int64_t span;

	check_text(data, size);
	if (size >= RAW_BYTES)
		check_raw(data);
	if (size < sizeof(person)) {
		if (size > 0)
			memcpy(person, data, size);
		person[size] = '\0';
		(void)(instant_from_person(person, &t, NULL) == E_OK);
		(void)(span_from_person(person, &span, NULL) == E_OK);
	}
	return 0;
}
