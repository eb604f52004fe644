#include "store/erase.h"

enum ecode
eraser_erase(struct eraser *er, const struct oname *name, struct err *e)
{
	invariant((er->kinds & 1U << name->kind) != 0);
	return er->st->ops->erase(er->st, name, e);
}
