/*
 * The member "holdfast" of a snapshot record: what the snapshot claims about
 * itself (docs/format.md, section 7).  Others ignore it and it may come from
 * anywhere, so reading believes nothing: bounds first, and a claim that
 * contradicts itself is no claim (DV-04).
 */
#ifndef HF_ENGINE_OWNRECORD_H
#define HF_ENGINE_OWNRECORD_H

#include "base/arena.h"
#include "base/json.h"
#include "repo/snapshot.h"

#define OWN_FORMAT 2 /* what is written; 1 is read too */

enum completeness {
	COMPLETENESS_UNSAID, /* no member: made by restic, or by something else */
	COMPLETENESS_COMPLETE,
	COMPLETENESS_PARTIAL,
	COMPLETENESS_UNREADABLE /* there is a member, but it cannot be understood */
};
const char *completeness_text(
	enum completeness c); /* "complete", "partial", "unsaid", "unreadable" */

struct own_source {
	struct slice path;
	uint64_t files, bytes;
};
struct own_record {
	struct slice run_id, continued_from; /* empty: none */
	enum completeness state;
	uint64_t unreadable, changed_while_read, vanished, excluded, sockets_skipped;
	bool has_digest;
	struct id list_digest; /* over the paths that are missing, with their causes */
	const struct own_source *sources;
	size_t source_count;
};
/* Appends the object. */
enum ecode own_write(const struct own_record *r, struct buf *out, struct err *e) must_check;
/*
 * `text`: the member verbatim; empty: COMPLETENESS_UNSAID.  Slices go into the arena.
 * refuses: E_OWN_FORMAT, E_OWN_VERSION, E_NOMEM, E_LIMIT; *out is then as it was
 */
enum ecode own_parse(
	struct slice text, struct arena *a, struct own_record *out, struct err *e) must_check;
/* For listings: any snapshot, any member; COMPLETENESS_UNREADABLE instead of a refusal.  *unreadable: paths it lacks. */
enum completeness own_completeness(const struct snapshot *s, uint64_t *unreadable);

#endif
