/* Which code points stand for themselves in stored names (format document 6.3). quote.c only. */
#ifndef HF_BASE_QUOTE_TABLE_H
#define HF_BASE_QUOTE_TABLE_H

#include "base/defs.h"

bool quote_printable(uint32_t cp);

#endif
