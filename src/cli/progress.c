#include "cli/progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/pulse.h"
#include "cli/signals.h"
#include "cli/units.h"

#define LIVE_NS          UINT64_C(250000000)   /* redraw of a terminal line (L-30) */
#define JSON_NS          UINT64_C(100000000)   /* format document 12.4 */
#define LOG_NS           UINT64_C(60000000000) /* one line a minute where nothing can be redrawn */
#define POLL_NS          UINT64_C(100000000)   /* how soon SIGUSR1 is answered */
#define STATUS_MAX_BYTES 4096
#define REMAINING_MAX_S  3e11 /* ten thousand years: as good as not known */

struct ticker {
	struct ticker_args args;
	uint64_t started_ns, every_ns;
	uint64_t next_ns; /* the thread's own */
	struct pulse *pulse;
};

/* Position of a phase in what this kind of work goes through; 0: not shown. */
static unsigned
phase_number(enum ticker_kind kind, enum phase phase, unsigned *of)
{
	static const enum phase backup[] = { PHASE_INDEX, PHASE_WORK, PHASE_COMMIT };
	static const enum phase restore[] = { PHASE_INDEX, PHASE_SCAN, PHASE_WORK, PHASE_VERIFY,
		PHASE_PROMOTE };
	const enum phase *list = kind == TICKER_BACKUP ? backup : restore;

	if (kind == TICKER_OTHER)
		return 0;
	*of = kind == TICKER_BACKUP ? sizeof(backup) / sizeof(backup[0])
				    : sizeof(restore) / sizeof(restore[0]);
	if (kind == TICKER_BACKUP && phase == PHASE_SCAN)
		phase = PHASE_WORK; /* they run side by side */
	for (unsigned i = 0; i < *of; i++) {
		if (list[i] == phase)
			return i + 1;
	}
	return 0;
}

/* 0 … 1 of the totals known so far */
static double
fraction(const struct pace *p)
{
	uint64_t done = p->total_bytes > 0 ? p->done_bytes : p->done_items;
	uint64_t total = p->total_bytes > 0 ? p->total_bytes : p->total_items;

	if (p->phase == PHASE_DONE)
		return 1;
	if (total == 0)
		return 0;
	return done >= total ? 1 : (double)done / (double)total;
}

/* UINT64_MAX: not known.  Only after the scan: before it the totals still grow. */
static uint64_t
remaining_s(const struct pace *p)
{
	double f = fraction(p), s;

	if (!p->totals_final || f <= 0 || p->elapsed_s == 0)
		return UINT64_MAX;
	s = (double)p->elapsed_s * (1 - f) / f;
	return s < REMAINING_MAX_S ? (uint64_t)s : UINT64_MAX;
}

struct line { /* appends that know where the end is */
	char *p;
	size_t at;
};

static void printf_like(2, 3) line_add(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->p + l->at, PACE_TEXT_MAX - l->at, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->at = l->at + (size_t)n < PACE_TEXT_MAX ? l->at + (size_t)n : PACE_TEXT_MAX - 1;
}

static void
line_counts(struct line *l, const struct pace *p)
{
	char done[UNIT_TEXT_MAX], total[UNIT_TEXT_MAX], rate[UNIT_TEXT_MAX];
	uint64_t s = p->elapsed_s == 0 ? 1 : p->elapsed_s;

	line_add(l, "  %" PRIu64, p->done_items);
	if (p->totals_final && p->total_items > 0)
		line_add(l, "/%" PRIu64, p->total_items);
	line_add(l, " items  %s", bytes_brief(p->done_bytes, done));
	if (p->totals_final && p->total_bytes > 0)
		line_add(l, "/%s", bytes_brief(p->total_bytes, total));
	line_add(l, "  %" PRIu64 "/s  %s/s", p->done_items / s,
		bytes_brief(p->done_bytes / s, rate));
}

/* DF-24: how many were verified; of how many only where that is known. */
static void
line_phase(struct line *l, const struct pace *p)
{
	if (p->phase != PHASE_VERIFY || p->done_items + p->total_items == 0)
		line_add(l, "%s", phase_text(p->phase));
	else if (p->totals_final && p->total_items >= p->done_items)
		line_add(
			l, "Verifying... (%" PRIu64 "/%" PRIu64 ")", p->done_items, p->total_items);
	else
		line_add(l, "Verifying... (%" PRIu64 ")", p->done_items);
}

