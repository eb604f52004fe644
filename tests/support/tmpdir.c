#include "support/tmpdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void
give_up(const char *call, const char *path)
{
	(void)fprintf(stderr, "tmpdir: %s %s: %s\n", call, path, strerror(errno));
	abort();
}

static void
join(char out[static TMPDIR_PATH_MAX], const char *dir, const char *name)
{
	int len = snprintf(out, TMPDIR_PATH_MAX, "%s%s%s", dir, name[0] == '\0' ? "" : "/", name);

	if (len < 0 || len >= TMPDIR_PATH_MAX)
		give_up("join", name);
}

static void
make_in(char path[static TMPDIR_PATH_MAX], const char *otherwise)
{
	const char *base = getenv("TMPDIR");

	join(path, base == NULL || base[0] == '\0' ? otherwise : base, "hf-test-XXXXXX");
	if (mkdtemp(path) == NULL)
		give_up("mkdtemp", path);
}

void
tmpdir_make(char path[static TMPDIR_PATH_MAX])
{
	make_in(path, "/tmp");
}

void
tmpdir_make_fast(char path[static TMPDIR_PATH_MAX])
{
	make_in(path, access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
}

/* Call `each` for everything below `dir`, a directory before and after its content. */
static void
walk(const char *dir, void (*each)(FTSENT *entry, void *arg), void *arg)
{
	char copy[TMPDIR_PATH_MAX];
	char *roots[2] = { copy, NULL };
	FTS *fts;
	FTSENT *entry;

	join(copy, dir, "");
	fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	if (fts == NULL)
		give_up("fts_open", dir);
	for (entry = fts_read(fts); entry != NULL; entry = fts_read(fts)) {
		if (entry->fts_level > 0)
			each(entry, arg);
	}
	(void)fts_close(fts);
}

static void
remove_entry(FTSENT *entry, void *arg)
{
	(void)arg;
	if (entry->fts_info == FTS_D)
		(void)chmod(entry->fts_accpath, 0700); /* so that it can be emptied */
	else if (remove(entry->fts_accpath) < 0 && errno != ENOENT)
		give_up("remove", entry->fts_path);
}

void
tmpdir_empty(const char *path)
{
	(void)chmod(path, 0700);
	walk(path, remove_entry, NULL);
}

void
tmpdir_remove(const char *path)
{
	tmpdir_empty(path);
	if (rmdir(path) < 0)
		give_up("rmdir", path);
}

static void
make_parents(char *full, size_t from)
{
	for (char *p = full + from; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(full, 0700) < 0 && errno != EEXIST)
			give_up("mkdir", full);
		*p = '/';
	}
}

void
tmpdir_write(const char *dir, const char *name, const void *p, size_t len)
{
	char full[TMPDIR_PATH_MAX];
	FILE *file;

	join(full, dir, name);
	make_parents(full, strlen(dir) + 1);
	(void)unlink(full); /* it may be read-only */
	file = fopen(full, "wbe");
	if (file == NULL || fwrite(p, 1, len, file) != len || fclose(file) != 0)
		give_up("write", full);
}

void
tmpdir_mkdir(const char *dir, const char *name)
{
	char full[TMPDIR_PATH_MAX];

	join(full, dir, name);
	make_parents(full, strlen(dir) + 1);
	if (mkdir(full, 0700) < 0 && errno != EEXIST)
		give_up("mkdir", full);
}

void *
tmpdir_read(const char *dir, const char *name, size_t *len)
{
	char full[TMPDIR_PATH_MAX];
	struct stat st;
	char *bytes = NULL;
	FILE *file;

	join(full, dir, name);
	file = fopen(full, "rbe");
	if (file == NULL || fstat(fileno(file), &st) < 0)
		give_up("open", full);
	bytes = malloc((size_t)st.st_size + 1);
	if (bytes == NULL || fread(bytes, 1, (size_t)st.st_size, file) != (size_t)st.st_size)
		give_up("read", full);
	(void)fclose(file);
	bytes[st.st_size] = '\0';
	*len = (size_t)st.st_size;
	return bytes;
}

bool
tmpdir_exists(const char *dir, const char *name)
{
	char full[TMPDIR_PATH_MAX];
	struct stat st;

	join(full, dir, name);
	return lstat(full, &st) == 0;
}

mode_t
tmpdir_mode(const char *dir, const char *name)
{
	char full[TMPDIR_PATH_MAX];
	struct stat st;

	join(full, dir, name);
	if (lstat(full, &st) < 0)
		give_up("lstat", full);
	return st.st_mode & 07777;
}

size_t
tmpdir_count(const char *dir, const char *name)
{
	char full[TMPDIR_PATH_MAX];
	size_t n = 0;
	DIR *d;

	join(full, dir, name);
	d = opendir(full);
	if (d == NULL && errno == ENOENT)
		return 0;
	if (d == NULL)
		give_up("opendir", full);
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			n++;
	}
	(void)closedir(d);
	return n;
}

struct like {
	const char *part;
	size_t n;
};

static void
count_entry(FTSENT *entry, void *arg)
{
	struct like *like = arg;

	if (entry->fts_info != FTS_DP && strstr(entry->fts_name, like->part) != NULL)
		like->n++;
}

size_t
tmpdir_count_like(const char *dir, const char *part)
{
	struct like like = { .part = part };

	walk(dir, count_entry, &like);
	return like.n;
}
