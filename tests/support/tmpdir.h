/* A private directory for a test, and files in it.  Whatever fails ends the test program with a message. */
#ifndef HF_TESTS_TMPDIR_H
#define HF_TESTS_TMPDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define TMPDIR_PATH_MAX 512

/* Below $TMPDIR or /tmp, mode 0700. */
void tmpdir_make(char path[static TMPDIR_PATH_MAX]);
/* In memory where the system has such a place (and TMPDIR names none): for tests that make thousands of names. */
void tmpdir_make_fast(char path[static TMPDIR_PATH_MAX]);
/* With all that is in it; symbolic links are not followed. */
void tmpdir_remove(const char *path);
/* Everything in it, not the directory itself. */
void tmpdir_empty(const char *path);

/* `name` below `dir`; "" for the directory itself.  Parents are made (0700). */
void tmpdir_write(const char *dir, const char *name, const void *p, size_t len);
void tmpdir_mkdir(const char *dir, const char *name);
/* The whole file; the caller frees.  A NUL follows the last byte. */
void *tmpdir_read(const char *dir, const char *name, size_t *len);
bool tmpdir_exists(const char *dir, const char *name); /* lstat */
mode_t tmpdir_mode(const char *dir, const char *name); /* permission bits, lstat */
/* Names in a directory, "." and ".." not counted; 0 when the directory is missing. */
size_t tmpdir_count(const char *dir, const char *name);
/* How many names below `dir`, at any depth, contain `part`. */
size_t tmpdir_count_like(const char *dir, const char *part);

#endif
