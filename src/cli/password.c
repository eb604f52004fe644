#include "cli/password.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/signals.h"
#include "cli/textfile.h"
#include "os/child.h"
#include "os/io.h"

#define COMMAND_ARENA_BYTES (4U << 20) /* pointers to an environment; ARG_MAX is 2 MiB here */
#define RAW_MAX_BYTES       SECRET_MAX_BYTES

/* Wiped before it is freed. */
static void
wipe_done(struct buf *b)
{
	if (b->p != NULL)
		secret_wipe(b->p, b->cap);
	buf_done(b);
}

/* What a file, command or descriptor gave: decoded, trimmed, not empty. */
static enum ecode
take_text(struct buf *text, const char *from, struct secret *out, struct err *e)
{
	struct slice trimmed;
	enum ecode rc = textfile_decode(text, e);

	if (rc != E_OK)
		return rc;
	trimmed = text_trim(buf_slice(text));
	if (trimmed.len == 0)
		return err_set(e, E_PASSWORD_SOURCE, 0, "the %s gave an empty password", from);
	return secret_set(out, trimmed.p, trimmed.len, e);
}

static enum ecode
from_file(const struct os *os, const char *path, struct secret *out, struct err *e)
{
	autoclean(wipe_done) struct buf text = buf_limit(RAW_MAX_BYTES);
	struct err why;

	/* the final size from the start: growing would leave copies behind */
	if (buf_reserve(&text, RAW_MAX_BYTES, e) != E_OK)
		return E_NOMEM;
	if (textfile_read(os, path, &text, &why) != E_OK)
		return err_set(e, E_PASSWORD_SOURCE, why.sys, "the password file: %s", why.detail);
	return take_text(&text, "password file", out, e);
}

/* Until the end or until `text` is full.  Whoever waits for a person or a helper stops when asked to. */
static enum ecode
read_source(const struct os *os, int fd, struct buf *text, const char *what, struct err *e)
{
	ssize_t got = 1;

	while (got != 0 && text->len < RAW_MAX_BYTES) {
		got = os->read(os, fd, text->p + text->len, RAW_MAX_BYTES - text->len);
		if (signals_stopped_by() != 0)
			return err_set(e, E_INTERRUPTED, 0, "while reading the password");
		if (got == -EINTR)
			continue;
		if (got < 0)
			return err_set(
				e, E_PASSWORD_SOURCE, (int)-got, "reading from the %s", what);
		text->len += (size_t)got;
	}
	return E_OK;
}

static enum ecode
run_helper(
	const struct os *os, char *const argv[], char *const env[], struct buf *text, struct err *e)
{
	int pid, status, fd = os->spawn(os, argv, env, &pid);
	enum ecode rc;

	if (fd < 0)
		return err_set(e, E_PASSWORD_SOURCE, -fd,
			"the password command %s could not be started", argv[0]);
	rc = read_source(os, fd, text, "password command", e);
	io_close(os, &fd);
	if (rc == E_INTERRUPTED)
		(void)os->kill(os, pid, SIGTERM); /* or we would wait for its end */
	status = os->wait(os, pid);
	if (rc != E_OK)
		return rc;
	if (text->len == RAW_MAX_BYTES)
		return err_set(e, E_PASSWORD_SOURCE, 0,
			"the password command printed %d bytes or more", RAW_MAX_BYTES);
	if (status != 0)
		return err_set(e, E_PASSWORD_SOURCE, 0, "the password command %s ended with %s %d",
			argv[0], status > 255 ? "signal" : "status",
			status > 255 ? status - 256 : status);
	return E_OK;
}

static enum ecode
from_command(const struct os *os, const char *command, struct secret *out, struct err *e)
{
	autoclean(arena_done) struct arena arena = arena_limit(COMMAND_ARENA_BYTES);
	autoclean(wipe_done) struct buf text = buf_limit(RAW_MAX_BYTES);
	char **argv, **env;
	enum ecode rc = buf_reserve(&text, RAW_MAX_BYTES, e);

	if (rc == E_OK)
		rc = child_split(&arena, command, &argv, e);
	if (rc == E_OK)
		rc = env_for_helper(&arena, &env, e);
	if (rc == E_OK)
		rc = run_helper(os, argv, env, &text, e);
	return rc == E_OK ? take_text(&text, "password command", out, e) : rc;
}

static enum ecode
from_fd(const struct os *os, int fd, struct secret *out, struct err *e)
{
	autoclean(wipe_done) struct buf text = buf_limit(RAW_MAX_BYTES);
	enum ecode rc = buf_reserve(&text, RAW_MAX_BYTES, e);

	if (rc == E_OK)
		rc = read_source(os, fd, &text, "password descriptor", e);
	if (rc != E_OK)
		return rc;
	if (text.len == RAW_MAX_BYTES)
		return err_set(e, E_PASSWORD_SOURCE, 0, "--password-fd %d gave %d bytes or more",
			fd, RAW_MAX_BYTES);
	return take_text(&text, "password descriptor", out, e);
}

