/*
 * One component of a pattern against one name.  The rules are those of Go's
 * filepath.Match, on code points; a byte that is not valid UTF-8 counts as one
 * U+FFFD.
 *
 * Case-insensitive means ASCII letters only: lower-casing more would need
 * tables, and a wrong guess here excludes a file from a backup.
 */
#ifndef HF_FS_GLOB_H
#define HF_FS_GLOB_H

#include "base/defs.h"

/* An ASCII letter lower-cased, everything else as it is. */
static inline uint8_t
glob_fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}
bool glob_is_valid(struct slice pat);
/* `pat` is valid, and lower-cased already when `lower` says that s is to be. */
bool glob_match(struct slice pat, struct slice s, bool lower);

#endif
