/*
 * Owners by name.  Numbers come from /etc/passwd and /etc/group as they stand;
 * directory services are not asked: a restore may run where they are down, and
 * an unknown name keeps its number (restic would make it root's).
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "os/io.h"

#define ACCOUNTS_MAX_BYTES ((size_t)64 << 20) /* a million accounts */

struct restore_names {
	struct buf users, groups; /* the files' texts */
};

enum ecode
restore_names_open(const struct os *os, struct restore_names **out, struct err *e)
{
	struct restore_names *n = malloc(sizeof(*n));
	enum ecode rc;

	if (n == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "account names");
	*n = (struct restore_names){ .users = buf_limit(ACCOUNTS_MAX_BYTES),
		.groups = buf_limit(ACCOUNTS_MAX_BYTES) };
	rc = io_read_file(os, AT_FDCWD, "/etc/passwd", &n->users, e);
	if (rc == E_OK)
		rc = io_read_file(os, AT_FDCWD, "/etc/group", &n->groups, e);
	if (rc != E_OK)
		restore_names_close(&n);
	else
		*out = n;
	return rc;
}

void
restore_names_close(struct restore_names **n)
{
	if (*n == NULL)
		return;
	buf_done(&(*n)->users);
	buf_done(&(*n)->groups);
	free(*n);
	*n = NULL;
}

/* Digits up to the colon. */
static bool
read_number(const uint8_t *p, const uint8_t *end, uint32_t *out)
{
	uint64_t v = 0;
	const uint8_t *begin = p;

	for (; p < end && *p >= '0' && *p <= '9' && v <= UINT32_MAX; p++)
		v = v * 10 + (*p - '0');
	if (p == begin || p == end || *p != ':' || v >= UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

/* "name:password:number:…", the first line that fits. */
static uint32_t
number_of(const struct buf *text, struct slice name, uint32_t number)
{
	const uint8_t *p = text->p, *end = text->p + text->len;
	const uint8_t *line_end, *colon;

	for (; name.len > 0 && p < end; p = line_end < end ? line_end + 1 : end) {
		line_end = memchr(p, '\n', (size_t)(end - p));
		if (line_end == NULL)
			line_end = end;
		if ((size_t)(line_end - p) <= name.len || memcmp(p, name.p, name.len) != 0 ||
			p[name.len] != ':')
			continue;
		p += name.len + 1;
		colon = memchr(p, ':', (size_t)(line_end - p));
		if (colon != NULL && read_number(colon + 1, line_end, &number))
			return number;
	}
	return number;
}

uint32_t
restore_user_number(const struct restore_names *n, struct slice name, uint32_t number)
{
	return number_of(&n->users, name, number);
}

uint32_t
restore_group_number(const struct restore_names *n, struct slice name, uint32_t number)
{
	return number_of(&n->groups, name, number);
}
