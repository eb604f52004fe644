/*
 * Objects as files below one directory (format document 1.1, 1.2): modes
 * 0700/0600→0400, or 0770/0660→0440 when config is group-readable; temporary
 * names, fsync of file and directory.  Directory descriptors are cached.
 */
#ifndef HF_STORE_LOCAL_H
#define HF_STORE_LOCAL_H

#include "store/store.h"

enum ecode local_open(const struct os *os, const char *dir, struct store **out, struct err *e) must_check;

#endif
