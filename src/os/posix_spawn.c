/* The slots of the production table that start a helper program and wait for it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/posix_internal.h"

/* descriptors are closed one by one up to here where close_range(2) is absent */
#define CLOSE_LOOP_MAX 65536
#define ENV_VARIABLES  4
#define ENV_TEXT_MAX   4096

/* What a helper needs and nothing else: passwords live in our environment. */
struct clean_env {
	char text[ENV_VARIABLES][ENV_TEXT_MAX];
	char *v[ENV_VARIABLES + 1];
};

static int
clean_env_fill(struct clean_env *env)
{
	static const char *const kept[] = { "PATH", "HOME", "TERM" };
	size_t n = 0;

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		const char *value = getenv(kept[i]);
		int len;

		if (value == NULL)
			continue;
		len = snprintf(env->text[n], ENV_TEXT_MAX, "%s=%s", kept[i], value);
		if (len < 0 || len >= ENV_TEXT_MAX)
			return -E2BIG;
		n++;
	}
	(void)snprintf(env->text[n++], ENV_TEXT_MAX, "LANG=C");
	for (size_t i = 0; i < n; i++)
		env->v[i] = env->text[i];
	env->v[n] = NULL;
	return 0;
}

/*
 * From here to exec: the child of a program with threads, so only calls that
 * are async-signal-safe (glibc's execvpe allocates nothing).
 */
static void
child_signals(void)
{
	struct sigaction act = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &act, NULL); /* KILL, STOP and libc's own refuse: fine */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
child_close_from(unsigned first)
{
	struct rlimit lim;
	unsigned end = CLOSE_LOOP_MAX;

	if (close_range(first, ~0U, 0) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < end)
		end = (unsigned)lim.rlim_cur;
	for (unsigned fd = first; fd < end; fd++)
		(void)close((int)fd);
}

/* The report pipe goes to 3 and survives until exec.  Both ends are above 3 (spawn_pipe). */
static int
child_descriptors(int out, int report)
{
	int null = open("/dev/null", O_RDONLY);

	if (null < 0)
		return -errno;
	if (null != STDIN_FILENO && dup2(null, STDIN_FILENO) < 0)
		return -errno;
	if (dup2(out, STDOUT_FILENO) < 0)
		return -errno;
	if (dup3(report, STDERR_FILENO + 1, O_CLOEXEC) < 0)
		return -errno;
	child_close_from(STDERR_FILENO + 2);
	return 0;
}

static _Noreturn void
child_main(char *const argv[], char *const env[], int out, int report)
{
	int rc;

	child_signals();
	rc = child_descriptors(out, report);
	if (rc == 0) {
		report = STDERR_FILENO + 1;
		(void)execvpe(argv[0], argv, env);
		rc = -errno;
	}
	(void)!write(report, &rc, sizeof(rc)); /* a parent that is gone needs no report */
	_exit(127);
}

/* A pipe whose ends stay clear of 0 … 3, which the child is about to fill. */
static int
spawn_pipe(int p[2])
{
	int low[2], rc = 0;

	if (pipe2(low, O_CLOEXEC) < 0)
		return -errno;
	p[0] = fcntl(low[0], F_DUPFD_CLOEXEC, STDERR_FILENO + 2);
	if (p[0] < 0)
		rc = -errno;
	p[1] = rc < 0 ? -1 : fcntl(low[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 2);
	if (rc == 0 && p[1] < 0) {
		rc = -errno;
		(void)close(p[0]);
	}
	(void)close(low[0]);
	(void)close(low[1]);
	return rc;
}

/* Nothing arrives when exec succeeded: the report pipe closes by itself. */
static int
spawn_verdict(int report, pid_t pid)
{
	int verdict = 0;
	ssize_t got;

	do
		got = read(report, &verdict, sizeof(verdict));
	while (got < 0 && errno == EINTR); /* ends with the child's exec or exit */
	if (got == 0)
		return 0;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return got == (ssize_t)sizeof(verdict) && verdict < 0 ? verdict : -EIO;
}

static int
spawn_fork(char *const argv[], char *const env[], int out[2], int report[2], pid_t *pid)
{
	sigset_t all, before;
	int rc;

	(void)sigfillset(&all);
	/* no handler of ours may run in the child before its signals are reset */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	*pid = fork();
	rc = *pid < 0 ? -errno : 0;
	if (*pid == 0)
		child_main(argv, env, out[1], report[1]);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)close(report[1]);
	(void)close(out[1]);
	if (rc == 0)
		rc = spawn_verdict(report[0], *pid);
	(void)close(report[0]);
	if (rc < 0)
		(void)close(out[0]);
	return rc;
}

int
posix_spawn_child(const struct os *os, char *const argv[], char *const env[], int *pid)
{
	struct clean_env clean;
	int out[2] = { -1, -1 }, report[2] = { -1, -1 }, rc = 0;
	pid_t child = -1;

	(void)os;
	if (env == NULL)
		rc = clean_env_fill(&clean);
	if (rc == 0)
		rc = spawn_pipe(out);
	if (rc < 0)
		return rc;
	rc = spawn_pipe(report);
	if (rc < 0) {
		(void)close(out[0]);
		(void)close(out[1]);
		return rc;
	}
	rc = spawn_fork(argv, env == NULL ? clean.v : env, out, report, &child);
	if (rc < 0)
		return rc;
	*pid = child;
	return out[0];
}

int
posix_wait_child(const struct os *os, int pid)
{
	int status;

	(void)os;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	if (WIFSIGNALED(status))
		return 256 + WTERMSIG(status);
	return WEXITSTATUS(status);
}