/* What matters most comes first: a narrow terminal cuts the end. */
const char *
pace_text(enum ticker_kind kind, const struct pace *pace, char out[static PACE_TEXT_MAX])
{
	struct line l = { out, 0 };
	char span[UNIT_TEXT_MAX];
	unsigned of = 0, number = phase_number(kind, pace->phase, &of);
	uint64_t left = remaining_s(pace);

	out[0] = '\0';
	if (number > 0)
		line_add(&l, "[%u/%u] ", number, of);
	line_phase(&l, pace);
	line_add(&l, "  %s", span_text(pace->elapsed_s, span));
	if (pace->totals_final)
		line_add(&l, "  %.1f%%", 100 * fraction(pace));
	if (left != UINT64_MAX)
		line_add(&l, "  ETA %s", span_text(left, span));
	if (pace->problems > 0)
		line_add(&l, "  %" PRIu64 " problem%s", pace->problems,
			pace->problems == 1 ? "" : "s");
	if (pace->done_items > 0 || pace->total_items > 0)
		line_counts(&l, pace);
	return out;
}

enum ecode
pace_json(enum ticker_kind kind, const struct pace *pace, struct buf *out, struct err *e)
{
	bool backup = kind == TICKER_BACKUP;
	uint64_t left = remaining_s(pace);
	struct json_out w;
	enum ecode rc;

	if (kind == TICKER_OTHER)
		return E_OK;
	json_begin(&w, out);
	json_open_object(&w);
	json_member_str(&w, "message_type", "status");
	json_member_some(&w, "seconds_elapsed", pace->elapsed_s);
	if (backup && left != UINT64_MAX)
		json_member_some(&w, "seconds_remaining", left);
	json_put_key(&w, "percent_done");
	json_put_double(&w, fraction(pace));
	json_member_some(&w, "total_files", pace->total_items);
	json_member_some(&w, backup ? "files_done" : "files_restored", pace->done_items);
	json_member_some(&w, "total_bytes", pace->total_bytes);
	json_member_some(&w, backup ? "bytes_done" : "bytes_restored", pace->done_bytes);
	if (backup)
		json_member_some(&w, "error_count", pace->problems);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}

static void
look(const struct ticker *t, struct pace *out)
{
	struct progress *p = t->args.progress;

	*out = (struct pace){
		.phase = (enum phase)atomic_load(&p->phase),
		.totals_final = atomic_load(&p->totals_final),
		.elapsed_s = (t->args.os->monotonic_ns(t->args.os) - t->started_ns) / 1000000000,
		.done_items = atomic_load(&p->done_items),
		.total_items = atomic_load(&p->total_items),
		.done_bytes = atomic_load(&p->done_bytes),
		.total_bytes = atomic_load(&p->total_bytes),
		.problems = atomic_load(&p->problems),
	};
}

static void
tick(struct ticker *t)
{
	autoclean(buf_done) struct buf line = buf_limit(STATUS_MAX_BYTES);
	struct screen *screen = t->args.screen;
	char text[PACE_TEXT_MAX];
	struct pace pace;
	struct err e;

	look(t, &pace);
	if (!screen->json && screen->live) {
		screen_status(screen, pace_text(t->args.kind, &pace, text));
	} else if (!screen->json) {
		screen_err(screen, "%s", pace_text(t->args.kind, &pace, text));
	} else if (pace_json(t->args.kind, &pace, &line, &e) == E_OK && line.len > 0) {
		screen_out_bytes(screen, line.p, line.len);
		screen_push(screen); /* whoever reads along wants it now */
	}
}

static void
answer_status(struct ticker *t)
{
	char text[PACE_TEXT_MAX];
	struct pace pace;

	look(t, &pace);
	screen_err(t->args.screen, "%s", pace_text(t->args.kind, &pace, text));
}

static uint64_t
ticker_beat(void *arg)
{
	struct ticker *t = arg;
	uint64_t now_ns = t->args.os->monotonic_ns(t->args.os);

	if (signals_status_wanted())
		answer_status(t);
	if (!t->args.screen->quiet && now_ns >= t->next_ns) {
		tick(t);
		t->next_ns = now_ns + t->every_ns;
	}
	return now_ns + POLL_NS;
}

static uint64_t
interval_ns(const struct ticker_args *args)
{
	if (args->frames_per_s > 0)
		return (uint64_t)(1e9 / args->frames_per_s);
	if (args->screen->json)
		return JSON_NS;
	return args->screen->live ? LIVE_NS : LOG_NS;
}

enum ecode
ticker_open(const struct ticker_args *args, struct ticker **out, struct err *e)
{
	struct ticker *t = calloc(1, sizeof(*t));
	enum ecode rc;

	if (t == NULL)
		return err_set(e, E_NOMEM, 0, "the progress line");
	t->args = *args;
	t->started_ns = args->os->monotonic_ns(args->os);
	t->every_ns = interval_ns(args);
	t->next_ns = t->started_ns + t->every_ns;
	if (!args->screen->quiet && (args->screen->live || args->screen->json))
		tick(t);
	rc = pulse_start(&t->pulse, ticker_beat, t, e);
	if (rc == E_OK)
		*out = t;
	else
		free(t);
	return rc;
}

void
ticker_close(struct ticker **ticker)
{
	struct ticker *t = *ticker;

	if (t == NULL)
		return;
	pulse_stop(&t->pulse);
	screen_clear(t->args.screen);
	free(t);
	*ticker = NULL;
}
