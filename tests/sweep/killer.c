/*
 * Run a command and count the calls by which it changes what a disk holds,
 * over all its threads and children in the order in which the kernel meets
 * them; end everything at the n-th.  A tool of the tests (DV-20, DV-37): the
 * program under test is the real one and knows nothing of it.
 *
 *	killer [options] count -- command …    run it to the end
 *	killer [options] kill N -- command …   SIGKILL when call N is met
 *	killer [options] list -- command …     as count; every call is listed
 *	killer [options] fail N ERRNO -- command …
 *	          call N is not carried out, and gives that error
 *	killer [options] step OUT IN -- command …
 *	          one call at a time: when it was carried out, descriptor OUT gets
 *	          its number, name, result, device:inode and path, and the next one
 *	          waits for a byte from descriptor IN.  Of the end it is told before.
 *
 *	-a        kill after call N was carried out, not before it runs
 *	-c DIR    cut the power of the file system of DIR at that moment, its log
 *	          not written (with count: when the command has ended)
 *	-x        a kernel that cannot exchange two names: renameat2 refuses the flag
 *	-o FILE   the report: one line of JSON (default: standard error)
 *
 * While call N is looked at every other thread that comes to such a call stops
 * before it, so exactly N - 1 calls (N with -a) were let through.
 * exit: 0 the report tells the rest; 2 wrong words; 77 no tracing here.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_WORDS      2
#define EXIT_NO_TRACING 77 /* what a test that skips itself gives */
#define PATH_SHOWN      512

/* linux/fs.h has the number since 6.x only; xfs and ext4 had it long before */
#define CLONE_REQUEST    0x40049409U /* FICLONE of <linux/fs.h>: _IOW(0x94, 9, int) */
#define SHUTDOWN_REQUEST _IOR('X', 125, uint32_t)
#define SHUTDOWN_NOLOG   2 /* nothing more reaches the disk, the log neither */

enum aim {
	AIM_NOTHING, /* of interest: the call has no path */
	AIM_FD,
	AIM_PATH,    /* first argument */
	AIM_AT,      /* second argument, below the first */
	AIM_RENAME,  /* fourth argument: the new name */
	AIM_SYMLINK, /* third argument */
};

struct call {
	int nr;
	const char *name;
	enum aim aim;
};

