/* Free space, as this user may use it. */
#ifndef HF_FS_SPACE_H
#define HF_FS_SPACE_H

#include "base/err.h"
#include "os/os.h"

struct space {
	uint64_t free_bytes,
		free_inodes; /* UINT64_MAX where the file system does not count inodes */
	uint64_t total_bytes, used_bytes;
	uint64_t used_inodes; /* 0 where not counted */
	uint64_t dev;
};
/* For a path, or its nearest existing parent.  E_IO_READ */
enum ecode space_at(
	const struct os *os, const char *path, struct space *out, struct err *e) must_check;

#define SPACE_TEXT_MAX 64 /* the longest: "18446744073709551615 bytes (16777216.0 TiB)" */
/* Exact and readable: "5368709120 bytes (5.0 GiB)"; below 1 KiB only "123 bytes" */
const char *space_text(uint64_t bytes, char out[static SPACE_TEXT_MAX]);

#endif
