#include "support/compare_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"

#define TEXT_MAX 65536

struct pair { /* hard links: this inode there is that inode here */
	dev_t dev_a, dev_b;
	ino_t ino_a, ino_b;
};
struct compare {
	unsigned parts;
	char *why;
	size_t why_size;
	struct pair *pairs;
	size_t pair_count;
};

static bool printf_like(2, 3) differ(struct compare *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(c->why, c->why_size, fmt, ap);
	va_end(ap);
	return false;
}

static int
by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static FTS *
walk(const char *path)
{
	char text[4096];
	char *list[2] = { text, NULL };
	FTS *fts;

	invariant(snprintf(text, sizeof(text), "%s", path) < (int)sizeof(text));
	fts = fts_open(list, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	invariant(fts != NULL);
	return fts;
}

/* The next entry in order, directories once; NULL at the end. */
static FTSENT *
next(FTS *fts)
{
	FTSENT *ent;

	do
		ent = fts_read(fts);
	while (ent != NULL && ent->fts_info == FTS_DP);
	return ent;
}

static bool
same_bytes(struct compare *c, const char *a, const char *b)
{
	static char buf_a[TEXT_MAX], buf_b[TEXT_MAX];
	FILE *fa = fopen(a, "re"), *fb = fopen(b, "re");
	bool same = fa != NULL && fb != NULL;
	size_t na = 1, nb = 1;

	while (same && na > 0) {
		na = fread(buf_a, 1, sizeof(buf_a), fa);
		nb = fread(buf_b, 1, sizeof(buf_b), fb);
		same = na == nb && memcmp(buf_a, buf_b, na) == 0;
	}
	if (fa != NULL)
		(void)fclose(fa);
	if (fb != NULL)
		(void)fclose(fb);
	return same || differ(c, "%s: content differs from %s", b, a);
}

static bool
same_target(struct compare *c, const char *a, const char *b)
{
	char ta[4096], tb[4096];
	ssize_t na = readlink(a, ta, sizeof(ta)), nb = readlink(b, tb, sizeof(tb));

	if (na < 0 || na != nb || memcmp(ta, tb, (size_t)na) != 0)
		return differ(c, "%s: link target", b);
	return true;
}

/* Every attribute of a has the same value in b. */
static bool
xattrs_within(struct compare *c, const char *a, const char *b)
{
	char names[TEXT_MAX];
	static char va[TEXT_MAX], vb[TEXT_MAX];
	ssize_t len = llistxattr(a, names, sizeof(names));

	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t na = lgetxattr(a, names + at, va, sizeof(va));
		ssize_t nb = lgetxattr(b, names + at, vb, sizeof(vb));

		if (na != nb || (na > 0 && memcmp(va, vb, (size_t)na) != 0))
			return differ(c, "%s: attribute %s", b, names + at);
	}
	return true;
}

static bool
same_links(struct compare *c, const struct stat *a, const struct stat *b, const char *path)
{
	struct pair pair = { a->st_dev, b->st_dev, a->st_ino, b->st_ino };

	if (S_ISDIR(a->st_mode) || (a->st_nlink == 1 && b->st_nlink == 1))
		return true;
	if (a->st_nlink != b->st_nlink)
		return differ(c, "%s: %ju links, not %ju", path, (uintmax_t)b->st_nlink,
			(uintmax_t)a->st_nlink);
	for (size_t i = 0; i < c->pair_count; i++) {
		const struct pair *p = &c->pairs[i];
		bool in_a = p->ino_a == pair.ino_a && p->dev_a == pair.dev_a;
		bool in_b = p->ino_b == pair.ino_b && p->dev_b == pair.dev_b;

		if (in_a != in_b)
			return differ(c, "%s: linked to another file", path);
	}
	c->pairs = reallocarray(c->pairs, c->pair_count + 1, sizeof(pair));
	invariant(c->pairs != NULL);
	c->pairs[c->pair_count++] = pair;
	return true;
}

static bool
same_metadata(struct compare *c, const struct stat *a, const struct stat *b, const char *path)
{
	bool link = S_ISLNK(a->st_mode);

	if (!link && (a->st_mode & 07777) != (b->st_mode & 07777))
		return differ(c, "%s: mode %o, not %o", path, b->st_mode, a->st_mode);
	if ((c->parts & COMPARE_OWNER) != 0 && (a->st_uid != b->st_uid || a->st_gid != b->st_gid))
		return differ(c, "%s: owner %u:%u, not %u:%u", path, b->st_uid, b->st_gid,
			a->st_uid, a->st_gid);
	if ((c->parts & COMPARE_MTIME) != 0 && (a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
						       a->st_mtim.tv_nsec != b->st_mtim.tv_nsec))
		return differ(c, "%s: time", path);
	return true;
}

static bool
same_entry(struct compare *c, const FTSENT *a, const FTSENT *b)
{
	const struct stat *sa = a->fts_statp, *sb = b->fts_statp;

	if (a->fts_level > 0 && strcmp(a->fts_name, b->fts_name) != 0)
		return differ(c, "%s stands where %s should", b->fts_path, a->fts_path);
	if ((sa->st_mode & S_IFMT) != (sb->st_mode & S_IFMT))
		return differ(c, "%s: type", b->fts_path);
	if ((a->fts_level > 0 || (c->parts & COMPARE_ROOT_META) != 0) &&
		!same_metadata(c, sa, sb, b->fts_path))
		return false;
	if ((c->parts & COMPARE_LINKS) != 0 && !same_links(c, sa, sb, b->fts_path))
		return false;
	if ((c->parts & COMPARE_XATTRS) != 0 && a->fts_level > 0 &&
		!(xattrs_within(c, a->fts_path, b->fts_path) &&
			xattrs_within(c, b->fts_path, a->fts_path)))
		return false;
	if (S_ISLNK(sa->st_mode))
		return same_target(c, a->fts_path, b->fts_path);
	if (S_ISBLK(sa->st_mode) || S_ISCHR(sa->st_mode))
		return sa->st_rdev == sb->st_rdev || differ(c, "%s: device", b->fts_path);
	if (!S_ISREG(sa->st_mode))
		return true;
	if (sa->st_size != sb->st_size)
		return differ(c, "%s: size", b->fts_path);
	return same_bytes(c, a->fts_path, b->fts_path);
}

