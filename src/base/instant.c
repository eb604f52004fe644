/*
 * Days are counted from 1 March of year 0: then the leap day is the last of
 * its year and every century, year and month starts at a whole formula.
 * Three times a node pass here, hence the plain digit loops and no printf.
 */
#include "base/instant.h"

#include <string.h>

#define DAY_S        86400
#define DAYS_400Y    146097 /* 400 Gregorian years */
#define DAYS_4Y      1461   /* four Julian years */
#define EPOCH_DAYS   719468 /* 0000-03-01 … 1970-01-01 */
#define YEAR_LAST    9999   /* four digits: RFC 3339 */
#define DATE_BYTES   10     /* "2006-01-02" */
#define TIME_BYTES   19     /* "2006-01-02T15:04:05" */
#define FRACTION_MAX 9      /* digits */

/* 00 … 99 */
static const char two_digits[] = "00010203040506070809101112131415161718192021222324"
				 "25262728293031323334353637383940414243444546474849"
				 "50515253545556575859606162636465666768697071727374"
				 "75767778798081828384858687888990919293949596979899";

static bool
leap_year(int64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* `days` since the epoch → year, month and day of c. */
static void
civil_from_days(int64_t days, struct civil *c)
{
	int64_t shifted = days + EPOCH_DAYS, cycle = floor_div(shifted, DAYS_400Y);
	uint32_t rest = (uint32_t)(shifted - cycle * DAYS_400Y); /* day of the 400 years */
	uint32_t century = (4 * rest + 3) / DAYS_400Y;
	uint32_t in_century = rest - century * DAYS_400Y / 4;
	uint32_t year = (4 * in_century + 3) / DAYS_4Y;
	uint32_t in_year = in_century - year * DAYS_4Y / 4;
	uint32_t month = (5 * in_year + 2) / 153; /* 153 days: five months from March */

	c->day = (int)(in_year - (153 * month + 2) / 5 + 1);
	c->month = (int)(month < 10 ? month + 3 : month - 9);
	c->year = cycle * 400 + (int64_t)century * 100 + year + (month < 10 ? 0 : 1);
}

/* Years 0 … 9999 only, so all numbers are small. */
static int64_t
days_from_civil(unsigned year, unsigned month, unsigned day)
{
	unsigned shifted = month > 2 ? month - 3 : month + 9;
	int64_t y = (int64_t)year - (month > 2 ? 0 : 1);
	int64_t century = floor_div(y, 100);

	return floor_div(century * DAYS_400Y, 4) + (y - century * 100) * DAYS_4Y / 4 +
	       (153 * shifted + 2) / 5 + day - 1 - EPOCH_DAYS;
}

struct civil
instant_civil(struct instant t)
{
	int64_t days = floor_div(t.s, DAY_S);
	int64_t of_day = t.s % DAY_S < 0 ? t.s % DAY_S + DAY_S : t.s % DAY_S;
	int64_t second = of_day + (int64_t)t.off_min * 60;
	int64_t carry = floor_div(second, DAY_S);
	struct civil c;
	uint32_t left;

	civil_from_days(days + carry, &c);
	left = (uint32_t)(second - carry * DAY_S);
	c.hour = (int)(left / 3600);
	c.minute = (int)(left / 60 % 60);
	c.second = (int)(left % 60);
	return c;
}

/* The format's rule for years that four digits cannot say (6.6). */
static void
clamp_year(struct civil *c)
{
	if (c->year >= 0 && c->year <= YEAR_LAST)
		return;
	c->year = c->year < 0 ? 0 : YEAR_LAST;
	if (c->month == 2 && c->day == 29 && !leap_year(c->year)) {
		c->month = 3;
		c->day = 1;
	}
}

static void
put_two(char *out, uint32_t v)
{
	memcpy(out, two_digits + (size_t)2 * v, 2);
}

/* ".25"; nothing for 0.  Returns the length. */
static size_t
put_fraction(char *out, uint32_t ns)
{
	uint32_t rest = ns;
	size_t len = 1 + FRACTION_MAX;

	if (ns == 0)
		return 0;
	out[0] = '.';
	out[9] = (char)('0' + rest % 10);
	rest /= 10;
	for (unsigned pair = 4; pair > 0; pair--) {
		put_two(out + (size_t)2 * pair - 1, rest % 100);
		rest /= 100;
	}
	while (out[len - 1] == '0')
		len--;
	return len;
}

static size_t
put_offset(char *out, int off_min)
{
	unsigned minutes = (unsigned)(off_min < 0 ? -off_min : off_min);

	if (off_min == 0) {
		out[0] = 'Z';
		return 1;
	}
	out[0] = off_min < 0 ? '-' : '+';
	put_two(out + 1, minutes / 60 % 100);
	out[3] = ':';
	put_two(out + 4, minutes % 60);
	return 6;
}

size_t
instant_format(struct instant t, char out[static INSTANT_TEXT_MAX])
{
	struct civil c = instant_civil(t);
	size_t len = TIME_BYTES;

	clamp_year(&c);
	put_two(out, (uint32_t)c.year / 100);
	put_two(out + 2, (uint32_t)c.year % 100);
	out[4] = '-';
	put_two(out + 5, (uint32_t)c.month);
	out[7] = '-';
	put_two(out + 8, (uint32_t)c.day);
	out[10] = 'T';
	put_two(out + 11, (uint32_t)c.hour);
	out[13] = ':';
	put_two(out + 14, (uint32_t)c.minute);
	out[16] = ':';
	put_two(out + 17, (uint32_t)c.second);
	len += put_fraction(out + len, (uint32_t)t.ns);
	len += put_offset(out + len, t.off_min);
	out[len] = '\0';
	return len;
}

/* Two digits, or a number of 100 and above. */
static unsigned
get_two(const uint8_t *p)
{
	unsigned tens = (unsigned)p[0] - '0', ones = (unsigned)p[1] - '0';

	return tens <= 9 && ones <= 9 ? tens * 10 + ones : 100;
}

static unsigned
month_days(unsigned year, unsigned month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && leap_year(year) ? 1U : 0U);
}

