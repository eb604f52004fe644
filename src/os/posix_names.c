/* The slots of the production table that ask the name service. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "os/posix_internal.h"

/* larger user and group records are given up: nss modules answer far below */
#define NSS_BUFFER_MAX   (1U << 20)
#define NSS_BUFFER_FIRST 1024

static int
name_out(const char *name, char *p, size_t len)
{
	size_t need = strlen(name) + 1;

	if (need > len)
		return -ERANGE;
	memcpy(p, name, need);
	return 0;
}

/* One question: the name of a number, or the number of a name. */
struct question {
	int (*ask)(const struct question *q, char *buffer, size_t size); /* 0 or -errno */
	const char *name;
	uint32_t id;
	char *text; /* where the name goes */
	size_t len;
	uint32_t *number; /* where the number goes */
};

static int
refused(int rc)
{
	return rc == ENOENT || rc == ESRCH ? 0 : -rc;
}

/* An empty string when the number has no name. */
static int
ask_user(const struct question *q, char *buffer, size_t size)
{
	struct passwd pw, *found = NULL;
	int rc = refused(getpwuid_r(q->id, &pw, buffer, size, &found));

	return rc < 0 ? rc : name_out(found == NULL ? "" : pw.pw_name, q->text, q->len);
}

static int
ask_group(const struct question *q, char *buffer, size_t size)
{
	struct group gr, *found = NULL;
	int rc = refused(getgrgid_r(q->id, &gr, buffer, size, &found));

	return rc < 0 ? rc : name_out(found == NULL ? "" : gr.gr_name, q->text, q->len);
}

static int
ask_user_number(const struct question *q, char *buffer, size_t size)
{
	struct passwd pw, *found = NULL;
	int rc = refused(getpwnam_r(q->name, &pw, buffer, size, &found));

	if (found != NULL)
		*q->number = pw.pw_uid;
	return rc < 0 || found != NULL ? rc : -ENOENT;
}

static int
ask_group_number(const struct question *q, char *buffer, size_t size)
{
	struct group gr, *found = NULL;
	int rc = refused(getgrnam_r(q->name, &gr, buffer, size, &found));

	if (found != NULL)
		*q->number = gr.gr_gid;
	return rc < 0 || found != NULL ? rc : -ENOENT;
}

/* Repeat with twice the space while the record does not fit (a group lists all its members). */
static int
answer(struct question q)
{
	int rc = -ERANGE;

	for (size_t size = NSS_BUFFER_FIRST; rc == -ERANGE && size <= NSS_BUFFER_MAX; size *= 2) {
		char *buffer = malloc(size);

		rc = buffer == NULL ? -ENOMEM : q.ask(&q, buffer, size);
		free(buffer);
	}
	return rc;
}

int
posix_user_name(const struct os *os, uint32_t uid, char *p, size_t len)
{
	(void)os;
	return answer((struct question){ .ask = ask_user, .id = uid, .text = p, .len = len });
}

int
posix_group_name(const struct os *os, uint32_t gid, char *p, size_t len)
{
	(void)os;
	return answer((struct question){ .ask = ask_group, .id = gid, .text = p, .len = len });
}

int
posix_user_number(const struct os *os, const char *name, uint32_t *out)
{
	(void)os;
	return answer((struct question){ .ask = ask_user_number, .name = name, .number = out });
}

int
posix_group_number(const struct os *os, const char *name, uint32_t *out)
{
	(void)os;
	return answer((struct question){ .ask = ask_group_number, .name = name, .number = out });
}
