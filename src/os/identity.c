/*
 * Every doubt answers UNKNOWN.  Two traps: /proc may belong to another pid
 * namespace than ours, and with hidepid it hides living processes.  So "there
 * is no such process" is kill's word alone, and the start of a process is
 * believed only where /proc shows us under our own number.
 */
#include "os/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "os/io.h"

/* bytes; 52 numbers of at most 20 digits and a command of at most 64 bytes: proc_pid_stat(5) */
#define STAT_BYTES       2048
/* digits of a machine-id: machine-id(5) */
#define MACHINE_ID_CHARS 32
/* characters of a boot id: random(4) */
#define BOOT_ID_CHARS    36
/* fields of /proc/<pid>/stat, counted from 1 as in proc_pid_stat(5) */
#define STAT_STATE       3
#define STAT_THREADS     20
#define STAT_STARTED     22

struct process { /* what /proc/<pid>/stat says */
	int64_t pid;
	char state;
	uint64_t threads, started_ticks;
};

/* A whole small file; its refusal is told only when we are short of something: anything else means "not known". */
static enum ecode
read_small(const struct os *os, const char *path, char *p, size_t size, size_t *len, struct err *e)
{
	struct io_fd f = { .os = os, .fd = -1 };
	struct err why = { .code = E_OK };
	enum ecode rc;

	*len = 0;
	rc = io_open(os, AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &f.fd, &why);
	if (rc == E_OK)
		rc = io_read(os, f.fd, p, size, len, path, &why);
	io_fd_done(&f);
	if (rc == E_OK)
		return E_OK;
	*len = 0;
	if (why.sys != EMFILE && why.sys != ENFILE && why.sys != ENOMEM)
		return E_OK;
	if (e != NULL)
		*e = why;
	return rc;
}

static bool
is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* The first `want` characters, all hexadecimal (or dashes), and then nothing but a line's end. */
static bool
take_name(const char *p, size_t len, size_t want, bool dashes, char *out)
{
	if (len < want || (len > want && p[want] != '\n'))
		return false;
	for (size_t i = 0; i < want; i++)
		if (!is_hex(p[i]) && !(dashes && p[i] == '-'))
			return false;
	memcpy(out, p, want);
	out[want] = '\0';
	return true;
}

static uint64_t
namespace_of(const struct os *os, const char *path)
{
	struct os_meta meta;

	return os->stat(os, AT_FDCWD, path, 0, &meta) < 0 ? 0 : meta.ino;
}

/* Digits at *at; false when there are none or too many. */
static bool
take_number(const char *p, size_t len, size_t *at, uint64_t *v)
{
	size_t begin = *at;

	*v = 0;
	for (; *at < len && p[*at] >= '0' && p[*at] <= '9'; ++*at)
		if (__builtin_mul_overflow(*v, 10U, v) ||
			__builtin_add_overflow(*v, (uint64_t)(p[*at] - '0'), v))
			return false;
	return *at > begin;
}

/* Start of a field after the command, which may itself hold blanks and brackets: its end is the last bracket. */
static bool
find_field(const char *p, size_t len, unsigned number, size_t *at)
{
	size_t i = len;
	unsigned field = 2;

	while (i > 0 && p[i - 1] != ')')
		i--;
	for (; i > 0 && i < len; i++) {
		field += p[i] == ' ';
		if (field == number) {
			*at = i + 1;
			return i + 1 < len;
		}
	}
	return false;
}

static bool
parse_stat(const char *p, size_t len, struct process *out)
{
	struct process found = { .pid = 0 };
	uint64_t pid;
	size_t at = 0;

	if (!take_number(p, len, &at, &pid) || pid > INT_MAX)
		return false;
	found.pid = (int64_t)pid;
	if (!find_field(p, len, STAT_STATE, &at))
		return false;
	found.state = p[at];
	if (!find_field(p, len, STAT_THREADS, &at) || !take_number(p, len, &at, &found.threads))
		return false;
	if (!find_field(p, len, STAT_STARTED, &at) ||
		!take_number(p, len, &at, &found.started_ticks))
		return false;
	*out = found;
	return true;
}

/* out->pid stays 0 when it cannot be told. */
static enum ecode
read_process(const struct os *os, const char *path, struct process *out, struct err *e)
{
	char text[STAT_BYTES];
	size_t len;
	enum ecode rc = read_small(os, path, text, sizeof(text), &len, e);

	*out = (struct process){ .pid = 0 };
	if (rc == E_OK && !parse_stat(text, len, out))
		return E_OK;
	return rc;
}

enum ecode
identity_self(const struct os *os, struct identity *out, struct err *e)
{
	struct identity id = { .pid = os->pid(os) };
	struct process self = { .pid = 0 };
	char text[64];
	size_t len = 0;
	enum ecode rc = read_small(os, "/etc/machine-id", text, sizeof(text), &len, e);

	if (rc == E_OK && !take_name(text, len, MACHINE_ID_CHARS, false, id.machine))
		id.machine[0] = '\0'; /* absent, or "uninitialized" in a first boot */
	if (rc == E_OK)
		rc = read_small(os, "/proc/sys/kernel/random/boot_id", text, sizeof(text), &len, e);
	if (rc == E_OK && !take_name(text, len, BOOT_ID_CHARS, true, id.boot))
		id.boot[0] = '\0';
	if (rc == E_OK)
		rc = read_process(os, "/proc/self/stat", &self, e);
	if (rc != E_OK)
		return rc;
	if (self.pid == id.pid)
		id.started_ticks = self.started_ticks;
	id.pid_ns = namespace_of(os, "/proc/self/ns/pid");
	id.time_ns = namespace_of(os, "/proc/self/ns/time");
	*out = id;
	return E_OK;
}

