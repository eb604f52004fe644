/*
 * Which process wrote a record, told so that its end can be proven later: the
 * machine, its boot, the process and when it began.  A number of a process
 * alone says nothing: it is given again, and another pid namespace has its own.
 * Threads: no state; any thread.
 */
#ifndef HF_OS_IDENTITY_H
#define HF_OS_IDENTITY_H

#include "base/json.h"
#include "os/os.h"

#define IDENTITY_MACHINE_BYTES 65 /* NUL included; machine-id(5) has 32 hexadecimal digits */
#define IDENTITY_BOOT_BYTES    40 /* NUL included; a boot id has 36 characters */

struct identity {                             /* "" or 0 where unknown */
	char machine[IDENTITY_MACHINE_BYTES]; /* of /etc/machine-id, as it is */
	char boot[IDENTITY_BOOT_BYTES];       /* random at every boot of the kernel */
	int64_t pid;
	uint64_t started_ticks; /* field 22 of /proc/<pid>/stat: clock ticks since the boot */
	uint64_t pid_ns;        /* inode of the namespace that `pid` is a number of */
	uint64_t
		time_ns; /* … and of the one that `started_ticks` is counted in: it may shift them */
};
/*
 * Of this process.  What the system does not tell stays unknown, which only makes others more careful.
 * refuses: E_IO_READ when there is no descriptor or memory left to ask with.
 */
enum ecode identity_self(const struct os *os, struct identity *out, struct err *e) must_check;

enum identity_state {
	IDENTITY_ALIVE,  /* proven: this very process is there */
	IDENTITY_GONE,   /* proven: it has ended */
	IDENTITY_UNKNOWN /* neither; treat it as alive */
};
/*
 * GONE: the same machine and another boot; or the same boot and pid namespace and no such process, another one that
 * began at another time, or one that has ended and was only not yet waited for.
 * A copied machine-id (cloned disks) makes "another boot" weaker: who deletes by this must know more (repo/lock).
 */
enum identity_state identity_judge(const struct os *os, const struct identity *other);
/* Why identity_judge() said GONE, or what is missing: one half sentence, static. */
const char *identity_why(const struct os *os, const struct identity *other);

/* A JSON object {machine, boot, pid, started_ticks, pid_ns, time_ns}. */
void identity_put(struct json_out *w, const struct identity *id);
/*
 * Read one; absent members and null stay unknown, others are skipped.
 * refuses: E_JSON_SYNTAX; E_JSON_RANGE for a text that is too long or holds what no such name has, or a wrong number.
 */
enum ecode identity_take(struct json *j, struct identity *out, struct err *e) must_check;

#endif
