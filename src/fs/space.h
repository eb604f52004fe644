/* Free space, as this user may use it. */
#ifndef HF_FS_SPACE_H
#define HF_FS_SPACE_H

#include "base/err.h"
#include "os/os.h"

struct space {
	uint64_t free_bytes,
		free_inodes; /* UINT64_MAX where the file system does not count inodes */
	uint64_t dev;
};
/* For a path, or its nearest existing parent.  E_IO_READ */
enum ecode space_at(
	const struct os *os, const char *path, struct space *out, struct err *e) must_check;

#endif
