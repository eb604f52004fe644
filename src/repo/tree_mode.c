/* Go's FileMode (format document 6.5) to and from the kernel's, and its text; what a node cannot be. */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "repo/tree.h"

#define DASH            9  /* its place in the permission letters */
#define LETTERS_TOP_BIT 31 /* letters stand for the bits 31, 30, … */

struct mode_pair {
	uint32_t st_mode, mode;
};

static const struct mode_pair types[] = {
	{ S_IFDIR, MODE_DIR },
	{ S_IFLNK, MODE_SYMLINK },
	{ S_IFBLK, MODE_DEVICE },
	{ S_IFCHR, MODE_DEVICE | MODE_CHARDEV },
	{ S_IFIFO, MODE_FIFO },
	{ S_IFSOCK, MODE_SOCKET },
};

static const struct mode_pair flags[] = {
	{ S_ISUID, MODE_SETUID },
	{ S_ISGID, MODE_SETGID },
	{ S_ISVTX, MODE_STICKY },
};

#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))
#define FLAG_COUNT (sizeof(flags) / sizeof(flags[0]))

uint32_t
mode_from_st(uint32_t st_mode)
{
	uint32_t mode = st_mode & MODE_PERM;

	for (size_t i = 0; i < TYPE_COUNT; i++) {
		if ((st_mode & S_IFMT) == types[i].st_mode)
			mode |= types[i].mode;
	}
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if ((st_mode & flags[i].st_mode) != 0)
			mode |= flags[i].mode;
	}
	return mode;
}

uint32_t
mode_to_st(uint32_t mode)
{
	uint32_t st_mode = mode & MODE_PERM;

	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if ((mode & flags[i].mode) != 0)
			st_mode |= flags[i].st_mode;
	}
	return st_mode;
}

bool
node_type_fits(enum node_type type, uint32_t st_mode)
{
	switch (type) {
	case NODE_FILE:
		return S_ISREG(st_mode);
	case NODE_DIR:
		return S_ISDIR(st_mode);
	case NODE_SYMLINK:
		return S_ISLNK(st_mode);
	case NODE_DEV:
		return S_ISBLK(st_mode);
	case NODE_CHARDEV:
		return S_ISCHR(st_mode);
	case NODE_FIFO:
		return S_ISFIFO(st_mode);
	case NODE_SOCKET:
	case NODE_IRREGULAR:
		return false;
	}
	return false; /* not reached: -Wswitch-enum proves the list above */
}

void
mode_text(uint32_t mode, char out[static 24])
{
	static const char letters[] = "dalTLDpSugct?";
	static const char permissions[] = "rwxrwxrwx-";
	size_t at = 0;

	for (unsigned i = 0; i < sizeof(letters) - 1; i++) {
		if ((mode >> (LETTERS_TOP_BIT - i) & 1) != 0)
			out[at++] = letters[i];
	}
	if (at == 0)
		out[at++] = '-';
	for (unsigned i = 0; i < DASH; i++)
		out[at++] = permissions[(mode >> (8 - i) & 1) != 0 ? i : DASH];
	out[at] = '\0';
}

/* Linux: 12 bits of major, 20 of minor number (MKDEV of the kernel). */
#define DEVICE_MAJOR_MAX 0xfffU
#define DEVICE_MINOR_MAX 0xfffffU

const char *
node_flaw(const struct node *node)
{
	bool device = node->type == NODE_DEV || node->type == NODE_CHARDEV;
	size_t len = node->linktarget.len;

	if (node->type == NODE_IRREGULAR)
		return "its type is not known";
	if (node->type == NODE_DIR && !node->has_subtree)
		return "a directory without a subtree";
	if (node->type == NODE_SYMLINK &&
		(len == 0 || len >= PATH_MAX || memchr(node->linktarget.p, '\0', len) != NULL))
		return "a symbolic link without a usable target";
	if (device &&
		(major(node->device) > DEVICE_MAJOR_MAX || minor(node->device) > DEVICE_MINOR_MAX))
		return "a device of a number that there cannot be";
	return NULL;
}
