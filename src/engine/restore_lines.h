/* One artifact file of JSON lines: hashed while it is written.  One thread. */
#ifndef HF_ENGINE_RESTORE_LINES_H
#define HF_ENGINE_RESTORE_LINES_H

#include "base/instant.h"
#include "base/json.h"
#include "os/os.h"
#include "repo/blob.h" /* with the hasher that the codecs use */

#define LINES_NOWHERE (-1) /* no directory; AT_FDCWD is one */
struct lines {
	const struct os *os;
	const char *name;
	int fd; /* -1: only hashed */
	struct buf text;
	struct hasher *hasher;
	uint64_t count;
	bool sync_later; /* set after lines_open: the close does not sync, a syncfs follows before anything counts on it */
};
/* LINES_NOWHERE: nothing is written.  The file must not exist.  After a refusal only lines_done.  E_IO, E_IO_SPACE */
enum ecode lines_open(
	struct lines *l, const struct os *os, int dir, const char *name, struct err *e) must_check;
/* One object: members in ascending order of their keys (WC-45). */
void lines_begin(struct lines *l, struct json_out *w);
enum ecode lines_end(struct lines *l, struct json_out *w, struct err *e) must_check;
/* After text that was put into l->text otherwise. */
enum ecode lines_text_end(struct lines *l, struct err *e) must_check;
/* Durable unless sync_later; the digest is that of the whole text. */
enum ecode lines_close(struct lines *l, struct id *digest, struct err *e) must_check;
void lines_done(struct lines *l); /* cleanup after a refusal; fine after a close */

/* A member. */
void lines_u64(struct json_out *w, const char *key, uint64_t v);
void lines_str(struct json_out *w, const char *key, const char *v); /* NULL writes null */
void lines_id(struct json_out *w, const char *key, const struct id *id);
void lines_time(struct json_out *w, const char *key, struct instant t); /* in UTC */

#endif
