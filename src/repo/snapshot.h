/* Snapshot records (format document 7). */
#ifndef HF_REPO_SNAPSHOT_H
#define HF_REPO_SNAPSHOT_H

#include "base/arena.h"
#include "base/instant.h"
#include "base/json.h"
#include "repo/vault.h"

struct snapshot_summary {
	struct instant backup_start, backup_end;
	uint64_t files_new, files_changed, files_unmodified;
	uint64_t dirs_new, dirs_changed, dirs_unmodified;
	uint64_t data_blobs, tree_blobs, data_added, data_added_packed;
	uint64_t total_files_processed, total_bytes_processed;
};
struct snapshot {
	struct id id; /* of the record; not part of its text */
	struct instant time;
	bool has_parent, has_original, has_summary;
	struct id parent, tree, original;
	const struct slice *paths, *excludes, *tags;
	size_t path_count, exclude_count, tag_count;
	struct slice hostname, username, program_version;
	uint32_t uid, gid;
	struct snapshot_summary summary;
	struct slice
		holdfast; /* our member "holdfast": a JSON object, verbatim; empty when absent */
};
/* The counts as members of the object that is open: the record and `backup --json` tell the same. */
void snapshot_put_counts(struct json_out *w, const struct snapshot_summary *s);
enum ecode snapshot_write(const struct snapshot *s, struct buf *out, struct err *e) must_check;
/* Slices go into the arena.  No tree: E_SNAPSHOT_FORMAT */
enum ecode snapshot_parse(const void *json, size_t len, struct arena *a, struct snapshot *out,
	struct err *e) must_check;
enum ecode snapshot_load(struct vault *v, struct blob_codec *c, const struct id *id,
	struct arena *a, struct snapshot *out, struct err *e) must_check;

struct snapshot_broken { /* a record that is there and cannot be used */
	struct id id;
	enum ecode code; /* why */
};
struct snapshot_list {
	struct snapshot *v; /* in the arena, oldest first, then by id */
	size_t n;
	size_t unreadable; /* records that could not be read; the first refusal of them is in `first_unreadable` */
	struct err first_unreadable;
	struct snapshot_broken *broken; /* in the arena: all of the unreadable, or NULL */
};
/* All snapshots.  An unreadable one is counted, never hidden. */
enum ecode snapshot_list_load(struct vault *v, struct blob_codec *c, struct arena *a,
	struct snapshot_list *out, struct err *e) must_check;

struct snapshot_filter { /* format document 7: hosts any, paths all, tags: any list, all within */
	const char *const *hosts;
	size_t host_count;
	const char *const *paths; /* absolute, cleaned */
	size_t path_count;
	const char *const *tags; /* each "a,b" is one list */
	size_t tag_count;
};
bool snapshot_matches(const struct snapshot *s, const struct snapshot_filter *f);
/* "latest", "latest~N", full or short id, each optionally ":sub/folder" (given back in *sub, NULL when none).
 * refuses: E_SNAPSHOT_ABSENT, E_ID_*; an id that names a damaged record only: what the record was refused with (DV-50, DV-52) */
enum ecode snapshot_select(const struct snapshot_list *list, const struct snapshot_filter *f,
	const char *text, struct arena *a, const struct snapshot **out, const char **sub,
	struct err *e) must_check;
/* The parent for a new backup (11.3); NULL when there is none. */
const struct snapshot *snapshot_parent(const struct snapshot_list *list, const char *host,
	const char *const *paths, size_t path_count, struct instant not_after);

#endif
