#include "cli/units.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"

static const char *
scaled(uint64_t bytes, int decimals, char out[static UNIT_TEXT_MAX])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes / 1024;
	size_t i = 0;

	if (bytes < 1024) {
		(void)snprintf(out, UNIT_TEXT_MAX, "%" PRIu64 " B", bytes);
		return out;
	}
	while (v >= 1024) {
		v /= 1024;
		i++;
	}
	(void)snprintf(out, UNIT_TEXT_MAX, "%.*f %s", decimals, v, units[i]);
	return out;
}

const char *
bytes_text(uint64_t bytes, char out[static UNIT_TEXT_MAX])
{
	return scaled(bytes, 3, out);
}

const char *
bytes_brief(uint64_t bytes, char out[static UNIT_TEXT_MAX])
{
	return scaled(bytes, 1, out);
}

const char *
span_text(uint64_t seconds, char out[static UNIT_TEXT_MAX])
{
	uint64_t h = seconds / 3600, m = seconds / 60 % 60, s = seconds % 60;

	if (h > 0)
		(void)snprintf(out, UNIT_TEXT_MAX, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, h, m, s);
	else
		(void)snprintf(out, UNIT_TEXT_MAX, "%" PRIu64 ":%02" PRIu64, m, s);
	return out;
}

const char *
local_text(struct instant t, char out[static UNIT_TEXT_MAX])
{
	char rfc[INSTANT_TEXT_MAX];
	time_t s = (time_t)t.s;
	struct tm tm;

	if (localtime_r(&s, &tm) != NULL &&
		strftime(out, UNIT_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm) > 0)
		return out;
	(void)instant_format(t, rfc); /* a year the C library cannot hold */
	(void)snprintf(out, UNIT_TEXT_MAX, "%.19s", rfc);
	return out;
}

/* Digits only; false when there are none or too many.  *p is left behind them. */
static bool
take_digits(const char **p, uint64_t *out)
{
	uint64_t v = 0;
	const char *at = *p;

	for (; isdigit((unsigned char)*at) != 0; at++) {
		if (__builtin_mul_overflow(v, 10U, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*at - '0'), &v))
			return false;
	}
	if (at == *p)
		return false;
	*p = at;
	*out = v;
	return true;
}

static bool
take_unit(const char *unit, unsigned *shift)
{
	static const char letters[] = "kmgt";
	const char *at;

	if (*unit == '\0' || strcasecmp(unit, "b") == 0) {
		*shift = 0;
		return true;
	}
	at = strchr(letters, tolower((unsigned char)*unit));
	if (at == NULL)
		return false;
	*shift = 10 * (unsigned)(at - letters + 1);
	return unit[1] == '\0' || strcasecmp(unit + 1, "b") == 0 || strcasecmp(unit + 1, "ib") == 0;
}

enum ecode
bytes_from_person(const char *flag, const char *text, uint64_t *out, struct err *e)
{
	const char *at = text;
	unsigned shift;
	uint64_t v;

	if (!take_digits(&at, &v) || !take_unit(at, &shift) || v > UINT64_MAX >> shift)
		return err_set(
			e, E_USAGE, 0, "--%s %s: give a size like 500, 10k, 3M or 2G", flag, text);
	*out = v << shift;
	return E_OK;
}

enum ecode
number_from_person(const char *flag, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	struct err *e)
{
	const char *at = text;
	uint64_t v;

	if (!take_digits(&at, &v) || *at != '\0' || v < min || v > max)
		return err_set(e, E_USAGE, 0, "%s %s: give a number from %" PRIu64 " to %" PRIu64,
			flag, text, min, max);
	*out = v;
	return E_OK;
}

enum ecode
time_from_person(const char *text, struct instant *out, struct err *e)
{
	struct instant t;
	struct civil c;
	struct tm tm = { .tm_isdst = -1 };
	enum ecode rc;

	if (instant_parse(text, strlen(text), out))
		return E_OK;
	rc = instant_from_person(text, &t, e);
	if (rc != E_OK)
		return rc;
	c = instant_civil(t);
	tm.tm_year = (int)(c.year - 1900);
	tm.tm_mon = c.month - 1;
	tm.tm_mday = c.day;
	tm.tm_hour = c.hour;
	tm.tm_min = c.minute;
	tm.tm_sec = c.second;
	t.s = (int64_t)mktime(&tm);
	t.off_min = (int16_t)(tm.tm_gmtoff / 60);
	*out = t;
	return E_OK;
}

enum ecode
text_show(struct buf *out, const void *p, size_t len, struct err *e)
{
	const uint8_t *at = p;
	enum ecode rc = E_OK;
	uint32_t cp;

	for (size_t i = 0; rc == E_OK && i < len;) {
		unsigned n = utf8_next(at + i, len - i, &cp);

		if (n == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
			rc = buf_printf(out, e, "\\x%02x", at[i]);
			/* a control character of two bytes: both are shown */
			if (rc == E_OK && n == 2)
				rc = buf_printf(out, e, "\\x%02x", at[i + 1]);
			i += n == 0 ? 1 : n;
		} else {
			rc = buf_add(out, at + i, n, e);
			i += n;
		}
	}
	if (rc == E_OK)
		rc = buf_add_byte(out, 0, e);
	if (rc == E_OK)
		out->len--;
	return rc;
}
