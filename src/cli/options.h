/*
 * One table of commands and flags: used for parsing, for help, for naming the
 * nearest word, for `help --json`, and by the test that keeps the man page in step.
 * Parsing knows no values' meaning; it refuses what the table does not have.
 */
#ifndef HF_CLI_OPTIONS_H
#define HF_CLI_OPTIONS_H

#include "base/arena.h"
#include "base/err.h"

enum command_id {
	CMD_INIT,
	CMD_BACKUP,
	CMD_PREFLIGHT,
	CMD_SNAPSHOTS,
	CMD_LS,
	CMD_RESTORE,
	CMD_RESTORE_SWAP,
	CMD_RESTORE_IN_PLACE,
	CMD_RESTORE_UNDO,
	CMD_CHECK,
	CMD_VERIFY,
	CMD_DRILL_HISTORY, /* before the command of one word */
	CMD_DRILL,
	CMD_KEY_LIST,
	CMD_KEY_ADD,
	CMD_KEY_PASSWD,
	CMD_KEY_REMOVE,
	CMD_UNLOCK,
	CMD_CAT,
	CMD_RUNS,
	CMD_STATUS,
	CMD_AUDIT_VERIFY,
	CMD_AUDIT_SHOW,
	CMD_HELP,
	CMD_VERSION,
};
#define COMMANDS (CMD_VERSION + 1)

enum flag {
	/* global */
	FLAG_REPO,
	FLAG_REPOSITORY_FILE,
	FLAG_PASSWORD_FILE,
	FLAG_PASSWORD_COMMAND,
	FLAG_PASSWORD_FD,
	FLAG_INSECURE_NO_PASSWORD,
	FLAG_KEY_HINT,
	FLAG_JSON,
	FLAG_QUIET,
	FLAG_VERBOSE,
	FLAG_NO_LOCK,
	FLAG_RETRY_LOCK,
	FLAG_CACHE_DIR,
	FLAG_NO_CACHE,
	FLAG_HELP,
	FLAG_VERSION,
	/* backup */
	FLAG_DRY_RUN,
	FLAG_TAG,
	FLAG_HOST,
	FLAG_TIME,
	FLAG_PARENT,
	FLAG_FORCE,
	FLAG_EXCLUDE,
	FLAG_IEXCLUDE,
	FLAG_EXCLUDE_FILE,
	FLAG_IEXCLUDE_FILE,
	FLAG_EXCLUDE_CACHES,
	FLAG_EXCLUDE_IF_PRESENT,
	FLAG_EXCLUDE_LARGER_THAN,
	FLAG_ONE_FILE_SYSTEM,
	FLAG_SYMLINKS,
	FLAG_FILES_FROM,
	FLAG_FILES_FROM_VERBATIM,
	FLAG_FILES_FROM_RAW,
	FLAG_STDIN,
	FLAG_STDIN_FILENAME,
	FLAG_STDIN_FROM_COMMAND,
	FLAG_COMPRESSION,
	FLAG_PACK_SIZE,
	FLAG_READ_CONCURRENCY,
	FLAG_WITH_ATIME,
	FLAG_IGNORE_CTIME,
	FLAG_IGNORE_INODE,
	FLAG_SKIP_IF_UNCHANGED,
	FLAG_ON_UNREADABLE,
	FLAG_MIN_FILES,
	FLAG_MIN_BYTES,
	FLAG_MAX_SHRINK,
	FLAG_ACCEPT_SHRINK,
	FLAG_ACCEPT_CLOCK,
	FLAG_CAPACITY,
	FLAG_NO_RESUME,
	FLAG_CHECKPOINT_EVERY,
	FLAG_VERIFY_AFTER,
	/* restore */
	FLAG_TARGET,
	FLAG_INCLUDE,
	FLAG_IINCLUDE,
	FLAG_INCLUDE_FILE,
	FLAG_IINCLUDE_FILE,
	FLAG_RESTORE_DRY_RUN,
	FLAG_SPARSE,
	FLAG_VERIFY,
	FLAG_OWNERSHIP_BY_NAME,
	FLAG_STRICT_METADATA,
	FLAG_PLAN,
	FLAG_ARTIFACTS,
	FLAG_DEST,
	FLAG_MANIFEST,
	FLAG_AT,
	FLAG_RESTORE_FILES_FROM,
	FLAG_STRIP,
	FLAG_MAP,
	FLAG_NO_PRE_RESTORE_BACKUP,
	FLAG_YES_WITHOUT_SAFETY_COPY,
	FLAG_MAX_RESTORE_BACKUPS,
	FLAG_UNDO_DRY_RUN,
	FLAG_RESUME,
	FLAG_ALLOW_PARTIAL,
	FLAG_OWNER_MAP,
	FLAG_METADATA,
	FLAG_NO_OWNER,
	FLAG_NO_MODE,
	FLAG_NO_TIMES,
	FLAG_NO_XATTRS,
	FLAG_NO_ACLS,
	FLAG_NO_HARDLINKS,
	FLAG_NO_DEVICES,
	FLAG_NO_SETUID,
	FLAG_NO_SPARSE,
	FLAG_ALLOW_SETUID,
	FLAG_OWNER,
	FLAG_MODE,
	FLAG_TIMES,
	FLAG_XATTRS,
	FLAG_ACLS,
	FLAG_HARDLINKS,
	FLAG_DEVICES,
	FLAG_TREE,
	FLAG_ON_CONFLICT,
	/* which snapshots */
	FLAG_ONLY_HOST,
	FLAG_ONLY_TAG,
	FLAG_ONLY_PATH,
	FLAG_LATEST,
	/* ls */
	FLAG_LONG,
	FLAG_RECURSIVE,
	/* check */
	FLAG_READ_DATA,
	FLAG_READ_DATA_SUBSET,
	/* keys */
	FLAG_NEW_PASSWORD_FILE,
	FLAG_KEY_USER,
	FLAG_KEY_HOST,
	/* unlock */
	FLAG_REMOVE_ALL,
	/* status */
	FLAG_CHECK,
	/* verify */
	FLAG_LEVEL,
	FLAG_AGAINST,
	FLAG_VERIFY_ARTIFACTS,
	/* drill */
	FLAG_SAMPLE,
	FLAG_TARGET_PARENT,
	FLAG_NO_SAVED_PASSWORD,
};
#define FLAGS (FLAG_NO_SAVED_PASSWORD + 1)

