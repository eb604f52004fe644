/*
 * The gate before anything is written (DV-23, DV-53): a probe of the vault's
 * place, and the memory of how the earlier ones went, in
 * <state>/vaults/<repo id>/health.json.
 */
#ifndef HF_ENGINE_HEALTH_H
#define HF_ENGINE_HEALTH_H

#include "engine/session.h"

/* Failures in a row, or seconds since the first of them, after which it is SEV-1 (refusals.md, note to DV-53). */
#define HEALTH_STILL_COUNT 3U
#define HEALTH_STILL_S     86400

/*
 * Probe the vault; a success forgets earlier failures, a failure counts.
 * `state_dir` NULL: no history is kept, and no refusal grows graver.
 * refuses: E_VAULT_UNWELL (SEV-2), E_VAULT_UNWELL_STILL (SEV-1), E_STORE_ATOMIC, E_STORE_SPACE
 * A history that cannot be read or kept is told as a note and refuses nothing.
 */
enum ecode health_gate(struct session *s, const char *state_dir, struct err *e) must_check;

/*
 * The lock is the first thing a run writes: where the place refuses it, there is no probe after it, and this counts instead
 * (DV-53).  `rc`, `e`: the refusal of the lock; gives back what is to be told: that, or E_VAULT_UNWELL_STILL when it persists.
 * `state_dir` NULL, or a refusal for another reason: nothing happens.
 */
enum ecode health_lock_refused(
	const struct session *s, const char *state_dir, enum ecode rc, struct err *e);

#define HEALTH_REASON_BYTES (ERR_DETAIL_BYTES + 64) /* NUL included; a code and its detail */
struct health_summary {
	bool damaged;     /* there is a history and it is not one: all else is unknown */
	bool has_success; /* … */
	struct instant last_success;
	uint64_t failures; /* in a row, up to now; 0: the last probe passed or there was none */
	struct instant first_failure, last_failure; /* of these */
	char reason[HEALTH_REASON_BYTES];           /* of the last of these; "" */
};
/* What is remembered of a vault.  No history is no refusal: all zero.  refuses: E_REPORT_READ, E_NOMEM */
enum ecode health_summary(const struct os *os, const char *state_dir, const struct id *repo_id,
	struct health_summary *out, struct err *e) must_check;

#endif
