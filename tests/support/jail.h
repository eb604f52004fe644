/*
 * A jail: everything below one directory, told as text by libc alone, so that
 * two tellings are equal only when nothing was touched: device, inode, type,
 * mode, owner, links, size, mtime, ctime, target, attributes and content.
 */
#ifndef HF_TESTS_JAIL_H
#define HF_TESTS_JAIL_H

#include <stdbool.h>

/*
 * `skip`: patterns (fnmatch, relative to root) of what is not looked at, with all that is below; `grows`: directories in
 * which names may come and go.  Both end with NULL.  The caller frees.
 */
char *jail_census(const char *root, const char *const *skip, const char *const *grows);
/* Are both the same?  Prints the first line that differs. */
bool jail_same(const char *before, const char *after, const char *what);

/*
 * What is below a directory: "f644 3 a|d755 dir|l dir/link -> target", names in order of bytes; unusual bytes as \xNN;
 * more than 200 of one byte as <200*n>.  "-" when it is absent.  The caller frees.
 */
char *jail_listing(const char *root);

/* Decoys of every kind in a new directory `dir`: what a hostile vault would like to reach. */
void jail_decoys(const char *dir);

#endif
