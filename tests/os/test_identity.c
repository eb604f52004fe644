/* identity.c: a process is called gone only when that is proven; every doubt, and every refused question, says so (X-09). */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/identity.h"
#include "support/fault_os.h"

#define MACHINE "0123456789abcdef0123456789abcdef"
#define OTHER   "fedcba9876543210fedcba9876543210"
#define BOOT    "01234567-89ab-cdef-0123-456789abcdef"
#define BOOT2   "76543210-89ab-cdef-0123-456789abcdef"
/* what stands between the state and the threads, and between those and the start */
#define MIDDLE  "1 2 2 0 -1 4194304 99 0 0 0 0 0 0 0 20 0"

/* ---- a machine of our own: four files, two namespaces, one other process ---- */

enum file {
	FILE_MACHINE,
	FILE_BOOT,
	FILE_SELF,
	FILE_OTHER,
	FILE_COUNT
};
static const char *const paths[FILE_COUNT] = { "/etc/machine-id", "/proc/sys/kernel/random/boot_id",
	"/proc/self/stat", "/proc/77/stat" };
struct machine {
	struct os os; /* first */
	char text[FILE_COUNT][4096];
	int refusal[FILE_COUNT]; /* errno of open */
	size_t at[FILE_COUNT];
	uint64_t pid_ns, time_ns; /* 0: refused */
	int kill_answer;
	int asked; /* how often kill was */
};
#define FD_FIRST 1000

static struct machine *
machine_of(const struct os *os)
{
	return (struct machine *)(uintptr_t)os;
}

static int
my_open(const struct os *os, int dir, const char *path, int flags, mode_t mode)
{
	struct machine *m = machine_of(os);

	(void)dir;
	(void)flags;
	(void)mode;
	for (int i = 0; i < FILE_COUNT; i++) {
		if (strcmp(path, paths[i]) != 0)
			continue;
		m->at[i] = 0;
		return m->refusal[i] != 0 ? -m->refusal[i] : FD_FIRST + i;
	}
	fail_msg("%s was opened", path);
	return -EIO;
}

/* Short reads: files of /proc are not bound to give all at once. */
static ssize_t
my_read(const struct os *os, int fd, void *p, size_t len)
{
	struct machine *m = machine_of(os);
	const char *text = m->text[fd - FD_FIRST];
	size_t *at = &m->at[fd - FD_FIRST], left = strlen(text) - *at;

	len = len < left ? len : left;
	len = len < 30 ? len : 30;
	memcpy(p, text + *at, len);
	*at += len;
	return (ssize_t)len;
}

static int
my_close(const struct os *os, int fd)
{
	(void)os;
	assert_true(fd >= FD_FIRST && fd < FD_FIRST + FILE_COUNT);
	return 0;
}

static int
my_stat(const struct os *os, int dir, const char *path, int at_flags, struct os_meta *out)
{
	struct machine *m = machine_of(os);
	uint64_t ino = strcmp(path, "/proc/self/ns/pid") == 0 ? m->pid_ns : m->time_ns;

	(void)dir;
	assert_int_equal(at_flags, 0); /* what the link leads to */
	if (ino == 0)
		return -ENOENT;
	*out = (struct os_meta){ .ino = ino };
	return 0;
}

static int
my_pid(const struct os *os)
{
	(void)os;
	return 11;
}

static int
my_kill(const struct os *os, int pid, int sig)
{
	struct machine *m = machine_of(os);

	assert_int_equal(pid, 77);
	assert_int_equal(sig, 0); /* a question, never a signal */
	m->asked++;
	return m->kill_answer;
}

static void
set_text(struct machine *m, enum file file, const char *text)
{
	(void)snprintf(m->text[file], sizeof(m->text[file]), "%s", text);
}

static struct machine
machine_new(void)
{
	struct machine m = { .os = *os_posix(), .pid_ns = 500, .time_ns = 600 };

	m.os.open = my_open;
	m.os.read = my_read;
	m.os.close = my_close;
	m.os.stat = my_stat;
	m.os.pid = my_pid;
	m.os.kill = my_kill;
	set_text(&m, FILE_MACHINE, MACHINE "\n");
	set_text(&m, FILE_BOOT, BOOT "\n");
	set_text(&m, FILE_SELF, "11 (holdfast) R " MIDDLE " 3 0 4321 1 2 3\n");
	set_text(&m, FILE_OTHER, "77 (a) b) c) S " MIDDLE " 3 0 1234 1 2 3\n");
	return m;
}