/* Whatever changes a file system, and the end, which is when success was told. */
static const struct call calls[] = {
	{ SYS_write, "write", AIM_FD },
	{ SYS_writev, "writev", AIM_FD },
	{ SYS_pwrite64, "pwrite64", AIM_FD },
	{ SYS_pwritev, "pwritev", AIM_FD },
	{ SYS_pwritev2, "pwritev2", AIM_FD },
	{ SYS_sendfile, "sendfile", AIM_FD },
	{ SYS_copy_file_range, "copy_file_range", AIM_NOTHING },
	{ SYS_fsync, "fsync", AIM_FD },
	{ SYS_fdatasync, "fdatasync", AIM_FD },
	{ SYS_syncfs, "syncfs", AIM_FD },
	{ SYS_ftruncate, "ftruncate", AIM_FD },
	{ SYS_fallocate, "fallocate", AIM_FD },
	{ SYS_truncate, "truncate", AIM_PATH },
	{ SYS_rename, "rename", AIM_PATH },
	{ SYS_renameat, "renameat", AIM_RENAME },
	{ SYS_renameat2, "renameat2", AIM_RENAME },
	{ SYS_unlink, "unlink", AIM_PATH },
	{ SYS_unlinkat, "unlinkat", AIM_AT },
	{ SYS_rmdir, "rmdir", AIM_PATH },
	{ SYS_mkdir, "mkdir", AIM_PATH },
	{ SYS_mkdirat, "mkdirat", AIM_AT },
	{ SYS_mknodat, "mknodat", AIM_AT },
	{ SYS_link, "link", AIM_PATH },
	{ SYS_linkat, "linkat", AIM_RENAME },
	{ SYS_symlink, "symlink", AIM_PATH },
	{ SYS_symlinkat, "symlinkat", AIM_SYMLINK },
	{ SYS_chmod, "chmod", AIM_PATH },
	{ SYS_fchmod, "fchmod", AIM_FD },
	{ SYS_fchmodat, "fchmodat", AIM_AT },
	{ SYS_fchown, "fchown", AIM_FD },
	{ SYS_fchownat, "fchownat", AIM_AT },
	{ SYS_utimensat, "utimensat", AIM_AT },
	{ SYS_setxattr, "setxattr", AIM_PATH },
	{ SYS_lsetxattr, "lsetxattr", AIM_PATH },
	{ SYS_fsetxattr, "fsetxattr", AIM_FD },
	{ SYS_removexattr, "removexattr", AIM_PATH },
	{ SYS_fremovexattr, "fremovexattr", AIM_FD },
	{ SYS_creat, "creat", AIM_PATH },
	{ SYS_openat, "openat", AIM_AT },   /* with O_CREAT: see wanted() */
	{ SYS_openat2, "openat2", AIM_AT }, /* likewise */
	{ SYS_ioctl, "ficlone", AIM_FD },   /* that request alone: likewise */
	{ SYS_exit_group, "exit_group", AIM_NOTHING },
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

struct options {
	bool after, list, no_exchange;
	unsigned long kill_at, fail_at; /* 0: never */
	int error;                      /* of the call that fails */
	int step_out, step_in;          /* -1: it runs by itself */
	const char *cut, *report;
	char **command;
};

struct tracer {
	const struct options *o;
	FILE *report;
	pid_t main;
	int cut_fd; /* -1: no power to cut */
	unsigned long met;
	bool killed, failed;
	const char *at; /* the call it ended at, or that failed */
	char path[PATH_SHOWN];
	int status; /* of the main process */
};

static void
die(int code, const char *what)
{
	(void)fprintf(stderr, "killer: %s: %s\n", what, strerror(errno));
	exit(code);
}

/* ---- the command's side ---- */

/* What is in the table asks the tracer; everything else runs at full speed. */
static bool
install_filter(void)
{
	struct sock_filter code[CALLS * 2 + 2];
	unsigned short n = 0;

	code[n++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < CALLS; i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].nr, 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { n, code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Never returns. */
static void
become(char **command, int gate)
{
	char byte;

	if (read(gate, &byte, 1) != 1) /* the tracer is ready, or gone */
		_exit(EXIT_NO_TRACING);
	(void)close(gate);
	if (!install_filter())
		_exit(EXIT_NO_TRACING);
	(void)execvp(command[0], command);
	_exit(127);
}

/* ---- looking at a call ---- */

static void
text_at(pid_t tid, uint64_t address, char out[static PATH_SHOWN])
{
	struct iovec to = { out, PATH_SHOWN - 1 };
	struct iovec from = { (void *)(uintptr_t)address, PATH_SHOWN - 1 };
	ssize_t got = process_vm_readv(tid, &to, 1, &from, 1, 0);

	if (got < 0) { /* the page after a short text may be missing */
		from.iov_len = to.iov_len = 64;
		got = process_vm_readv(tid, &to, 1, &from, 1, 0);
	}
	out[got < 0 ? 0 : got] = '\0';
}

static void
name_of_fd(pid_t tid, int fd, char out[static PATH_SHOWN])
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)tid, fd);
	n = readlink(link, out, PATH_SHOWN - 1);
	out[n < 0 ? 0 : n] = '\0';
}

static void
name_below(pid_t tid, int dir, uint64_t address, char out[static PATH_SHOWN])
{
	char name[PATH_SHOWN], base[PATH_SHOWN] = "";

	text_at(tid, address, name);
	if (name[0] != '/' && dir >= 0)
		name_of_fd(tid, dir, base);
	if (snprintf(out, PATH_SHOWN, "%.250s%s%.250s", base, base[0] == '\0' ? "" : "/", name) < 0)
		out[0] = '\0';
}

