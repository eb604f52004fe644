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

/*
 * Notes: small foreign objects in the root of a vault, for people and programs
 * that look at it while, or after, something was under way.  restic passes
 * them over.  A name is NOTE_PREFIX or NOTE_DRILL_PREFIX, and then 1 … NOTE_ID_MAX of [A-Za-z0-9-],
 * without "-tmp-", which marks temporaries.
 */
#define NOTE_PREFIX       ".incomplete-"
#define NOTE_DRILL_PREFIX ".drill-" /* the record of a drill; shorter than the other one */
#define NOTE_ID_MAX       64
/* with the prefix and the NUL */
#define NOTE_NAME_MAX     (sizeof(NOTE_PREFIX) + NOTE_ID_MAX)
bool note_name_valid(const char *name) must_check;
/* What follows the prefix, or NULL: the name begins otherwise. */
const char *note_id(const char *name, const char *prefix);

/* What a probe found; all false when the store has nothing to probe. */
struct store_health {
	bool probed;
	bool keeps_modes;   /* the file system keeps permissions; else they were not judged */
	bool noreplace;     /* it knows RENAME_NOREPLACE */
	bool shared;        /* made to be shared with its group */
	unsigned leftovers; /* of interrupted probes, removed now */
};

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
	/* What follows may be NULL: no notes, nothing to probe, no cache. */
	/* Replaces at once and durably.  refuses as put */
	enum ecode (*note_put)(
		struct store *st, const char *name, struct slice bytes, struct err *e);
	/* Append all of it, bounded by out->limit (E_LIMIT).  refuses: E_STORE_ABSENT, E_STORE_READ */
	enum ecode (*note_get)(struct store *st, const char *name, struct buf *out, struct err *e);
	/* Any order; no vault: none.  E_STORE_READ */
	enum ecode (*note_list)(struct store *st,
		enum ecode (*each)(void *arg, const char *name, struct err *e), void *arg,
		struct err *e);
	/* Absent counts as erased; temporaries of that note go too.  E_STORE_ERASE, E_STORE_RDONLY */
	enum ecode (*note_erase)(struct store *st, const char *name, struct err *e);
	enum ecode (*probe)(struct store *st, struct store_health *out, struct err *e);
	void (*go_cold)(struct store *st, const struct oname *name);
	/* The names of a kind's objects survive a power cut.  NULL: they always do.  E_STORE_WRITE */
	enum ecode (*secure)(struct store *st, enum okind kind, struct err *e);
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

/*
 * Notes (see above).  A name that is not one is our own defect (invariant).
 * Without notes: put and erase do nothing, get finds nothing, list is empty.
 */
bool store_has_notes(const struct store *st);
enum ecode store_note_put(
	struct store *st, const char *name, struct slice bytes, struct err *e) must_check;
enum ecode store_note_get(
	struct store *st, const char *name, struct buf *out, struct err *e) must_check;
enum ecode store_note_list(struct store *st,
	enum ecode (*each)(void *arg, const char *name, struct err *e), void *arg,
	struct err *e) must_check;
enum ecode store_note_erase(struct store *st, const char *name, struct err *e) must_check;

/*
 * Does this place do what a commit needs (DV-23, DV-36)?  Writes, syncs, reads
 * back, renames and removes a file of its own; looks at the directories and
 * their permissions.  Nothing of the vault is changed.
 * refuses: E_STORE_PROBE, E_STORE_ATOMIC, E_STORE_DRIFT; E_STORE_SPACE when it is only full
 */
enum ecode store_probe(struct store *st, struct store_health *out, struct err *e) must_check;
/* The next get is to come from the medium, as far as that can be arranged.  Never refuses. */
void store_go_cold(struct store *st, const struct oname *name);
/* Before somebody else's object is relied upon: whoever wrote it may have been killed before its name was durable. */
enum ecode store_secure(struct store *st, enum okind kind, struct err *e) must_check;

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
