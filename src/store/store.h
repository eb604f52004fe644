/*
 * put / get / list / stat of named sealed objects.  A store never sees a key
 * or a plaintext.  Objects are written once: same name, same content (except
 * config, which may be replaced).  Removing needs a struct eraser (erase.h).
 * Threads: every call is safe from any thread.
 */
#ifndef HF_STORE_STORE_H
#define HF_STORE_STORE_H

#include "base/buf.h"
#include "os/os.h"

enum okind {
	O_CONFIG,
	O_KEY,
	O_PACK,
	O_INDEX,
	O_SNAPSHOT,
	O_LOCK
};
#define O_KINDS 6

struct oname {
	enum okind kind;
	struct id id; /* zero for O_CONFIG */
};
#define ONAME_TEXT_MAX 96
/* "data/ab/ab12…", "config": the relative name, for messages and for layouts.  NUL-terminated. */
void oname_text(const struct oname *name, char out[static ONAME_TEXT_MAX]);
const char *okind_dir(enum okind kind); /* "data", "keys", …; "config" */

struct store;
struct store_entry {
	struct id id;
	uint64_t size;
};

struct store_ops {
	/*
	 * Store a whole object given in parts.  E_OK means it survives a power cut.
	 * Idempotent.  refuses: E_STORE_WRITE, E_STORE_SPACE, E_STORE_RDONLY (name as before), E_STORE_UNSURE
	 */
	enum ecode (*put)(struct store *st, const struct oname *name, const struct slice *parts,
		size_t n, struct err *e);
	/*
	 * Append bytes [off, off + len) to out.  refuses: E_STORE_ABSENT; E_STORE_SHORT (ends before off + len);
	 * E_STORE_READ.  On refusal out->len is unchanged.
	 */
	enum ecode (*get)(struct store *st, const struct oname *name, uint64_t off, size_t len,
		struct buf *out, struct err *e);
	/* refuses: E_STORE_ABSENT, E_STORE_READ */
	enum ecode (*stat)(
		struct store *st, const struct oname *name, uint64_t *size, struct err *e);
	/*
	 * Every object of a kind (not O_CONFIG), any order.  Foreign names are skipped; a missing directory
	 * lists as empty; anything else unreadable refuses (a partial listing is never given as whole): E_STORE_READ
	 */
	enum ecode (*list)(struct store *st, enum okind kind,
		enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e),
		void *arg, struct err *e);
	/* Used through struct eraser only.  Absent counts as erased.  E_STORE_ERASE, E_STORE_RDONLY */
	enum ecode (*erase)(struct store *st, const struct oname *name, struct err *e);
	/* Make the directories.  Existing ones are fine. */
	enum ecode (*prepare)(struct store *st, struct err *e);
	void (*close)(struct store *st);
};
struct store {
	const struct store_ops *ops;
	const char *location; /* for messages; lives as long as the store */
	unsigned connections; /* useful parallel puts */
};

enum ecode store_put(struct store *st, const struct oname *name, const struct slice *parts,
	size_t n, struct err *e) must_check;
enum ecode store_get(struct store *st, const struct oname *name, uint64_t off, size_t len,
	struct buf *out, struct err *e) must_check;
/* The whole object, appended; its size bounded by out->limit (E_LIMIT). */
enum ecode store_get_all(
	struct store *st, const struct oname *name, struct buf *out, struct err *e) must_check;
enum ecode store_stat(
	struct store *st, const struct oname *name, uint64_t *size, struct err *e) must_check;
enum ecode store_list(struct store *st, enum okind kind,
	enum ecode (*each)(void *arg, const struct store_entry *entry, struct err *e), void *arg,
	struct err *e) must_check;
enum ecode store_prepare(struct store *st, struct err *e) must_check;
void store_close(struct store **st);

/* A list of entries in memory, sorted by id. */
struct store_listing {
	struct store_entry *v;
	size_t n, cap;
};
void store_listing_done(struct store_listing *l);
enum ecode store_list_all(
	struct store *st, enum okind kind, struct store_listing *out, struct err *e) must_check;

/*
 * Open by location text: "DIR" or "local:DIR".  Nothing on disk is touched.
 * Other schemes refuse with E_STORE_LOCATION and name what is supported.
 */
enum ecode store_open(
	const struct os *os, const char *location, struct store **out, struct err *e) must_check;
/* The local directory behind a store, or NULL (for the overlap check). */
const char *store_local_path(const struct store *st);

#endif
