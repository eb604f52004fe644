/* What `status` found, for its two ways of telling. */
#ifndef HF_CLI_STATUS_PAGE_H
#define HF_CLI_STATUS_PAGE_H

#include "cli/cli.h"
#include "engine/status.h"

struct status_page {
	const struct run_info *runs; /* newest first */
	const enum run_concern *concern;
	size_t n;
	size_t live, dead, incidents; /* of them */
	const bool *staged; /* of each run: it left the stage of a restore that can go on */
	size_t stages;
	bool named;  /* a vault was */
	bool opened; /* vault is filled; else why says why not */
	const char *location;
	struct status_vault vault;
	struct err why;
	bool attention;
};
/* The command of a run's owner record, to be typed as it stands; NULL when a word was not recorded or cannot be shown. */
const char *status_command(struct cli *cli, const struct run_info *run);
/* How a restore that left its stage goes on, and where the stage is. */
const char *status_resume(struct cli *cli, const struct run_info *run);
const char *status_stage(struct cli *cli, const struct run_info *run);
/* static */
#define STATUS_STAGE_STEP "Go on with it; or, when it is not wanted any more, remove its stage."
/* The record a run left in the vault; NULL: none, or no vault. */
const struct incomplete *status_left(const struct status_page *p, const char *run_id);
/* What to do about an incomplete backup in the vault: static. */
const char *status_incomplete_step(enum incomplete_state state);
const char *status_incomplete_name(enum incomplete_state state); /* "live", "dead", "unknown" */
const char *status_lock_name(
	const struct status_lock *lock); /* "alive", "gone", "too-old", "unknown" */

enum ecode status_tell_json(struct cli *cli, const struct status_page *p, struct err *e) must_check;
void status_tell_people(struct cli *cli, const struct status_page *p);

#endif
