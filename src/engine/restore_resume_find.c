/* The stage of a run that is known by its name: where it is, and what the run itself recorded of its plan (IX-48). */
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "engine/restore_internal.h"
#include "os/io.h"
#include "report/runlog.h"

/* From the root, or it is not known from here. */
static enum ecode
place_of(const struct run_info *run, const char *id, const char **out, struct err *e)
{
	if (run == NULL)
		return err_set(e, E_RESUME_STAGE, 0,
			"run %s is not among the runs of this machine; say where it restored to: --target DIR",
			id);
	if (run->mode != NULL && strcmp(run->mode, "restore-in-place") == 0)
		return err_set(e, E_RESUME_STAGE, 0,
			"run %s restored in place: the same command again continues it", id);
	if (run->mode == NULL || strncmp(run->mode, "restore", 7) != 0 || run->target == NULL ||
		run->target[0] != '/')
		return err_set(e, E_RESUME_STAGE, 0, "run %s was no restore that left a stage", id);
	*out = run->target;
	return E_OK;
}

/* The plan's digest as the run recorded it, in hex; empty: it is not known. */
static enum ecode
digest_of(const struct os *os, const struct restore_resume_ask *ask, struct buf *out, struct err *e)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);
	enum ecode rc = buf_printf(
		&path, e, "%s/runs/%s/" RESTORE_DIGEST_NAME, ask->state_dir, ask->run_id);

	if (rc == E_OK)
		rc = buf_add_byte(&path, '\0', e);
	if (rc != E_OK)
		return rc;
	if (io_read_file(os, AT_FDCWD, (const char *)path.p, out, NULL) != E_OK ||
		out->len != ID_HEX_SIZE)
		buf_clear(out);
	else
		out->p[ID_HEX_SIZE - 1] = '\0'; /* for the end of line */
	return E_OK;
}

/* A run that continued it gave the stage its own name. */
static void
say_which(const struct os *os, const struct run_info *runs, size_t n, const char *place,
	struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (runs[i].target != NULL && strcmp(runs[i].target, place) == 0 &&
			restore_resume_there(os, place, runs[i].id)) {
			err_next(e, "The stage there is that of: holdfast restore --resume %s",
				runs[i].id);
			return;
		}
}

enum ecode
restore_resume_find(const struct os *os, const struct restore_resume_ask *ask, struct arena *a,
	struct restore_approval *hold, struct restore_args *out, struct err *e)
{
	autoclean(buf_done) struct buf digest = buf_limit(ID_HEX_SIZE);
	const struct run_info *run = NULL;
	const char *place = ask->dest;
	struct run_info *runs = NULL;
	enum ecode rc = E_OK;
	size_t n = 0;

	if (ask->state_dir != NULL)
		rc = run_list_all(os, ask->state_dir, a, &runs, &n, e);
	for (size_t i = 0; run == NULL && i < n; i++)
		run = strcmp(runs[i].id, ask->run_id) == 0 ? &runs[i] : NULL;
	if (rc == E_OK && place == NULL)
		rc = place_of(run, ask->run_id, &place, e);
	if (rc == E_OK && run != NULL)
		rc = digest_of(os, ask, &digest, e);
	if (rc != E_OK)
		return rc;
	rc = restore_resume_load(os, place, ask->run_id,
		digest.len == 0 ? NULL : (const char *)digest.p, hold, out, e);
	if (rc == E_RESUME_STAGE)
		say_which(os, runs, n, place, e);
	return rc;
}
