#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct err_row rows[] = {
#define X(name, number, class, caller, what, next) { name, #name, class, caller, what, next },
#include "base/err.def"
#undef X
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

enum ecode
err_fill(struct err *e, enum ecode code, int sys, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return code;
	e->code = code;
	e->sys = sys;
	e->file = file;
	e->line = line;
	e->notes = 0;
	e->next[0] = '\0';
	va_start(ap, fmt);
	(void)vsnprintf(e->detail, sizeof(e->detail), fmt, ap); /* a cut text still says most */
	va_end(ap);
	return code;
}

void
err_note(struct err *e, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL || e->notes == ERR_NOTES_MAX)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(e->note[e->notes], ERR_NOTE_BYTES, fmt, ap);
	va_end(ap);
	e->notes++;
}

void
err_next(struct err *e, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (e == NULL)
		return;
	va_start(ap, fmt);
	n = vsnprintf(e->next, sizeof(e->next), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(e->next))
		e->next[0] = '\0';
}

const struct err_row *
err_row(enum ecode code)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (rows[i].code == code)
			return &rows[i];
	}
	return &rows[0];
}

size_t
err_rows(const struct err_row **out)
{
	*out = rows;
	return ROW_COUNT;
}

struct class_row {
	enum eclass class;
	const char *name, *severity;
};

static const struct class_row classes[] = {
	{ CLASS_SUCCESS, "success", "-" },
	{ CLASS_INTERNAL, "internal-error", "SEV-2" },
	{ CLASS_USAGE, "usage-error", "SEV-3" },
	{ CLASS_PARTIAL, "partial", "SEV-2" },
	{ CLASS_QUORUM_MISSED, "quorum-missed", "SEV-2" },
	{ CLASS_VAULT_MISSING, "vault-missing", "SEV-3" },
	{ CLASS_BUSY, "busy", "SEV-3" },
	{ CLASS_KEY_MISMATCH, "key-mismatch", "SEV-2" },
	{ CLASS_SOURCE_UNREADABLE, "source-unreadable", "SEV-2" },
	{ CLASS_STORE_FAILED, "store-failed", "SEV-2" },
	{ CLASS_FETCH_FAILED, "fetch-failed", "SEV-2" },
	{ CLASS_VERIFY_FAILED, "verify-failed", "SEV-1" },
	{ CLASS_DELETE_SYNC_FAILED, "delete-sync-failed", "SEV-2" },
	{ CLASS_STATE_WRITE_FAILED, "state-write-failed", "SEV-2" },
	{ CLASS_STATE_READ_FAILED, "state-read-failed", "SEV-2" },
	{ CLASS_TIMEOUT, "timeout", "SEV-3" },
	{ CLASS_AUTH_FAILED, "auth-failed", "SEV-2" },
	{ CLASS_PROVIDER_ERROR, "provider-error", "SEV-3" },
	{ CLASS_RESTORE_REFUSED, "restore-refused", "SEV-1" },
	{ CLASS_TAMPER, "tamper", "SEV-1" },
	{ CLASS_VAULT_UNHEALTHY, "vault-unhealthy", "SEV-2" },
	{ CLASS_INDEX_CORRUPT, "index-corrupt", "SEV-2" },
	{ CLASS_CAPACITY_REFUSED, "capacity-refused", "SEV-2" },
	{ CLASS_ATOMICITY_REFUSED, "atomicity-refused", "SEV-2" },
	{ CLASS_KEY_MISSING, "key-missing", "SEV-2" },
	{ CLASS_DRILL_FAILED, "drill-failed", "SEV-1" },
	{ CLASS_RESTORE_CONFLICT, "restore-conflict", "SEV-3" },
	{ CLASS_SOURCE_SHRUNK, "source-shrunk", "SEV-1" },
	{ CLASS_SIZE_BLOCKED, "size-blocked", "SEV-3" },
	{ CLASS_CONFIRMATION_REQUIRED, "confirmation-required", "SEV-3" },
	{ CLASS_UNSUPPORTED_VERSION, "unsupported-version", "SEV-2" },
	{ CLASS_PATH_UNSAFE, "path-unsafe", "SEV-1" },
	{ CLASS_POLICY_REFUSED, "policy-refused", "SEV-2" },
	{ CLASS_INCOMPLETE_SNAPSHOT, "incomplete-snapshot", "SEV-1" },
	{ CLASS_DEPENDENCY_MISSING, "dependency-missing", "SEV-3" },
	{ CLASS_ROLLBACK_DETECTED, "rollback-detected", "SEV-1" },
	{ CLASS_IMMUTABILITY_UNMET, "immutability-unmet", "SEV-2" },
	{ CLASS_NOT_FOUND, "not-found", "SEV-3" },
	{ CLASS_INTERRUPTED, "interrupted", "SEV-3" },
	{ CLASS_TERMINATED, "interrupted", "SEV-3" },
};

static const struct class_row *class_row(enum eclass class)
{
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		if (classes[i].class == class)
			return &classes[i];
	}
	return &classes[1];
}

const char *eclass_name(enum eclass class)
{
	return class_row(class)->name;
}

const char *eclass_severity(enum eclass class)
{
	return class_row(class)->severity;
}

/*
 * SEVERITIES: refusals that are graver than their class (refusals.md: "SEV-1 if it persists"), or less grave: that files
 * were changed since a backup is what a person asked about, not an incident.
 */
static const struct {
	enum ecode code;
	const char *severity;
} own_severities[] = {
	{ E_VAULT_UNWELL_STILL, "SEV-1" },
	{ E_VERIFY_DIFFERS, "SEV-3" },
};

const char *
err_severity(enum ecode code)
{
	for (size_t i = 0; i < sizeof(own_severities) / sizeof(own_severities[0]); i++) {
		if (own_severities[i].code == code)
			return own_severities[i].severity;
	}
	return eclass_severity(code == E_OK ? CLASS_SUCCESS : err_row(code)->class);
}

_Noreturn void
invariant_broken(const char *what, const char *file, int line)
{
	(void)fprintf(stderr, "holdfast: broken invariant: %s (%s:%d)\n", what, file, line);
	abort();
}
