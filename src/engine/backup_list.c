/*
 * What a directory of a backup holds: its listing, what earlier trees had there,
 * and which entries the user left out.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "engine/backup_internal.h"
#include "os/io.h"

/* Bytes compared for --exclude-if-present NAME:HEADER */
#define MARK_HEADER_MAX 4096

/* ---- the same directory in earlier trees ---- */

static enum ecode
older_nodes(struct older *old, struct arena *a, struct err *e)
{
	struct tree_reader r;
	size_t cap = 0;
	bool more = true;
	enum ecode rc = E_OK;

	tree_reader_init(&r, old->text.p, old->text.len, a);
	while (rc == E_OK && more) {
		if (old->n == cap) {
			void *p;

			cap = cap == 0 ? 16 : cap * 2;
			rc = arena_alloc(a, cap * sizeof(struct node), &p, e);
			if (rc != E_OK)
				break;
			if (old->n > 0)
				memcpy(p, old->v, old->n * sizeof(struct node));
			old->v = p;
		}
		rc = tree_next(&r, &old->v[old->n], &more, e);
		if (rc == E_OK && more)
			old->n++;
	}
	if (rc == E_OK && (r.flaws.unsorted || r.flaws.duplicate))
		old->n = 0; /* it cannot be matched by name; everything is read again */
	if (r.flaws.unsorted || r.flaws.duplicate || r.flaws.unknown_fields ||
		r.flaws.not_canonical_frame)
		old->flawed = true;
	return rc;
}

/* An unreadable tree is a warning: everything below is read again (11.3). */
static enum ecode
load_one(struct dir_job *job, struct older *old, struct worker *w, const char *warning,
	struct err *e)
{
	struct session *s = job->b->s;
	struct err why;
	enum ecode rc;

	if (!old->has_tree)
		return E_OK;
	rc = blob_load(
		s->vault, s->index, w->codec, BLOB_TREE, &old->tree, &w->scratch, &old->text, &why);
	if (rc == E_OK)
		rc = older_nodes(old, &job->arena, &why);
	if (rc == E_OK)
		return E_OK;
	old->has_tree = false;
	old->n = 0;
	if (rc == E_NOMEM) {
		*e = why;
		return rc;
	}
	backup_warning(job->b, job->snap_path, rc, warning);
	return E_OK;
}

enum ecode
load_older(struct dir_job *job, struct worker *w, struct err *e)
{
	enum ecode rc = load_one(job, &job->prev, w,
		"the parent snapshot's directory is unreadable; its files are read again", e);

	if (rc == E_OK)
		rc = load_one(job, &job->done, w,
			"what an interrupted run finished of this directory is unreadable; it is read again",
			e);
	return rc;
}

static int
name_cmp(struct slice a, const char *b, size_t len)
{
	int cmp = memcmp(a.p, b, a.len < len ? a.len : len);

	return cmp != 0 ? cmp : (a.len > len) - (a.len < len);
}

/* The node of this name; *at goes forward with the sorted names. */
static const struct node *
older_find(const struct older *old, size_t *at, const char *name)
{
	size_t len = strlen(name);

	for (; *at < old->n; ++*at) {
		int cmp = name_cmp(old->v[*at].name, name, len);

		if (cmp >= 0)
			return cmp == 0 ? &old->v[*at] : NULL;
	}
	return NULL;
}

void
match_older(struct dir_job *job)
{
	size_t prev = 0, done = 0;

	for (size_t i = 0; i < job->n; i++) {
		struct child *c = &job->child[i];

		c->prev = older_find(&job->prev, &prev, c->name);
		c->done = older_find(&job->done, &done, c->name);
	}
}

/* ---- what belongs to the snapshot ---- */

/* Index + 1 of the rule, or 0. */
static unsigned
excluded_by_rules(struct dir_job *job, const struct child *c)
{
	autoclean(buf_done) struct buf path = buf_limit(PATH_TEXT_MAX);
	const struct rules *rules = job->b->args->excludes;

	if (rules == NULL || rules_count(rules) == 0)
		return 0;
	(void)child_path(job, c, &path);
	return path.len == 0 ? 0 : rules_match(rules, (const char *)path.p, path.len - 1);
}

