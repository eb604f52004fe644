/* Listings that lie (format document 4, 5): index files, and the packs' own headers.  What is said: hostile_craft.h. */
#include "engine/hostile_craft.h"

/* What comes of a lie, and who sees it. */
enum outcome {
	FINE,     /* nobody: it is harmless, and the tree is exactly right */
	TIDY,     /* the tree is right; every check calls it damage */
	SHORT,    /* the same, and verify: a pack is shorter than recorded */
	INSIDE,   /* the tree is right; only a check that reads packs sees it */
	NO_INDEX, /* everybody: such a file is no index */
	KNOWN,    /* whoever looks up a piece: plans and all checks */
	READ,     /* who reads the piece: not a plan, not a check of the structure */
	SIZES,    /* the same, and a check of the structure, by sizes and places */
};
struct listing {
	const char *name, *index, *header;
	enum outcome outcome;
	char gone; /* what is lost by it: 'x', 'b', 's'; 0: all */
	uint64_t size;
};

static const struct listing listings[] = {
	{ "listing: the truth", CRAFT_INDEX, NULL, FINE },
	/* numbers that are none, or beyond every pack */
	{ "index: offset is negative", "D:x{offset=-1},b T:s,t", NULL, NO_INDEX },
	{ "index: offset 2^64", "D:x{offset=18446744073709551616},b T:s,t", NULL, NO_INDEX },
	{ "index: offset 2^32", "D:x{offset=4294967296},b T:s,t", NULL, NO_INDEX },
	{ "index: offset with an exponent", "D:x{offset=0e0},b T:s,t", NULL, NO_INDEX },
	{ "index: offset a text", "D:x{offset=\"0\"},b T:s,t", NULL, NO_INDEX },
	{ "index: offset left out is 0", "D:x{offset},b T:s,t", NULL, FINE },
	{ "index: offset of the second left out", "D:x,b{offset} T:s,t", NULL, NO_INDEX },
	{ "index: offset and length pass 2^32", "D:x,b{offset=4294967295} T:s,t", NULL, NO_INDEX },
	{ "index: length 0", "D:x{length=0},b T:s,t", NULL, NO_INDEX },
	{ "index: length left out", "D:x,b{length} T:s,t", NULL, NO_INDEX },
	{ "index: length too short for a seal", "D:x{length=31},b T:s,t", NULL, NO_INDEX },
	{ "index: length 2^32 - 34", "D:x,b{length=4294967262} T:s,t", NULL, NO_INDEX },
	{ "index: plain length above the limit", "D:x,b{uncompressed_length=2147483649} T:s,t",
		NULL, NO_INDEX },
	{ "index: plain length negative", "D:x,b{uncompressed_length=-1} T:s,t", NULL, NO_INDEX },
	{ "index: type unknown", "D:x{type=\"DATA\"},b T:s,t", NULL, NO_INDEX },
	{ "index: type null", "D:x{type=null},b T:s,t", NULL, NO_INDEX },
	/* places that are wrong by a little, and by much */
	{ "index: overlapping by a byte", "D:x{offset+1},b T:s,t", NULL, NO_INDEX },
	{ "index: overlapping by length", "D:x{length+1},b T:s,t", NULL, NO_INDEX },
	{ "index: two blobs at one place", "D:x,b@x T:s,t", NULL, NO_INDEX },
	{ "index: two trees at one place", "D:x,b T:s@t,t", NULL, NO_INDEX },
	{ "index: a gap before the second", "D:x,b{offset+1} T:s,t", NULL, SIZES, 'b' },
	{ "index: the second ends in the header", "D:x,b{length+1} T:s,t", NULL, SIZES, 'b' },
	{ "index: the second ends early", "D:x,b{length-1} T:s,t", NULL, SIZES, 'b' },
	{ "index: beyond the pack", "D:x,b{offset=1000000} T:s,t", NULL, SIZES, 'b' },
	{ "index: far beyond the pack", "D:x,b{offset=4000000000} T:s,t", NULL, SIZES, 'b' },
	{ "index: 2 GiB of a small pack", "D:x,b{length=2147483647} T:s,t", NULL, SIZES, 'b' },
	{ "index: a tree of 2 GiB in a small pack", "D:x,b T:s,t{length=2147483647}", NULL, KNOWN },
	{ "index: a tree beyond the pack", "D:x,b T:s,t{offset=1000000}", NULL, KNOWN },
	{ "index: a tree below ends early", "D:x,b T:s{length-1},t", NULL, KNOWN, 's' },
	{ "index: data exchanged", "D:x@b,b@x T:s,t", NULL, KNOWN },
	{ "index: trees exchanged", "D:x,b T:s@t,t@s", NULL, KNOWN },
	{ "index: packs exchanged", "T:x,b D:s,t", NULL, KNOWN },
	{ "index: a pack that is not there", "N:x,b T:s,t", NULL, SIZES },
	{ "index: trees in a pack that is not there", "D:x,b N:s,t", NULL, KNOWN },
	/* plain lengths */
	{ "index: plain length of what is plain", "D:x{uncompressed_length=1},b T:s,t", NULL, SIZES,
		'x' },
	{ "index: plain length left out", "D:x,b{uncompressed_length} T:s,t", NULL, KNOWN, 'b' },
	{ "index: plain length 0", "D:x,b{uncompressed_length=0} T:s,t", NULL, KNOWN, 'b' },
	{ "index: plain length, more", "D:x,b{uncompressed_length+1} T:s,t", NULL, KNOWN, 'b' },
	{ "index: plain length, more; the file agrees", "D:x,b{uncompressed_length+1} T:s,t", NULL,
		READ, 'b', 4001 },
	{ "index: plain length, less; the file agrees", "D:x,b{uncompressed_length-1} T:s,t", NULL,
		READ, 'b', 3999 },
	{ "index: plain length, 1; the file agrees", "D:x,b{uncompressed_length=1} T:s,t", NULL,
		READ, 'b', 1 },
	{ "index: plain length, all agree", "D:x,b{uncompressed_length+1} T:s,t",
		"D:x,b{uncompressed_length+1} T:s,t", READ, 'b', 4001 },
	{ "index: a tree's plain length, more", "D:x,b T:s,t{uncompressed_length+1}", NULL, KNOWN },
	{ "index: a tree's plain length, less", "D:x,b T:s{uncompressed_length-1},t", NULL, KNOWN,
		's' },
	{ "index: a tree's plain length, 2 GiB", "D:x,b T:s,t{uncompressed_length=2147483648}",
		NULL, KNOWN },
	{ "index: a tree's plain length, 2 GiB, below",
		"D:x,b T:s{uncompressed_length=2147483648},t", NULL, KNOWN, 's' },
	{ "index: a tree's plain length, 1", "D:x,b T:s,t{uncompressed_length=1}", NULL, KNOWN },
	/* kinds: data and trees are two name spaces */
	{ "index: data called a tree", "D:x{type=\"tree\"},b T:s,t", NULL, KNOWN, 'x' },
	{ "index: a tree called data", "D:x,b T:s,t{type=\"data\"}", NULL, KNOWN },
	{ "index: a tree below called data", "D:x,b T:s{type=\"data\"},t", NULL, KNOWN, 's' },
	{ "both: data called a tree", "D:x{type=\"tree\"},b T:s,t", "D:x{type=1},b T:s,t", KNOWN,
		'x' },
	{ "both: a tree called data", "D:x,b T:s,t{type=\"data\"}", "D:x,b T:s,t{type=2}", KNOWN },
	/* one id, two contents */
	{ "index: an id with other content", "D:x T:s,t E:b@o", NULL, SIZES, 'b' },
	{ "index: an id with other content, in the header, too", "D:x,n@b T:s,t E:b@o",
		"D:x,n@b T:s,t E:b@o", READ, 'b' },
	{ "index: an id with other content, too, first", "E:b@o D:x,b T:s,t", "D:x,b T:s,t E:b@o",
		INSIDE },
	{ "index: an id with other content, too, last", "D:x,b T:s,t E:b@o", "D:x,b T:s,t E:b@o",
		INSIDE },
	{ "index: an id with other content, in two files", "E:b@o;D:x,b T:s,t", "D:x,b T:s,t E:b@o",
		INSIDE },
	{ "index: a tree with other content, too", "E:t@o{type=\"tree\"} D:x,b T:s,t",
		"D:x,b T:s,t E:t@o{type=3}", INSIDE },
	/* counts */
	{ "index: no blobs", "D: T:", NULL, KNOWN },
	{ "index: a blob fewer", "D:x T:s,t", NULL, KNOWN, 'b' },
	{ "index: a tree fewer", "D:x,b T:t", NULL, KNOWN, 's' },
	{ "index: a blob more", "D:x,b,n T:s,t", NULL, SHORT },
	{ "index: a blob twice", "D:x,b,b T:s,t", NULL, FINE },
	{ "index: a pack twice", "D:x,b T:s,t D:x,b", NULL, FINE },
	{ "index: a pack in two files", "D:x,b T:s,t;D:x,b", NULL, FINE },
	{ "index: a pack in two halves", "D:x;D:b T:s,t", NULL, TIDY },
	{ "index: a pack told in two ways", "D:x,b T:s,t;D:x{offset=7}", NULL, SHORT },
	/* the file as a whole */
	{ "index: nothing", "!", NULL, NO_INDEX },
	{ "index: no packs", "!{\"packs\":[]}\n", NULL, KNOWN },
	{ "index: packs null", "!{\"packs\":null}\n", NULL, KNOWN },
	{ "index: packs an object", "!{\"packs\":{}}\n", NULL, NO_INDEX },
	{ "index: a bare list, as before 0.2", "!$P\n", NULL, NO_INDEX },
	{ "index: cut off", "!{\"packs\":$P", NULL, NO_INDEX },
	{ "index: more behind it", "!{\"packs\":$P}x", NULL, NO_INDEX },
	{ "index: a million deep", "!{\"packs\":$<1000000*[>", NULL, NO_INDEX },
	{ "index: supersedes, which hides nothing",
		"!{\"supersedes\":[\"$<64*0>\"],\"packs\":$P}\n", NULL, FINE },
	{ "index: unknown members", "!{\"a\":{\"b\":[1,null]},\"packs\":$P}\n", NULL, FINE },
	{ "index: an id of 63 digits", "!{\"packs\":[{\"id\":\"$<63*a>\",\"blobs\":[]}]}\n", NULL,
		NO_INDEX },
	/* headers: a restore goes by the index */
	{ "header: another type", NULL, "D:x{type=1},b T:s,t", INSIDE },
	{ "header: no such type", NULL, "D:x,b{type=7} T:s,t", INSIDE },
	{ "header: type 255", NULL, "D:x,b T:s,t{type=255}", INSIDE },
	{ "header: a blob's length, more", NULL, "D:x,b{length+1} T:s,t", INSIDE },
	{ "header: a blob's length 0", NULL, "D:x{length=0},b T:s,t", INSIDE },
	{ "header: a blob's length 2^32 - 1", NULL, "D:x{length=4294967295},b T:s,t", INSIDE },
	{ "header: a plain length, more", NULL, "D:x,b{uncompressed_length+1} T:s,t", INSIDE },
	{ "header: a plain length 0", NULL, "D:x,b{uncompressed_length=0} T:s,t", INSIDE },
	{ "header: a plain length 2^32 - 1", NULL, "D:x,b T:s,t{uncompressed_length=4294967295}",
		INSIDE },
	{ "header: another id", NULL, "D:x,n@b T:s,t", INSIDE },
	{ "header: two exchanged", NULL, "D:b,x T:s,t", INSIDE },
	{ "header: an entry fewer", NULL, "D:x T:s,t", SHORT },
	{ "header: an entry more", NULL, "D:x,b,n T:s,t", TIDY },
	{ "header: nothing in it", NULL, "D: T:s,t", SHORT },
	{ "header: an entry cut", NULL, "D[cut=5]:x,b T:s,t", SHORT },
	{ "header: its length 0", NULL, "D[says=0]:x,b T:s,t", INSIDE },
	{ "header: its length less than a seal's", NULL, "D:x,b T[says=31]:s,t", INSIDE },
	{ "header: its length, one more", NULL, "D[says=111]:x,b T:s,t", INSIDE },
	{ "header: its length beyond the pack", NULL, "D[says=1000000]:x,b T:s,t", INSIDE },
	{ "header: its length 2^32 - 1", NULL, "D:x,b T[says=4294967295]:s,t", INSIDE },
};
#define LISTINGS (sizeof(listings) / sizeof(listings[0]))

