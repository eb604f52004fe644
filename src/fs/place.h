/*
 * Putting bytes safely below a root that we made (reliability.md, "Restoring
 * as root").  Every open is relative to held descriptors, beneath the root, and
 * follows no link; creation is exclusive.  Nothing outside the root is ever
 * touched, whatever names a vault holds.  Invariant I6.
 */
#ifndef HF_FS_PLACE_H
#define HF_FS_PLACE_H

#include "base/arena.h"
#include "os/os.h"

struct place; /* one root directory */
/* `dir` is a directory made by the caller for this purpose.  Takes over nothing; duplicates what it needs. */
enum ecode place_open(
	const struct os *os, const char *dir, struct place **out, struct err *e) must_check;
/* The same for a directory that is not ours: it is opened, and nothing about it is changed. */
enum ecode place_look(
	const struct os *os, const char *dir, struct place **out, struct err *e) must_check;
/* The same for a name in a directory that is held open: whatever became of the paths that led there. */
enum ecode place_open_at(
	const struct os *os, int at, const char *dir, struct place **out, struct err *e) must_check;
enum ecode place_look_at(
	const struct os *os, int at, const char *dir, struct place **out, struct err *e) must_check;
void place_close(struct place **p);

/*
 * All names are relative paths of safe components ("a/b/c"), checked again
 * here: E_PATH_UNSAFE.  Existing things refuse: E_PLACE_EXISTS.  Others: E_PLACE_IO, E_IO_SPACE
 * Each is safe from any thread.
 */
enum ecode place_dir(struct place *p, const char *rel, struct err *e) must_check; /* mkdir 0700 */
enum ecode place_open_dir(
	struct place *p, const char *rel, int *fd, struct err *e) must_check; /* "" is the root */
/* One level down, from a directory that was opened here. */
enum ecode place_open_below(
	struct place *p, int dir_fd, const char *name, int *fd, struct err *e) must_check;
enum ecode place_file(struct place *p, int dir_fd, const char *name, int *fd,
	struct err *e) must_check; /* O_EXCL 0600 */
enum ecode place_symlink(struct place *p, int dir_fd, const char *name, const char *target,
	struct err *e) must_check;
enum ecode place_special(struct place *p, int dir_fd, const char *name, uint32_t st_mode,
	uint64_t rdev, struct err *e) must_check;
enum ecode place_link(struct place *p, const char *existing_rel, int dir_fd, const char *name,
	struct err *e) must_check;
enum ecode place_reopen(struct place *p, const char *rel, int flags, int *fd,
	struct err *e) must_check; /* read or write */

#endif
