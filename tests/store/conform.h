/* What every store promises, run over any of them. */
#ifndef HF_TESTS_STORE_CONFORM_H
#define HF_TESTS_STORE_CONFORM_H

#include "store/store.h"

/* A name whose id is made of `seed`; the first byte of the id is `first`. */
struct oname conform_name(enum okind kind, uint8_t first, unsigned seed);
/* `st` is empty and prepared; it is left empty.  Failing ends the cmocka test. */
void conform_run(struct store *st);

#endif
