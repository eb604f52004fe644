/* Small text files a person wrote: byte order marks and UTF-16 understood, as restic does (format document 12.2). */
#ifndef HF_CLI_TEXTFILE_H
#define HF_CLI_TEXTFILE_H

#include "base/buf.h"
#include "os/os.h"

/* Append the file's text as UTF-8; "-" is standard input.  E_IO_READ, E_LIMIT */
enum ecode textfile_read(
	const struct os *os, const char *path, struct buf *out, struct err *e) must_check;
/* The same without looking for marks.  E_IO_READ, E_LIMIT */
enum ecode textfile_bytes(
	const struct os *os, const char *path, struct buf *out, struct err *e) must_check;
/* Turn what was read into UTF-8 without a mark, in place. */
enum ecode textfile_decode(struct buf *text, struct err *e) must_check;
/* Without white space at both ends. */
struct slice text_trim(struct slice text);
/* Next line of *rest, without its end; false when none is left. */
bool text_line(struct slice *rest, struct slice *line) must_check;

#endif
