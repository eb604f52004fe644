/*
 * A listing is made in three steps: read every name (so that a read error
 * leaves nothing behind), sort small keys by name, then stat.  The keys carry
 * the first eight bytes of the name as a number: most comparisons need no
 * second look at memory.  Entries are never moved.
 *
 * Order of stat: on ext4 the order of names is the order of a hash, and inodes
 * in that order jump over the disk.  Sorting by inode costs some tens of
 * nanoseconds an entry; with everything cached it gains nothing, so small
 * directories, whose inodes share a few blocks, go without.
 */
#include "fs/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

/* bytes; one getdents call: some 1,500 names */
#define DENTS_STEP_BYTES      ((size_t)64 << 10)
/* bytes of raw directory records; about forty million names */
#define DENTS_MAX_BYTES       ((size_t)1 << 31)
/* entries; below this their inodes lie in a few blocks of the inode table (16 to a block of ext4) */
#define INODE_ORDER_MIN       256
/* bytes; Linux allows 4095 (PATH_MAX), FUSE may say more */
#define LINK_TARGET_MAX_BYTES ((size_t)64 << 10)
/* a lease (Samba's oplock) is being taken back from another program: tries of 20 ms, together 2 s */
#define LEASE_TRIES           100
#define LEASE_SLEEP_NS        20000000U

struct name_key {
	uint64_t head; /* first eight bytes, big-endian, zero-padded */
	uint64_t ino;
	const char *name;
	uint32_t len;
	uint8_t dtype;
};
struct ino_key {
	uint64_t ino;
	size_t at; /* in the sorted list */
};

enum ecode
walk_refusal(struct err *e, int rc, const char *call, const char *path)
{
	enum ecode code = E_SRC_IO;

	if (rc == -ENOMEM)
		return err_set(e, E_NOMEM, ENOMEM, "%s %s", call, path);
	switch (-rc) {
	case ENOENT:
		code = E_SRC_MISSING;
		break;
	case EACCES:
	case EPERM:
		code = E_SRC_DENIED;
		break;
	case ELOOP: /* O_NOFOLLOW met a link; from any other call it is a circle of links */
		code = strcmp(call, "open") == 0 ? E_SRC_CHANGED : E_SRC_IO;
		break;
	case ENXIO:
	case ENOTDIR:
	case ESTALE:
		code = E_SRC_CHANGED;
		break;
	case EAGAIN: /* open: a lease that its holder does not give back */
		code = strcmp(call, "open") == 0 ? E_SRC_BUSY : E_SRC_IO;
		break;
	case EBUSY:
	case ETXTBSY:
		code = E_SRC_BUSY;
		break;
	case EMFILE:
	case ENFILE:
		code = E_SRC_DESCRIPTORS;
		break;
	default:
		break;
	}
	return err_set(e, code, -rc, "%s %s", call, path);
}

static int
open_again(const struct os *os, int dir, const char *name, int flags)
{
	int rc;

	do {
		rc = os->open(os, dir, name, flags, 0);
	} while (rc == -EINTR);
	return rc;
}

/* O_NOATIME is for the owner only; everybody else reads as usual. */
static int
open_quietly(const struct os *os, int dir, const char *name, int flags)
{
	int rc = open_again(os, dir, name, flags | O_NOATIME);

	if (rc == -EPERM)
		rc = open_again(os, dir, name, flags);
	return rc;
}

enum ecode
walk_open_dir(
	const struct os *os, int parent, const char *name, bool follow, int *fd, struct err *e)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
	int rc = open_quietly(os, parent, name, flags);

	if (rc < 0)
		return walk_refusal(e, rc, "open", name);
	*fd = rc;
	return E_OK;
}

/* O_NONBLOCK: a FIFO put in the file's place must not hang us.  It changes nothing for regular files, but see LEASE_TRIES. */
enum ecode
walk_open_file(const struct os *os, int dir, const char *name, int *fd, struct err *e)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int rc = open_quietly(os, dir, name, flags);

	for (unsigned n = 0; rc == -EAGAIN && n < LEASE_TRIES; n++) {
		os->sleep_ns(os, LEASE_SLEEP_NS);
		rc = open_quietly(os, dir, name, flags);
	}
	if (rc < 0)
		return walk_refusal(e, rc, "open", name);
	*fd = rc;
	return E_OK;
}

