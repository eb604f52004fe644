/*
 * A vault made by hand, so that its listings can say anything.  Its truth:
 *	pack D	x, data "x", plain; b, 4,000 bytes, compressed
 *	pack T	s, a directory with "child" (x); t, the root: "big" (b), "sub" (s), "x" (x)
 *	pack E	o, 4,000 other bytes, compressed; only where a text names E
 * and what is nowhere: blob n, pack N.
 *
 * What the index files say is a text: files parted by ';', packs by ' ', blobs by ',':
 *	"D:x,b T:s,t"	the truth
 *	"D:x,b@x"	b is said to lie where x does (offset, length, uncompressed_length)
 *	"D:x{offset+1}"	a number too large by one; {offset=TEXT}: TEXT instead; {offset}: left out
 * A text that begins with '!' is a whole index file, in which $P is the truth's list of packs.
 * What the packs' headers say is the same, with numbers for TEXT (type is one, too) and without files; in brackets
 * before the blobs: "D[cut=5]:x,b": bytes off the header's end; "D[says=5]:x,b": its length field.
 */
#ifndef HF_TESTS_HOSTILE_CRAFT_H
#define HF_TESTS_HOSTILE_CRAFT_H

#include "engine/hostile.h"

#define CRAFT_TREE    "f644 4000 big|d755 sub|f644 1 sub/child|f644 1 x"
#define CRAFT_INDEX   "D:x,b T:s,t"
#define CRAFT_HEADERS "D:x,b T:s,t E:o"

struct id craft_vault(struct maker *m, const struct lie *lie);

/* Blobs, sealed, as one pack with that header (plain); its length field says `says`, or the truth when that is NULL. */
void craft_pack(struct maker *m, const struct buf *blobs, const struct buf *header,
	const char *says, struct id *name);
void craft_index(struct maker *m, const void *text, size_t len);
/* Who runs this owns the nodes. */
void craft_own(struct node *nodes, size_t n);

#endif
