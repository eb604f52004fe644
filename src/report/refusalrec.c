/* The refusal record (refusals.md) as JSON: the same facts as the text on a terminal. */
#include "report/runlog.h"

#include <stdio.h>
#include <string.h>

#include "report/steps.h"

#define EVIDENCE_BYTES (ERR_DETAIL_BYTES + 64)

static void
put_evidence(struct json_out *w, const struct err *e, const char *run_id)
{
	char line[EVIDENCE_BYTES];

	json_put_key(w, "evidence");
	json_open_array(w);
	for (unsigned i = 0; i < e->notes; i++)
		json_put_str(w, e->note[i]);
	if (e->sys > 0 && strerrorname_np(e->sys) != NULL) {
		(void)snprintf(line, sizeof(line), "%s: %s", strerrorname_np(e->sys),
			strerrordesc_np(e->sys));
		json_put_str(w, line);
	}
	if (err_row(e->code)->caller == CALLER_BUG && e->file != NULL) {
		(void)snprintf(line, sizeof(line), "program: %s, line %d", e->file, e->line);
		json_put_str(w, line);
	}
	if (run_id != NULL) {
		(void)snprintf(line, sizeof(line), "run %s", run_id);
		json_put_str(w, line);
	}
	json_close_array(w);
}

static void
put_step(struct json_out *w, const struct step *step)
{
	struct slice rest = step->command, word;

	json_open_object(w);
	json_put_key(w, "text");
	json_put_text(w, step->text.p, step->text.len);
	if (step->command.len > 0) {
		json_put_key(w, "argv");
		json_open_array(w);
		while (steps_word(&rest, &word))
			json_put_text(w, word.p, word.len);
		json_close_array(w);
	}
	json_close_object(w);
}

void
refusal_json(struct json_out *w, const struct err *e, const char *run_id)
{
	const struct err_row *row = err_row(e->code);
	struct step steps[STEPS_MAX];
	size_t n = steps_of(row->next, steps);

	json_open_object(w);
	json_member_str(w, "class", eclass_name(row->class));
	json_put_key(w, "exit");
	json_put_i64(w, (int64_t)row->class);
	json_member_str(w, "severity", err_severity(row->code));
	json_put_key(w, "code");
	json_put_i64(w, (int64_t)row->code);
	json_member_str(w, "what", row->what);
	json_member_str(w, "why", e->detail);
	put_evidence(w, e, run_id);
	json_put_key(w, "next_steps");
	json_open_array(w);
	for (size_t i = 0; i < n; i++)
		put_step(w, &steps[i]);
	if (e->next[0] != '\0')
		put_step(
			w, &(struct step){ .text = { (const uint8_t *)e->next, strlen(e->next) } });
	json_close_array(w);
	json_member_str(w, "run_id", run_id);
	json_close_object(w);
}
