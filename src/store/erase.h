/* The power to remove objects, as a type of its own: whoever holds it may, for the kinds it was made for. */
#ifndef HF_STORE_ERASE_H
#define HF_STORE_ERASE_H

#include "store/store.h"

struct eraser {
	struct store *st;
	unsigned kinds; /* bit per enum okind */
};
static inline struct eraser
eraser_for(struct store *st, unsigned kinds)
{
	return (struct eraser){ .st = st, .kinds = kinds };
}
/* Absent counts as erased.  A kind outside the eraser's is our own defect (invariant).  E_STORE_ERASE, E_STORE_RDONLY */
enum ecode eraser_erase(struct eraser *er, const struct oname *name, struct err *e) must_check;

#endif