static const char *
what_is_left(char gone)
{
	switch (gone) {
	case 'x':
		return "f644 4000 big|d755 sub";
	case 'b':
		return "d755 sub|f644 1 sub/child|f644 1 x";
	case 's': /* it is told as missing; what it was, is known */
		return "f644 4000 big|d755 sub|f644 1 x";
	default:
		return NULL;
	}
}

/*
 * Verbs differ only in what they do to a destination that is in use.  Where an
 * outcome comes before that, or is none for a restore, some rows stand for all.
 */
static bool
is_short(size_t i)
{
	enum outcome o = listings[i].outcome;
	bool no_matter = o == NO_INDEX || o == KNOWN || listings[i].header != NULL;

	return no_matter && i % 4 != 0;
}

static struct hostile
row_of(const struct listing *l)
{
	struct hostile h = { .name = l->name,
		.craft = craft_vault,
		.tree = CRAFT_TREE,
		.partial = what_is_left(l->gone),
		.lie = { .index = l->index, .header = l->header, .size = l->size } };

	switch (l->outcome) {
	case FINE:
		break;
	case SHORT:
		h.verify = E_VERIFY_FAILED;
		h.check = E_CHECK_FAILED;
		h.read = E_CHECK_FAILED;
		break;
	case TIDY:
		h.check = E_CHECK_FAILED;
		h.read = E_CHECK_FAILED;
		break;
	case INSIDE:
		h.read = E_CHECK_FAILED;
		break;
	case NO_INDEX:
		h.want = E_INDEX_FORMAT;
		h.drill = E_DRILL_FAILED; /* of all that can be said of it: it cannot be restored */
		break;
	case READ:
	case SIZES:
		h.flags |= H_PLANNED;
		h.want = E_RESTORE_DAMAGED;
		h.check = l->outcome == SIZES ? E_CHECK_FAILED : E_OK;
		break;
	case KNOWN:
		h.want = E_RESTORE_DAMAGED;
		break;
	}
	return h;
}

const struct hostile *
hostile_listings(size_t *n)
{
	static struct hostile rows[LISTINGS];

	*n = LISTINGS;
	for (size_t i = 0; i < LISTINGS; i++) {
		rows[i] = row_of(&listings[i]);
		rows[i].flags |= is_short(i) ? H_ALONE : 0;
	}
	return rows;
}
