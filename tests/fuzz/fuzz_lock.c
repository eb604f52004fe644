/* Any bytes as a lock's text; what is read must be judged without a signal being sent. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "repo/lock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ARENA ((size_t)64 << 20)

static int
only_asked(const struct os *os, int pid, int sig)
{
	(void)os;
	invariant(pid > 0 && sig == 0);
	return -ESRCH;
}

static int
host(const struct os *os, char *p, size_t len)
{
	(void)os;
	invariant(len > 1);
	(void)memcpy(p, "h", 2);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(arena_done) struct arena a = arena_limit(FUZZ_ARENA);
	struct lock_info info = { .pid = 77 };
	struct err e = { .code = E_OK };
	enum ecode rc = lock_parse(data, size, &a, &info, &e);
	struct os os = *os_posix();

	os.kill = only_asked;
	os.hostname = host;
	invariant(rc == E_OK || (rc == e.code && info.pid == 77));
	if (rc == E_OK)
		invariant(lock_judge(&os, &info) != LOCK_ALIVE); /* kill says: not there */
	return 0;
}
