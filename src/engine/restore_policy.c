/*
 * What of an entry's metadata is applied, and as whose (D-14, IX-20).  It is
 * decided while planning, so that the plan, the verification and the artifacts
 * tell what will be, not what the snapshot had.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/restore_internal.h"

/* What is made without recorded modes: private, as place_file and place_dir make it. */
#define PLAIN_FILE_MODE 0600U
#define PLAIN_DIR_MODE  0700U
#define ACL_PREFIX      "system.posix_acl_"
#define CAPABILITY      "security.capability"
#define GROUP_WORD      "group:"
#define USER_WORD       "user:"

struct owner_move {
	bool group, by_name;
	struct slice name; /* of FROM */
	uint32_t from, to;
};
struct restore_policy {
	struct restore_without without; /* as it is for this user */
	bool only_user_xattrs;
	struct owner_move *moves;
	size_t n;
};

/* ---- owners ---- */

/* All digits; uid -1 means "unchanged" to the kernel and is no owner. */
static bool
number_of(struct slice text, uint32_t *out)
{
	uint64_t v = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9' || v > UINT32_MAX)
			return false;
		v = v * 10 + (uint64_t)(text.p[i] - '0');
	}
	*out = (uint32_t)v;
	return text.len > 0 && v < UINT32_MAX;
}

static bool
begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* A name that no account has keeps UINT32_MAX. */
static uint32_t
number_or_name(const struct restore *r, bool group, struct slice text)
{
	uint32_t v = UINT32_MAX;

	if (number_of(text, &v) || r->names == NULL)
		return v;
	return group ? restore_group_number(r->names, text, UINT32_MAX)
		     : restore_user_number(r->names, text, UINT32_MAX);
}

static enum ecode
take_move(struct restore *r, const char *text, struct owner_move *out, struct err *e)
{
	const char *p = text, *colon;
	struct slice to;

	*out = (struct owner_move){ .group = begins(text, GROUP_WORD) };
	if (out->group)
		p += strlen(GROUP_WORD);
	else if (begins(text, USER_WORD))
		p += strlen(USER_WORD);
	colon = strchr(p, ':');
	if (colon == NULL || colon == p || strchr(colon + 1, ':') != NULL)
		return err_set(
			e, E_OWNER_MAP, 0, "%s: write it like FROM:TO or group:FROM:TO", text);
	out->name = (struct slice){ (const uint8_t *)p, (size_t)(colon - p) };
	out->by_name = !number_of(out->name, &out->from);
	to = (struct slice){ (const uint8_t *)colon + 1, strlen(colon + 1) };
	out->to = number_or_name(r, out->group, to);
	if (out->to == UINT32_MAX)
		return err_set(e, E_OWNER_MAP, 0, "%s: there is no such %s here: %s", text,
			out->group ? "group" : "user", colon + 1);
	return E_OK;
}

static enum ecode
take_moves(struct restore *r, struct err *e)
{
	struct restore_policy *p = r->policy;
	size_t n = r->args->owner_map_count;
	enum ecode rc = E_OK;

	if (n == 0)
		return E_OK;
	if (r->names == NULL)
		rc = restore_names_open(r->s->os, &r->names, e);
	p->moves = calloc(n, sizeof(*p->moves));
	if (rc == E_OK && p->moves == NULL)
		rc = err_set(e, E_NOMEM, ENOMEM, "%zu owners", n);
	for (; rc == E_OK && p->n < n; p->n += rc == E_OK)
		rc = take_move(r, r->args->owner_map[p->n], &p->moves[p->n], e);
	return rc;
}

/* The first that fits; false when none does. */
static bool
moved(const struct restore_policy *p, bool group, struct slice name, uint32_t number, uint32_t *out)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct owner_move *m = &p->moves[i];
		bool fits = m->by_name ? m->name.len == name.len &&
						 memcmp(m->name.p, name.p, name.len) == 0
				       : m->from == number;

		if (m->group == group && fits) {
			*out = m->to;
			return true;
		}
	}
	return false;
}

/* ---- the policy ---- */

static void
fit_to_user(struct restore *r, struct restore_policy *p)
{
	const struct listener *l = r->s->listener;

	if (!r->args->metadata_auto || r->privileged)
		return;
	p->without.owner = p->without.devices = p->only_user_xattrs = true;
	l->note(l->arg, "metadata_auto",
		"not running as root: owners, devices and the system's attributes are left out");
}

enum ecode
restore_policy_open(struct restore *r, struct err *e)
{
	struct restore_policy *p;

	if (r->args->strict_metadata && r->args->verify == VERIFY_NONE)
		return err_set(e, E_STRICT_VERIFY, 0, "--strict-metadata with --verify none");
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return err_set(e, E_NOMEM, ENOMEM, "the policy of metadata");
	r->policy = p;
	p->without = r->args->without;
	fit_to_user(r, p);
	return take_moves(r, e);
}

void
restore_policy_close(struct restore_policy **p)
{
	if (*p == NULL)
		return;
	free((*p)->moves);
	free(*p);
	*p = NULL;
}

bool
restore_policy_leaves(struct restore *r, enum node_type type)
{
	bool device = type == NODE_DEV || type == NODE_CHARDEV;

	if (!device || !r->policy->without.devices)
		return false;
	atomic_fetch_add(&r->devices_left, 1);
	return true;
}

bool
restore_policy_links(const struct restore *r)
{
	return !r->policy->without.hardlinks;
}

