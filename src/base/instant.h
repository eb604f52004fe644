/*
 * A point in time: seconds and nanoseconds since the epoch (not wrapped in
 * 1677 or 2262), plus the zone offset it was written with, which matters only
 * for writing it again.  No locale, no time zone database: UTC unless read.
 */
#ifndef HF_BASE_INSTANT_H
#define HF_BASE_INSTANT_H

#include "base/buf.h"

struct instant {
	int64_t s;
	int32_t ns;      /* 0 … 999,999,999 */
	int16_t off_min; /* minutes east of UTC */
};

#define INSTANT_TEXT_MAX 36 /* "-hh:mm", nine digits, NUL included */

static inline int
instant_cmp(struct instant a, struct instant b)
{
	return a.s != b.s ? (a.s < b.s ? -1 : 1) : (a.ns > b.ns) - (a.ns < b.ns);
}

/*
 * RFC 3339 as Go writes it: trailing zeros of the fraction dropped, Z for
 * offset 0.  A year outside 0000..9999 keeps month, day and time and gets year
 * 0000 or 9999; 29 February becomes 1 March there (format document 6.6).
 */
size_t instant_format(struct instant t, char out[static INSTANT_TEXT_MAX]);
/* RFC 3339 with up to nine digits.  False otherwise; `t` then unchanged. */
bool instant_parse(const void *text, size_t len, struct instant *t) must_check;
/* What a person types: RFC 3339, "2006-01-02 15:04:05", "2006-01-02"; read as UTC. E_TIME_SYNTAX */
enum ecode instant_from_person(const char *text, struct instant *t, struct err *e) must_check;
/* "10s", "5m", "2h", "1h30m", "1d" → seconds.  E_SPAN_SYNTAX */
enum ecode span_from_person(const char *text, int64_t *seconds, struct err *e) must_check;

struct civil { /* proleptic Gregorian, in the instant's own offset */
	int64_t year;
	int month, day, hour, minute, second; /* month and day from 1 */
};
struct civil instant_civil(struct instant t);

#endif
