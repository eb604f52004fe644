/*
 * One artifact file: text that is hashed while it is written, buffered, and
 * created exclusively.  Without a descriptor it is only hashed, so that a plan
 * can be judged before anything is written.
 */
#include "engine/restore_lines.h"

#include <fcntl.h>

#include "os/io.h"

/* One write for some hundreds of lines. */
#define LINES_FLUSH_BYTES (64U << 10)
/* A line holds two paths of PATH_TEXT_MAX at most, each byte escaped to six. */
#define LINES_LIMIT_BYTES (16U << 20)

enum ecode
lines_open(struct lines *l, const struct os *os, int dir, const char *name, struct err *e)
{
	enum ecode rc;

	*l = (struct lines){
		.os = os, .name = name, .fd = -1, .text = buf_limit(LINES_LIMIT_BYTES)
	};
	rc = hasher_open(&l->hasher, e);
	if (rc != E_OK)
		return rc;
	hasher_begin(l->hasher);
	if (dir == LINES_NOWHERE)
		return E_OK;
	return io_open(os, dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &l->fd, e);
}

static enum ecode
flush(struct lines *l, struct err *e)
{
	enum ecode rc = E_OK;

	hasher_add(l->hasher, l->text.p, l->text.len);
	if (l->fd >= 0)
		rc = io_write(l->os, l->fd, l->text.p, l->text.len, l->name, e);
	buf_clear(&l->text);
	return rc;
}

void
lines_begin(struct lines *l, struct json_out *w)
{
	json_begin(w, &l->text);
	json_open_object(w);
}

enum ecode
lines_end(struct lines *l, struct json_out *w, struct err *e)
{
	enum ecode rc;

	json_close_object(w);
	rc = json_done(w, e);
	if (rc == E_OK)
		rc = buf_add_byte(&l->text, '\n', e);
	l->count++;
	return rc == E_OK && l->text.len >= LINES_FLUSH_BYTES ? flush(l, e) : rc;
}

enum ecode
lines_text_end(struct lines *l, struct err *e)
{
	return l->text.len >= LINES_FLUSH_BYTES ? flush(l, e) : E_OK;
}

enum ecode
lines_close(struct lines *l, struct id *digest, struct err *e)
{
	enum ecode rc = flush(l, e);
	int got;

	hasher_end(l->hasher, digest);
	if (l->fd >= 0) {
		got = l->sync_later ? 0 : l->os->fsync(l->os, l->fd);
		if (rc == E_OK && got < 0)
			rc = io_refusal(e, E_IO, got, "fsync", l->name);
		got = l->os->close(l->os, l->fd);
		if (rc == E_OK && got < 0)
			rc = io_refusal(e, E_IO, got, "close", l->name);
		l->fd = -1;
	}
	lines_done(l);
	return rc;
}

void
lines_done(struct lines *l)
{
	io_close(l->os, &l->fd);
	hasher_close(&l->hasher);
	buf_done(&l->text);
}

void
lines_u64(struct json_out *w, const char *key, uint64_t v)
{
	json_member_u64(w, key, v);
}

void
lines_str(struct json_out *w, const char *key, const char *v)
{
	json_member_str(w, key, v);
}

void
lines_id(struct json_out *w, const char *key, const struct id *id)
{
	json_member_id(w, key, id);
}

void
lines_time(struct json_out *w, const char *key, struct instant t)
{
	char text[INSTANT_TEXT_MAX];
	size_t len;

	t.off_min = 0; /* D-15: UTC */
	len = instant_format(t, text);
	json_put_key(w, key);
	json_put_text(w, text, len);
}
