/* A directory of our own, 0700, for what is thrown away afterwards. */
#ifndef HF_ENGINE_SCRATCH_H
#define HF_ENGINE_SCRATCH_H

#include "base/err.h"
#include "os/os.h"

/* The directory must not exist; its parent must.  refuses: E_DEST_PARENT, E_IO_SPACE */
enum ecode scratch_make(const struct os *os, const char *dir, struct err *e) must_check;
/* With all that is in it, whatever its modes; links are not followed, other file systems not entered.  refuses: E_IO */
enum ecode scratch_remove(const struct os *os, const char *dir, struct err *e) must_check;

#endif
