#include "support/jail.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"

#define FNV_START  UINT64_C(14695981039346656037)
#define FNV_PRIME  UINT64_C(1099511628211)
#define RUN_FOLDED 200 /* of one byte, in a listing */

static int
by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static uint64_t
hash(uint64_t h, const void *p, size_t len)
{
	const uint8_t *bytes = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * FNV_PRIME;
	return h;
}

static uint64_t
hash_content(uint64_t h, const char *path)
{
	static uint8_t buf[1 << 16];
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	ssize_t got;

	if (fd < 0) /* not ours: without the nicety */
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return h;
	while ((got = read(fd, buf, sizeof(buf))) > 0)
		h = hash(h, buf, (size_t)got);
	(void)close(fd);
	return h;
}

static uint64_t
hash_xattrs(uint64_t h, const char *path)
{
	char names[4096], value[4096];
	ssize_t n = llistxattr(path, names, sizeof(names));

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t got = lgetxattr(path, names + at, value, sizeof(value));

		h = hash(h, names + at, strlen(names + at));
		if (got > 0)
			h = hash(h, value, (size_t)got);
	}
	return h;
}

static bool
fits(const char *rel, const char *const *patterns)
{
	for (; patterns != NULL && *patterns != NULL; patterns++)
		if (fnmatch(*patterns, rel, FNM_PATHNAME | FNM_PERIOD) == 0 ||
			fnmatch(*patterns, rel, FNM_PATHNAME) == 0)
			return true;
	return false;
}

static FTS *
look(const char *root)
{
	char *list[2] = { (char *)(uintptr_t)root, NULL };
	FTS *fts = fts_open(list, FTS_PHYSICAL | FTS_NOCHDIR, by_name);

	invariant(fts != NULL);
	return fts;
}

/* The relative path; "." for the root itself. */
static const char *
rel_of(const FTSENT *ent, const char *root)
{
	const char *rel = ent->fts_path + strlen(root);

	return *rel == '/' ? rel + 1 : ".";
}

