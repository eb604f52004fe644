#include "cli/problems.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/units.h"

#define LINE_MAX_BYTES (4U << 20) /* a path of a MiB with every byte as \xNN */

void
problems_init(struct problems *p, struct screen *screen)
{
	*p = (struct problems){ .screen = screen };
	(void)pthread_mutex_init(&p->lock, NULL); /* cannot fail with default attributes on Linux */
}

/* Counts it; true when this one is to be shown. */
static bool
count(struct problems *p, const struct problem *what)
{
	struct problem_group *group = NULL;
	bool show = false;

	(void)pthread_mutex_lock(&p->lock);
	p->total++;
	for (unsigned i = 0; group == NULL && i < p->groups; i++) {
		if (p->group[i].code == what->code && p->group[i].cause == what->cause)
			group = &p->group[i];
	}
	if (group == NULL && p->groups < PROBLEM_GROUPS_MAX) {
		group = &p->group[p->groups++];
		*group = (struct problem_group){ .code = what->code, .cause = what->cause };
	}
	if (group == NULL) {
		p->other++;
	} else {
		group->count++;
		show = group->shown < PROBLEM_SHOWN_MAX && p->shown < PROBLEM_LINES_MAX;
		group->shown += show;
		p->shown += show;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return show;
}

static void
tell_json(struct problems *p, const struct problem *what)
{
	autoclean(buf_done) struct buf line = buf_limit(LINE_MAX_BYTES);
	struct json_out w;
	struct err e;

	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "error");
	json_put_key(&w, "error");
	json_open_object(&w);
	json_member_str(&w, "message", what->why);
	json_close_object(&w);
	json_member_str(&w, "during", what->during);
	json_member_str(&w, "item", what->path);
	json_put_key(&w, "refusal_code");
	json_put_i64(&w, (int64_t)what->code);
	json_member_str(&w, "error_type", cause_name(what->cause));
	json_member_bool(&w, "can_retry", what->can_retry);
	json_close_object(&w);
	if (json_done(&w, &e) == E_OK && buf_add_byte(&line, '\n', &e) == E_OK)
		screen_err_bytes(p->screen, line.p, line.len);
}

void
problems_add(struct problems *p, const struct problem *what)
{
	autoclean(buf_done) struct buf path = buf_limit(LINE_MAX_BYTES),
				       why = buf_limit(LINE_MAX_BYTES);
	struct err e;
	bool show = count(p, what);

	if (p->screen->json) {
		tell_json(p, what);
		return;
	}
	if (!show)
		return;
	if (text_show(&path, what->path, strlen(what->path), &e) == E_OK &&
		text_show(&why, what->why, strlen(what->why), &e) == E_OK)
		screen_err(p->screen, "%s: %s: %s", what->fatal_for_item ? "problem" : "note",
			(const char *)path.p, (const char *)why.p);
}

void
problems_end(struct problems *p)
{
	if (p->screen->json)
		return;
	for (unsigned i = 0; i < p->groups; i++) {
		const struct problem_group *g = &p->group[i];

		if (g->count > g->shown)
			screen_err(p->screen, "and %" PRIu64 " more: %s%s%s", g->count - g->shown,
				err_row(g->code)->what, g->cause != CAUSE_UNKNOWN ? ": " : "",
				g->cause != CAUSE_UNKNOWN ? cause_short(g->cause) : "");
	}
	if (p->other > 0)
		screen_err(p->screen, "and %" PRIu64 " of other kinds", p->other);
}

void
problems_restart(struct problems *p)
{
	(void)pthread_mutex_lock(&p->lock);
	p->groups = 0;
	p->shown = 0;
	p->total = 0;
	p->other = 0;
	(void)pthread_mutex_unlock(&p->lock);
}
