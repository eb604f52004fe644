/* The reference store: objects in memory.  For tests and for proving layers; nothing is durable. */
#ifndef HF_STORE_MEM_H
#define HF_STORE_MEM_H

#include "store/store.h"

enum ecode mem_open(struct store **out, struct err *e) must_check;

#endif
