#include "report/cause.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct cause_row {
	const char *name, *brief, *sentence;
	bool can_retry;
};

/* In the order of enum cause. */
static const struct cause_row rows[CAUSE_COUNT] = {
	[CAUSE_NONE] = { "none", "nothing is wrong", "nothing is wrong", false },
	[CAUSE_PERMISSION] = { "permission", "permission denied",
		"permission denied. Run as a user who may read it (sudo), or leave it out with --exclude",
		true },
	[CAUSE_NOT_FOUND] = { "not_found", "not there",
		"it is not there. It may have been deleted, renamed or not be mounted: check the path, or take it off the list",
		false },
	[CAUSE_VANISHED] = { "vanished", "vanished meanwhile",
		"it vanished after it was listed. Nothing needs to be done if it was deleted on purpose",
		false },
	[CAUSE_DISK_FULL] = { "disk_full", "no space left",
		"no space is left. Free some space there, or choose a larger place, then try again",
		true },
	[CAUSE_READ_ONLY] = { "read_only", "read-only file system",
		"its file system may only be read. Mount it writable, or choose another place",
		false },
	[CAUSE_BUSY] = { "busy", "in use",
		"another program uses it. Close that program, then try again", true },
	[CAUSE_LOCKED] = { "locked", "locked by another program",
		"another program has it locked. Close that program, then try again", true },
	[CAUSE_TIMEOUT] = { "timeout", "no answer in time",
		"no answer came in time. Check the connection or the device, then try again",
		true },
	[CAUSE_TEMP_FAILURE] = { "temp_failure", "not available just now",
		"it is not available just now. Try again in a moment", true },
	[CAUSE_ALREADY_EXISTS] = { "already_exists", "already there",
		"something of this name is already there. Choose another place, or move what is there",
		false },
	[CAUSE_INVALID_PATH] = { "invalid_path", "not a usable path",
		"the path cannot be used as it is: too long, or a part of it is no directory. Correct it, or leave it out with --exclude",
		false },
	[CAUSE_SYMLINK_LOOP] = { "symlink_loop", "symbolic links in a circle",
		"symbolic links lead in a circle. Mend the link, or leave it out with --exclude",
		false },
	[CAUSE_IO_ERROR] = { "io_error", "input/output error",
		"the device reported an error. Check the medium and its cable before anything else, and save the rest first; leave it out with --exclude",
		false },
	[CAUSE_TOO_MANY_FILES] = { "too_many_files", "too many open files",
		"too many files are open. Raise the limit (ulimit -n), then run again", false },
	[CAUSE_CHANGED] = { "changed", "became something else",
		"it became something else while it was looked at. Try again when the program that writes it is quiet",
		true },
	[CAUSE_UNKNOWN] = { "unknown", "refused by the system",
		"the system refused it for a reason this program has no advice for. Look at it by hand, or leave it out with --exclude",
		false },
};

static enum cause
cause_of_errno(int sys)
{
	switch (sys) {
	case EACCES:
	case EPERM:
		return CAUSE_PERMISSION;
	case ENOENT:
		return CAUSE_NOT_FOUND;
	case ENOSPC:
	case EDQUOT:
		return CAUSE_DISK_FULL;
	case EROFS:
		return CAUSE_READ_ONLY;
	case EBUSY:
	case ETXTBSY:
		return CAUSE_BUSY;
	case ETIMEDOUT:
		return CAUSE_TIMEOUT;
	case EAGAIN:
	case EINTR:
		return CAUSE_TEMP_FAILURE;
	case EEXIST:
	case ENOTEMPTY:
		return CAUSE_ALREADY_EXISTS;
	case ENOTDIR:
	case EISDIR:
	case ENAMETOOLONG:
		return CAUSE_INVALID_PATH;
	case ELOOP:
		return CAUSE_SYMLINK_LOOP;
	case EIO:
		return CAUSE_IO_ERROR;
	case EMFILE:
	case ENFILE:
		return CAUSE_TOO_MANY_FILES;
	case ESTALE: /* the server's file behind this name is another one now */
		return CAUSE_CHANGED;
	default:
		return CAUSE_UNKNOWN;
	}
}

static bool
is_space(enum ecode code)
{
	return code == E_IO_SPACE || code == E_STORE_SPACE || code == E_DEST_SPACE;
}

enum cause
cause_of(enum ecode code, int sys)
{
	if (code == E_OK)
		return CAUSE_NONE;
	if (code == E_SRC_CHANGED)
		return CAUSE_CHANGED;
	if (code == E_SRC_VANISHED)
		return CAUSE_VANISHED;
	if (code == E_SRC_MISSING)
		return CAUSE_NOT_FOUND;
	if (code == E_SRC_BUSY)
		return sys == EAGAIN ? CAUSE_LOCKED : CAUSE_BUSY;
	if (is_space(code))
		return CAUSE_DISK_FULL;
	if (code == E_STORE_RDONLY)
		return CAUSE_READ_ONLY;
	if (code == E_SRC_DENIED && sys == 0)
		return CAUSE_PERMISSION;
	return cause_of_errno(sys);
}

const char *
cause_name(enum cause cause)
{
	return rows[cause].name;
}

bool
cause_from_name(struct slice name, enum cause *out)
{
	for (unsigned i = 0; i < CAUSE_COUNT; i++) {
		if (name.len == strlen(rows[i].name) &&
			memcmp(name.p, rows[i].name, name.len) == 0) {
			*out = (enum cause)i;
			return true;
		}
	}
	return false;
}

bool
cause_can_retry(enum cause cause)
{
	return rows[cause].can_retry;
}

const char *
cause_short(enum cause cause)
{
	return rows[cause].brief;
}

enum ecode
cause_sentence(enum cause cause, const struct cause_facts *facts, struct buf *out, struct err *e)
{
	enum ecode rc = E_OK;

	if (facts != NULL && facts->detail != NULL)
		rc = buf_printf(out, e, "%s: ", facts->detail);
	if (rc == E_OK && cause == CAUSE_DISK_FULL && facts != NULL && facts->has_space)
		rc = buf_printf(out, e, "%" PRIu64 " bytes are needed and %" PRIu64 " are free: ",
			facts->need_bytes, facts->free_bytes);
	return rc == E_OK ? buf_add_str(out, rows[cause].sentence, e) : rc;
}
