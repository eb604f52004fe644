#include "base/utf8.h"

#include "base/word.h"

/* Unicode standard, table 3-7: what the second byte may be after this lead byte. */
struct lead {
	uint8_t second_min, second_max;
	unsigned len;
	uint8_t bits; /* of the lead byte that belong to the code point */
};

static struct lead
lead_of(uint8_t b)
{
	if (b < 0xc2 || b > 0xf4)
		return (struct lead){ .len = 0 };
	if (b < 0xe0)
		return (struct lead){ 0x80, 0xbf, 2, b & 0x1f };
	if (b < 0xf0) {
		return (struct lead){ b == 0xe0 ? 0xa0 : 0x80, b == 0xed ? 0x9f : 0xbf, 3,
			b & 0x0f };
	}
	return (struct lead){ b == 0xf0 ? 0x90 : 0x80, b == 0xf4 ? 0x8f : 0xbf, 4, b & 0x07 };
}

unsigned
utf8_next(const uint8_t *p, size_t len, uint32_t *cp)
{
	struct lead lead;
	uint32_t v;

	if (len == 0)
		return 0;
	if (p[0] < 0x80) {
		*cp = p[0];
		return 1;
	}
	lead = lead_of(p[0]);
	if (lead.len == 0 || lead.len > len || p[1] < lead.second_min || p[1] > lead.second_max)
		return 0;
	v = (uint32_t)lead.bits << 6 | (p[1] & 0x3f);
	for (unsigned i = 2; i < lead.len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	*cp = v;
	return lead.len;
}

bool
utf8_valid(const void *text, size_t len)
{
	const uint8_t *p = text, *end = len == 0 ? p : p + len;
	uint32_t cp;

	while (p < end) {
		unsigned n;

		if (end - p >= WORD_BYTES && word_high(word_get(p)) == 0) {
			p += WORD_BYTES;
			continue;
		}
		n = utf8_next(p, (size_t)(end - p), &cp);
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

unsigned
utf8_put(uint32_t cp, uint8_t out[static 4])
{
	if (cp < 0x80) {
		out[0] = (uint8_t)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (uint8_t)(0xc0 | cp >> 6);
		out[1] = (uint8_t)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (uint8_t)(0xe0 | cp >> 12);
		out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | cp >> 18);
	out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (cp & 0x3f));
	return 4;
}
