/*
 * Objects as files below one directory (format document 1.1, 1.2): modes
 * 0700/0600→0400, or 0770/0660→0440 when config is group-readable; temporary
 * names, fsync of file and directory.  The vault's directory is held open.
 */
#ifndef HF_STORE_LOCAL_H
#define HF_STORE_LOCAL_H

#include "store/store.h"

enum ecode local_open(
	const struct os *os, const char *dir, struct store **out, struct err *e) must_check;
/* The directory when `st` is such a store, else NULL. */
const char *local_path(const struct store *st);

#endif
