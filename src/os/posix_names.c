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

/* One attempt with a buffer of this size; 0 and an empty string when the id has no name. */
static int
user_try(uint32_t uid, char *buffer, size_t size, char *p, size_t len)
{
	struct passwd pw, *found = NULL;
	int rc = getpwuid_r(uid, &pw, buffer, size, &found);

	if (rc != 0 && rc != ENOENT && rc != ESRCH)
		return -rc;
	return name_out(found == NULL ? "" : pw.pw_name, p, len);
}

static int
group_try(uint32_t gid, char *buffer, size_t size, char *p, size_t len)
{
	struct group gr, *found = NULL;
	int rc = getgrgid_r(gid, &gr, buffer, size, &found);

	if (rc != 0 && rc != ENOENT && rc != ESRCH)
		return -rc;
	return name_out(found == NULL ? "" : gr.gr_name, p, len);
}

/* Repeat with twice the space while the record does not fit (a group lists all its members). */
static int
nss_name(int (*attempt)(uint32_t, char *, size_t, char *, size_t), uint32_t id, char *p, size_t len)
{
	int rc = -ERANGE;

	for (size_t size = NSS_BUFFER_FIRST; rc == -ERANGE && size <= NSS_BUFFER_MAX; size *= 2) {
		char *buffer = malloc(size);

		rc = buffer == NULL ? -ENOMEM : attempt(id, buffer, size, p, len);
		free(buffer);
	}
	return rc;
}

int
posix_user_name(const struct os *os, uint32_t uid, char *p, size_t len)
{
	(void)os;
	return nss_name(user_try, uid, p, len);
}

int
posix_group_name(const struct os *os, uint32_t gid, char *p, size_t len)
{
	(void)os;
	return nss_name(group_try, gid, p, len);
}

/* ---- numbers of names ---- */

static int
user_find(const char *name, char *buffer, size_t size, uint32_t *out)
{
	struct passwd pw, *found = NULL;
	int rc = getpwnam_r(name, &pw, buffer, size, &found);

	if (rc != 0 && rc != ENOENT && rc != ESRCH)
		return -rc;
	if (found == NULL)
		return -ENOENT;
	*out = pw.pw_uid;
	return 0;
}

static int
group_find(const char *name, char *buffer, size_t size, uint32_t *out)
{
	struct group gr, *found = NULL;
	int rc = getgrnam_r(name, &gr, buffer, size, &found);

	if (rc != 0 && rc != ENOENT && rc != ESRCH)
		return -rc;
	if (found == NULL)
		return -ENOENT;
	*out = gr.gr_gid;
	return 0;
}

static int
nss_number(
	int (*attempt)(const char *, char *, size_t, uint32_t *), const char *name, uint32_t *out)
{
	int rc = -ERANGE;

	for (size_t size = NSS_BUFFER_FIRST; rc == -ERANGE && size <= NSS_BUFFER_MAX; size *= 2) {
		char *buffer = malloc(size);

		rc = buffer == NULL ? -ENOMEM : attempt(name, buffer, size, out);
		free(buffer);
	}
	return rc;
}

int
posix_user_number(const struct os *os, const char *name, uint32_t *out)
{
	(void)os;
	return nss_number(user_find, name, out);
}

int
posix_group_number(const struct os *os, const char *name, uint32_t *out)
{
	(void)os;
	return nss_number(group_find, name, out);
}
