/* Listing directories: names sorted by raw bytes, metadata taken relative to a held descriptor. */
#ifndef HF_FS_WALK_H
#define HF_FS_WALK_H

#include "base/arena.h"
#include "os/os.h"

struct walk_entry {
	const char *name; /* in the arena; NUL-terminated */
	uint32_t name_len;
	uint8_t dtype; /* DT_*, a hint */
	bool have_meta;
	int sys; /* errno of the failed stat; 0 when have_meta */
	struct os_meta meta;
};
struct walk_list {
	struct walk_entry *v; /* in the arena, strictly ascending by name */
	size_t n;
	size_t vanished; /* listed, but gone at stat: left out */
};

/* Open a directory for listing: O_DIRECTORY | O_NOFOLLOW (unless follow), O_NOATIME where allowed.  E_SRC_* */
enum ecode walk_open_dir(const struct os *os, int parent, const char *name, bool follow, int *fd,
	struct err *e) must_check;
/*
 * Everything in an open directory but "." and "..": read completely (a read
 * error refuses: a partial listing is never given), stat'ed in inode order,
 * then sorted.  Linear memory; 100,000 entries and more are fine.  E_SRC_DENIED, E_SRC_IO, E_NOMEM
 */
enum ecode walk_dir(const struct os *os, int fd, const char *path_for_messages, struct arena *a,
	struct walk_list *out, struct err *e) must_check;
/* The same, and asks now and then whether to go on: a directory of millions takes minutes.  Also: what `ask` refuses */
#define WALK_ASK_EVERY 1024 /* names; some milliseconds from a cache, seconds from a disk */
struct walk_ask {
	enum ecode (*ask)(void *arg, struct err *e);
	void *arg;
};
enum ecode walk_dir_asking(const struct os *os, int fd, const char *path_for_messages,
	const struct walk_ask *ask, struct arena *a, struct walk_list *out,
	struct err *e) must_check;
/* Open a file for reading without following a link, without touching atime where allowed.  E_SRC_* */
enum ecode walk_open_file(
	const struct os *os, int dir, const char *name, int *fd, struct err *e) must_check;
/*
 * The refusal class of -errno `rc` from a source path: E_SRC_MISSING, E_SRC_DENIED, E_SRC_CHANGED (ELOOP at open, ENXIO…),
 * E_SRC_BUSY, E_SRC_IO.  E_SRC_DESCRIPTORS and E_NOMEM are about this process, not about the path.
 */
enum ecode walk_refusal(struct err *e, int rc, const char *call, const char *path);
/* The target of a symlink, exact bytes, NUL-terminated (not counted). */
enum ecode walk_readlink(const struct os *os, int dir, const char *name, struct arena *a,
	struct slice *out, struct err *e) must_check;

#endif
