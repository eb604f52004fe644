/*
 * Restore into a destination that is absent or empty: plan → stage → verify →
 * promote.  The stage is `<dest>.holdfast_stage/<run_id>/stage_root`, on the
 * destination's file system; one rename puts it in place.  Before that rename
 * the destination is untouched; a refusal says where the stage is.
 */
#ifndef HF_ENGINE_RESTORE_H
#define HF_ENGINE_RESTORE_H

#include "engine/ownrecord.h"
#include "engine/session.h"
#include "fs/rules.h"

enum restore_verify {
	VERIFY_HASH,
	VERIFY_SIZE,
	VERIFY_NONE
};
struct restore_args {
	const char *snapshot;                 /* "latest", id, "id:sub/folder" */
	const struct snapshot_filter *filter; /* may be NULL */
	const char *dest;
	const char *run_id;
	const struct rules *includes,
		*excludes; /* may be NULL; matched against the path in the snapshot */
	bool dry_run;
	bool sparse; /* leave holes for runs of zeros */
	bool ownership_by_name;
	bool strict_metadata; /* an attribute that cannot be applied refuses (nothing promoted) */
	enum restore_verify verify;
};
struct restore_result {
	struct id snapshot_id;
	enum completeness completeness;      /* what the snapshot says of itself */
	uint64_t lacking;                    /* paths it says it lacks */
	uint64_t files, dirs, others, bytes; /* planned = done on success */
	uint64_t verified_files, verified_bytes;
	uint64_t metadata_problems;
	uint64_t sockets_skipped;
	const char
		*stage; /* kept stage directory after a refusal, else NULL; owned by the result */
	bool promoted;
};
/*
 * refuses: E_DEST_* (before the first byte), E_PATH_UNSAFE, E_RESTORE_DAMAGED, E_STAGE_IO, E_STAGE_VERIFY, E_PROMOTE,
 * E_NOTHING_MATCHED, E_SUBPATH_ABSENT, E_SNAPSHOT_*, E_INTERRUPTED.
 * Restoring as non-root: owner refusals (EPERM) are counted, reported once as a note, and are not a failure.
 */
enum ecode restore_run(struct session *s, const struct restore_args *args,
	struct restore_result *out, struct err *e) must_check;
void restore_result_done(struct restore_result *r);

#endif
