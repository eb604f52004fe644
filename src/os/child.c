#include "os/child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "os/io.h"

#define CHILD_PIECE_BYTES     4096
/* arguments of one helper command; a person typed them */
#define CHILD_ARGS_MAX        256
/* as io.h: interrupted this often in a row is a refusal */
#define CHILD_INTERRUPTED_MAX 1000
/* what wait() adds to a signal's number (os.h) */
#define CHILD_SIGNAL_BASE     256

/* The state of one split: where we read, and the word being made. */
struct splitter {
	const char *at;
	char quote; /* the open quote, or NUL */
	bool in_word;
	char *word; /* room for the whole command */
	size_t len;
};

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A backslash takes the next character as it is, except between single quotes. */
static bool
is_escape(const struct splitter *s)
{
	if (*s->at != '\\' || s->at[1] == '\0' || s->quote == '\'')
		return false;
	return s->quote == '\0' || s->at[1] == '"' || s->at[1] == '\\';
}

/* Take characters up to the end of one word.  False when there is no word left. */
static bool
next_word(struct splitter *s)
{
	s->len = 0;
	s->in_word = false;
	for (; *s->at != '\0'; s->at++) {
		char c = *s->at;

		if (s->quote == '\0' && is_blank(c)) {
			if (s->in_word)
				return true;
			continue;
		}
		s->in_word = true;
		if (is_escape(s)) {
			s->at++;
			s->word[s->len++] = *s->at;
		} else if (c == s->quote) {
			s->quote = '\0';
		} else if (s->quote == '\0' && (c == '"' || c == '\'')) {
			s->quote = c;
		} else {
			s->word[s->len++] = c;
		}
	}
	return s->in_word;
}

static enum ecode
collect_words(struct arena *a, struct splitter *s, char **argv, size_t *argc, struct err *e)
{
	enum ecode rc = E_OK;
	size_t n = 0;

	while (rc == E_OK && next_word(s)) {
		struct slice copy = { 0 };

		if (n == CHILD_ARGS_MAX)
			return err_set(
				e, E_USAGE, 0, "more than %d words in a command", CHILD_ARGS_MAX);
		s->word[s->len] = '\0';
		rc = arena_copy(a, s->word, s->len + 1, &copy, e);
		/* the copy is ours to give away as writable: exec wants char * */
		memcpy(&argv[n++], &copy.p, sizeof(argv[0]));
	}
	*argc = n;
	return rc;
}

enum ecode
child_split(struct arena *a, const char *command, char ***argv, struct err *e)
{
	struct splitter s = { .at = command };
	void *list = NULL, *word = NULL;
	char **words;
	size_t argc = 0;
	enum ecode rc = arena_alloc(a, (CHILD_ARGS_MAX + 1) * sizeof(char *), &list, e);

	if (rc == E_OK)
		rc = arena_alloc(a, strlen(command) + 1, &word, e);
	if (rc != E_OK)
		return rc;
	words = list;
	s.word = word;
	rc = collect_words(a, &s, words, &argc, e);
	if (rc == E_OK && s.quote != '\0')
		rc = err_set(e, E_USAGE, 0, "a quote %c is never closed in: %s", s.quote, command);
	if (rc == E_OK && argc == 0)
		rc = err_set(e, E_USAGE, 0, "the command is empty");
	if (rc != E_OK)
		return rc;
	words[argc] = NULL;
	*argv = words;
	return E_OK;
}

static enum ecode
take_output(const struct os *os, int fd, const char *program, struct buf *out, struct err *e)
{
	enum ecode rc = E_OK;
	size_t got = 1;

	while (rc == E_OK && got > 0) {
		uint8_t piece[CHILD_PIECE_BYTES];

		got = 0;
		rc = io_read(os, fd, piece, sizeof(piece), &got, program, e);
		if (rc == E_OK)
			rc = buf_add(out, piece, got, e);
		/* it may have been a password */
		explicit_bzero(piece, sizeof(piece));
	}
	return rc;
}

static enum ecode
collect_status(const struct os *os, int pid, const char *program, struct err *e)
{
	int status = -EINTR;

	for (unsigned i = 0; status == -EINTR && i < CHILD_INTERRUPTED_MAX; i++)
		status = os->wait(os, pid);
	if (status < 0)
		return err_set(e, E_CHILD_FAILED, -status, "wait for %s: %s", program,
			strerrordesc_np(-status));
	if (status >= CHILD_SIGNAL_BASE)
		return err_set(e, E_CHILD_FAILED, 0, "%s was ended by signal %d", program,
			status - CHILD_SIGNAL_BASE);
	if (status > 0)
		return err_set(e, E_CHILD_FAILED, 0, "%s ended with status %d", program, status);
	return E_OK;
}

enum ecode
child_capture(const struct os *os, char *const argv[], struct buf *out, struct err *e)
{
	size_t before = out->len;
	struct err late;
	enum ecode rc, ended;
	int pid = -1;
	int fd = os->spawn(os, argv, NULL, &pid);

	if (fd < 0)
		return err_set(e, E_CHILD, -fd, "start %s: %s", argv[0], strerrordesc_np(-fd));
	rc = take_output(os, fd, argv[0], out, e);
	io_close(os, &fd);
	if (rc != E_OK)
		(void)os->kill(os, pid, SIGKILL); /* nobody listens; do not wait for its own end */
	ended = collect_status(os, pid, argv[0], &late);
	if (rc == E_OK && ended != E_OK) {
		rc = ended;
		if (e != NULL)
			*e = late;
	}
	if (rc != E_OK)
		out->len = before;
	return rc;
}
