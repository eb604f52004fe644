/* The negative control: what cannot fail proves nothing (reliability.md, root cause 12). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "engine/drill_internal.h"
#include "fs/place.h"
#include "os/io.h"

#define COPY_BYTES   (64U << 10)
#define CONTROL_NAME "control"

enum ecode
drill_control_candidate(struct drill *d, const struct match_record *r, struct err *e)
{
	size_t bytes = r->node->content_count * sizeof(struct id);
	struct id *content;
	const char *path;

	if (r->node->size == 0 || r->node->content_count == 0 ||
		(d->small != NULL && r->node->size >= d->small_size))
		return E_OK;
	content = malloc(bytes);
	path = strdup(r->path);
	if (content == NULL || path == NULL) {
		free(content);
		free((void *)(uintptr_t)path);
		return err_set(e, E_NOMEM, ENOMEM, "the negative control");
	}
	memcpy(content, r->node->content, bytes);
	free(d->small_content);
	free((void *)(uintptr_t)d->small);
	d->small_content = content;
	d->small = path;
	d->small_count = r->node->content_count;
	d->small_size = r->node->size;
	return E_OK;
}

/* Byte `at` of the copy is another one. */
static enum ecode
copy_flipped(struct drill *d, int from, int to, uint64_t at, struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(COPY_BYTES);
	const struct os *os = d->s->os;
	uint64_t done = 0;
	enum ecode rc = buf_reserve(&b, COPY_BYTES, e);

	while (rc == E_OK && done < d->small_size) {
		size_t got = 0;

		rc = io_pread(os, from, b.p, COPY_BYTES, done, &got, d->small, e);
		if (rc == E_OK && got == 0)
			return err_set(e, E_IO_READ, 0, "%s ends early", d->small);
		if (rc == E_OK && at >= done && at - done < got)
			b.p[at - done] ^= 1;
		if (rc == E_OK)
			rc = io_pwrite(os, to, b.p, got, done, CONTROL_NAME, e);
		done += got;
	}
	return rc;
}

static enum ecode
make_copy(struct drill *d, int *to, struct err *e)
{
	autoclean(place_close) struct place *tree = NULL, *scratch = NULL;
	autoclean(io_fd_done) struct io_fd from = { .os = d->s->os, .fd = -1 };
	autoclean(io_fd_done) struct io_fd dir = { .os = d->s->os, .fd = -1 };
	uint64_t at;
	int got = d->s->os->random(d->s->os, &at, sizeof(at));
	enum ecode rc = E_OK;

	if (got < 0)
		return err_set(e, E_RANDOM, -got, "the negative control");
	rc = place_look(d->s->os, d->tree, &tree, e);
	if (rc == E_OK)
		rc = place_look(d->s->os, d->dir, &scratch, e);
	if (rc == E_OK)
		rc = place_reopen(tree, d->small + 1, O_RDONLY, &from.fd, e);
	if (rc == E_OK)
		rc = place_open_dir(scratch, "", &dir.fd, e);
	if (rc == E_OK)
		rc = place_file(scratch, dir.fd, CONTROL_NAME, to, e);
	return rc == E_OK ? copy_flipped(d, from.fd, *to, at % d->small_size, e) : rc;
}

enum ecode
drill_control(struct drill *d, bool *ran, bool *caught, struct err *e)
{
	autoclean(io_fd_done) struct io_fd copy = { .os = d->s->os, .fd = -1 };
	struct node node = { .type = NODE_FILE,
		.size = d->small_size,
		.content = d->small_content,
		.content_count = d->small_count };
	bool same = true;
	enum ecode rc;

	*ran = *caught = false;
	if (d->small == NULL)
		return E_OK;
	rc = make_copy(d, &copy.fd, e);
	if (rc == E_OK)
		rc = d->same(d->s, &node, copy.fd, &same, e);
	*ran = rc == E_OK;
	*caught = rc == E_OK && !same;
	return rc;
}