static void
aim_of(pid_t tid, const struct call *c, const uint64_t *args, char out[static PATH_SHOWN])
{
	out[0] = '\0';
	switch (c->aim) {
	case AIM_NOTHING:
		break;
	case AIM_FD:
		name_of_fd(tid, (int)args[0], out);
		break;
	case AIM_PATH:
		text_at(tid, args[0], out);
		break;
	case AIM_AT:
		name_below(tid, (int)args[0], args[1], out);
		break;
	case AIM_RENAME:
		name_below(tid, (int)args[2], args[3], out);
		break;
	case AIM_SYMLINK:
		name_below(tid, (int)args[1], args[2], out);
		break;
	}
}

static const struct call *
find_call(uint64_t nr)
{
	for (size_t i = 0; i < CALLS; i++)
		if ((uint64_t)calls[i].nr == nr)
			return &calls[i];
	return NULL;
}

/* Opening changes something only where it may create or cut. */
static bool
wanted(pid_t tid, const struct call *c, const uint64_t *args)
{
	uint64_t flags = O_CREAT;
	struct open_how how = { 0 };
	struct iovec to = { &how, sizeof(how) };
	struct iovec from = { (void *)(uintptr_t)args[2], sizeof(how) };

	if (c->nr == SYS_ioctl)
		return args[1] == CLONE_REQUEST;
	if (c->nr == SYS_openat)
		flags = args[2];
	else if (c->nr == SYS_openat2 && process_vm_readv(tid, &to, 1, &from, 1, 0) > 0)
		flags = how.flags;
	return (flags & (O_CREAT | O_TRUNC)) != 0;
}

/* ---- the tracer's side ---- */

static void
cut_power(const struct tracer *t)
{
	uint32_t how = SHUTDOWN_NOLOG;

	if (t->cut_fd >= 0 && ioctl(t->cut_fd, SHUTDOWN_REQUEST, &how) < 0)
		die(EXIT_NO_TRACING, "cutting the power");
}

/* Let the one call through and stop at its end; the other threads wait where they are or run on. */
static void
let_happen(pid_t tid)
{
	int status;

	if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL) == 0)
		(void)waitpid(tid, &status, __WALL); /* its end, or that of the process */
}

static void
end_here(struct tracer *t, pid_t tid)
{
	if (t->o->after && strcmp(t->at, "exit_group") != 0)
		let_happen(tid);
	cut_power(t);
	t->killed = true;
	(void)kill(t->main, SIGKILL);
}

/* A call without a number is none: the kernel leaves it out, and the result is what is set here. */
static void
fail_here(struct tracer *t, pid_t tid)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
		die(EXIT_NO_TRACING, "reading registers");
	regs.orig_rax = UINT64_MAX;
	regs.rax = (unsigned long long)(-(long long)t->o->error);
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0)
		die(EXIT_NO_TRACING, "writing registers");
	t->failed = true;
}

/* What the descriptor is that the call works on; 0:0 when it works on none. */
static void
inode_of(pid_t tid, const struct call *c, const uint64_t *args, struct stat *out)
{
	char link[64];

	*out = (struct stat){ 0 };
	(void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", (int)tid, (int)args[0]);
	if (c->aim == AIM_FD)
		(void)stat(link, out);
}

/* Whoever asked for steps looks at the disk, where nothing moves meanwhile. */
static void
step(struct tracer *t, pid_t tid, const struct call *c, const uint64_t *args)
{
	struct __ptrace_syscall_info info = { 0 };
	struct stat st;
	char byte;

	inode_of(tid, c, args, &st);
	aim_of(tid, c, args, t->path);
	for (char *p = t->path; *p != '\0'; p++)
		*p = (unsigned char)*p < ' ' ? '?' : *p;
	if (c->nr != SYS_exit_group) {
		let_happen(tid);
		(void)ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info);
	}
	if (dprintf(t->o->step_out, "%lu %s %" PRId64 " %lu:%lu %s\n", t->met, c->name,
		    (int64_t)info.exit.rval, (unsigned long)st.st_dev, (unsigned long)st.st_ino,
		    t->path) < 0 ||
		read(t->o->step_in, &byte, 1) != 1)
		die(EXIT_WORDS, "nobody takes the steps");
}

