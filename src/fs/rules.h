/*
 * Include and exclude patterns (format document, appendix A): matched against
 * absolute cleaned paths, component by component.  Read-only after building,
 * so it may be shared by threads.
 */
#ifndef HF_FS_RULES_H
#define HF_FS_RULES_H

#include "base/arena.h"
#include "os/os.h"

struct rules;            /* an ordered list; later ones override earlier ones ("!pattern") */
#define RULES_MAX 100000 /* patterns; a file of more is refused (E_LIMIT) */

enum ecode rules_open(struct rules **out, struct err *e) must_check;
void rules_close(struct rules **r);
/* refuses: E_PATTERN (the detail names the pattern).  `insensitive`: both sides are lower-cased. */
enum ecode rules_add(
	struct rules *r, const char *pattern, bool insensitive, struct err *e) must_check;
/* Lines trimmed; empty and # lines skipped; $VAR and ${VAR} expanded from `env` ($$ = $).  Source of `-` is not handled here. */
enum ecode rules_add_file(struct rules *r, const struct os *os, const char *path, bool insensitive,
	const char *(*env)(const char *name), struct err *e) must_check;
size_t rules_count(const struct rules *r);
const char *rules_text(const struct rules *r, unsigned i); /* the pattern as given */

bool rules_insensitive(const struct rules *r, unsigned i);
/* Index + 1 of the rule that matched last and was not undone, else 0. */
unsigned rules_match(const struct rules *r, const char *path, size_t len);
/* For includes: could something below this directory match?  (So that the walk need not enter the others.) */
bool rules_may_match_below(const struct rules *r, const char *dir, size_t len);

#endif
