/*
 * What everybody does with the kernel table, done right once: EINTR, short
 * reads and writes, whole files, and durable publication of a file.
 * Refusals carry the errno and the path; ENOSPC and EDQUOT become E_IO_SPACE.
 */
#ifndef HF_OS_IO_H
#define HF_OS_IO_H

#include "base/buf.h"
#include "os/os.h"

/* A refusal for -errno `rc` of kernel call `call` on `path`: E_IO_SPACE or `code`. */
enum ecode io_refusal(struct err *e, enum ecode code, int rc, const char *call, const char *path);

/* open with EINTR retried; O_CLOEXEC is always added.  *fd unchanged on refusal. `code` as in io_refusal. */
enum ecode io_open(const struct os *os, int dir, const char *path, int flags, mode_t mode, int *fd,
	struct err *e) must_check;
/* Close for reading ends: cannot matter.  *fd < 0 is fine; sets *fd = -1.  For autoclean use struct io_fd. */
void io_close(const struct os *os, int *fd);
struct io_fd {
	const struct os *os;
	int fd;
};
void io_fd_done(struct io_fd *f); /* closes when fd >= 0 */

/* Up to len bytes, stopping only at the end of file.  *got tells how many.  E_IO_READ */
enum ecode io_read(const struct os *os, int fd, void *p, size_t len, size_t *got, const char *path,
	struct err *e) must_check;
enum ecode io_pread(const struct os *os, int fd, void *p, size_t len, uint64_t off, size_t *got,
	const char *path, struct err *e) must_check;
/* All of it or a refusal (a zero-byte write is EIO).  E_IO, E_IO_SPACE */
enum ecode io_write(const struct os *os, int fd, const void *p, size_t len, const char *path,
	struct err *e) must_check;
enum ecode io_pwrite(const struct os *os, int fd, const void *p, size_t len, uint64_t off,
	const char *path, struct err *e) must_check;
/* A whole file, appended to out; its limit bounds it.  E_IO_READ */
enum ecode io_read_file(
	const struct os *os, int dir, const char *path, struct buf *out, struct err *e) must_check;
/* mkdir -p; existing directories are fine.  E_IO */
enum ecode io_mkdirs(
	const struct os *os, int dir, const char *path, mode_t mode, struct err *e) must_check;

struct io_publish {
	int dir;          /* descriptor of the final name's directory */
	const char *name; /* no slash */
	mode_t mode;      /* of the finished file; the temporary is 0600 */
	bool fsync;       /* file before rename, directory after */
	bool exclusive;   /* refuse when the name exists (RENAME_NOREPLACE) */
};
/*
 * Publish bytes under a name: temporary with O_EXCL in the same directory →
 * write all → fsync → close → rename → fsync directory → chmod.  The temporary
 * is `<name>-tmp-<random decimal>` (format document 1.2).
 * Promise: on E_IO, E_IO_SPACE the name is as before and no temporary is left
 * (unless removing it was refused too).  On E_IO_UNSURE the name may be there.
 * ENOTSUP/EINVAL from fsync are tolerated (format document 1.2).
 */
enum ecode io_publish(const struct os *os, const struct io_publish *how, const struct slice *parts,
	size_t n, struct err *e) must_check;

#endif