static size_t
pattern_count(const struct backup_args *args)
{
	return args->excludes == NULL ? 0 : rules_count(args->excludes);
}

enum ecode
exclusions_make(struct backup *b, struct arena *a, struct err *e)
{
	size_t n = pattern_count(b->args) + b->args->if_present_count + 2;
	void *p;
	enum ecode rc = arena_alloc(a, n * sizeof(struct exclusion), &p, e);

	if (rc != E_OK)
		return rc;
	memset(p, 0, n * sizeof(struct exclusion)); /* atomics of 0 are all bits 0 here */
	b->by_rule = p;
	b->rule_count = n;
	return E_OK;
}

enum ecode
exclusion_text(const struct backup_args *args, size_t rule, struct arena *a, const char **out,
	struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(PATH_TEXT_MAX);
	size_t patterns = pattern_count(args), size_rule = patterns + args->if_present_count;
	enum ecode rc;

	if (rule < patterns) {
		rc = buf_add_str(&text, rules_text(args->excludes, (unsigned)rule), e);
	} else if (rule < size_rule) {
		const struct exclude_if_present *mark = &args->if_present[rule - patterns];

		rc = buf_printf(&text, e, "--exclude-if-present %s%s%s", mark->name,
			mark->header == NULL ? "" : ":", mark->header == NULL ? "" : mark->header);
	} else if (rule == size_rule) {
		rc = buf_printf(&text, e, "--exclude-larger-than %llu",
			(unsigned long long)args->exclude_larger_than);
	} else {
		rc = buf_add_str(&text, "--one-file-system", e);
	}
	return rc == E_OK ? arena_str(a, text.p, text.len, out, e) : rc;
}

enum ecode
exclusions_tell(const struct backup *b, struct arena *a, struct backup_result *out, struct err *e)
{
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < b->rule_count; i++) {
		uint64_t n = atomic_load(&b->by_rule[i].count);
		struct backup_excluded *told = &out->by_rule[out->rules_told];
		const char *text;

		if (n == 0)
			continue;
		out->excluded_bytes += atomic_load(&b->by_rule[i].bytes);
		if (out->rules_used++ >= BACKUP_RULES_TOLD)
			continue;
		rc = exclusion_text(b->args, i, a, &text, e);
		if (rc != E_OK)
			return rc;
		(void)snprintf(told->rule, sizeof(told->rule), "%s", text);
		told->count = n;
		told->bytes = atomic_load(&b->by_rule[i].bytes);
		out->rules_told++;
	}
	return rc;
}

static void
count_excluded(struct backup *b, const struct os_meta *m, size_t rule)
{
	atomic_fetch_add(&b->excluded, 1);
	if (b->by_rule == NULL)
		return;
	atomic_fetch_add(&b->by_rule[rule].count, 1);
	if (S_ISREG(m->mode))
		atomic_fetch_add(&b->by_rule[rule].bytes, m->size);
}

bool
child_excluded(struct dir_job *job, struct child *c)
{
	const struct backup_args *args = job->b->args;
	size_t size_rule = pattern_count(args) + args->if_present_count;
	bool is_dir = S_ISDIR(c->meta.mode);
	unsigned rule;

	if (c->explicit_target || c->vnode != NULL)
		return false;
	rule = excluded_by_rules(job, c);
	if (rule != 0) {
		count_excluded(job->b, &c->meta, rule - 1);
		return true;
	}
	if (args->exclude_larger_than > 0 && !is_dir && c->meta.size > args->exclude_larger_than) {
		count_excluded(job->b, &c->meta, size_rule);
		return true;
	}
	if (args->one_file_system && job->vnode == NULL && c->meta.dev != job->dev) {
		count_excluded(job->b, &c->meta, size_rule + 1);
		c->contents_excluded = is_dir;
		return !is_dir;
	}
	return false;
}

