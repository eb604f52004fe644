/*
 * Which run folders go when a new run begins.  The newest RUNS_KEPT_MAX stay
 * whatever they are.  Older ones go, oldest first, except:
 *  - runs at work: never;
 *  - backups that ended without a report: never, their vault may hold an
 *    incomplete record that points to them (D-4);
 *  - other runs without a report, and SEV-1 failures (DV-14, D-8: evidence): only
 *    when there are more than RUNS_EVIDENCE_MAX folders.
 */
#include "report/runparts.h"

#include <fcntl.h>
#include <string.h>

#include "os/io.h"

/* Our folders hold files only; anything else makes the rmdir fail, and the folder stays. */
static void
remove_folder(const struct os *os, int runs_fd, const char *name)
{
	static const char *const files[] = { RUN_REPORT_NAME, RUN_JOURNAL_NAME, "failed.jsonl",
		"skipped.jsonl", "can_retry.jsonl", "completed.jsonl", RUN_OWNER_NAME,
		RUN_OWNER_NAME "-tmp" };
	struct io_fd dir = { os, -1 };

	if (io_open(os, runs_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &dir.fd, NULL) !=
		E_OK)
		return;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		(void)os->unlink(os, dir.fd, files[i], 0); /* most are absent */
	io_fd_done(&dir);
	(void)os->unlink(os, runs_fd, name, AT_REMOVEDIR);
}

static bool
may_go(const struct run_info *info, bool crowded)
{
	bool ended = info->life == RUN_ENDED;

	if (info->life == RUN_LIVE)
		return false;
	if (!ended && strcmp(info->mode, "backup") == 0)
		return false;
	if (!ended || (info->severity != NULL && strcmp(info->severity, "SEV-1") == 0))
		return crowded;
	return true;
}

void
run_retain(const struct os *os, int runs_fd)
{
	struct arena names_arena = arena_limit(RUN_NAMES_ARENA_BYTES);
	struct arena a = arena_limit(RUN_FOLDER_ARENA_BYTES);
	const char **names;
	size_t n, excess, crowd;
	struct err ignored;

	if (run_names(os, runs_fd, &names_arena, &names, &n, &ignored) != E_OK)
		n = 0; /* then nothing goes */
	excess = n < RUNS_KEPT_MAX ? 0 : n - RUNS_KEPT_MAX + 1;
	crowd = n < RUNS_EVIDENCE_MAX ? 0 : n - RUNS_EVIDENCE_MAX + 1;
	for (size_t i = 0; i < excess; i++) {
		struct run_info info = { .id = names[i], .mode = "?" };

		arena_reset(&a);
		run_read_folder(os, runs_fd, &a, &info);
		if (may_go(&info, i < crowd))
			remove_folder(os, runs_fd, names[i]);
	}
	arena_done(&a);
	arena_done(&names_arena);
}
