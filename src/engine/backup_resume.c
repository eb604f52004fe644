/* The incomplete record of a run, its checkpoints, and what an interrupted run left. */
#include "engine/backup_internal.h"

enum ecode
resume_begin(struct backup *b, struct record *rec, struct err *e)
{
	(void)b;
	(void)rec;
	(void)e;
	return E_OK;
}

enum ecode
resume_end(struct backup *b, struct record *rec, enum ecode rc, struct err *e)
{
	(void)b;
	(void)rec;
	(void)e;
	return rc;
}
