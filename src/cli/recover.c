#include "cli/recover.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli/signals.h"

/* Somebody who gives no answer this often is not reading. */
#define ASKED_MAX        5
#define ANSWER_MAX_BYTES 256

bool
recover_possible(const struct cli *cli)
{
	return !cli->screen.json && !cli->screen.quiet && isatty(STDIN_FILENO) == 1 &&
	       isatty(STDERR_FILENO) == 1;
}

static void
show(struct cli *cli, const struct recover_question *q)
{
	struct screen *s = &cli->screen;

	screen_err(s, "%s", "");
	screen_err(s, "Backup Interrupted");
	screen_err(s,
		"  %" PRIu64 " file%s saved, %" PRIu64
		" path%s failed; trying again may help %" PRIu64,
		q->done, q->done == 1 ? "" : "s", q->failed, q->failed == 1 ? "" : "s",
		q->may_retry ? q->can_retry : 0);
	for (size_t i = 0; i < q->listed_count; i++)
		screen_err(s, "  %s - %s%s",
			cli_shown(cli, q->listed[i].path, strlen(q->listed[i].path)),
			q->listed[i].reason, q->listed[i].can_retry ? "" : " (not tried again)");
	if (q->failed > q->listed_count)
		screen_err(s, "  and %" PRIu64 " more, listed in %s/failed.jsonl",
			q->failed - q->listed_count,
			cli->run_dir == NULL ? "the run folder" : cli->run_dir);
	if (q->may_retry)
		screen_err(
			s, "  R  Retry failed     (after mending what keeps them from being read)");
	screen_err(s, "  S  Skip & continue  (a partial snapshot, without the paths above)");
	screen_err(
		s, "  A  Abort            (no snapshot; what was stored is used by the next run)");
}

/* One line, as the first byte that is no blank, in lower case; 0 at the end of input. */
static int
read_letter(const struct os *os)
{
	int letter = '\n';
	unsigned char byte = 0;

	for (unsigned n = 0; n < ANSWER_MAX_BYTES; n++) {
		ssize_t got = os->read(os, STDIN_FILENO, &byte, 1);

		if (signals_stopped_by() != 0)
			return 0;
		if (got == -EINTR)
			continue;
		if (got <= 0)
			return 0; /* half a line is no answer */
		if (byte == '\n')
			return letter;
		if (letter == '\n' && isspace(byte) == 0)
			letter = tolower(byte);
	}
	return '?';
}

static bool
understood(int letter, const struct recover_question *q, enum recover_answer *out)
{
	if (letter == 'r' && q->may_retry)
		*out = RECOVER_RETRY;
	else if (letter == 's')
		*out = RECOVER_SKIP;
	else if (letter == 'a' || letter == 0)
		*out = RECOVER_ABORT;
	else
		return false;
	return true;
}

static enum recover_answer
ask(struct cli *cli, const struct recover_question *q)
{
	const char *prompt = q->may_retry ? "R, S or A? " : "S or A? ";
	enum recover_answer answer = RECOVER_ABORT;
	bool done = false;

	for (unsigned i = 0; !done && i < ASKED_MAX; i++) {
		screen_err_bytes(&cli->screen, prompt, strlen(prompt));
		done = understood(read_letter(cli->os), q, &answer);
	}
	return done ? answer : RECOVER_ABORT;
}

enum recover_answer
recover_dialog(void *arg, const struct recover_question *q)
{
	struct job *j = arg;
	enum recover_answer answer;

	screen_hold(&j->cli->screen, true);
	show(j->cli, q);
	answer = ask(j->cli, q);
	screen_hold(&j->cli->screen, false);
	if (answer == RECOVER_RETRY)
		job_restart(j);
	return answer;
}
