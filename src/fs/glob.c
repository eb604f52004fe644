#include "fs/glob.h"

#include "base/utf8.h"

#define RUNE_BAD 0xfffdU

/* The next code point of s, which is not empty. */
static uint32_t
take_rune(struct slice *s, bool lower)
{
	uint32_t cp = RUNE_BAD;
	unsigned n = 1;

	if (s->p[0] < 0x80)
		cp = lower ? glob_fold(s->p[0]) : s->p[0];
	else
		n = utf8_next(s->p, s->len, &cp);
	if (n == 0) {
		n = 1;
		cp = RUNE_BAD;
	}
	s->p += n;
	s->len -= n;
	return cp;
}

/* One end of a range, "\c" or a character.  False when the pattern is malformed. */
static bool
take_bound(struct slice *pat, uint32_t *cp)
{
	if (pat->len == 0 || pat->p[0] == '-' || pat->p[0] == ']')
		return false;
	if (pat->p[0] == '\\') {
		pat->p++;
		pat->len--;
	}
	if (pat->len == 0 || (pat->p[0] >= 0x80 && utf8_next(pat->p, pat->len, cp) == 0))
		return false;
	*cp = take_rune(pat, false);
	return pat->len != 0;
}

/* A class, its '[' already taken.  False when malformed; *hit tells whether cp is in it. */
static bool
take_class(struct slice *pat, uint32_t cp, bool *hit)
{
	bool negated = pat->len > 0 && pat->p[0] == '^', in = false;

	if (negated) {
		pat->p++;
		pat->len--;
	}
	for (bool first = true;; first = false) {
		uint32_t lo, hi;

		if (!first && pat->len > 0 && pat->p[0] == ']')
			break;
		if (!take_bound(pat, &lo))
			return false;
		hi = lo;
		if (pat->p[0] == '-') {
			pat->p++;
			pat->len--;
			if (!take_bound(pat, &hi))
				return false;
		}
		in = in || (lo <= cp && cp <= hi);
	}
	pat->p++;
	pat->len--;
	*hit = in != negated;
	return true;
}

bool
glob_is_valid(struct slice pat)
{
	bool hit;

	while (pat.len > 0) {
		uint8_t c = pat.p[0];

		pat.p++;
		pat.len--;
		if (c == '[' && !take_class(&pat, 0, &hit))
			return false;
		if (c == '\\' && pat.len == 0)
			return false;
		if (c == '\\') {
			pat.p++;
			pat.len--;
		}
	}
	return true;
}

/* One step without a star: does the head of a valid pattern match the head of s?  Both move on. */
static bool
glob_step(struct slice *pat, struct slice *s, bool lower)
{
	uint8_t c = pat->p[0];
	bool hit = true;

	if (s->len == 0)
		return false;
	if (c != '?' && c != '[' &&
		c != '\\') { /* bytes: a pattern may hold invalid UTF-8, as names may */
		hit = c == (lower ? glob_fold(s->p[0]) : s->p[0]);
		s->p++;
		s->len--;
		pat->p++;
		pat->len--;
		return hit;
	}
	pat->p++;
	pat->len--;
	if (c == '\\') {
		hit = pat->p[0] == (lower ? glob_fold(s->p[0]) : s->p[0]);
		s->p++;
		s->len--;
		pat->p++;
		pat->len--;
		return hit;
	}
	uint32_t cp = take_rune(s, lower);

	return c == '?' || (take_class(pat, cp, &hit) && hit);
}

/* Greedy with one way back: to the last star. */
bool
glob_match(struct slice pat, struct slice s, bool lower)
{
	struct slice star = { NULL, 0 }, again = { NULL, 0 };

	for (;;) {
		if (pat.len > 0 && pat.p[0] == '*') {
			pat.p++;
			pat.len--;
			star = pat;
			again = s;
			continue;
		}
		if (pat.len == 0 && s.len == 0)
			return true;
		if (pat.len > 0 && glob_step(&pat, &s, lower))
			continue;
		if (star.p == NULL || again.len == 0)
			return false;
		again.p++; /* the star takes one byte more, not one character: as Go's */
		again.len--;
		pat = star;
		s = again;
	}
}
