/*
 * A disk that can be crashed at any moment, in every way POSIX allows.  Its
 * table is the real one, every call happens, and those that change something
 * below `root` are recorded (a fault_os above it brings clocks; give that real_sync).  Afterwards any prefix of the record can be turned
 * into what a power cut at that moment may leave:
 *
 *  - data of a file is there up to its last fsync; what was written later is
 *    lost, there, there in parts, or there as zeros;
 *  - a name (made, renamed, removed) is there for certain only after an fsync
 *    of its directory; before that each may or may not have happened, a rename
 *    wholly or not at all.
 *
 * Harsher than the file systems we know: ext4 and xfs keep names in order.
 * One thread only: the serial twin.  Limits are asserted.
 */
#ifndef HF_TESTS_CRASH_DISK_H
#define HF_TESTS_CRASH_DISK_H

#include "os/os.h"

enum crash_choice {
	CRASH_LOSES,  /* nothing that was not synced */
	CRASH_KEEPS,  /* everything that was called */
	CRASH_ZEROS,  /* all names; unsynced data as zeros */
	CRASH_DATA,   /* no unsynced name, all data */
	CRASH_RANDOM, /* of each unsynced thing a chance */
};
#define CRASH_FIXED 4 /* the choices before CRASH_RANDOM */

struct crash_disk {
	struct os os; /* first; give &d.os away */
	const struct os *under;
	struct crash_record *record;

	unsigned long calls; /* recorded so far */
	unsigned long
		stop_at; /* from this call on everything that changes refuses with EIO: a kill; 0: never */
	bool stopped;

	/* the deliberate defect: such an fsync is told, not done; `path` is relative to root */
	bool (*forget)(const char *path, bool is_dir);
	unsigned long forgotten;
};

/* All that is below `root` (absolute, no slash at the end) now is durable. */
void crash_disk_init(struct crash_disk *d, const char *root);
void crash_disk_done(struct crash_disk *d);

/*
 * Make `to` (absent) what a cut after the first `calls` calls leaves of `root`.
 * False, and nothing is made, when a state like this was made already: a number
 * of states is a number of different ones.
 */
bool crash_disk_make(struct crash_disk *d, unsigned long calls, enum crash_choice how,
	uint64_t *seed, const char *to);
/* "fsync snapshots/ab…-tmp-1": call number n (from 1), for messages. */
const char *crash_disk_call(const struct crash_disk *d, unsigned long n);

#endif
