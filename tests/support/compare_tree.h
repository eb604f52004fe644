/*
 * An independent look at directory trees, by libc alone: it shares no code with
 * what it judges.  Used to prove that a restored tree equals its source, and
 * that a directory was not touched.
 */
#ifndef HF_TESTS_COMPARE_TREE_H
#define HF_TESTS_COMPARE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum compare_parts { /* bits */
	COMPARE_MTIME = 1,
	COMPARE_OWNER = 2,
	COMPARE_XATTRS = 4,
	COMPARE_LINKS = 8,      /* the same names are hard links of each other */
	COMPARE_ROOT_META = 16, /* mode, owner, time of the two roots too */
	COMPARE_ALL = 15,       /* everything but the roots' own metadata */
};
/* Names, types, modes, sizes, contents, targets and devices always.  `why` (text, size) gets the first difference. */
bool trees_equal(const char *a, const char *b, unsigned parts, char *why, size_t why_size);
/* A number that changes when anything below path changes: names, metadata (not ctime, not atime), contents. 0: absent */
uint64_t tree_digest(const char *path);
size_t tree_entries(const char *path); /* everything below path, path itself not counted */

/* A new empty directory below $TMPDIR or /tmp; the caller removes it.  Aborts when there is none. */
void temp_dir(char *out, size_t size);
void remove_tree(const char *path);               /* nothing is followed; absent is fine */
void copy_tree(const char *from, const char *to); /* contents and names only; `to` must not exist */
void write_file(const char *path, const void *p, size_t len);
size_t open_descriptors(void); /* of this process */

#endif
