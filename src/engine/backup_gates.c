/* What must hold before a backup writes, and before its snapshot is written. */
#include "engine/backup_internal.h"

enum ecode
gates_before(struct backup *b, struct record *rec, struct err *e)
{
	(void)b;
	(void)rec;
	(void)e;
	return E_OK;
}

enum ecode
gate_space(void *arg, uint64_t bytes, struct err *e)
{
	(void)arg;
	(void)bytes;
	(void)e;
	return E_OK;
}

enum ecode
gates_after(struct backup *b, struct record *rec, struct err *e)
{
	(void)b;
	(void)rec;
	(void)e;
	return E_OK;
}