static enum ecode
go_on(const struct walk_ask *ask, struct err *e)
{
	return ask == NULL ? E_OK : ask->ask(ask->arg, e);
}

static enum ecode
read_records(const struct os *os, int fd, const char *path, const struct walk_ask *ask,
	struct buf *raw, struct err *e)
{
	enum ecode rc = buf_reserve(raw, DENTS_STEP_BYTES, e);
	ssize_t got = 1;

	while (rc == E_OK && got != 0) {
		got = os->getdents(os, fd, raw->p + raw->len, DENTS_STEP_BYTES);
		if (got == -EINTR)
			continue;
		if (got < 0)
			return walk_refusal(e, (int)got, "getdents", path);
		raw->len += (size_t)got;
		if (got > 0)
			rc = go_on(ask, e);
		if (rc == E_OK && got > 0)
			rc = buf_reserve(raw, DENTS_STEP_BYTES, e);
	}
	return rc;
}

static bool
is_dots(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* How many names, and the bytes they need with their NULs; a record that makes no sense refuses. */
static enum ecode
measure(const struct buf *raw, const char *path, size_t *count, size_t *bytes, struct err *e)
{
	size_t at = 0, n = 0, sum = 0;
	struct os_dirent d;

	while (os_dirent_next(raw->p, raw->len, &at, &d)) {
		if (is_dots(d.name))
			continue;
		if (d.name[0] == '\0' || strchr(d.name, '/') != NULL)
			return err_set(e, E_SRC_IO, EIO, "impossible name in directory %s", path);
		n++;
		sum += strlen(d.name) +
		       1; /* each lies within raw, so the sum is below its length */
	}
	if (at != raw->len)
		return err_set(e, E_SRC_IO, EIO, "malformed record in directory %s", path);
	*count = n;
	*bytes = sum;
	return E_OK;
}

static uint64_t
head_of(const char *name, size_t len)
{
	uint64_t head = 0;

	memcpy(&head, name, len < sizeof(head) ? len : sizeof(head));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	head = __builtin_bswap64(head);
#endif
	return head;
}

static void
pack_names(const struct buf *raw, char *to, struct name_key *key)
{
	size_t at = 0;
	struct os_dirent d;

	while (os_dirent_next(raw->p, raw->len, &at, &d)) {
		if (is_dots(d.name))
			continue;
		size_t len = strlen(d.name);

		memcpy(to, d.name, len + 1);
		*key++ = (struct name_key){
			.head = head_of(to, len),
			.ino = d.ino,
			.name = to,
			.len = (uint32_t)len,
			.dtype = d.type,
		};
		to += len + 1;
	}
}

/* By raw bytes: names hold no NUL, so the padding of a short head sorts first, as it should. */
static int
cmp_name(const void *pa, const void *pb)
{
	const struct name_key *a = pa, *b = pb;

	if (a->head != b->head)
		return a->head < b->head ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int
cmp_ino(const void *pa, const void *pb)
{
	const struct ino_key *a = pa, *b = pb;

	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return (a->at > b->at) - (a->at < b->at);
}

/* A file system may tell a name twice while it is renamed over; once is right. */
static size_t
entries_from_keys(const struct name_key *key, size_t n, struct walk_entry *v)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (i > 0 && cmp_name(&key[i - 1], &key[i]) == 0)
			continue;
		v[out++] = (struct walk_entry){
			.name = key[i].name,
			.name_len = key[i].len,
			.dtype = key[i].dtype,
			.meta.ino = key[i].ino,
		};
	}
	return out;
}

static void
stat_one(const struct os *os, int fd, struct walk_entry *w)
{
	int rc;

	do {
		rc = os->stat(os, fd, w->name, AT_SYMLINK_NOFOLLOW, &w->meta);
	} while (rc == -EINTR);
	w->have_meta = rc >= 0;
	w->sys = rc < 0 ? -rc : 0;
}

static enum ecode
stat_all(const struct os *os, int fd, const struct walk_ask *ask, struct walk_entry *v, size_t n,
	struct err *e)
{
	struct ino_key *order;
	enum ecode rc = E_OK;