static struct identity
other_new(void)
{
	return (struct identity){ .machine = MACHINE,
		.boot = BOOT,
		.pid = 77,
		.started_ticks = 1234,
		.pid_ns = 500,
		.time_ns = 600 };
}

static void
expect(const struct machine *m, const struct identity *other, enum identity_state want,
	const char *why)
{
	assert_int_equal(identity_judge(&m->os, other), want);
	assert_non_null(strstr(identity_why(&m->os, other), why));
}

/* ---- oneself ---- */

static void
all_of_it_is_found(void **state)
{
	struct machine m = machine_new();
	struct identity id;
	struct err e;

	(void)state;
	assert_int_equal(identity_self(&m.os, &id, &e), E_OK);
	assert_string_equal(id.machine, MACHINE);
	assert_string_equal(id.boot, BOOT);
	assert_int_equal(id.pid, 11);
	assert_int_equal(id.started_ticks, 4321);
	assert_int_equal(id.pid_ns, 500);
	assert_int_equal(id.time_ns, 600);
	set_text(&m, FILE_MACHINE, MACHINE); /* no line's end */
	assert_int_equal(identity_self(&m.os, &id, &e), E_OK);
	assert_string_equal(id.machine, MACHINE);
}

static void
what_is_not_there_stays_unknown(void **state)
{
	struct machine m = machine_new();
	struct identity id;
	struct err e;

	(void)state;
	m.pid_ns = m.time_ns = 0;
	for (int i = 0; i < FILE_COUNT; i++)
		m.refusal[i] = i % 2 == 0 ? ENOENT : EACCES;
	assert_int_equal(identity_self(&m.os, &id, &e), E_OK);
	assert_string_equal(id.machine, "");
	assert_string_equal(id.boot, "");
	assert_int_equal(id.pid, 11);
	assert_true(id.started_ticks == 0 && id.pid_ns == 0 && id.time_ns == 0);
}

static void
names_that_are_none_stay_unknown(void **state)
{
	static const char *const bad[] = { "", "\n", "uninitialized\n",
		"0123456789ABCDEF0123456789ABCDEF\n", MACHINE "0\n", MACHINE " \n",
		"\"0123456789abcdef0123456789abcd\"" };
	struct identity id;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct machine m = machine_new();

		set_text(&m, FILE_MACHINE, bad[i]);
		set_text(&m, FILE_BOOT, bad[i]);
		assert_int_equal(identity_self(&m.os, &id, &e), E_OK);
		assert_string_equal(id.machine, "");
		assert_string_equal(id.boot, "");
	}
}

static void
stat_lines_that_are_none_give_no_start(void **state)
{
	static const char *const bad[] = { "", "11", "11 (holdfast", "11 holdfast R 1 2 3",
		"11 (h) R", "11 (h) R ", "11 (h) R 1 2 3 4 5 6 7 8 9",
		"x (h) R " MIDDLE " 3 0 4321 1", "11 (h) R " MIDDLE " 3 0 x 1",
		"11 (h) R " MIDDLE " x 0 4321 1",
		"11 (h) R " MIDDLE " 3 0 99999999999999999999999 1",
		"99999999999999 (h) R " MIDDLE " 3 0 4321 1",
		/* /proc of another pid namespace: that process is not us */
		"12 (h) R " MIDDLE " 3 0 4321 1" };
	struct identity id;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct machine m = machine_new();

		set_text(&m, FILE_SELF, bad[i]);
		assert_int_equal(identity_self(&m.os, &id, &e), E_OK);
		if (id.started_ticks != 0)
			fail_msg("row %zu", i);
	}
}

static void
being_short_of_descriptors_is_told(void **state)
{
	static const int shortages[] = { EMFILE, ENFILE, ENOMEM };

	(void)state;
	for (size_t i = 0; i < sizeof(shortages) / sizeof(shortages[0]); i++)
		for (int file = FILE_MACHINE; file <= FILE_SELF; file++) {
			struct machine m = machine_new();
			struct identity id = { .pid = 5 };
			struct err e;

			m.refusal[file] = shortages[i];
			assert_int_equal(identity_self(&m.os, &id, &e), E_IO_READ);
			assert_int_equal(e.sys, shortages[i]);
			assert_int_equal(id.pid, 5);
		}
}

/* ---- others ---- */

static void
the_very_process_is_alive(void **state)
{
	struct machine m = machine_new();
	struct identity other = other_new();

	(void)state;
	expect(&m, &other, IDENTITY_ALIVE, "running");
	m.kill_answer = -EPERM; /* another user's */
	expect(&m, &other, IDENTITY_ALIVE, "running");
	/* both without a machine-id, as in many containers: the boot alone names the kernel */
	other.machine[0] = '\0';
	set_text(&m, FILE_MACHINE, "");
	expect(&m, &other, IDENTITY_ALIVE, "running");
}

