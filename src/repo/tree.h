/*
 * Tree blobs: one directory each (format document 6.1-6.8).  The text is
 * canonical to the byte: its hash is the directory's identity.
 * Single pass, no allocation per node except into the caller's arena.
 */
#ifndef HF_REPO_TREE_H
#define HF_REPO_TREE_H

#include "base/arena.h"
#include "base/instant.h"
#include "base/wire.h"

enum node_type {
	NODE_FILE,
	NODE_DIR,
	NODE_SYMLINK,
	NODE_DEV,
	NODE_CHARDEV,
	NODE_FIFO,
	NODE_SOCKET,
	NODE_IRREGULAR, /* also any text we do not know; check reports it */
};
const char *node_type_text(enum node_type type);

/* Go FileMode bits (6.5) */
#define MODE_DIR     0x80000000U
#define MODE_SYMLINK 0x08000000U
#define MODE_DEVICE  0x04000000U
#define MODE_FIFO    0x02000000U
#define MODE_SOCKET  0x01000000U
#define MODE_SETUID  0x00800000U
#define MODE_SETGID  0x00400000U
#define MODE_CHARDEV 0x00200000U
#define MODE_STICKY  0x00100000U
#define MODE_PERM    0777U

uint32_t mode_from_st(uint32_t st_mode); /* st_mode → Go FileMode */
bool node_type_fits(enum node_type type,
	uint32_t st_mode); /* sockets and irregular ones fit nothing: they are never restored */
uint32_t mode_to_st(uint32_t mode); /* permission, setuid, setgid, sticky bits only */
void mode_text(
	uint32_t mode, char out[static 24]); /* "drwxr-xr-x", "dtrwxrwxrwx" (6.5); NUL-terminated */

struct xattr {
	struct slice name, value;
};

/* Slices point into the parsed text, the arena, or the caller's memory when writing. */
struct node {
	struct slice name; /* raw bytes */
	enum node_type type;
	uint32_t mode; /* Go FileMode */
	struct instant mtime, atime, ctime;
	uint32_t uid, gid;
	struct slice user, group;
	uint64_t inode, device_id, size, links;
	struct slice linktarget; /* raw bytes: linktarget_raw where stored */
	const struct xattr *xattrs;
	size_t xattr_count;
	struct slice generic; /* generic_attributes: a JSON object, verbatim; empty when absent */
	uint64_t device;
	const struct id *content; /* files */
	size_t content_count;
	bool content_null; /* a file whose content was null (check: an error) */
	bool has_subtree;
	struct id subtree;
	struct slice error;
	struct slice raw; /* this node's own text, when parsed */
};

/* What no system can make as it is described, in words; NULL when it can be made. */
const char *node_flaw(const struct node *node);

/* What a strict reader may want to know beyond "it could be read". */
struct tree_flaws {
	bool unsorted, duplicate, unknown_fields, bad_name; /* bad_name: fails name_is_safe() */
	bool not_canonical_frame; /* text before or after `nodes`, or no final newline */
};

struct tree_reader {
	const uint8_t *p, *end;
	struct arena *arena;
	struct slice last; /* previous node's name */
	struct tree_flaws flaws;
	bool begun, done;
	uint64_t count;
};
/* `text` must outlive the nodes.  Nothing is read yet. */
void tree_reader_init(struct tree_reader *r, const void *text, size_t len, struct arena *arena);
/*
 * The next node.  *more is false at the end (node untouched).  An unknown type
 * text gives NODE_IRREGULAR.  A bad name is given with flaws.bad_name set (the
 * caller must not use it as a path).  What is left out is zero, as restic reads it;
 * only name and type must be there.
 * refuses: E_TREE_FORMAT, E_NAME_SYNTAX, E_NOMEM, E_LIMIT (the arena's)
 */
enum ecode tree_next(
	struct tree_reader *r, struct node *node, bool *more, struct err *e) must_check;

/* Writing: begin, node…, end.  Nodes come in strictly ascending order of raw name (invariant). */
struct tree_writer {
	struct buf *out;
	struct slice last; /* previous name, within out-living caller memory */
	bool any;
};
enum ecode tree_begin(struct tree_writer *w, struct buf *out, struct err *e) must_check;
enum ecode tree_put(struct tree_writer *w, const struct node *node, struct err *e) must_check;
enum ecode tree_end(struct tree_writer *w, struct err *e) must_check;

#endif