/* "2006-01-02" → days since the epoch */
static bool
parse_date(const uint8_t *p, int64_t *days)
{
	unsigned high = get_two(p), low = get_two(p + 2), month = get_two(p + 5),
		 day = get_two(p + 8);
	unsigned year = high * 100 + low;

	if (high > 99 || low > 99 || p[4] != '-' || p[7] != '-')
		return false;
	if (month < 1 || month > 12 || day < 1 || day > month_days(year, month))
		return false;
	*days = days_from_civil(year, month, day);
	return true;
}

/* "15:04:05" → seconds of the day; RFC 3339's leap second is refused, as Go does. */
static bool
parse_clock(const uint8_t *p, int64_t *seconds)
{
	unsigned hour = get_two(p), minute = get_two(p + 3), second = get_two(p + 6);

	if (p[2] != ':' || p[5] != ':' || hour > 23 || minute > 59 || second > 59)
		return false;
	*seconds = ((int64_t)hour * 60 + minute) * 60 + second;
	return true;
}

/* Optional ".5" at *pp; moves past it. */
static bool
parse_fraction(const uint8_t **pp, const uint8_t *end, int32_t *ns)
{
	static const int32_t scale[] = { 0, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100,
		10, 1 };
	const uint8_t *p = *pp;
	int32_t v = 0;
	unsigned digits = 0;

	*ns = 0;
	if (p == end || *p != '.')
		return true;
	for (p++; p < end && *p >= '0' && *p <= '9'; p++, digits++) {
		if (digits == FRACTION_MAX)
			return false;
		v = v * 10 + (*p - '0');
	}
	*ns = v * scale[digits];
	*pp = p;
	return digits > 0;
}

static bool
parse_offset(const uint8_t *p, size_t len, int16_t *off_min)
{
	unsigned hours, minutes;
	int off;

	if (len == 1 && p[0] == 'Z') {
		*off_min = 0;
		return true;
	}
	if (len != 6 || (p[0] != '+' && p[0] != '-') || p[3] != ':')
		return false;
	hours = get_two(p + 1);
	minutes = get_two(p + 4);
	if (hours > 23 || minutes > 59)
		return false;
	off = (int)(hours * 60 + minutes);
	*off_min = (int16_t)(p[0] == '-' ? -off : off);
	return true;
}

bool
instant_parse(const void *text, size_t len, struct instant *t)
{
	const uint8_t *p = text, *end = p + len;
	struct instant parsed;
	int64_t days, seconds;

	if (len < TIME_BYTES + 1 || p[DATE_BYTES] != 'T')
		return false;
	if (!parse_date(p, &days) || !parse_clock(p + DATE_BYTES + 1, &seconds))
		return false;
	p += TIME_BYTES;
	if (!parse_fraction(&p, end, &parsed.ns))
		return false;
	if (!parse_offset(p, (size_t)(end - p), &parsed.off_min))
		return false;
	parsed.s = days * DAY_S + seconds - (int64_t)parsed.off_min * 60;
	*t = parsed;
	return true;
}

enum ecode
instant_from_person(const char *text, struct instant *t, struct err *e)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t len = strlen(text);
	int64_t days, seconds = 0;

	if (instant_parse(text, len, t))
		return E_OK;
	if (len != DATE_BYTES && (len != TIME_BYTES || p[DATE_BYTES] != ' '))
		return err_set(e, E_TIME_SYNTAX, 0, "\"%s\"", text);
	if (!parse_date(p, &days))
		return err_set(e, E_TIME_SYNTAX, 0, "the date of \"%s\"", text);
	if (len == TIME_BYTES && !parse_clock(p + DATE_BYTES + 1, &seconds))
		return err_set(e, E_TIME_SYNTAX, 0, "the time of \"%s\"", text);
	*t = (struct instant){ .s = days * DAY_S + seconds };
	return E_OK;
}

/* Seconds of one unit, 0 for a letter that is none. */
static int64_t
unit_seconds(char unit)
{
	static const struct {
		char letter;
		int32_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', DAY_S } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (units[i].letter == unit)
			return units[i].seconds;
	}
	return 0;
}

/* "90m" at *text; moves past it.  0 digits, an unknown unit or too large: false. */
static bool
parse_span_part(const char **text, int64_t *unit, int64_t *seconds)
{
	const char *p = *text;
	int64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
			return false;
	}
	*unit = unit_seconds(*p);
	if (p == *text || *unit == 0)
		return false;
	*text = p + 1;
	return !__builtin_mul_overflow(v, *unit, seconds);
}

/* Units go from large to small, each once: "5m1h" is more likely a slip than a wish. */
enum ecode
span_from_person(const char *text, int64_t *seconds, struct err *e)
{
	const char *p = text;
	int64_t sum = 0, last = INT64_MAX;

	while (*p != '\0' || p == text) {
		int64_t unit, part;

		if (!parse_span_part(&p, &unit, &part) || unit >= last)
			return err_set(e, E_SPAN_SYNTAX, 0,
				"\"%s\" is not made of numbers with units (d, h, m, s)", text);
		if (__builtin_add_overflow(sum, part, &sum))
			return err_set(e, E_SPAN_SYNTAX, 0, "\"%s\" is too long", text);
		last = unit;
	}
	*seconds = sum;
	return E_OK;
}
