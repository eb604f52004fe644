/*
 * What a backup of these sources would meet, told before it writes (DV-25).
 * The backup's own walk and the backup's own gates, without reading content:
 * what passes here passes there, unless something changes in between.  Nothing
 * is stored; the vault's health probe writes a file and takes it away again.
 */
#ifndef HF_ENGINE_PREFLIGHT_H
#define HF_ENGINE_PREFLIGHT_H

#include "engine/backup.h"
#include "report/cause.h"

#define PREFLIGHT_SAMPLES_MAX  25 /* DV-25 */
#define PREFLIGHT_WARNINGS_MAX 25
#define PREFLIGHT_GATES_MAX    9

enum gate_verdict {
	GATE_PASS,
	GATE_REFUSE,
	GATE_SKIPPED /* not asked for, or not judged because an earlier one refuses */
};
struct preflight_gate {
	const char *name; /* "overlap" */
	enum gate_verdict verdict;
	struct err why; /* of GATE_REFUSE */
};
struct preflight_sample {
	const char *path;
	enum cause cause;
	const char *why;
};
struct preflight_rule {
	const char *rule; /* as a person would type it */
	uint64_t count, bytes;
};
struct preflight_source {
	const char *path; /* absolute */
	uint64_t files, bytes;
};
struct preflight {               /* texts are in the caller's arena */
	const char *source_root; /* the source; of several the deepest directory above all */
	const struct preflight_source *sources;
	size_t source_count;
	bool walked; /* false: the counts are not there, because an early gate refuses */
	uint64_t file_count, total_bytes; /* what could be looked at; excluded things not counted */
	uint64_t
		skipped_symlinks; /* where they lead is not saved in their place: kept as links, or left out */
	uint64_t followed_symlinks, left_out_symlinks;
	uint64_t sockets_skipped;
	uint64_t permission_denied, locked_or_in_use, not_found, other_io; /* unreadable paths */
	struct preflight_sample sample[PREFLIGHT_SAMPLES_MAX];
	size_t sample_count;
	const char *warning[PREFLIGHT_WARNINGS_MAX];
	size_t warning_count, warnings_left_out;
	uint64_t excluded_count, excluded_bytes;
	const struct preflight_rule *rules; /* only those that left something out */
	size_t rule_count;
	bool has_parent;
	struct id parent;
	bool space_known; /* a vault elsewhere does not tell */
	uint64_t free_bytes, estimated_new_bytes, needed_bytes;
	struct preflight_gate gate[PREFLIGHT_GATES_MAX];
	size_t gate_count;
	const struct err
		*refusal; /* of the first gate that refuses; NULL: a backup would be allowed */
};
/*
 * E_OK: judged, see out->refusal.  Loads the index itself; needs no lock.
 * refuses: E_SRC_NONE, E_INTERRUPTED, E_SNAPSHOT_ABSENT (--parent), those of index and listing.
 */
enum ecode preflight_run(struct session *s, const struct backup_args *args, struct arena *a,
	struct preflight *out, struct err *e) must_check;
const char *gate_verdict_text(enum gate_verdict verdict); /* "pass" */

#endif
