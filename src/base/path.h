/* Paths as text: lexical cleaning only, no file system. Bytes, not characters. */
#ifndef HF_BASE_PATH_H
#define HF_BASE_PATH_H

#include "base/arena.h"
#include "base/buf.h"

/*
 * Longest path we build: eight times the kernel's PATH_MAX, which bounds single calls, not trees.  A chain of directories
 * costs its depth for each of them: at this length 270 MB of text for all its paths, at a MiB it was 2 GB, or 250.
 */
#define PATH_TEXT_MAX  (1U << 15)
#define NAME_BYTES_MAX 255 /* Linux NAME_MAX */

/* Lexical clean as Go's: "a//b/./c/.." → "a/b", "" → ".", "/.." → "/". Appends to out. */
enum ecode path_clean(struct buf *out, const void *path, size_t len, struct err *e) must_check;
/* dir + "/" + name, without doubling the slash; NUL-terminated (not counted) in the arena. */
enum ecode path_join(struct arena *a, const char *dir, const char *name, const char **out,
	struct err *e) must_check;
/* A single stored name that may become a directory entry: not empty, ".", "..", no '/', no NUL, <= 255. */
bool name_is_safe(const void *name, size_t len);
/* Last component of a cleaned path; "/" for "/". */
const char *path_base(const char *path);
/* True when `inner` equals `outer` or lies below it; both absolute and cleaned. */
bool path_within(const char *outer, const char *inner);

#endif