static void
another_boot_is_gone(void **state)
{
	struct machine m = machine_new();
	struct identity other = other_new();

	(void)state;
	strcpy(other.boot, BOOT2);
	expect(&m, &other, IDENTITY_GONE, "started anew");
	assert_int_equal(m.asked, 0); /* its number means nothing here */
	other.machine[0] = '\0';
	expect(&m, &other, IDENTITY_UNKNOWN, "not known");
	other = other_new();
	strcpy(other.boot, BOOT2);
	set_text(&m, FILE_MACHINE, "");
	expect(&m, &other, IDENTITY_UNKNOWN, "not known");
}

static void
another_machine_is_unknown(void **state)
{
	struct machine m = machine_new();
	struct identity other = other_new();

	(void)state;
	strcpy(other.machine, OTHER);
	m.kill_answer = -ESRCH;
	expect(&m, &other, IDENTITY_UNKNOWN, "another machine");
	strcpy(other.boot, BOOT2);
	expect(&m, &other, IDENTITY_UNKNOWN, "another machine");
	assert_int_equal(m.asked, 0);
}

static void
no_such_process_is_gone(void **state)
{
	struct machine m = machine_new();
	struct identity other = other_new();

	(void)state;
	m.kill_answer = -ESRCH;
	expect(&m, &other, IDENTITY_GONE, "has ended");
	other.started_ticks = 0; /* it was there, whenever it began */
	expect(&m, &other, IDENTITY_GONE, "has ended");
}

static void
another_pid_namespace_is_unknown(void **state)
{
	struct machine m = machine_new();
	struct identity other = other_new();

	(void)state;
	m.kill_answer = -ESRCH;
	other.pid_ns = 501;
	expect(&m, &other, IDENTITY_UNKNOWN, "namespace");
	other.pid_ns = 0;
	expect(&m, &other, IDENTITY_UNKNOWN, "namespace");
	m.pid_ns = 0;
	expect(&m, &other, IDENTITY_UNKNOWN, "namespace");
	assert_int_equal(m.asked, 0);
}

static void
a_number_that_was_given_again_is_gone(void **state)
{
	struct machine m = machine_new();
	struct identity other = other_new();

	(void)state;
	other.started_ticks = 1233;
	expect(&m, &other, IDENTITY_GONE, "another one has its number");
	/* a time namespace shifts the start of every process it looks at */
	other.time_ns = 601;
	expect(&m, &other, IDENTITY_UNKNOWN, "cannot be compared");
	other.time_ns = 0;
	expect(&m, &other, IDENTITY_UNKNOWN, "cannot be compared");
	other = other_new();
	other.started_ticks = 0;
	expect(&m, &other, IDENTITY_UNKNOWN, "cannot be compared");
	other.started_ticks = 1233;
	set_text(&m, FILE_SELF, "12 (h) R " MIDDLE " 3 0 4321 1"); /* somebody else's /proc */
	expect(&m, &other, IDENTITY_UNKNOWN, "cannot be compared");
}

static void
a_process_that_hides_is_unknown(void **state)
{
	static const int why[] = { ENOENT, EACCES, EMFILE, ENOMEM };
	struct machine m = machine_new();
	struct identity other = other_new();

	(void)state;
	m.kill_answer = -EPERM;
	for (size_t i = 0; i < sizeof(why) / sizeof(why[0]); i++) {
		m.refusal[FILE_OTHER] = why[i];
		expect(&m, &other, IDENTITY_UNKNOWN, "looked at");
	}
	m.refusal[FILE_OTHER] = 0;
	set_text(&m, FILE_OTHER, "78 (x) S " MIDDLE " 3 0 1233 1");
	expect(&m, &other, IDENTITY_UNKNOWN, "looked at");
}

static void
a_process_not_yet_waited_for_is_gone(void **state)
{
	struct machine m = machine_new();
	struct identity other = other_new();

	(void)state;
	set_text(&m, FILE_OTHER, "77 (x) Z " MIDDLE " 1 0 1234 1");
	expect(&m, &other, IDENTITY_GONE, "waited for");
	/* its first thread ended, another still writes */
	set_text(&m, FILE_OTHER, "77 (x) Z " MIDDLE " 2 0 1234 1");
	expect(&m, &other, IDENTITY_ALIVE, "running");
}

