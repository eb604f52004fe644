/* From flags to the engine's arguments: which snapshots, which patterns. */
#ifndef HF_CLI_PICK_H
#define HF_CLI_PICK_H

#include "cli/cli.h"
#include "engine/backup.h"

/* --host, --tag, --path; lists live in the command's arena. */
enum ecode pick_filter(struct cli *cli, struct snapshot_filter *out, struct err *e) must_check;

struct pick_flags {
	enum flag patterns, insensitive, files, insensitive_files;
};
/* NULL when none is given.  The caller closes.  E_PATTERN, E_IO_READ */
enum ecode pick_rules(struct cli *cli, const struct pick_flags *flags, struct rules **out,
	struct err *e) must_check;
/* "a, b,," → a, b; appended to what `v` has room for.  E_NOMEM */
enum ecode pick_words(struct cli *cli, const struct flag_value *given, const char *const **out,
	size_t *n, struct err *e) must_check;
/* Absolute and cleaned. */
enum ecode pick_absolute(
	struct cli *cli, const char *path, const char **out, struct err *e) must_check;

#endif
