/*
 * Typed refusals.  `struct err` lives on the caller's stack, owns nothing and
 * allocates nothing.  The table is err.def; numbers are stable for ever.
 * Threads: a struct err belongs to one thread at a time; copying is allowed.
 */
#ifndef HF_BASE_ERR_H
#define HF_BASE_ERR_H

#include "base/defs.h"

enum ecode {
	E_OK = 0,
#define X(name, number, class, caller, what, next) name = number,
#include "base/err.def"
#undef X
};

/* Exit classes: the frozen contract (refusals.md); value = exit code. */
enum eclass {
	CLASS_SUCCESS = 0,
	CLASS_INTERNAL = 1,
	CLASS_USAGE = 2,
	CLASS_PARTIAL = 3,
	CLASS_QUORUM_MISSED = 4,
	CLASS_VAULT_MISSING = 10,
	CLASS_BUSY = 11,
	CLASS_KEY_MISMATCH = 12,
	CLASS_SOURCE_UNREADABLE = 20,
	CLASS_STORE_FAILED = 21,
	CLASS_FETCH_FAILED = 22,
	CLASS_VERIFY_FAILED = 23,
	CLASS_DELETE_SYNC_FAILED = 24,
	CLASS_STATE_WRITE_FAILED = 25,
	CLASS_STATE_READ_FAILED = 26,
	CLASS_TIMEOUT = 27,
	CLASS_AUTH_FAILED = 28,
	CLASS_PROVIDER_ERROR = 29,
	CLASS_RESTORE_REFUSED = 30,
	CLASS_TAMPER = 31,
	CLASS_VAULT_UNHEALTHY = 32,
	CLASS_INDEX_CORRUPT = 33,
	CLASS_CAPACITY_REFUSED = 34,
	CLASS_ATOMICITY_REFUSED = 35,
	CLASS_KEY_MISSING = 36,
	CLASS_DRILL_FAILED = 37,
	CLASS_RESTORE_CONFLICT = 38,
	CLASS_SOURCE_SHRUNK = 39,
	CLASS_SIZE_BLOCKED = 40,
	CLASS_CONFIRMATION_REQUIRED = 41,
	CLASS_UNSUPPORTED_VERSION = 42,
	CLASS_PATH_UNSAFE = 43,
	CLASS_POLICY_REFUSED = 44,
	CLASS_INCOMPLETE_SNAPSHOT = 45,
	CLASS_DEPENDENCY_MISSING = 46,
	CLASS_ROLLBACK_DETECTED = 47,
	CLASS_IMMUTABILITY_UNMET = 48,
	CLASS_NOT_FOUND = 49,
	CLASS_INTERRUPTED = 130,
	CLASS_TERMINATED = 143,
};

/* What a caller may do about a refusal. */
enum ecaller {
	CALLER_TRY_AGAIN, /* nothing happened; repeating may succeed */
	CALLER_UNSURE,    /* it may have happened: look, then repeat */
	CALLER_ASK_HUMAN, /* somebody has to change something first */
	CALLER_CORRUPT,   /* stored bytes are not what was recorded; never retried */
	CALLER_BUG,       /* our own defect */
};

#define ERR_DETAIL_BYTES 768 /* NUL included; longer text is cut */
#define ERR_NOTE_BYTES   256 /* NUL included */
#define ERR_NOTES_MAX \
	6 /* five paths and how many more; later notes are dropped, the first say most */
#define ERR_NEXT_BYTES \
	512 /* NUL included; it may hold a token, so it is never cut: see err_next() */

struct err {
	enum ecode code;
	int sys; /* errno, or 0 */
	const char *file;
	int line;
	char detail[ERR_DETAIL_BYTES];
	char note[ERR_NOTES_MAX][ERR_NOTE_BYTES];
	unsigned notes;
	char next[ERR_NEXT_BYTES]; /* the last next step when it is made for this case; "": none */
};

/* A row of err.def. */
struct err_row {
	enum ecode code;
	const char *name; /* "E_STORE_ABSENT" */
	enum eclass class;
	enum ecaller caller;
	const char *what; /* one calm sentence, no full stop */
	const char *next; /* safest next step, imperative */
};

/* Fill `e` (may be NULL) and return `code`.  `sys` is an errno or 0. */
#define err_set(e, code, sys, ...) err_fill((e), (code), (sys), __FILE__, __LINE__, __VA_ARGS__)

enum ecode err_fill(struct err *e, enum ecode code, int sys, const char *file, int line,
	const char *fmt, ...) printf_like(6, 7);
/* Add context on the way up; never changes the code. */
void err_note(struct err *e, const char *fmt, ...) printf_like(2, 3);
/* A next step made for this case, told after those of the row.  What does not fit is left out whole. */
void err_next(struct err *e, const char *fmt, ...) printf_like(2, 3);

const struct err_row *err_row(enum ecode code); /* never NULL; E_BUG for an unknown number */
size_t err_rows(const struct err_row **rows);   /* the whole table, in order of number */
const char *eclass_name(enum eclass class);     /* "restore-refused" */
const char *eclass_severity(enum eclass class); /* "SEV-1" … "SEV-3", "-" for success */
/* The class's, unless this refusal has its own (SEVERITIES in err.c): what is shown to people and programs. */
const char *err_severity(enum ecode code);

/* Stop with a message: a broken invariant of ours, in release builds too. */
_Noreturn void invariant_broken(const char *what, const char *file, int line);
#define invariant(cond) ((cond) ? (void)0 : invariant_broken(#cond, __FILE__, __LINE__))

#endif