/* The kernel is asked for flags that none has, and says so itself. */
static void
refuse_exchange(pid_t tid, const uint64_t *args)
{
	struct user_regs_struct regs;

	if (args[4] != RENAME_EXCHANGE)
		return;
	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
		die(EXIT_NO_TRACING, "reading registers");
	regs.r8 = UINT32_MAX;
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0)
		die(EXIT_NO_TRACING, "writing registers");
}

static void
meet_call(struct tracer *t, pid_t tid)
{
	struct __ptrace_syscall_info info = { 0 };
	const struct call *c;
	uint64_t args[6];

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0)
		return; /* it was killed meanwhile */
	c = find_call(info.seccomp.nr);
	memcpy(args, info.seccomp.args, sizeof(args));
	if (c == NULL || !wanted(tid, c, args))
		return;
	if (t->o->no_exchange && c->nr == SYS_renameat2)
		refuse_exchange(tid, args);
	t->met++;
	if (!t->failed)
		t->at = c->name;
	if (t->o->list || t->met == t->o->kill_at || t->met == t->o->fail_at)
		aim_of(tid, c, args, t->path);
	if (t->o->list)
		(void)fprintf(t->report, "%lu %s %s\n", t->met, t->at, t->path);
	if (t->met == t->o->fail_at)
		fail_here(t, tid);
	if (t->o->step_out >= 0)
		step(t, tid, c, args);
	if (t->met == t->o->kill_at)
		end_here(t, tid);
}

/* A stopped thread: what it is, and on it goes. */
static void
handle_stop(struct tracer *t, pid_t tid, int status)
{
	int event = status >> 16, sig = WSTOPSIG(status);
	bool stopping = sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;

	if (event == PTRACE_EVENT_SECCOMP && !t->killed)
		meet_call(t, tid);
	if (t->killed)
		return; /* it dies where it is */
	if (event == PTRACE_EVENT_STOP && stopping)
		(void)ptrace(PTRACE_LISTEN, tid, NULL, NULL);
	else
		(void)ptrace(PTRACE_CONT, tid, NULL, event != 0 ? 0 : sig);
}

static void
follow(struct tracer *t)
{
	bool running = true;
	int status;

	while (running) {
		pid_t tid = waitpid(-1, &status, __WALL);

		if (tid < 0 && errno != EINTR)
			return;
		if (tid < 0)
			continue;
		if (WIFSTOPPED(status)) {
			handle_stop(t, tid, status);
		} else if (tid == t->main) {
			t->status = status;
			running = false;
		}
	}
}

static void
start(struct tracer *t)
{
	const long what = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
			  PTRACE_O_TRACEVFORK | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
	int gate[2];

	if (pipe2(gate, O_CLOEXEC) < 0)
		die(EXIT_NO_TRACING, "pipe");
	t->main = fork();
	if (t->main < 0)
		die(EXIT_NO_TRACING, "fork");
	if (t->main == 0) {
		(void)close(gate[1]);
		become(t->o->command, gate[0]);
	}
	(void)close(gate[0]);
	if (ptrace(PTRACE_SEIZE, t->main, NULL, what) < 0)
		die(EXIT_NO_TRACING, "ptrace is refused here");
	if (write(gate[1], "g", 1) != 1)
		die(EXIT_NO_TRACING, "pipe");
	(void)close(gate[1]);
}

