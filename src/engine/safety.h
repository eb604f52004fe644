/*
 * Safety sets: what a restore in place will overwrite, copied aside first
 * (D-8, DF-10…13, X-19).  A set is a directory `<base>/YYYY-MM-DD_HHMMSS`, UTC:
 * copies in the structure below home, others below `_root` by their absolute
 * path, manifest.toml for people, manifest.json for restore-undo.  It counts
 * only with both manifests, which are written last, after every copy was made
 * durable and read again.
 */
#ifndef HF_ENGINE_SAFETY_H
#define HF_ENGINE_SAFETY_H

#include "engine/previous.h"
#include "fs/meta.h"
#include "fs/place.h"
#include "repo/format.h"

#define SAFETY_SETS_DIR     "restore-backups" /* D-1; below $XDG_DATA_HOME/holdfast */
#define SAFETY_KEPT_DEFAULT 5                 /* D-8 */
#define SAFETY_KEPT_MAX     50                /* DF-14 */

struct safety_args {
	const char *base;   /* …/restore-backups; made when missing */
	const char *home;   /* from the root, cleaned; NULL: everything goes below _root */
	const char *dest;   /* from the root, cleaned: what relative paths are relative to */
	const char *source; /* told in the manifest: the vault and the snapshot */
	const char *run_id;
};
/* One path of a set; texts in an arena. */
struct safety_entry {
	struct safety_entry *next;
	const char *rel; /* below the destination */
	const char
		*copy; /* below the set; NULL: there is no copy (directories, devices, sockets) */
	struct os_meta meta;
	struct id hash;     /* regular files */
	const char *target; /* symbolic links */
	struct meta_xattrs xattrs;
	bool created; /* was not there: the restore made it */
};
struct safety;
enum ecode safety_open(const struct os *os, const struct safety_args *args, struct safety **out,
	struct err *e) must_check;
/*
 * Copy what `rel` is below `live`, which is the destination; a directory with everything in it.  *was is what it was when
 * it was copied.  refuses: E_SAFETY_COPY
 */
enum ecode safety_add(struct safety *s, struct place *live, const char *rel, struct os_meta *was,
	struct err *e) must_check;
/* A directory that stays and only gets other attributes. */
enum ecode safety_add_dir(
	struct safety *s, struct place *live, const char *rel, struct err *e) must_check;
/* A path that is not there yet. */
enum ecode safety_add_created(struct safety *s, const char *rel, struct err *e) must_check;
/* Durable, every copy read again, manifests published.  E_SAFETY_COPY */
enum ecode safety_seal(struct safety *s, struct err *e) must_check;
const char *safety_path(const struct safety *s); /* of the set; lives as long as `s` */
uint64_t safety_files(const struct safety *s);   /* copies */
void safety_close(struct safety **s);            /* an unsealed set is removed */

/* ---- sets that are there (safety_list.c, safety_read.c) ---- */
struct safety_set {
	const char *name, *path;
	const char *created, *dest, *source, *run_id; /* NULL when it cannot be read */
	uint64_t files;
	bool whole; /* both manifests are there and ours */
};
struct safety_sets {
	struct safety_set *v; /* oldest first; only what is ours */
	size_t n;
};
/* A base that is not there holds none. */
enum ecode safety_list(const struct os *os, const char *base, struct arena *a,
	struct safety_sets *out, struct err *e) must_check;
/* The entries of one set, as they were added.  E_SAFETY_SET (not ours, not whole), E_SAFETY_SET_ABSENT */
enum ecode safety_load(const struct os *os, const char *base, const char *name, struct arena *a,
	struct safety_set *set, struct safety_entry **out, struct err *e) must_check;
/* The copy still is what was recorded: E_SAFETY_SET_DAMAGED. */
enum ecode safety_prove(const struct os *os, struct place *set, const struct safety_entry *entry,
	struct err *e) must_check;
/* Remove the oldest beyond `keep`, and what an earlier call began to remove; only ours, by name and mark. */
struct safety_retain_args {
	const char *base;
	size_t keep; /* at least 1 */
	bool dry_run;
	struct retire_listener listener;
};
enum ecode safety_retain(const struct os *os, const struct safety_retain_args *args,
	struct arena *a, struct err *e) must_check;

/* ---- for safety*.c only ---- */
#define SAFETY_MARK      "holdfast safety set"  /* "owner" of manifest.json */
#define SAFETY_BEGUN     ".holdfast-safety-set" /* of a set from its first moment */
#define SAFETY_REMOVING  ".removing-"           /* before a set's name, once it is to go */
#define SAFETY_TOML      "manifest.toml"
#define SAFETY_JSON      "manifest.json"
#define SAFETY_ROOT      "_root"
#define SAFETY_VERSION   1
#define SAFETY_TEXT_MAX  ((size_t)512 << 20) /* a manifest of a million entries */
#define SAFETY_ARENA_MAX ((size_t)2 << 30)

/* YYYY-MM-DD_HHMMSS, or that and _N. */
bool safety_is_name(const char *name);
/* Reads the manifest of the set that `set` names, without its entries.  E_SAFETY_SET when it is not whole */
enum ecode safety_look(const struct os *os, int base, struct safety_set *set, struct arena *a,
	struct err *e) must_check;
struct safety_story { /* what both manifests begin with */
	struct instant when;
	const char *source, *host, *home, *dest, *run_id;
	uint64_t files;
};
enum ecode safety_write_toml(const struct safety_story *story, const struct safety_entry *first,
	struct buf *out, struct err *e) must_check;
enum ecode safety_write_json(const struct safety_story *story, const struct safety_entry *first,
	struct buf *out, struct err *e) must_check;

#endif
