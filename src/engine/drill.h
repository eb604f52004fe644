/*
 * A drill (DV-30…32): a snapshot is restored into a private directory, and that is held against the snapshot by means
 * that share nothing with the restoring.  A drill can fail: a copy with one flipped byte must be caught by the same
 * comparing function.  Neither the snapshot nor anything outside of the private directory is changed.
 */
#ifndef HF_ENGINE_DRILL_H
#define HF_ENGINE_DRILL_H

#include "engine/drill_record.h"
#include "engine/match.h"

/* The event of a note: an earlier drill, which was killed, left its private directory. */
#define DRILL_NOTE_LEFT "drill_left_over"
enum drill_kind {
	DRILL_FULL,
	DRILL_PERCENT, /* of the files, 1 … 100 */
	DRILL_FILES    /* so many files, at least 1 */
};
struct drill_args {
	const char *snapshot;                 /* "latest" is resolved now */
	const struct snapshot_filter *filter; /* may be NULL */
	const char *parent;                   /* where the private directory is made */
	const char *run_id;
	const char *state_dir; /* NULL: no record there */
	enum drill_kind kind;
	uint64_t amount;
	/* the comparing function; NULL: match_content.  Tests give a broken one.  Called by several threads at a time. */
	enum ecode (*same)(
		struct match_hand *h, const struct node *node, int fd, bool *same, struct err *e);
};
struct drill_result {
	struct drill_record record;
	struct match_counts counts;
	uint64_t live_files;   /* also equal to the live file, which is unchanged since */
	uint64_t live_changed; /* of the files, those whose live file is gone or another now */
	bool recorded;
	bool control; /* the flipped byte was caught */
	const char *
		kept; /* the evidence, or what could not be removed; owned; NULL: nothing is left */
};
/*
 * refuses: E_DRILL_FAILED, E_DRILL_CONTROL (evidence is kept), E_DRILL_UNKNOWN; without a verdict of its own what the
 * surroundings refuse (no such snapshot, no space, interrupted); E_REPORT_WRITE when the record could not be kept
 */
enum ecode drill_run(struct session *s, const struct drill_args *args, struct drill_result *out,
	struct err *e) must_check;
void drill_result_done(struct drill_result *r);

#endif