static void
tell(FILE *out, const FTSENT *ent, const char *rel, bool grows)
{
	const struct stat *st = ent->fts_statp;
	uint64_t h = FNV_START;
	char target[4097];
	ssize_t n = 0;

	if (S_ISREG(st->st_mode))
		h = hash_content(h, ent->fts_path);
	if (S_ISLNK(st->st_mode))
		n = readlink(ent->fts_path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	h = hash_xattrs(h, ent->fts_path);
	(void)fprintf(out, "%s dev %ju ino %ju mode %o owner %u:%u rdev %ju %s %016" PRIx64, rel,
		(uintmax_t)st->st_dev, (uintmax_t)st->st_ino, st->st_mode, st->st_uid, st->st_gid,
		(uintmax_t)st->st_rdev, target, h);
	if (!grows)
		(void)fprintf(out, " links %ju size %jd mtime %jd.%09ld ctime %jd.%09ld",
			(uintmax_t)st->st_nlink, (intmax_t)st->st_size,
			(intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
			(intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
	(void)fputc('\n', out);
}

char *
jail_census(const char *root, const char *const *skip, const char *const *grows)
{
	FTS *fts = look(root);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	invariant(out != NULL);
	for (FTSENT *ent = fts_read(fts); ent != NULL; ent = fts_read(fts)) {
		const char *rel = rel_of(ent, root);

		if (ent->fts_info == FTS_DP)
			continue;
		if (fits(rel, skip))
			(void)fts_set(fts, ent, FTS_SKIP);
		else
			tell(out, ent, rel, fits(rel, grows));
	}
	(void)fts_close(fts);
	invariant(fclose(out) == 0);
	return text;
}

bool
jail_same(const char *before, const char *after, const char *what)
{
	if (strcmp(before, after) == 0)
		return true;
	while (*before != '\0' && *after != '\0') {
		size_t a = strcspn(before, "\n"), b = strcspn(after, "\n");

		if (a != b || memcmp(before, after, a) != 0)
			break;
		before += a + (before[a] == '\n');
		after += b + (after[b] == '\n');
	}
	(void)fprintf(stderr, "# %s: the jail changed:\n# before %.*s\n# after  %.*s\n", what,
		(int)strcspn(before, "\n"), before, (int)strcspn(after, "\n"), after);
	return false;
}

/* ---- a listing ---- */

static void
put_name(FILE *out, const char *text)
{
	while (*text != '\0') {
		unsigned char c = (unsigned char)*text;
		size_t run = 1;

		while (text[run] == *text)
			run++;
		if (run > RUN_FOLDED)
			(void)fprintf(out, "<%zu*%c>", run, c);
		else if (c <= ' ' || c >= 0x7f || c == '|' || c == '\\')
			(void)fprintf(out, "\\x%02x", c);
		else
			(void)fputc(c, out);
		text += run > RUN_FOLDED ? run : 1;
	}
}

static char
letter(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 'f';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFBLK:
		return 'b';
	case S_IFCHR:
		return 'c';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	default:
		return '?';
	}
}

static void
list_one(FILE *out, const FTSENT *ent, const char *rel)
{
	const struct stat *st = ent->fts_statp;
	char target[4097];
	ssize_t n;

	(void)fputc(letter(st->st_mode), out);
	if (!S_ISLNK(st->st_mode))
		(void)fprintf(out, "%o", st->st_mode & 07777);
	if (S_ISREG(st->st_mode))
		(void)fprintf(out, " %jd", (intmax_t)st->st_size);
	if (S_ISREG(st->st_mode) && st->st_nlink > 1)
		(void)fprintf(out, "x%ju", (uintmax_t)st->st_nlink);
	(void)fputc(' ', out);
	put_name(out, rel);
	if (!S_ISLNK(st->st_mode))
		return;
	n = readlink(ent->fts_path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	(void)fputs(" -> ", out);
	put_name(out, target);
}

char *
jail_listing(const char *root)
{
	char *text = NULL;
	size_t len = 0;
	struct stat st;
	bool any = false;
	FILE *out;
	FTS *fts;

	if (lstat(root, &st) != 0)
		return strdup("-");
	out = open_memstream(&text, &len);
	invariant(out != NULL);
	fts = look(root);
	for (FTSENT *ent = fts_read(fts); ent != NULL; ent = fts_read(fts)) {
		const char *rel = rel_of(ent, root);

		if (ent->fts_info == FTS_DP || strcmp(rel, ".") == 0)
			continue;
		if (any)
			(void)fputc('|', out);
		list_one(out, ent, rel);
		any = true;
	}
	(void)fts_close(fts);
	invariant(fclose(out) == 0);
	return text;
}

/* ---- decoys ---- */

static void
write_decoy(int dir, const char *name, mode_t mode)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	invariant(fd >= 0);
	invariant(write(fd, name, strlen(name)) == (ssize_t)strlen(name));
	invariant(fchmod(fd, mode) == 0);
	(void)close(fd);
}

void
jail_decoys(const char *dir)
{
	int fd;

	invariant(mkdir(dir, 0755) == 0);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	invariant(fd >= 0);
	write_decoy(fd, "secret", 0600);
	write_decoy(fd, "x", 0644);
	write_decoy(fd, "child", 0644);
	write_decoy(fd, "setuid", 04755);
	write_decoy(
		fd, "linked", 0644); /* for a name of it elsewhere: its count of links may change */
	invariant(linkat(fd, "secret", fd, "secret-too", 0) == 0);
	invariant(symlinkat("secret", fd, "link") == 0);
	invariant(mkfifoat(fd, "fifo", 0600) == 0);
	invariant(mkdirat(fd, "dir", 0750) == 0);
	invariant(mkdirat(fd, "dir/deep", 0700) == 0);
	write_decoy(fd, "dir/deep/precious", 0400);
	(void)close(fd);
}