static bool
header_matches(struct dir_job *job, const char *name, const char *header)
{
	const struct os *os = job->b->s->os;
	char text[MARK_HEADER_MAX];
	size_t want = strlen(header), got = 0;
	struct err ignored;
	int fd = -1;
	bool same;

	if (want > sizeof(text) || walk_open_file(os, job->fd, name, &fd, &ignored) != E_OK)
		return false;
	same = io_read(os, fd, text, want, &got, name, &ignored) == E_OK && got == want &&
	       memcmp(text, header, want) == 0;
	io_close(os, &fd);
	return same;
}

/* --exclude-if-present: only the mark itself stays (appendix A). */
void
apply_marks(struct dir_job *job)
{
	const struct backup_args *args = job->b->args;

	for (size_t m = 0; m < args->if_present_count; m++) {
		const struct exclude_if_present *mark = &args->if_present[m];

		for (size_t i = 0; i < job->n; i++) {
			if (strcmp(job->child[i].name, mark->name) != 0)
				continue;
			if (mark->header != NULL && !header_matches(job, mark->name, mark->header))
				continue;
			for (size_t k = 0; k < job->n; k++) {
				if (k != i)
					count_excluded(job->b, &job->child[k].meta,
						pattern_count(args) + m);
			}
			job->child[0] = job->child[i];
			job->n = 1;
			return;
		}
	}
}

/* ---- listing ---- */

static enum ecode
children_alloc(struct dir_job *job, size_t n, struct err *e)
{
	void *p;
	enum ecode rc = arena_alloc(&job->arena, n * sizeof(struct child), &p, e);

	if (rc == E_OK)
		job->child = p;
	return rc;
}

enum ecode
list_directory(struct dir_job *job, struct err *e)
{
	const struct walk_ask ask = { .ask = session_go_on, .arg = job->b->s };
	struct walk_list list = { 0 };
	enum ecode rc =
		walk_dir_asking(job->b->s->os, job->fd, job->path, &ask, &job->arena, &list, e);

	if (rc == E_OK)
		rc = children_alloc(job, list.n, e);
	for (size_t i = 0; rc == E_OK && i < list.n; i++) {
		const struct walk_entry *entry = &list.v[i];

		job->child[job->n] = (struct child){
			.name = entry->name, .open_name = entry->name, .meta = entry->meta
		};
		if (!entry->have_meta) {
			struct err why;

			rc = walk_refusal(&why, -entry->sys, "stat", entry->name);
			if (!backup_concerns_path(rc)) {
				*e = why;
				return rc;
			}
			rc = E_OK;
			child_problem(job, &job->child[job->n], &why);
			continue;
		}
		job->n++;
	}
	if (rc == E_OK && list.vanished > 0) {
		atomic_fetch_add(&job->b->vanished, list.vanished);
		backup_warning(job->b, job->path, E_SRC_VANISHED,
			"entries vanished between listing and looking at them");
	}
	return rc;
}

enum ecode
list_vnode(struct dir_job *job, struct err *e)
{
	const struct os *os = job->b->s->os;
	size_t n = 0;
	enum ecode rc;

	for (const struct vnode *v = job->vnode->children; v != NULL; v = v->next)
		n++;
	rc = children_alloc(job, n, e);
	if (rc != E_OK)
		return rc;
	for (const struct vnode *v = job->vnode->children; v != NULL; v = v->next) {
		struct child *c = &job->child[job->n];
		struct err why;
		int sys;

		*c = (struct child){ .name = v->name,
			.open_name = v->fs_path,
			.abs_path = v->abs_path,
			.vnode = v->leaf ? NULL : v,
			.source = v->leaf ? &job->b->source[v->source] : NULL,
			.explicit_target = v->explicit_target };
		sys = os->stat(
			os, AT_FDCWD, v->fs_path, v->leaf ? AT_SYMLINK_NOFOLLOW : 0, &c->meta);
		if (sys >= 0) {
			job->n++;
			continue;
		}
		rc = walk_refusal(&why, sys, "stat", v->abs_path);
		if (!backup_concerns_path(rc)) {
			*e = why;
			return rc;
		}
		backup_problem(job->b, v->abs_path, &why);
	}
	return E_OK;
}