enum flag_kind {
	FLAG_SWITCH,  /* given or not; "=true" and "=false" are understood */
	FLAG_COUNTED, /* -v, -vv, --verbose=2 */
	FLAG_ONE,     /* the last value counts */
	FLAG_MANY,    /* every value counts */
};
struct flag_row {
	const char *name; /* without dashes */
	char letter;      /* or 0 */
	enum flag_kind kind;
	const char *value; /* "DIR"; NULL for switches */
	const char *help;  /* one sentence without full stop */
};
struct example {
	const char *text, *command;
};
#define EXAMPLES_MAX      5
#define COMMAND_FLAGS_MAX 64
#define COMMAND_EXITS_MAX 32
struct command_row {
	const char *name;      /* "key list" */
	const char *arguments; /* "SNAPSHOT [DIR…]" */
	const char *summary;
	const char *more; /* a paragraph, or NULL */
	struct example examples[EXAMPLES_MAX];
	enum flag flags[COMMAND_FLAGS_MAX];
	size_t flag_count;
	size_t min_args, max_args;
	bool writes; /* changes the vault: needs its run folder, refuses --no-lock */
	/* What it can meet besides success, ascending, ended by CLASS_SUCCESS: part of the contract
	 * (docs/cli.md); tests/cli/test_truth.py provokes every one */
	enum eclass exits[COMMAND_EXITS_MAX];
};
const struct command_row *command_row(enum command_id id);
const struct flag_row *flag_row(enum flag flag);
#define GLOBAL_FLAGS (FLAG_VERSION + 1) /* the first ones of enum flag */
#define ARGS_ANY     ((size_t)-1)

struct flag_value {
	unsigned count; /* how often given; of FLAG_COUNTED the level */
	const char **v; /* in argv's memory */
	size_t n;
};
struct options {
	bool has_command;
	enum command_id command;
	struct flag_value flags[FLAGS];
	const char **args; /* behind the command; NULL-terminated */
	size_t arg_count;
};
/* refuses: E_USAGE (the detail names the nearest word), E_NOMEM */
enum ecode options_parse(int argc, char *const argv[], struct arena *a, struct options *out,
	struct err *e) must_check;

static inline bool
flag_given(const struct options *o, enum flag flag)
{
	return o->flags[flag].count > 0;
}
/* The last value, or NULL. */
static inline const char *
flag_text(const struct options *o, enum flag flag)
{
	return o->flags[flag].n == 0 ? NULL : o->flags[flag].v[o->flags[flag].n - 1];
}
/* A command by its words ("key", "list"); how many words were used, 0 when unknown. */
size_t command_find(const char *const *words, size_t n, enum command_id *out);

/* The word of `words` that is nearest to `typed`, or NULL when none is near. */
const char *nearest_word(const char *typed, const char *const *words, size_t n);

#endif
