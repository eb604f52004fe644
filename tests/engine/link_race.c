/* The other process of the race. */
#include "engine/link_race.h"

#include <linux/openat2.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/tmpdir.h"

/* It goes by descriptors, too, and follows no link of its own: what changes a canary is the restore. */
struct turn {
	char path[700], link[400], away[400], target[400];
	int dir;          /* that holds path */
	const char *name; /* in it */
};

static void
aim(const struct race *r, size_t k, struct turn *t)
{
	const struct spot *s = &r->spots[k];
	char format[400];

	(void)snprintf(format, sizeof(format), "%s/%s", s->base, s->name);
	(void)snprintf(t->path, sizeof(t->path), "%s/", r->root);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(t->path + strlen(t->path), sizeof(t->path) - strlen(t->path), format,
		r->shared->run);
#pragma GCC diagnostic pop
	(void)snprintf(t->link, sizeof(t->link), "%s/link-%zu", r->dir, k);
	(void)snprintf(t->away, sizeof(t->away), "%s/away-%zu", r->dir, k);
	(void)snprintf(t->target, sizeof(t->target), "%s/%s", r->canary, s->canary);
}

static bool
reach(const struct race *r, struct turn *t)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	char *rel = t->path + strlen(r->root) + 1, *slash = strrchr(rel, '/');

	t->name = slash != NULL ? slash + 1 : rel;
	if (slash == NULL) {
		t->dir = fcntl(r->root_fd, F_DUPFD_CLOEXEC, 3);
		return t->dir >= 0;
	}
	*slash = '\0';
	t->dir = (int)syscall(SYS_openat2, r->root_fd, rel, &how, sizeof(how));
	return t->dir >= 0;
}

void
race_clear(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return;
	if (S_ISDIR(st.st_mode))
		remove_tree(path);
	else
		(void)unlink(path);
}

/* Everything of the race as it was at first. */
static void
reset(const struct race *r)
{
	struct turn t;
	struct stat st;

	for (size_t k = 0; k < r->n; k++) {
		aim(r, k, &t);
		race_clear(t.away);
		if (lstat(t.link, &st) == 0 && S_ISLNK(st.st_mode))
			continue;
		race_clear(t.link);
		assert_int_equal(symlink(t.target, t.link), 0);
	}
}

static void
linger(const struct race *r, unsigned turns)
{
	for (unsigned i = 0; i < turns && r->shared->go; i++)
		(void)sched_yield();
}

static bool
swap(const struct turn *t)
{
	return renameat2(t->dir, t->name, AT_FDCWD, t->link, RENAME_EXCHANGE) == 0;
}

/* One of three ways; how many names changed hands. */
static unsigned
flip_there(const struct race *r, const struct turn *t, unsigned way, unsigned rest)
{
	unsigned n = 0;

	if (way == 0) { /* in one step, and back */
		n += swap(t);
		linger(r, rest);
		return n + (n == 1 && swap(t));
	}
	if (way == 1) { /* moved away; below, a link takes its place */
		if (renameat(t->dir, t->name, AT_FDCWD, t->away) != 0)
			return 0;
		n++;
	}
	n += symlinkat(t->target, t->dir, t->name) == 0;
	linger(r, rest);
	if (readlinkat(t->dir, t->name, (char[1]){ 0 }, 1) == 1)
		n += unlinkat(t->dir, t->name, 0) == 0;
	if (way == 1)
		return n + (renameat(AT_FDCWD, t->away, t->dir, t->name) == 0);
	n += mkdirat(t->dir, t->name, 0755) == 0;
	return n + (unlinkat(t->dir, t->name, AT_REMOVEDIR) == 0);
}

static unsigned
flip(const struct race *r, size_t k, unsigned way, unsigned rest)
{
	struct turn t;
	unsigned n;

	aim(r, k, &t);
	if (!reach(r, &t))
		return 0;
	n = flip_there(r, &t, way, rest);
	(void)close(t.dir);
	return n;
}

static void
race_on(const struct race *r)
{
	struct shared *s = r->shared;
	unsigned seed = 1;

	while (!s->stop) {
		if (!s->go) {
			if (!s->idle) {
				reset(r);
				s->idle = true;
			}
			(void)sched_yield();
			continue;
		}
		s->idle = false;
		seed = seed * 1103515245 + 12345;
		s->flips += flip(r, (seed >> 16) % r->n, (seed >> 8) % 5 % 3, (seed >> 24) % 4);
		linger(r, s->pause > 0 ? (seed >> 12) % s->pause : 0);
	}
}

void
race_begin(struct race *r)
{
	r->shared = mmap(NULL, sizeof(*r->shared), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(r->shared != MAP_FAILED);
	r->root_fd = open(r->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(r->root_fd >= 0);
	assert_int_equal(mkdir(r->dir, 0755), 0);
	reset(r);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setenv("CMOCKA_TEST_ABORT", "1", 1);
		race_on(r);
		_exit(0);
	}
}

/* Until the other process has heard. */
static void
race_wait(const struct race *r, bool idle)
{
	while (r->shared->idle != idle) {
		assert_int_equal(waitpid(r->pid, NULL, WNOHANG), 0);
		(void)sched_yield();
	}
}

void
race_go(struct race *r, const char *run, unsigned pause)
{
	(void)snprintf(r->shared->run, sizeof(r->shared->run), "%s", run);
	r->shared->pause = pause;
	r->shared->go = true;
	race_wait(r, false);
}

void
race_halt(struct race *r)
{
	r->shared->go = false;
	race_wait(r, true);
}

void
race_end(struct race *r)
{
	int status;

	r->shared->stop = true;
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	assert_int_equal(status, 0);
	(void)close(r->root_fd);
	assert_int_equal(munmap(r->shared, sizeof(*r->shared)), 0);
}
