/*
 * What flags, HOLDFAST_… and RESTIC_… variables say, in this order of power.
 * HOLDFAST_X wins over RESTIC_X; a variable that is set but empty counts as unset.
 */
#ifndef HF_CLI_ENV_H
#define HF_CLI_ENV_H

#include "cli/options.h"
#include "os/os.h"

enum password_from {
	PASSWORD_PROMPT,
	PASSWORD_EMPTY,
	PASSWORD_FILE,
	PASSWORD_COMMAND,
	PASSWORD_FD,
	PASSWORD_TEXT
};
struct settings {
	const char *repo; /* NULL: not named */
	enum password_from password_from;
	const char *password; /* path, command or the text itself */
	int password_fd;
	const char *key_hint;
	uint64_t retry_lock_s;
	const char *compression, *pack_size,
		*read_concurrency; /* NULL: default; checked by backup */
	const char *host;
	double frames_per_s;   /* 0: default */
	const char *state_dir; /* …/holdfast; NULL when neither XDG_STATE_HOME nor HOME helps */
	const char *data_dir;  /* the same of XDG_DATA_HOME */
	const char *home;      /* HOME as it stands when it is absolute, else NULL */
};
/* The variable HOLDFAST_<stem>, else RESTIC_<stem>; NULL when neither has a text.  `get` is getenv, or a test's table. */
const char *env_get(char *(*get)(const char *name), const char *stem);
/* refuses: E_USAGE (contradictions, bad numbers), E_NO_REPO never: the command decides whether it needs one */
enum ecode env_settings(const struct os *os, const struct options *o,
	char *(*get)(const char *name), struct arena *a, struct settings *out,
	struct err *e) must_check;

/*
 * The environment for a helper program of the person's own (password command, --stdin-from-command):
 * this process's, without the passwords in it.  NULL-terminated, in the arena.
 */
enum ecode env_for_helper(struct arena *a, char ***out, struct err *e) must_check;

#endif