static void
nothing_known_is_unknown(void **state)
{
	struct machine m = machine_new();
	struct identity nobody = { .pid = 0 }, other = other_new();

	(void)state;
	m.kill_answer = -ESRCH;
	expect(&m, &nobody, IDENTITY_UNKNOWN, "does not say");
	other.boot[0] = '\0';
	expect(&m, &other, IDENTITY_UNKNOWN, "does not say");
	other = other_new();
	for (int64_t pid = -1; pid <= 0; pid++) { /* kill(0) and kill(-1) would ask whole groups */
		other.pid = pid;
		expect(&m, &other, IDENTITY_UNKNOWN, "not known");
	}
	other.pid = INT64_MAX;
	expect(&m, &other, IDENTITY_UNKNOWN, "not known");
	other = other_new();
	m.refusal[FILE_BOOT] = EACCES;
	expect(&m, &other, IDENTITY_UNKNOWN, "its own boot");
	m.refusal[FILE_BOOT] = EMFILE;
	expect(&m, &other, IDENTITY_UNKNOWN, "its own boot");
	assert_int_equal(m.asked, 0);
}

/* ---- the real kernel ---- */

/* A child that tells its own identity and then waits to be killed. */
static pid_t
child_start(struct identity *id)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err e;
		bool told = identity_self(os_posix(), id, &e) == E_OK &&
			    write(fds[1], id, sizeof(*id)) == (ssize_t)sizeof(*id);

		if (told)
			(void)pause();
		_exit(told ? 0 : 1);
	}
	assert_int_equal(read(fds[0], id, sizeof(*id)), sizeof(*id));
	assert_int_equal(close(fds[0]), 0);
	assert_int_equal(close(fds[1]), 0);
	return pid;
}

static void
a_real_child_lives_dies_and_is_waited_for(void **state)
{
	struct identity id = { .pid = 0 };
	siginfo_t how;
	pid_t pid = child_start(&id);

	(void)state;
	assert_int_equal(id.pid, pid);
	assert_int_equal(identity_judge(os_posix(), &id), IDENTITY_ALIVE);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(identity_judge(os_posix(), &id), IDENTITY_ALIVE); /* stopped is not dead */
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &how, WEXITED | WNOWAIT), 0);
	assert_int_equal(identity_judge(os_posix(), &id), IDENTITY_GONE);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(identity_judge(os_posix(), &id), IDENTITY_GONE);
}

/* Any one refused call: what lives is never called gone, what is dead never alive, and no descriptor stays open. */
static void
a_refused_question_is_never_an_answer(void **state)
{
	static const int errors[] = { EIO, EACCES, EMFILE, ENFILE, ENOMEM, EINTR };
	struct identity self, dead;
	unsigned doubts = 0;
	struct err e;

	(void)state;
	assert_int_equal(identity_self(os_posix(), &self, &e), E_OK);
	dead = self;
	dead.started_ticks++;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		for (unsigned long n = 1;; n++) {
			enum identity_state lives, gone_by;
			unsigned long fired;
			struct fault_os f;

			fault_os_init(&f, os_posix());
			fault_os_plan(&f, (struct fault_plan){ .nth = n, .error = errors[i] });
			lives = identity_judge(&f.os, &self);
			fired = f.fired;
			fault_os_plan(&f, (struct fault_plan){ .nth = n, .error = errors[i] });
			gone_by = identity_judge(&f.os, &dead);
			assert_int_not_equal(lives, IDENTITY_GONE);
			assert_int_not_equal(gone_by, IDENTITY_ALIVE);
			assert_int_equal(f.open_fds, 0);
			doubts += lives == IDENTITY_UNKNOWN;
			fault_os_done(&f);
			if (fired == 0)
				break;
		}
	}
	assert_true(doubts > 10);
}

static void
short_reads_change_nothing(void **state)
{
	struct fault_os f;
	struct identity self, again;
	struct err e;

	(void)state;
	assert_int_equal(identity_self(os_posix(), &self, &e), E_OK);
	fault_os_init(&f, os_posix());
	f.plan = (struct fault_plan){ .nth = 1, .forever = true, .mode = FAULT_SHORT_ONE };
	assert_int_equal(identity_self(&f.os, &again, &e), E_OK);
	assert_memory_equal(&self, &again, sizeof(self));
	fault_os_done(&f);
}

/* ---- JSON ---- */

static enum ecode
take(const char *text, struct identity *id)
{
	struct json j;
	struct err e;
	enum ecode rc;

	json_init(&j, text, strlen(text));
	rc = identity_take(&j, id, &e);
	if (rc == E_OK && !json_end(&j))
		return E_JSON_SYNTAX;
	return rc;
}

