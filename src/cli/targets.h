/* The targets of a backup: arguments, and the files that list further ones. */
#ifndef HF_CLI_TARGETS_H
#define HF_CLI_TARGETS_H

#include "cli/cli.h"

#define TARGETS_MAX            1000000      /* paths */
#define TARGETS_FILE_MAX_BYTES (256U << 20) /* one list */

struct targets {
	const char **v; /* in the command's arena */
	size_t n, cap;
};
/*
 * Arguments first, then --files-from (patterns; a line that matches nothing is told on stderr),
 * -verbatim, -raw.  refuses: E_IO_READ, E_LIMIT, E_USAGE (an empty raw or verbatim path)
 */
enum ecode targets_collect(struct cli *cli, struct targets *out, struct err *e) must_check;
/* Every path that matches; components may hold * ? [ ] and backslash.  Sorted within a directory. */
enum ecode targets_glob(
	struct cli *cli, const char *pattern, struct targets *out, struct err *e) must_check;

#endif
