/* Numbers for people, and numbers people type. Pure text; local time through the C library. */
#ifndef HF_CLI_UNITS_H
#define HF_CLI_UNITS_H

#include "base/buf.h"
#include "base/instant.h"

#define UNIT_TEXT_MAX 32 /* the longest: "18446744073709551615 B" */

/* "123 B", "1.5 KiB", "34.125 MiB": three decimals as restic writes them */
const char *bytes_text(uint64_t bytes, char out[static UNIT_TEXT_MAX]);
/* The same with one decimal, for lines that are redrawn: "34.1 MiB" */
const char *bytes_brief(uint64_t bytes, char out[static UNIT_TEXT_MAX]);
/* "0:07", "12:03", "1:02:03" */
const char *span_text(uint64_t seconds, char out[static UNIT_TEXT_MAX]);
/* "2026-11-21 03:15:22" in this machine's zone */
const char *local_text(struct instant t, char out[static UNIT_TEXT_MAX]);
/* "500", "10k", "3M", "2GiB": powers of 1024.  E_USAGE (the detail names `flag`) */
enum ecode bytes_from_person(
	const char *flag, const char *text, uint64_t *out, struct err *e) must_check;
/* A plain number from `min` to `max`.  E_USAGE */
enum ecode number_from_person(const char *flag, const char *text, uint64_t min, uint64_t max,
	uint64_t *out, struct err *e) must_check;
/* RFC 3339, or "2006-01-02[ 15:04:05]" in this machine's zone.  E_TIME_SYNTAX */
enum ecode time_from_person(const char *text, struct instant *out, struct err *e) must_check;

/*
 * Bytes from a vault or a file system, safe for a terminal: control characters
 * and what is not UTF-8 become \xNN.  Appends; the text ends in a NUL that is not counted.
 */
enum ecode text_show(struct buf *out, const void *p, size_t len, struct err *e) must_check;

#endif
