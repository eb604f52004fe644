/*
 * Owners by name, asked of the system's name service: /etc/passwd and whatever
 * directory this machine uses.  Each name is asked for once.  An unknown name
 * keeps its number (restic would make it root's), and so does one that could
 * not be asked for, which is told.
 */
#include "engine/restore_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Distinct names remembered; a tree has a few owners, and one that has more is only slower. */
#define NAMES_MAX     4096
#define NAME_TEXT_MAX 256 /* NUL included: LOGIN_NAME_MAX of limits.h */

struct known_name {
	char text[NAME_TEXT_MAX];
	bool group, known;
	uint32_t number;
};
struct restore_names {
	const struct os *os;
	pthread_mutex_t lock;
	struct known_name *v;
	size_t n, cap;
	int trouble;
};

enum ecode
restore_names_open(const struct os *os, struct restore_names **out, struct err *e)
{
	struct restore_names *n = malloc(sizeof(*n));

	if (n == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "account names");
	*n = (struct restore_names){ .os = os, .lock = PTHREAD_MUTEX_INITIALIZER };
	*out = n;
	return E_OK;
}

void
restore_names_close(struct restore_names **n)
{
	if (*n == NULL)
		return;
	free((*n)->v);
	free(*n);
	*n = NULL;
}

int
restore_names_trouble(const struct restore_names *n)
{
	return n == NULL ? 0 : n->trouble;
}

static struct known_name
ask(struct restore_names *n, bool group, const char *text)
{
	struct known_name out = { .group = group };
	int rc = group ? n->os->group_number(n->os, text, &out.number)
		       : n->os->user_number(n->os, text, &out.number);

	(void)memcpy(out.text, text, strlen(text) + 1);
	out.known = rc >= 0;
	if (rc < 0 && rc != -ENOENT && n->trouble == 0)
		n->trouble = rc;
	return out;
}

/* Without memory it is asked for again next time. */
static void
remember(struct restore_names *n, const struct known_name *name)
{
	size_t cap = n->cap == 0 ? 16 : 2 * n->cap;
	struct known_name *more;

	if (n->n == n->cap && n->n < NAMES_MAX) {
		more = realloc(n->v, cap * sizeof(*more));
		if (more == NULL)
			return;
		n->v = more;
		n->cap = cap;
	}
	if (n->n < n->cap)
		n->v[n->n++] = *name;
}

static struct known_name
find(struct restore_names *n, bool group, const char *text)
{
	struct known_name got;

	for (size_t i = 0; i < n->n; i++)
		if (n->v[i].group == group && strcmp(n->v[i].text, text) == 0)
			return n->v[i];
	got = ask(n, group, text);
	remember(n, &got);
	return got;
}

/* (uid_t)-1 is nobody's number: to the kernel it means "unchanged". */
static uint32_t
number_of(struct restore_names *n, bool group, struct slice name, uint32_t number)
{
	char text[NAME_TEXT_MAX];
	struct known_name got;

	if (name.len == 0 || name.len >= sizeof(text) || memchr(name.p, 0, name.len) != NULL)
		return number;
	memcpy(text, name.p, name.len);
	text[name.len] = '\0';
	(void)pthread_mutex_lock(&n->lock);
	got = find(n, group, text);
	(void)pthread_mutex_unlock(&n->lock);
	return got.known && got.number != UINT32_MAX ? got.number : number;
}

uint32_t
restore_user_number(struct restore_names *n, struct slice name, uint32_t number)
{
	return number_of(n, false, name, number);
}

uint32_t
restore_group_number(struct restore_names *n, struct slice name, uint32_t number)
{
	return number_of(n, true, name, number);
}
