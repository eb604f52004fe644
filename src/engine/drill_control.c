/*
 * The negative control: what cannot fail proves nothing (reliability.md, root cause 12).  One piece is enough to prove that
 * the comparing function sees a byte, and of a vault of one huge file the smallest file is huge.
 */
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

/* One piece of the smallest file: where it lies, and which of its bytes is to be another. */
struct piece {
	const struct id *id;
	uint64_t from; /* in the file */
	uint32_t len;  /* > 0 */
	uint64_t at;   /* in the piece */
};

static enum ecode
length_of(const struct drill *d, size_t k, uint32_t *len, struct err *e)
{
	if (index_size(d->s->index, BLOB_DATA, &d->small_content[k], len))
		return E_OK;
	return err_set(e, E_BUG, 0, "a piece of %s is in no index any more", d->small);
}

/* The `wanted`th, or one near it that has a byte: of a file that is not empty there is one. */
static enum ecode
find_piece(const struct drill *d, size_t wanted, struct piece *out, struct err *e)
{
	uint64_t from = 0;
	uint32_t len = 0;
	enum ecode rc = E_OK;

	for (size_t k = 0; rc == E_OK && k < d->small_count; k++) {
		rc = length_of(d, k, &len, e);
		if (rc == E_OK && len > 0 && (k <= wanted || out->len == 0))
			*out = (struct piece){
				.id = &d->small_content[k], .from = from, .len = len
			};
		if (out->len > 0 && k >= wanted)
			return rc;
		from += len;
	}
	if (rc == E_OK && out->len == 0)
		return err_set(e, E_BUG, 0, "%s has no bytes", d->small);
	return rc;
}

static enum ecode
choose_piece(const struct drill *d, struct piece *out, struct err *e)
{
	uint64_t dice[2];
	int got = d->s->os->random(d->s->os, dice, sizeof(dice));
	enum ecode rc;

	if (got < 0)
		return err_set(e, E_RANDOM, -got, "the negative control");
	rc = find_piece(d, (size_t)(dice[0] % d->small_count), out, e);
	if (rc == E_OK)
		out->at = dice[1] % out->len;
	return rc;
}

static enum ecode
copy_flipped(struct drill *d, int from, int to, const struct piece *p, struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(COPY_BYTES);
	const struct os *os = d->s->os;
	uint64_t done = 0;
	enum ecode rc = buf_reserve(&b, COPY_BYTES, e);

	while (rc == E_OK && done < p->len) {
		uint64_t left = p->len - done;
		size_t want = left < COPY_BYTES ? (size_t)left : COPY_BYTES, got = 0;

		rc = io_pread(os, from, b.p, want, p->from + done, &got, d->small, e);
		if (rc == E_OK && got == 0)
			return err_set(e, E_IO_READ, 0, "%s ends early", d->small);
		if (rc == E_OK && p->at >= done && p->at - done < got)
			b.p[p->at - done] ^= 1;
		if (rc == E_OK)
			rc = io_pwrite(os, to, b.p, got, done, CONTROL_NAME, e);
		done += got;
	}
	return rc;
}

static enum ecode
make_copy(struct drill *d, const struct piece *piece, int *to, struct err *e)
{
	autoclean(place_close) struct place *tree = NULL, *scratch = NULL;
	autoclean(io_fd_done) struct io_fd from = { .os = d->s->os, .fd = -1 };
	autoclean(io_fd_done) struct io_fd dir = { .os = d->s->os, .fd = -1 };
	enum ecode rc = place_look(d->s->os, d->tree, &tree, e);

	if (rc == E_OK)
		rc = place_look(d->s->os, d->dir, &scratch, e);
	if (rc == E_OK)
		rc = place_reopen(tree, d->small + 1, O_RDONLY, &from.fd, e);
	if (rc == E_OK)
		rc = place_open_dir(scratch, "", &dir.fd, e);
	if (rc == E_OK)
		rc = place_file(scratch, dir.fd, CONTROL_NAME, to, e);
	return rc == E_OK ? copy_flipped(d, from.fd, *to, piece, e) : rc;
}

enum ecode
drill_control(struct drill *d, bool *ran, bool *caught, struct err *e)
{
	autoclean(io_fd_done) struct io_fd copy = { .os = d->s->os, .fd = -1 };
	autoclean(match_hand_done) struct match_hand hand = match_hand_of(d->s, d->s->own);
	struct node node = { .type = NODE_FILE, .content_count = 1 };
	struct piece piece = { .len = 0 };
	bool same = true;
	enum ecode rc;

	*ran = *caught = false;
	if (d->small == NULL)
		return E_OK;
	rc = choose_piece(d, &piece, e);
	if (rc == E_OK)
		rc = make_copy(d, &piece, &copy.fd, e);
	node.size = piece.len;
	node.content = piece.id;
	if (rc == E_OK)
		rc = d->same(&hand, &node, copy.fd, &same, e);
	*ran = rc == E_OK;
	*caught = rc == E_OK && !same;
	return rc;
}
