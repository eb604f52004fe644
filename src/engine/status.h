/*
 * What this machine's runs are up to, what they left, and how a vault is: for
 * `status`.  Only looks: it takes no lock, repairs and removes nothing.
 */
#ifndef HF_ENGINE_STATUS_H
#define HF_ENGINE_STATUS_H

#include "engine/drill_record.h"
#include "engine/health.h"
#include "engine/incomplete.h"
#include "repo/lock.h"
#include "report/runlog.h"

enum run_concern {
	CONCERN_NONE,     /* ended well, or something later made up for it */
	CONCERN_LIVE,     /* at work now */
	CONCERN_DEAD,     /* ended without a report; nothing later of its kind succeeded */
	CONCERN_INCIDENT, /* the newest SEV-1 of its kind, and nothing later of its kind succeeded */
};
/*
 * Judge runs[0 … n), newest first; out has room for n.  Of one kind: the same command on the same vault, a backup also of
 * the same sources.  What ended by a choice of words (`partial`) makes up for a killed run, not for an incident.
 */
void status_judge(const struct run_info *runs, size_t n, enum run_concern *out);

/* What a person should do about a killed run of this command, before repeating it; one or two sentences, static. */
const char *status_step(const struct run_info *run);

/* Did this restore leave a stage that can go on?  Looked for where the run's record says that it restored to. */
bool status_left_stage(
	const struct os *os, const struct run_info *run, enum run_concern concern) must_check;

struct status_lock {
	struct lock_info info;
	enum lock_verdict verdict;
	bool gone; /* the next run that wants a lock removes it by itself */
};
struct status_vault { /* all memory is the arena's */
	struct id repo_id;
	const struct snapshot **latest; /* the newest of each host and paths, newest first */
	size_t latest_count, snapshot_count, snapshots_unreadable;
	struct drill_list drills;
	struct drill_drift drift; /* how the proofs have aged */
	struct incomplete_list incomplete;
	struct status_lock *locks;
	size_t lock_count, locks_unreadable;
	bool has_health; /* a state directory was given */
	struct health_summary health;
};
/* `state_dir` may be NULL.  refuses: those of the store, E_NOMEM */
enum ecode status_vault(struct session *s, const char *state_dir, struct arena *a,
	struct status_vault *out, struct err *e) must_check;
/* Does the vault need somebody?  Locks that go by themselves and live runs do not count. */
bool status_vault_calls(const struct status_vault *v);

#endif
