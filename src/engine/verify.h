/*
 * Is a snapshot still what it was (DF-20), and is a directory still equal to
 * it?  The vault and the directory are only read; what was found is written
 * into a directory of reports, also when the verification was cut off.
 */
#ifndef HF_ENGINE_VERIFY_H
#define HF_ENGINE_VERIFY_H

#include "engine/match.h"

struct verify_args {
	const char *snapshot;                 /* "latest", id, "id:sub/folder" */
	const struct snapshot_filter *filter; /* may be NULL */
	const char *against;                  /* a directory; NULL: the vault alone */
	enum match_level level;
	const char *run_id;
	const char *reports; /* where they are written, made if missing; NULL: nowhere */
};
struct verify_result {
	struct id snapshot_id;
	struct instant time; /* of the snapshot */
	struct match_counts counts;
	uint64_t files_ok, failed; /* paths of any kind, those only the directory has too */
};
/*
 * refuses: E_VERIFY_FAILED (the vault), E_VERIFY_DIFFERS (the directory), E_SNAPSHOT_…, E_SUBPATH_ABSENT, E_DEST_PARENT,
 * those of match_run; E_REPORT_WRITE when nothing else failed
 */
enum ecode verify_run(struct session *s, const struct verify_args *args, struct verify_result *out,
	struct err *e) must_check;
/* "23 files verified, 1 failed" (DF-25) */
#define VERIFY_TEXT_BYTES 96
const char *verify_text(const struct verify_result *r, char out[static VERIFY_TEXT_BYTES]);

#endif
