/*
 * What a file has besides its content: taken from and put onto real files.
 * Plain data; knows nothing of trees or JSON.  Errors per attribute are
 * reported through a callback and do not stop the rest.
 */
#ifndef HF_FS_META_H
#define HF_FS_META_H

#include "base/arena.h"
#include "os/os.h"

struct meta_xattr {
	struct slice name, value; /* name without NUL */
};
struct meta_xattrs {
	struct meta_xattr *v; /* in the arena, in the kernel's order */
	size_t n;
};
#define XATTR_LIST_MAX_BYTES \
	(1U << 20) /* above the kernel's XATTR_LIST_MAX of 64 KiB on most file systems */
#define XATTR_VALUE_MAX_BYTES \
	(1U << 24) /* larger values are a warning; Linux allows 64 KiB (XATTR_SIZE_MAX) */

/*
 * All attributes of fd (path NULL) or of path below dir, never following a
 * final link.  "Not supported" means none.  A single unreadable value is told
 * to `skipped` (may be NULL) and left out.  refuses: E_SRC_DENIED, E_SRC_IO for the list
 */
enum ecode meta_xattrs_read(const struct os *os, int dir, const char *path, struct arena *a,
	struct meta_xattrs *out, void (*skipped)(void *arg, const char *name, int sys), void *arg,
	struct err *e) must_check;

/* Names of users and groups, cached; its own lock, so it may be shared by threads.  "" when a number has no name. */
struct meta_names;
enum ecode meta_names_open(const struct os *os, struct meta_names **out, struct err *e) must_check;
void meta_names_close(struct meta_names **n);
/* The slices live as long as `n`. */
struct slice meta_user(struct meta_names *n, uint32_t uid);
struct slice meta_group(struct meta_names *n, uint32_t gid);

/* What to put onto a restored item. */
struct meta_apply {
	bool owner, mode, times, xattrs; /* which parts */
	uint32_t uid, gid;
	uint32_t st_mode; /* permission, setuid, setgid, sticky bits; ignored for symlinks */
	struct instant atime, mtime;
	const struct meta_xattr *xattr;
	size_t xattr_count;
	bool setid_with_owner; /* files: no set-user-ID or set-group-ID bit where the owner was refused */
	bool is_symlink;
	bool fresh; /* just created by us: no foreign attributes to remove */
};
enum meta_part {
	META_OWNER,
	META_XATTR,
	META_TIMES,
	META_MODE
};
/*
 * Order: owner → xattrs (security.capability last) → mode → times.  Works on fd (path
 * NULL) or on path below dir without following.  Each part that fails is told to
 * `failed`; the rest goes on.  The number of failed parts is returned.
 * A part that is already as wanted (known for fresh files: owner = ours) costs no call.
 */
unsigned meta_put(const struct os *os, int dir, const char *path, const struct meta_apply *m,
	void (*failed)(void *arg, enum meta_part part, const char *xattr, int sys), void *arg);

#endif