	if (n < INODE_ORDER_MIN) {
		for (size_t i = 0; i < n; i++)
			stat_one(os, fd, &v[i]);
		return E_OK;
	}
	order = calloc(n, sizeof(*order));
	if (order == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "order of %zu directory entries", n);
	for (size_t i = 0; i < n; i++)
		order[i] = (struct ino_key){ .ino = v[i].meta.ino, .at = i };
	qsort(order, n, sizeof(*order), cmp_ino);
	for (size_t i = 0; rc == E_OK && i < n; i++) {
		if (i % WALK_ASK_EVERY == WALK_ASK_EVERY - 1)
			rc = go_on(ask, e);
		if (rc == E_OK)
			stat_one(os, fd, &v[order[i].at]);
	}
	free(order);
	return rc;
}

static void
drop_vanished(struct walk_list *list)
{
	size_t out = 0;

	for (size_t i = 0; i < list->n; i++) {
		if (list->v[i].sys == ENOENT)
			continue;
		if (out != i)
			list->v[out] = list->v[i];
		out++;
	}
	list->vanished = list->n - out;
	list->n = out;
}

static enum ecode
fill(const struct buf *raw, size_t n, size_t bytes, struct arena *a, struct walk_list *list,
	struct err *e)
{
	struct name_key *key = calloc(n + 1, sizeof(*key));
	void *names = NULL, *v = NULL;
	enum ecode rc = E_OK;

	if (key == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "names of %zu directory entries", n);
	rc = arena_alloc(a, bytes, &names, e);
	if (rc == E_OK)
		rc = arena_alloc(a, n * sizeof(*list->v), &v, e); /* n <= 2^31 / 19 */
	if (rc == E_OK) {
		pack_names(raw, names, key);
		qsort(key, n, sizeof(*key), cmp_name);
		list->v = v;
		list->n = entries_from_keys(key, n, v);
	}
	free(key);
	return rc;
}

enum ecode
walk_dir_asking(const struct os *os, int fd, const char *path_for_messages,
	const struct walk_ask *ask, struct arena *a, struct walk_list *out, struct err *e)
{
	autoclean(buf_done) struct buf raw = buf_limit(DENTS_MAX_BYTES);
	struct walk_list list = { .n = 0 };
	size_t n = 0, bytes = 0;
	enum ecode rc;

	rc = read_records(os, fd, path_for_messages, ask, &raw, e);
	if (rc == E_OK)
		rc = measure(&raw, path_for_messages, &n, &bytes, e);
	if (rc == E_OK)
		rc = fill(&raw, n, bytes, a, &list, e);
	if (rc == E_OK)
		rc = stat_all(os, fd, ask, list.v, list.n, e);
	if (rc != E_OK)
		return rc;
	drop_vanished(&list);
	*out = list;
	return E_OK;
}

enum ecode
walk_dir(const struct os *os, int fd, const char *path_for_messages, struct arena *a,
	struct walk_list *out, struct err *e)
{
	return walk_dir_asking(os, fd, path_for_messages, NULL, a, out, e);
}

enum ecode
walk_readlink(const struct os *os, int dir, const char *name, struct arena *a, struct slice *out,
	struct err *e)
{
	autoclean(buf_done) struct buf b = buf_limit(LINK_TARGET_MAX_BYTES);
	size_t room = 512; /* doubled until the answer is shorter than asked: then it is whole */
	ssize_t got;

	for (;;) {
		enum ecode rc = buf_reserve(&b, room, e);
		const char *text;

		if (rc != E_OK)
			return rc;
		got = os->readlink(os, dir, name, (char *)b.p, room);
		if (got == -EINVAL) /* no link any more */
			return err_set(e, E_SRC_CHANGED, EINVAL, "readlink %s", name);
		if (got < 0 && got != -EINTR)
			return walk_refusal(e, (int)got, "readlink", name);
		if (got >= 0 && (size_t)got < room) {
			rc = arena_str(a, b.p, (size_t)got, &text, e);
			if (rc == E_OK)
				*out = (struct slice){ (const uint8_t *)text, (size_t)got };
			return rc;
		}
		if (got >= 0)
			room *= 2;
	}
}
