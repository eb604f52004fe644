/*
 * The bytes of one open file into another on the same machine, by the cheapest
 * way that works here: shared on disk (FICLONE), copied in the kernel, read and
 * written.  Holes stay holes.  It promises nothing about the result: whoever
 * needs the bytes compares them.
 */
#ifndef HF_ENGINE_COPY_BYTES_H
#define HF_ENGINE_COPY_BYTES_H

#include "base/buf.h"
#include "os/os.h"

/* One for all files of a pair of places; one thread.  What turned out to be impossible here is not tried again. */
struct copier {
	const struct os *os;
	struct buf *room;                              /* for reading and writing */
	enum ecode (*go_on)(void *arg, struct err *e); /* asked between pieces */
	void *arg;
	bool no_clone, no_range;
	uint64_t shared, copied; /* bytes: without and with being copied; holes count as copied */
};

/*
 * fd[0] → fd[1], which is empty and gets the length `size`.  path: told.
 * refuses: E_LIVE_CHANGED (fd[0] ends where data should be), E_IO, E_IO_READ, E_IO_SPACE, E_NOMEM, what go_on says
 */
enum ecode copy_bytes(struct copier *c, const int fd[2], uint64_t size, const char *path,
	struct err *e) must_check;

#endif