bool
restore_policy_times(const struct restore *r)
{
	return !r->policy->without.times;
}

unsigned
restore_policy_live(const struct restore *r)
{
	const struct restore_without *w = &r->policy->without;

	return (w->times ? 0U : LIVE_TIME) | (w->mode ? 0U : LIVE_MODE) |
	       (w->owner || !r->privileged ? 0U : LIVE_OWNER);
}

static bool
starts(struct slice name, const char *with)
{
	return name.len >= strlen(with) && memcmp(name.p, with, strlen(with)) == 0;
}

bool
restore_policy_xattr(const struct restore *r, struct slice name)
{
	const struct restore_policy *p = r->policy;

	if (starts(name, ACL_PREFIX))
		return !p->without.acls;
	if (p->without.xattrs)
		return false;
	if (name.len == strlen(CAPABILITY) && starts(name, CAPABILITY))
		return !p->without.setid && !p->only_user_xattrs;
	return !p->only_user_xattrs || starts(name, "user.");
}

/* The bits give the rights of an owner: of another than the recorded one they would give other rights. */
static void
judge_setid(const struct restore *r, const struct node *node, struct restore_item *item)
{
	const struct restore_policy *p = r->policy;
	bool other = p->without.owner && (item->uid != node->uid || item->gid != node->gid);

	if (item->type == NODE_DIR)
		return; /* there it only passes the group on */
	if (p->without.setid || (other && !r->args->allow_setid))
		item->st_mode &= ~(uint32_t)(S_ISUID | S_ISGID);
}

/* ---- modes of what had an access list ---- */

#define ACL_ACCESS      ACL_PREFIX "access"
#define ACL_HEAD_BYTES  4 /* version, little-endian like the rest: linux/posix_acl_xattr.h */
#define ACL_ENTRY_BYTES 8 /* tag, rights, id */
#define ACL_TAG_GROUP   4
#define ACL_TAG_MASK    16

/*
 * With an access list the group's bits of a mode are its mask: the most that
 * anybody named in it may do.  Without the list they would be the group's own, so
 * they become what the group had: its entry, within the mask.
 */
static uint32_t
without_mask(uint32_t st_mode, struct slice acl)
{
	uint32_t group = 0, mask = 7;

	for (size_t at = ACL_HEAD_BYTES; at + ACL_ENTRY_BYTES <= acl.len; at += ACL_ENTRY_BYTES) {
		unsigned tag = acl.p[at] | (unsigned)acl.p[at + 1] << 8;

		if (tag == ACL_TAG_GROUP)
			group = acl.p[at + 2] & 7U;
		else if (tag == ACL_TAG_MASK)
			mask = acl.p[at + 2] & 7U;
	}
	return (st_mode & ~UINT32_C(070)) | (group & mask) << 3;
}

static uint32_t
mode_without_acl(const struct node *node, uint32_t st_mode)
{
	for (size_t i = 0; i < node->xattr_count; i++)
		if (slice_is(node->xattrs[i].name, ACL_ACCESS))
			return without_mask(st_mode, node->xattrs[i].value);
	return st_mode;
}

void
restore_policy_item(const struct restore *r, const struct node *node, struct restore_item *item)
{
	const struct restore_policy *p = r->policy;
	struct os_ids me = r->s->os->ids(r->s->os);

	if (r->names != NULL && r->args->ownership_by_name) {
		item->uid = restore_user_number(r->names, node->user, node->uid);
		item->gid = restore_group_number(r->names, node->group, node->gid);
	}
	(void)moved(p, false, node->user, node->uid, &item->uid);
	(void)moved(p, true, node->group, node->gid, &item->gid);
	if (p->without.owner) {
		item->uid = me.uid;
		item->gid = me.gid;
	}
	judge_setid(r, node, item);
	if (p->without.acls)
		item->st_mode = mode_without_acl(node, item->st_mode);
	if (p->without.mode && item->type != NODE_SYMLINK)
		item->st_mode = item->type == NODE_DIR ? PLAIN_DIR_MODE : PLAIN_FILE_MODE;
}

/* ---- in the plan ---- */

struct switch_name {
	const char *name;
	size_t at; /* in struct restore_without */
};
static const struct switch_name switches[] = {
	{ "acls", offsetof(struct restore_without, acls) },
	{ "devices", offsetof(struct restore_without, devices) },
	{ "hardlinks", offsetof(struct restore_without, hardlinks) },
	{ "mode", offsetof(struct restore_without, mode) },
	{ "owner", offsetof(struct restore_without, owner) },
	{ "setuid", offsetof(struct restore_without, setid) },
	{ "times", offsetof(struct restore_without, times) },
	{ "xattrs", offsetof(struct restore_without, xattrs) },
};
#define SWITCHES (sizeof(switches) / sizeof(switches[0]))

bool *
restore_without_named(struct restore_without *w, const char *name)
{
	for (size_t i = 0; i < SWITCHES; i++)
		if (strcmp(switches[i].name, name) == 0)
			return (bool *)((unsigned char *)w + switches[i].at);
	return NULL;
}

void
restore_put_without(struct json_out *w, const struct restore_args *args)
{
	struct restore_without copy = args->without;
	size_t n = 0;

	for (size_t i = 0; i < SWITCHES; i++) {
		if (!*restore_without_named(&copy, switches[i].name))
			continue;
		if (n++ == 0) {
			json_put_key(w, "without");
			json_open_array(w);
		}
		json_put_str(w, switches[i].name);
	}
	if (n > 0)
		json_close_array(w);
}
