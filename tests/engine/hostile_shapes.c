/* Hostile shapes: trees that go deep or multiply, destinations that are traps, snapshot records that lie. */
#include "engine/hostile.h"

#include <fcntl.h>
#include <unistd.h>

#define BAD     E_RESTORE_DAMAGED
#define MILLION 1000000U

/* ---- deep, and many ---- */

static struct id
nest(struct maker *m, unsigned depth, unsigned width, unsigned name_len)
{
	char names[8][256];
	struct node node[8];
	struct id tree = maker_tree(m, NULL, 0);

	invariant(width <= 8 && name_len < sizeof(names[0]));
	for (unsigned i = 0; i < depth; i++) {
		for (unsigned k = 0; k < width; k++) {
			memset(names[k], 'a' + (int)k, name_len);
			names[k][name_len] = '\0';
			node[k] = node_dir(names[k], &tree);
			node[k].uid = getuid();
			node[k].gid = getgid();
		}
		tree = maker_tree(m, node, width);
	}
	return tree;
}

static struct id
deep_2600(struct maker *m)
{
	return nest(m, 2600, 1, 1);
}

static struct id
deep_6000(struct maker *m)
{
	return nest(m, 6000, 1, 1);
}

/* A path of 1,280,000 bytes. */
static struct id
deep_and_long(struct maker *m)
{
	return nest(m, 5000, 1, 255);
}

static struct id
bomb_of_directories(struct maker *m)
{
	return nest(m, 40, 2, 1);
}

static struct id
bomb_8_wide(struct maker *m)
{
	return nest(m, 30, 8, 1);
}

/* Each of 2^40 directories holds one file of the same byte. */
static struct id
bomb_of_files(struct maker *m)
{
	struct id x = maker_data(m, "x", 1), tree;
	struct node nodes[3];

	nodes[0] = node_file("f", &x, 1, 1);
	tree = maker_tree(m, nodes, 1);
	for (unsigned i = 0; i < 40; i++) {
		nodes[1] = node_dir("g", &tree);
		nodes[2] = node_dir("h", &tree);
		tree = maker_tree(m, nodes, 3);
	}
	return tree;
}

/* The same, hidden below twenty honest directories, and as names of one inode. */
static struct id
bomb_of_links(struct maker *m)
{
	struct id x = maker_data(m, "x", 1), tree;
	struct node nodes[3];

	nodes[0] = node_file("f", &x, 1, 1);
	nodes[0].inode = 5;
	nodes[0].links = 1U << 31;
	tree = maker_tree(m, nodes, 1);
	for (unsigned i = 0; i < 60; i++) {
		nodes[0] = node_dir("g", &tree);
		nodes[1] = node_dir("h", &tree);
		tree = maker_tree(m, nodes, i < 40 ? 2 : 1);
	}
	return tree;
}

/* One blob a million times in one file. */
static struct id
file_of_one_blob(struct maker *m, size_t blob_len, uint64_t size)
{
	static uint8_t zeros[1 << 20];
	static struct id content[MILLION];
	struct id x = maker_data(m, zeros, blob_len);
	struct node node;

	for (size_t i = 0; i < MILLION; i++)
		content[i] = x;
	node = node_file("f", content, MILLION, size);
	node.uid = getuid();
	node.gid = getgid();
	return maker_tree(m, &node, 1);
}

/* A terabyte out of nothing, and honest. */
static struct id
file_of_a_terabyte(struct maker *m)
{
	return file_of_one_blob(m, 1 << 20, (uint64_t)MILLION << 20);
}

static struct id
file_of_a_million_pieces(struct maker *m)
{
	return file_of_one_blob(m, 1, MILLION);
}

/* A terabyte that calls itself a byte. */
static struct id
file_that_calls_itself_small(struct maker *m)
{
	return file_of_one_blob(m, 1 << 20, 1);
}

/* ---- the snapshot's record ---- */

static void
write_record(struct fix *f, const struct hostile *h)
{
	autoclean(buf_done) struct buf text = buf_limit(1 << 24);
	struct hostile_ids ids = { .packs = "", .decoys = "" };
	struct session s;
	struct err e;
	struct id id;

	open_session(&s, os_posix(), f->vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &f->h);
	memcpy(&ids.tree, f->result.snapshot_id.b, sizeof(ids.tree)); /* put there by the runner */
	hostile_expand(&text, h->lie.value, &ids);
	assert_int_equal(vault_save(s.vault, s.own, O_SNAPSHOT, text.p, text.len, &id, &e), E_OK);
	session_abandon(&s);
}