/* One line from the terminal.  A signal ends the reading. */
static enum ecode
read_line(const struct os *os, int tty, struct buf *line, struct err *e)
{
	uint8_t byte = 0;
	ssize_t got = 1;
	enum ecode rc = E_OK;

	buf_clear(line);
	while (rc == E_OK) {
		got = os->read(os, tty, &byte, 1);
		if (signals_stopped_by() != 0)
			return err_set(e, E_INTERRUPTED, 0, "while asking for the password");
		if (got == -EINTR)
			continue;
		if (got < 0)
			return err_set(
				e, E_PASSWORD_SOURCE, (int)-got, "reading from the terminal");
		if (got == 0 || byte == '\n')
			return E_OK;
		rc = buf_add_byte(line, byte, e);
	}
	return rc;
}

static enum ecode
ask(const struct os *os, int tty, const char *prompt, struct buf *line, struct err *e)
{
	struct termios was, silent;
	enum ecode rc = io_write(os, tty, prompt, strlen(prompt), "the terminal", e);

	if (rc != E_OK)
		return rc;
	if (tcgetattr(tty, &was) < 0)
		return err_set(e, E_PASSWORD_SOURCE, errno, "asking the terminal for its settings");
	silent = was;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	silent.c_lflag |= ECHONL;
	signals_guard_terminal(tty, &was);
	if (tcsetattr(tty, TCSAFLUSH, &silent) < 0)
		rc = err_set(e, E_PASSWORD_SOURCE, errno, "switching the echo off");
	if (rc == E_OK)
		rc = read_line(os, tty, line, e);
	(void)tcsetattr(tty, TCSAFLUSH, &was); /* nothing better can be done */
	signals_unguard_terminal();
	return rc;
}

static enum ecode
ask_twice(const struct os *os, int tty, struct slice first, struct err *e)
{
	autoclean(wipe_done) struct buf again = buf_limit(RAW_MAX_BYTES);
	enum ecode rc = buf_reserve(&again, RAW_MAX_BYTES, e);

	if (rc == E_OK)
		rc = ask(os, tty, "once more: ", &again, e);
	if (rc == E_OK && (again.len != first.len || memcmp(again.p, first.p, first.len) != 0))
		rc = err_set(e, E_PASSWORD_DIFFERS, 0, "the second is not the first");
	return rc;
}

static enum ecode
from_terminal(
	const struct os *os, const char *prompt, bool twice, struct secret *out, struct err *e)
{
	autoclean(wipe_done) struct buf line = buf_limit(RAW_MAX_BYTES);
	autoclean(io_fd_done) struct io_fd tty = { os, -1 };
	struct err why;
	enum ecode rc = buf_reserve(&line, RAW_MAX_BYTES, e);

	if (rc != E_OK)
		return rc;
	if (io_open(os, AT_FDCWD, "/dev/tty", O_RDWR | O_NOCTTY, 0, &tty.fd, &why) != E_OK)
		return err_set(e, E_PASSWORD_NONE, 0,
			"looked at --password-file, --password-command, --password-fd, the variables HOLDFAST_ and RESTIC_ "
			"PASSWORD_COMMAND, PASSWORD_FILE, PASSWORD, and for a terminal");
	rc = ask(os, tty.fd, prompt, &line, e);
	if (rc == E_OK && line.len == 0)
		return err_set(e, E_PASSWORD_NONE, 0, "an empty password was typed");
	if (rc == E_OK && twice)
		rc = ask_twice(os, tty.fd, buf_slice(&line), e);
	return rc == E_OK ? secret_set(out, line.p, line.len, e) : rc;
}

enum ecode
password_get(const struct os *os, const struct settings *s, const char *prompt, bool twice,
	struct secret *out, struct err *e)
{
	switch (s->password_from) {
	case PASSWORD_PROMPT:
		return from_terminal(os, prompt, twice, out, e);
	case PASSWORD_EMPTY:
		return secret_set(out, "", 0, e);
	case PASSWORD_FILE:
		return from_file(os, s->password, out, e);
	case PASSWORD_COMMAND:
		return from_command(os, s->password, out, e);
	case PASSWORD_FD:
		return from_fd(os, s->password_fd, out, e);
	case PASSWORD_TEXT:
		return secret_set(out, s->password, strlen(s->password), e);
	}
	return err_set(e, E_BUG, 0, "password source %d", (int)s->password_from);
}
