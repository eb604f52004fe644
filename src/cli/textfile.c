#include "cli/textfile.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "os/io.h"

#define READ_STEP_BYTES (64U << 10)

static enum ecode
read_stdin(const struct os *os, struct buf *out, struct err *e)
{
	size_t got = 1;
	enum ecode rc = E_OK;

	while (rc == E_OK && got > 0) {
		rc = buf_reserve(out, READ_STEP_BYTES, e);
		if (rc == E_OK)
			rc = io_read(os, STDIN_FILENO, out->p + out->len, READ_STEP_BYTES, &got,
				"standard input", e);
		if (rc == E_OK)
			out->len += got;
	}
	return rc;
}

static uint32_t
unit16(const uint8_t *p, bool big)
{
	return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

/* Lone surrogates become U+FFFD; an odd last byte is dropped. */
static enum ecode
from_utf16(const struct buf *in, bool big, struct buf *out, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 2; rc == E_OK && i + 1 < in->len; i += 2) {
		uint32_t cp = unit16(in->p + i, big);
		uint8_t text[4];

		if (cp >= 0xd800 && cp < 0xdc00 && i + 3 < in->len) {
			uint32_t low = unit16(in->p + i + 2, big);

			if (low >= 0xdc00 && low < 0xe000) {
				cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
				i += 2;
			}
		}
		if (cp >= 0xd800 && cp < 0xe000)
			cp = 0xfffd;
		rc = buf_add(out, text, utf8_put(cp, text), e);
	}
	return rc;
}

enum ecode
textfile_decode(struct buf *text, struct err *e)
{
	static const uint8_t mark[] = { 0xef, 0xbb, 0xbf };
	struct buf utf8 = buf_limit(text->limit);
	enum ecode rc;
	bool big;

	if (text->len >= sizeof(mark) && memcmp(text->p, mark, sizeof(mark)) == 0) {
		text->len -= sizeof(mark);
		memmove(text->p, text->p + sizeof(mark), text->len);
		return E_OK;
	}
	if (text->len < 2 || !((text->p[0] == 0xff && text->p[1] == 0xfe) ||
				     (text->p[0] == 0xfe && text->p[1] == 0xff)))
		return E_OK;
	big = text->p[0] == 0xfe;
	rc = from_utf16(text, big, &utf8, e);
	if (rc == E_OK) {
		buf_done(text);
		buf_take(text, &utf8);
	}
	buf_done(&utf8);
	return rc;
}

enum ecode
textfile_bytes(const struct os *os, const char *path, struct buf *out, struct err *e)
{
	if (strcmp(path, "-") == 0)
		return read_stdin(os, out, e);
	return io_read_file(os, AT_FDCWD, path, out, e);
}

enum ecode
textfile_read(const struct os *os, const char *path, struct buf *out, struct err *e)
{
	enum ecode rc = textfile_bytes(os, path, out, e);

	return rc == E_OK ? textfile_decode(out, e) : rc;
}

struct slice
text_trim(struct slice text)
{
	while (text.len > 0 && isspace(text.p[0]) != 0) {
		text.p++;
		text.len--;
	}
	while (text.len > 0 && isspace(text.p[text.len - 1]) != 0)
		text.len--;
	return text;
}

bool
text_line(struct slice *rest, struct slice *line)
{
	const uint8_t *end;
	size_t len;

	if (rest->len == 0)
		return false;
	end = memchr(rest->p, '\n', rest->len);
	len = end == NULL ? rest->len : (size_t)(end - rest->p);
	*line = (struct slice){ rest->p, len };
	len += end == NULL ? 0 : 1;
	*rest = (struct slice){ rest->p + len, rest->len - len };
	if (line->len > 0 && line->p[line->len - 1] == '\r')
		line->len--;
	return true;
}
