/*
 * Preloaded by the scenarios: at the n-th call of one kind whose path fits a
 * pattern, run a command first, or let it and all after it fail.
 * So a disk fills up, a mount goes away or a file becomes another one at a
 * moment that the clock cannot hit.  The program itself is the real one.
 *
 *	MEDDLE="CALL NTH GLOB"   openat, statx, write, read or fsync; of those whose path fits GLOB
 *	MEDDLE_DO=COMMAND        run by sh, before the call
 *	MEDDLE_ERRNO=NUMBER      this call and all such calls after it fail with it
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD_MAX 16
#define TEXT_MAX 512

static char wanted_call[WORD_MAX], wanted_glob[TEXT_MAX], command[TEXT_MAX * 8];
static unsigned long nth, met;
static int failure;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void
begin(void)
{
	const char *what = getenv("MEDDLE"), *run = getenv("MEDDLE_DO"),
		   *error = getenv("MEDDLE_ERRNO");

	if (what == NULL || sscanf(what, "%15s %lu %511[^\n]", wanted_call, &nth, wanted_glob) < 2)
		nth = 0;
	if (run != NULL)
		(void)snprintf(command, sizeof(command), "%s", run);
	if (error != NULL)
		failure = atoi(error);
	(void)unsetenv("LD_PRELOAD"); /* not for the command */
}

static void
full_name(int fd, const char *path, char out[static TEXT_MAX * 2])
{
	char link[64];
	ssize_t len = 0;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (path == NULL || (path[0] != '/' && fd != AT_FDCWD))
		len = readlink(link, out, TEXT_MAX);
	if (len < 0)
		len = 0;
	(void)snprintf(out + len, TEXT_MAX, "%s%s",
		len > 0 && path != NULL && path[0] != '\0' ? "/" : "", path == NULL ? "" : path);
}

/* True: the call fails with errno set. */
static bool
meddle(const char *call, int fd, const char *path)
{
	char name[TEXT_MAX * 2];
	unsigned long n;

	if (nth == 0 || strcmp(call, wanted_call) != 0)
		return false;
	full_name(fd, path, name);
	if (fnmatch(wanted_glob, name, 0) != 0)
		return false;
	(void)pthread_mutex_lock(&turn); /* the other threads' calls wait for the command */
	n = ++met;
	if (n == nth && command[0] != '\0' && system(command) != 0)
		abort(); /* a scenario that was not set up proves nothing */
	(void)pthread_mutex_unlock(&turn);
	errno = failure;
	return n >= nth && failure != 0;
}

static void *
real(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

int
openat64(int dir, const char *path, int flags, ...)
{
	int (*next)(int, const char *, int, ...);
	void *symbol = real("openat64");
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if ((flags & (O_CREAT | O_TMPFILE)) != 0)
		mode = va_arg(args, mode_t);
	va_end(args);
	memcpy(&next, &symbol, sizeof(next));
	return meddle("openat", dir, path) ? -1 : next(dir, path, flags, mode);
}

int
statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict out)
{
	int (*next)(int, const char *, int, unsigned, struct statx *);
	void *symbol = real("statx");

	memcpy(&next, &symbol, sizeof(next));
	return meddle("statx", dir, path) ? -1 : next(dir, path, flags, mask, out);
}

ssize_t
write(int fd, const void *bytes, size_t n)
{
	ssize_t (*next)(int, const void *, size_t);
	void *symbol = real("write");

	memcpy(&next, &symbol, sizeof(next));
	return meddle("write", fd, NULL) ? -1 : next(fd, bytes, n);
}

ssize_t
read(int fd, void *bytes, size_t n)
{
	ssize_t (*next)(int, void *, size_t);
	void *symbol = real("read");

	memcpy(&next, &symbol, sizeof(next));
	return meddle("read", fd, NULL) ? -1 : next(fd, bytes, n);
}

ssize_t
pread64(int fd, void *bytes, size_t n, off64_t at)
{
	ssize_t (*next)(int, void *, size_t, off64_t);
	void *symbol = real("pread64");

	memcpy(&next, &symbol, sizeof(next));
	return meddle("read", fd, NULL) ? -1 : next(fd, bytes, n, at);
}

int
fsync(int fd)
{
	int (*next)(int);
	void *symbol = real("fsync");

	memcpy(&next, &symbol, sizeof(next));
	return meddle("fsync", fd, NULL) ? -1 : next(fd);
}