#define LATE "\"time\":\"2090-01-01T00:00:00Z\""

static const struct hostile shapes[] = {
	/* slow builds take every seventh row, from the first: those are light ones */
	{ "bomb: a terabyte that calls itself a byte", NULL, BAD,
		.make = file_that_calls_itself_small, .flags = H_ALONE },
	{ "bomb: 2^40 directories", NULL, E_LIMIT, .make = bomb_of_directories,
		.flags = H_ALONE | H_SOUND },
	{ "bomb: 8^30 directories", NULL, E_LIMIT, .make = bomb_8_wide,
		.flags = H_ALONE | H_SOUND },
	{ "bomb: 2^40 files", NULL, E_LIMIT, .make = bomb_of_files, .flags = H_ALONE | H_SOUND },
	{ "bomb: 2^40 names of one file", NULL, E_LIMIT, .make = bomb_of_links,
		.flags = H_ALONE | H_SOUND },
	{ "bomb: a terabyte of one blob", NULL, E_DEST_SPACE, .make = file_of_a_terabyte,
		.flags = H_ALONE | H_SOUND },
	{ "bomb: a million pieces of a byte", NULL, E_OK, "f644 1000000 f",
		.make = file_of_a_million_pieces, .flags = H_ALONE },
	/* a destination in use that is a trap: a link where the snapshot has a directory */
	{ "trap: a link to the decoys is in the way", "d name'x", E_OK, "d755 x|f644 1 x/child",
		.live = "l x ../../around", .flags = H_SNAPSHOT_WINS },
	{ "deep: 2,600", NULL, E_OK, .make = deep_2600, .flags = H_UNLISTED,
		.drill = E_DRILL_UNKNOWN },
	{ "deep: 6,000", NULL, E_OK, .make = deep_6000, .flags = H_UNLISTED | H_ALONE,
		.drill = E_DRILL_UNKNOWN },
	{ "deep: a path of a megabyte and more", NULL, E_LIMIT, .make = deep_and_long,
		.flags = H_ALONE | H_SOUND },
	{ "trap: an absolute link", "d name'x", E_OK, "d755 x|f644 1 x/child", .live = "l x DECOYS",
		.flags = H_SNAPSHOT_WINS },
	{ "trap: a link to a decoy file", "f name'x", E_OK, "f644 1 x",
		.live = "l x ../../around/x", .flags = H_SNAPSHOT_WINS },
	{ "trap: a link that dangles", "f name'x", E_OK, "f644 1 x", .live = "l x ../../around/new",
		.flags = H_SNAPSHOT_WINS },
	{ "trap: a link to itself", "d name'x", E_OK, "d755 x|f644 1 x/child", .live = "l x x",
		.flags = H_SNAPSHOT_WINS },
	{ "trap: a link below", "d name'sub|subtree=$I", E_OK,
		"d755 sub|d755 sub/x|f644 1 sub/x/child", .inner = "d name'x",
		.live = "d sub|l sub/x ../../../around", .flags = H_SNAPSHOT_WINS },
	{ "trap: a pipe is in the way", "f name'x", E_OK, "f644 1 x", .live = "p x",
		.flags = H_SNAPSHOT_WINS },
	{ "trap: a pipe where a directory goes", "d name'x", E_OK, "d755 x|f644 1 x/child",
		.live = "p x", .flags = H_SNAPSHOT_WINS },
	{ "trap: a file that is a decoy's other name", "f name'x", E_OK, "f644 1 x",
		.live = "h x DECOYS/linked", .flags = H_SNAPSHOT_WINS },
	{ "trap: a directory where a link goes", "l name'x|linktarget'$A", E_OK, "l x -> DECOYS",
		.live = "d x|l x/y ../../../around", .flags = H_SNAPSHOT_WINS },
	{ "trap: links where names of one inode go",
		"f name'a|inode=7|links=2\nf name'b|inode=7|links=2", E_OK, "f644 1x2 a|f644 1x2 b",
		.live = "l a ../../around/x|l b ../../around/child", .flags = H_SNAPSHOT_WINS },
	{ "trap: no rule", "f name'x", E_OK, "f644 1 x", .live = "l x ../../around/x" },
	/* the artifact set's own name */
	{ "artifacts: their name is a link to the decoys", "l name'.holdfast_restore|linktarget'$A",
		E_OK, "l .holdfast_restore -> DECOYS", .flags = H_ARTIFACTS },
	{ "artifacts: their name is a file", "f name'.holdfast_restore", E_OK,
		"f644 1 .holdfast_restore", .flags = H_ARTIFACTS },
	{ "artifacts: their name is a directory of links", "d name'.holdfast_restore|subtree=$I",
		E_OK,
		"d755 .holdfast_restore|l .holdfast_restore/20261121T000000Z-00000001 -> DECOYS",
		.inner = "l name'20261121T000000Z-00000001|linktarget'$A", .flags = H_ARTIFACTS },
	{ "artifacts: their name is at the destination, a link", "f name'x", E_OK, "f644 1 x",
		.live = "l .holdfast_restore ../../around",
		.flags = H_ARTIFACTS | H_SNAPSHOT_WINS | H_UNLISTED },
	{ "artifacts: names that break lines",
		"f name'a\\\\nb\\\\x1b\\\\\\\",\\\\\\\"path\\\\\\\":\\\\\\\"x", E_OK,
		"f644 1 a\\x0ab\\x1b\",\"path\":\"x", .flags = H_ARTIFACTS },
	/* snapshot records; the newest one is the lie */
	{ "record: no tree", "f", E_SNAPSHOT_FORMAT, .spoil = write_record,
		.lie = { .value = "{" LATE ",\"paths\":[\"/x\"],\"hostname\":\"h\"}" },
		.verify = E_SNAPSHOT_FORMAT, .drill = E_SNAPSHOT_FORMAT },
	{ "record: a tree that is not there", "f", BAD, .spoil = write_record,
		.lie = { .value = "{" LATE ",\"tree\":$N,\"paths\":[\"/x\"]}" } },
	{ "record: a tree of 63 digits", "f", E_SNAPSHOT_FORMAT, .spoil = write_record,
		.lie = { .value = "{" LATE ",\"tree\":\"$<63*a>\"}" }, .verify = E_SNAPSHOT_FORMAT,
		.drill = E_SNAPSHOT_FORMAT },
	{ "record: no JSON", "f", E_JSON_SYNTAX, .spoil = write_record, .lie = { .value = "{{{{" },
		.verify = E_JSON_SYNTAX, .drill = E_JSON_SYNTAX },
	{ "record: a million deep", "f", E_JSON_SYNTAX, .spoil = write_record,
		.lie = { .value = "{\"a\":$<1000000*[>" }, .verify = E_JSON_SYNTAX,
		.drill = E_JSON_SYNTAX },
	{ "record: its tree twice", "f", BAD, .spoil = write_record,
		.lie = { .value = "{" LATE
				  ",\"tree\":$T,\"tree\":$N}" } }, /* the last one, as Go has it */
	{ "record: no time", "f", E_OK, "f644 1 x", .spoil = write_record,
		.lie = { .value = "{\"tree\":$N}" }, /* the year 1: never the latest */
		.check = E_CHECK_FAILED, .read = E_CHECK_FAILED },
	{ "record: hostile names", "f", E_OK, "f644 1 x", .spoil = write_record,
		.lie = { .value = "{" LATE
				  ",\"tree\":$T,\"paths\":[\"/../../x\",\"\",\"a\\u0000b\"],"
				  "\"hostname\":\"../../h\\u001b[0m\",\"username\":\"$<100000*u>\","
				  "\"tags\":[\"../x\"]}" } },
	{ "record: another's claims", "f", E_OK, "f644 1 x", .spoil = write_record,
		.lie = { .value = "{" LATE ",\"tree\":$T,\"holdfast\":{\"complete\":true,"
				  "\"lacking\":-1}}" },
		.check = E_CHECK_FAILED, .read = E_CHECK_FAILED },
};

const struct hostile *
hostile_shapes(size_t *n)
{
	*n = sizeof(shapes) / sizeof(shapes[0]);
	return shapes;
}
