/* Loading blobs from packs: lookup, range read, open; another copy when the first is bad (format document 4). */
#ifndef HF_REPO_READER_H
#define HF_REPO_READER_H

#include "repo/index.h"

/*
 * Replace `out` by the plaintext of a blob.  Tries every location the index
 * knows, and each bad one once more (13.5).  refuses: E_BLOB_ABSENT, or the first location's refusal.
 * Any thread, with its own codec and scratch.
 */
enum ecode blob_load(struct vault *v, struct index *ix, struct blob_codec *c, enum blob_kind kind,
	const struct id *id, struct buf *scratch, struct buf *out, struct err *e) must_check;

#endif
