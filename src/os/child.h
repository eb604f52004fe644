/* Run a helper program and take what it prints.  argv comes from the user; no shell is involved. */
#ifndef HF_OS_CHILD_H
#define HF_OS_CHILD_H

#include "base/arena.h"
#include "os/os.h"

/* Split at blanks with single and double quotes and backslash, as restic does.  E_USAGE on open quotes. */
enum ecode child_split(
	struct arena *a, const char *command, char ***argv, struct err *e) must_check;
/* Everything the child prints on stdout, appended to out.  E_CHILD (not started), E_CHILD_FAILED (status, signal) */
enum ecode child_capture(
	const struct os *os, char *const argv[], struct buf *out, struct err *e) must_check;

#endif