static void
what_is_written_is_read(void **state)
{
	autoclean(buf_done) struct buf out = buf_limit(4096);
	struct identity id = other_new(), back;
	struct json_out w;
	struct err e;

	(void)state;
	id.started_ticks = UINT64_MAX;
	json_begin(&w, &out);
	identity_put(&w, &id);
	assert_int_equal(json_done(&w, &e), E_OK);
	assert_int_equal(buf_add_byte(&out, 0, &e), E_OK);
	assert_string_equal((const char *)out.p,
		"{\"machine\":\"" MACHINE "\",\"boot\":\"" BOOT "\",\"pid\":77,"
		"\"started_ticks\":18446744073709551615,\"pid_ns\":500,\"time_ns\":600}");
	assert_int_equal(take((const char *)out.p, &back), E_OK);
	assert_string_equal(back.machine,
		id.machine); /* member by member: what lies between them is nobody's */
	assert_string_equal(back.boot, id.boot);
	assert_true(back.pid == id.pid && back.started_ticks == id.started_ticks);
	assert_true(back.pid_ns == id.pid_ns && back.time_ns == id.time_ns);
}

static void
members_may_be_absent_null_or_new(void **state)
{
	static const char *const texts[] = { "{}", "null",
		"{\"machine\":null,\"pid\":null,\"boot\":null}",
		"{\"later\":[{\"x\":1}],\"machine\":\"\"}" };
	struct identity id, nobody;

	(void)state;
	memset(&nobody, 0, sizeof(nobody));
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		memset(&id, 1, sizeof(id));
		assert_int_equal(take(texts[i], &id), E_OK);
		assert_memory_equal(&id, &nobody, sizeof(id));
	}
}

static void
hostile_values_are_refused(void **state)
{
	static const struct {
		const char *text;
		enum ecode rc;
	} rows[] = {
		{ "{\"machine\":\"00000000001111111111222222222233333333334444444444555555555566666\"}",
			E_JSON_RANGE },
		{ "{\"boot\":\"0123456789012345678901234567890123456789\"}", E_JSON_RANGE },
		{ "{\"machine\":\"../../etc\"}", E_JSON_RANGE },
		{ "{\"machine\":\"A\"}", E_JSON_RANGE },
		{ "{\"machine\":\"\\u0061\"}", E_JSON_RANGE },
		{ "{\"boot\":\"a\\nb\"}", E_JSON_RANGE },
		{ "{\"pid\":-1}", E_JSON_RANGE },
		{ "{\"pid\":2147483648}", E_JSON_RANGE },
		{ "{\"pid\":9223372036854775808}", E_JSON_RANGE },
		{ "{\"started_ticks\":18446744073709551616}", E_JSON_RANGE },
		{ "{\"started_ticks\":-1}", E_JSON_SYNTAX },
		{ "{\"pid_ns\":1.5}", E_JSON_SYNTAX },
		{ "{\"pid_ns\":\"1\"}", E_JSON_SYNTAX },
		{ "{\"machine\":7}", E_JSON_SYNTAX },
		{ "[]", E_JSON_SYNTAX },
		{ "7", E_JSON_SYNTAX },
		{ "{\"pid\":1", E_JSON_SYNTAX },
		{ "", E_JSON_SYNTAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct identity id = { .pid = 7 };

		if (take(rows[i].text, &id) != rows[i].rc)
			fail_msg("%s: %s", rows[i].text, err_row(take(rows[i].text, &id))->name);
		assert_int_equal(id.pid, 7);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_of_it_is_found),
		cmocka_unit_test(what_is_not_there_stays_unknown),
		cmocka_unit_test(names_that_are_none_stay_unknown),
		cmocka_unit_test(stat_lines_that_are_none_give_no_start),
		cmocka_unit_test(being_short_of_descriptors_is_told),
		cmocka_unit_test(the_very_process_is_alive),
		cmocka_unit_test(another_boot_is_gone),
		cmocka_unit_test(another_machine_is_unknown),
		cmocka_unit_test(no_such_process_is_gone),
		cmocka_unit_test(another_pid_namespace_is_unknown),
		cmocka_unit_test(a_number_that_was_given_again_is_gone),
		cmocka_unit_test(a_process_that_hides_is_unknown),
		cmocka_unit_test(a_process_not_yet_waited_for_is_gone),
		cmocka_unit_test(nothing_known_is_unknown),
		cmocka_unit_test(a_real_child_lives_dies_and_is_waited_for),
		cmocka_unit_test(a_refused_question_is_never_an_answer),
		cmocka_unit_test(short_reads_change_nothing),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(members_may_be_absent_null_or_new),
		cmocka_unit_test(hostile_values_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