/* ---- judging ---- */

struct opinion {
	enum identity_state state;
	const char *why;
};

static struct opinion
unknown(const char *why)
{
	return (struct opinion){ IDENTITY_UNKNOWN, why };
}

static struct opinion
gone(const char *why)
{
	return (struct opinion){ IDENTITY_GONE, why };
}

/* A process of this number is there: is it the one? */
static struct opinion
judge_present(const struct os *os, const struct identity *self, const struct identity *other)
{
	struct process found;
	char path[64];

	if (self->started_ticks == 0 || other->started_ticks == 0 || self->time_ns == 0 ||
		self->time_ns != other->time_ns)
		return unknown("when its process began cannot be compared");
	(void)snprintf(path, sizeof(path), "/proc/%" PRId64 "/stat", other->pid);
	if (read_process(os, path, &found, NULL) != E_OK || found.pid != other->pid)
		return unknown("its process cannot be looked at");
	if (found.started_ticks != other->started_ticks)
		return gone("its process has ended and another one has its number");
	/* a first thread may end before the others: only with none left is the process over */
	if ((found.state == 'Z' || found.state == 'X') && found.threads <= 1)
		return gone("its process has ended and was not yet waited for");
	return (struct opinion){ IDENTITY_ALIVE, "its process is running" };
}

static struct opinion
judge_same_boot(const struct os *os, const struct identity *self, const struct identity *other)
{
	if (self->pid_ns == 0 || self->pid_ns != other->pid_ns)
		return unknown("its process is in another pid namespace");
	if (other->pid <= 0 || other->pid > INT_MAX)
		return unknown("its process is not known");
	if (os->kill(os, (int)other->pid, 0) == -ESRCH)
		return gone("its process has ended");
	return judge_present(os, self, other);
}

static struct opinion
judge(const struct os *os, const struct identity *other)
{
	struct identity self;
	bool named;

	if (other->boot[0] == '\0')
		return unknown("it does not say which process wrote it");
	if (identity_self(os, &self, NULL) != E_OK || self.boot[0] == '\0')
		return unknown("this machine cannot tell its own boot");
	named = self.machine[0] != '\0' && other->machine[0] != '\0';
	if (named && strcmp(self.machine, other->machine) != 0)
		return unknown("it is of another machine");
	if (strcmp(self.boot, other->boot) == 0) /* random: the same boot is the same kernel */
		return judge_same_boot(os, &self, other);
	return named ? gone("this machine was started anew since")
		     : unknown("its machine is not known");
}

enum identity_state
identity_judge(const struct os *os, const struct identity *other)
{
	return judge(os, other).state;
}

const char *
identity_why(const struct os *os, const struct identity *other)
{
	return judge(os, other).why;
}

/* ---- JSON ---- */

void
identity_put(struct json_out *w, const struct identity *id)
{
	json_open_object(w);
	json_member_str(w, "machine", id->machine);
	json_member_str(w, "boot", id->boot);
	json_put_key(w, "pid");
	json_put_i64(w, id->pid);
	json_member_u64(w, "started_ticks", id->started_ticks);
	json_member_u64(w, "pid_ns", id->pid_ns);
	json_member_u64(w, "time_ns", id->time_ns);
	json_close_object(w);
}

static enum ecode
take_text(struct json *j, char *out, size_t size, struct err *e)
{
	struct slice raw;
	bool escaped;

	if (!json_string(j, &raw, &escaped))
		return json_refusal(j, "identity", e);
	if (raw.len >= size)
		return err_set(e, E_JSON_RANGE, 0, "identity: a name of %zu bytes", raw.len);
	for (size_t i = 0; i < raw.len; i++)
		if (!is_hex((char)raw.p[i]) && raw.p[i] != '-')
			return err_set(
				e, E_JSON_RANGE, 0, "identity: a name with other characters");
	memcpy(out, raw.p, raw.len);
	out[raw.len] = '\0';
	return E_OK;
}

static enum ecode
take_pid(struct json *j, int64_t *out, struct err *e)
{
	int64_t v = 0;

	if (!json_i64(j, &v))
		return json_refusal(j, "identity", e);
	if (v < 0 || v > INT_MAX)
		return err_set(e, E_JSON_RANGE, 0, "identity: process %" PRId64, v);
	*out = v;
	return E_OK;
}

static enum ecode
take_member(struct json *j, struct slice key, struct identity *id, struct err *e)
{
	bool ok;

	if (json_null(j))
		return E_OK;
	if (slice_is(key, "machine"))
		return take_text(j, id->machine, sizeof(id->machine), e);
	if (slice_is(key, "boot"))
		return take_text(j, id->boot, sizeof(id->boot), e);
	if (slice_is(key, "pid"))
		return take_pid(j, &id->pid, e);
	if (slice_is(key, "started_ticks"))
		ok = json_u64(j, &id->started_ticks);
	else if (slice_is(key, "pid_ns"))
		ok = json_u64(j, &id->pid_ns);
	else if (slice_is(key, "time_ns"))
		ok = json_u64(j, &id->time_ns);
	else
		ok = json_skip(j, NULL);
	return ok ? E_OK : json_refusal(j, "identity", e);
}

enum ecode
identity_take(struct json *j, struct identity *out, struct err *e)
{
	struct identity id = { .pid = 0 };
	enum ecode rc = E_OK;
	struct slice key;

	if (json_null(j)) {
		*out = id;
		return E_OK;
	}
	if (!json_enter_object(j))
		return json_refusal(j, "identity", e);
	while (rc == E_OK && json_key(j, &key))
		rc = take_member(j, key, &id, e);
	if (rc == E_OK && j->bad)
		rc = json_refusal(j, "identity", e);
	if (rc == E_OK)
		*out = id;
	return rc;
}