bool
trees_equal(const char *a, const char *b, unsigned parts, char *why, size_t why_size)
{
	struct compare c = { .parts = parts, .why = why, .why_size = why_size };
	FTS *fa = walk(a), *fb = walk(b);
	FTSENT *ea = next(fa), *eb = next(fb);
	bool same = true;

	(void)snprintf(why, why_size, "equal");
	while (same && ea != NULL && eb != NULL) {
		same = same_entry(&c, ea, eb);
		ea = next(fa);
		eb = next(fb);
	}
	if (same && (ea != NULL || eb != NULL))
		same = differ(&c, "only on one side: %s", ea != NULL ? ea->fts_path : eb->fts_path);
	(void)fts_close(fa);
	(void)fts_close(fb);
	free(c.pairs);
	return same;
}

/* FNV-1a, 64 bits: enough to notice a change, not a promise of anything. */
static uint64_t
mix(uint64_t h, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	return h;
}

static uint64_t
mix_content(uint64_t h, const FTSENT *ent)
{
	static char text[TEXT_MAX];
	size_t n = 1;
	FILE *f;

	if (S_ISLNK(ent->fts_statp->st_mode)) {
		ssize_t len = readlink(ent->fts_path, text, sizeof(text));

		return mix(h, text, len > 0 ? (size_t)len : 0);
	}
	if (!S_ISREG(ent->fts_statp->st_mode))
		return h;
	f = fopen(ent->fts_path, "re");
	while (f != NULL && n > 0) {
		n = fread(text, 1, sizeof(text), f);
		h = mix(h, text, n);
	}
	if (f != NULL)
		(void)fclose(f);
	return h;
}

uint64_t
tree_digest(const char *path)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	struct stat st;
	FTS *fts;

	if (lstat(path, &st) != 0)
		return 0;
	fts = walk(path);
	for (FTSENT *ent = next(fts); ent != NULL; ent = next(fts)) {
		const struct stat *s = ent->fts_statp;
		int64_t facts[] = { s->st_mode, s->st_uid, s->st_gid,
			S_ISDIR(s->st_mode) ? 0 : s->st_size, s->st_mtim.tv_sec, s->st_mtim.tv_nsec,
			(int64_t)s->st_ino };

		h = mix(h, ent->fts_path, strlen(ent->fts_path) + 1);
		h = mix(h, facts, sizeof(facts));
		h = mix_content(h, ent);
	}
	(void)fts_close(fts);
	return h;
}

size_t
tree_entries(const char *path)
{
	struct stat st;
	size_t n = 0;
	FTS *fts;

	if (lstat(path, &st) != 0)
		return 0;
	fts = walk(path);
	for (FTSENT *ent = next(fts); ent != NULL; ent = next(fts))
		n += ent->fts_level > 0;
	(void)fts_close(fts);
	return n;
}

void
temp_dir(char *out, size_t size)
{
	const char *base = getenv("TMPDIR");

	invariant(snprintf(out, size, "%s/holdfast-test-XXXXXX", base != NULL ? base : "/tmp") <
		  (int)size);
	invariant(mkdtemp(out) != NULL);
}

void
remove_tree(const char *path)
{
	struct stat st;
	FTS *fts;

	if (lstat(path, &st) != 0)
		return;
	fts = walk(path);
	for (FTSENT *ent = fts_read(fts); ent != NULL; ent = fts_read(fts)) {
		if (ent->fts_info == FTS_D || ent->fts_info == FTS_DNR)
			(void)chmod(ent->fts_accpath, 0700);
		if (ent->fts_info == FTS_DNR)
			(void)fts_set(fts, ent, FTS_AGAIN);
		else if (ent->fts_info == FTS_DP)
			(void)rmdir(ent->fts_accpath);
		else if (ent->fts_info != FTS_D)
			(void)unlink(ent->fts_accpath);
	}
	(void)fts_close(fts);
}

static void
copy_file(const char *from, const char *to)
{
	static char text[TEXT_MAX];
	FILE *in = fopen(from, "re"), *out = fopen(to, "wxe");
	size_t n;

	invariant(in != NULL && out != NULL);
	while ((n = fread(text, 1, sizeof(text), in)) > 0)
		invariant(fwrite(text, 1, n, out) == n);
	invariant(fclose(out) == 0);
	(void)fclose(in);
}

void
copy_tree(const char *from, const char *to)
{
	size_t skip = strlen(from);
	FTS *fts = walk(from);
	char path[8192];

	for (FTSENT *ent = next(fts); ent != NULL; ent = next(fts)) {
		invariant(snprintf(path, sizeof(path), "%s%s", to, ent->fts_path + skip) <
			  (int)sizeof(path));
		if (ent->fts_info == FTS_D)
			invariant(mkdir(path, 0700) == 0);
		else
			copy_file(ent->fts_path, path);
	}
	(void)fts_close(fts);
}

void
write_file(const char *path, const void *p, size_t len)
{
	FILE *f = fopen(path, "we");

	invariant(f != NULL);
	invariant(fwrite(p, 1, len, f) == len);
	invariant(fclose(f) == 0);
}

size_t
open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	invariant(d != NULL);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n - 3; /* ".", ".." and the one this look needs */
}