static void
tell(const struct tracer *t)
{
	int code = WIFEXITED(t->status) ? WEXITSTATUS(t->status) : -WTERMSIG(t->status);

	(void)fprintf(t->report,
		"{\"calls\":%lu,\"killed\":%s,\"exit\":%d,\"at\":\"%s\",\"path\":\"", t->met,
		t->killed ? "true" : "false", code, t->killed || t->failed ? t->at : "");
	for (const char *p = t->killed || t->failed ? t->path : ""; *p != '\0'; p++)
		(void)fputc(*p < ' ' || *p == '"' || *p == '\\' ? '?' : *p, t->report);
	(void)fputs("\"}\n", t->report);
}

static int
run(const struct options *o)
{
	struct tracer t = { .o = o, .report = stderr, .cut_fd = -1, .at = "" };

	if (o->report != NULL)
		t.report = fopen(o->report, "we");
	if (t.report == NULL)
		die(EXIT_WORDS, o->report);
	if (o->cut != NULL)
		t.cut_fd = open(o->cut, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->cut != NULL && t.cut_fd < 0)
		die(EXIT_WORDS, o->cut);
	start(&t);
	follow(&t);
	if (!t.killed)
		cut_power(&t);
	if (t.met == 0) /* the end alone is one call */
		die(EXIT_NO_TRACING, "seccomp is refused here, or the command did not start");
	tell(&t);
	return fclose(t.report) == 0 ? 0 : EXIT_WORDS;
}

/* They stay on this side. */
static bool
take_steps(char **words, struct options *o)
{
	if (words[1] == NULL || words[2] == NULL)
		return false;
	o->step_out = (int)strtol(words[1], NULL, 10);
	o->step_in = (int)strtol(words[2], NULL, 10);
	return fcntl(o->step_out, F_SETFD, FD_CLOEXEC) == 0 &&
	       fcntl(o->step_in, F_SETFD, FD_CLOEXEC) == 0;
}

static bool
read_words(int argc, char **argv, struct options *o)
{
	int opt;

	while ((opt = getopt(argc, argv, "+axc:o:")) != -1) {
		if (opt == 'a')
			o->after = true;
		else if (opt == 'x')
			o->no_exchange = true;
		else if (opt == 'c')
			o->cut = optarg;
		else if (opt == 'o')
			o->report = optarg;
		else
			return false;
	}
	argv += optind;
	if (argv[0] == NULL)
		return false;
	o->list = strcmp(argv[0], "list") == 0;
	if (strcmp(argv[0], "kill") == 0 && argv[1] != NULL) {
		o->kill_at = strtoul(argv[1], NULL, 10);
		if (o->kill_at == 0)
			return false;
		argv++;
	} else if (strcmp(argv[0], "fail") == 0 && argv[1] != NULL && argv[2] != NULL) {
		o->fail_at = strtoul(argv[1], NULL, 10);
		o->error = (int)strtol(argv[2], NULL, 10);
		if (o->fail_at == 0 || o->error <= 0)
			return false;
		argv += 2;
	} else if (strcmp(argv[0], "step") == 0) {
		if (!take_steps(argv, o))
			return false;
		argv += 2;
	} else if (!o->list && strcmp(argv[0], "count") != 0) {
		return false;
	}
	if (argv[1] == NULL || strcmp(argv[1], "--") != 0)
		return false;
	o->command = argv + 2;
	return o->command[0] != NULL;
}

int
main(int argc, char **argv)
{
	struct options o = { .step_out = -1, .step_in = -1 };

	if (!read_words(argc, argv, &o)) {
		(void)fputs(
			"usage: killer [-a] [-x] [-c DIR] [-o FILE] count|list|kill N|fail N ERRNO|step OUT IN -- command …\n",
			stderr);
		return EXIT_WORDS;
	}
	return run(&o);
}
