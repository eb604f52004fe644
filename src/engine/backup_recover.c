/* The recovery question: what to do about paths that could not be read (DF-33). */
#include "engine/backup_internal.h"

enum ecode
recover_ask(struct backup *b, bool *again, struct err *e)
{
	(void)b;
	(void)e;
	*again = false;
	return E_OK;
}
