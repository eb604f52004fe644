/*
 * A kernel table for tests: counts every call, refuses or shortens the n-th
 * eligible one, watches descriptors and children, and has its own clocks and
 * random numbers, so that a run is the same every time.  Any thread may call.
 *
 * A fault loop:
 *	for (n = 1;; n++) {
 *		struct fault_os f;
 *		fault_os_init(&f, os_posix());
 *		f.plan = (struct fault_plan){ .nth = n, .error = EIO };
 *		rc = work(&f.os);
 *		assert_int_equal(f.open_fds, 0);
 *		fault_os_done(&f);
 *		if (f.fired == 0)
 *			break;    (the work makes fewer than n eligible calls)
 *	}
 */
#ifndef HF_TESTS_FAULT_OS_H
#define HF_TESTS_FAULT_OS_H

#include <pthread.h>

#include "os/os.h"

enum fault_slot {
	SLOT_OPEN,        /* for reading */
	SLOT_OPEN_CREATE, /* with O_CREAT, or for writing */
	SLOT_CLOSE,
	SLOT_READ,
	SLOT_PREAD,
	SLOT_WRITE,
	SLOT_PWRITE,
	SLOT_FSYNC,
	SLOT_SYNCFS,
	SLOT_FALLOCATE,
	SLOT_FTRUNCATE,
	SLOT_CLONE,
	SLOT_COPY_RANGE,
	SLOT_FADVISE,
	SLOT_LSEEK,
	SLOT_FLOCK,
	SLOT_STAT,
	SLOT_GETDENTS,
	SLOT_READLINK,
	SLOT_STATVFS,
	SLOT_MKDIR,
	SLOT_RENAME,
	SLOT_LINK,
	SLOT_SYMLINK,
	SLOT_MKNOD,
	SLOT_UNLINK,
	SLOT_CHOWN,
	SLOT_CHMOD,
	SLOT_UTIMENS,
	SLOT_LISTXATTR,
	SLOT_GETXATTR,
	SLOT_SETXATTR,
	SLOT_REMOVEXATTR,
	SLOT_RANDOM,
	SLOT_WALL,
	SLOT_MONOTONIC,
	SLOT_BOOTTIME,
	SLOT_SLEEP,
	SLOT_PID,
	SLOT_KILL,
	SLOT_IDS,
	SLOT_HOSTNAME,
	SLOT_USER_NAME,
	SLOT_GROUP_NAME,
	SLOT_USER_NUMBER,
	SLOT_GROUP_NUMBER,
	SLOT_CPUS,
	SLOT_CWD,
	SLOT_SPAWN,
	SLOT_WAIT,
};
#define SLOT_COUNT  (SLOT_WAIT + 1)
#define SLOT_BIT(s) (UINT64_C(1) << (s))
#define SLOTS_ALL   (SLOT_BIT(SLOT_COUNT) - 1)

extern const uint64_t SLOTS_MUTATING; /* what changes a file system */

enum fault_mode {
	FAULT_REFUSE, /* the call does not happen and gives -error (a refused close still closes) */
	FAULT_SHORT_ONE,  /* read, pread, write, pwrite move one byte */
	FAULT_SHORT_HALF, /* … or half of what was asked, at least one byte */
};

struct fault_plan {
	unsigned long nth; /* from 1; 0: nothing is refused */
	bool forever;      /* the n-th eligible call and all after it */
	int error; /* errno; a slot that cannot give it (EINTR, ENOSPC, EROFS) is not eligible */
	enum fault_mode mode;
	uint64_t slots; /* eligible ones; 0: all */
};

#define FAULT_LOG_CALLS 24
#define FAULT_LOG_TEXT  96

struct fault_os {
	struct os os; /* first; give &f.os away */
	struct fault_os *self;
	const struct os *under;
	pthread_mutex_t lock;

	struct fault_plan plan;
	unsigned long calls; /* all of them */
	unsigned long slot_calls[SLOT_COUNT];
	unsigned long eligible;     /* of which the plan could refuse */
	unsigned long fired;        /* refused or shortened */
	enum fault_slot fired_slot; /* of the latest */
	long open_fds;              /* opened and not closed */
	long children;              /* spawned and not waited for */

	bool real_sync; /* false: fsync and syncfs only look at the descriptor; no test outlives a power cut */
	bool real_clock; /* false: what follows; sleeping moves all three */
	struct instant wall;
	uint64_t mono_ns, boot_ns;
	uint64_t tick_ns; /* every look at a clock moves all three by this */
	uint64_t random;  /* state of splitmix64: set it to the seed */
	bool real_random;

	char log[FAULT_LOG_CALLS]
		[FAULT_LOG_TEXT]; /* a ring: call number c is at c % FAULT_LOG_CALLS */
};

/* No plan; clocks at 2026-01-02 03:04:05 UTC; seed 1. */
void fault_os_init(struct fault_os *f, const struct os *under);
void fault_os_done(struct fault_os *f);
/* Count from zero with another plan; clocks, random state and balances stay. */
void fault_os_plan(struct fault_os *f, struct fault_plan plan);
/* HOLDFAST_FAULT_STRIDE: loops over the n-th call take only every so-manieth, in builds many times slower.  1 unless told. */
unsigned long fault_stride(void);
/* Could this slot give this errno?  What the plan's eligibility means. */
bool fault_eligible(enum fault_slot slot, int error);
const char *fault_slot_name(enum fault_slot slot);
/* The latest calls, oldest first, one a line, on stderr: for a test that is about to fail. */
void fault_os_print_log(struct fault_os *f);

#endif
