#include "cli/refusal.h"

#include <string.h>

#include "cli/units.h"
#include "report/runlog.h"
#include "report/steps.h"

/* The first word of the first line. */
static const char *verdict(enum eclass class)
{
	if (class == CLASS_PARTIAL)
		return "incomplete";
	if (class == CLASS_INTERRUPTED || class == CLASS_TERMINATED)
		return "interrupted";
	return "refused";
}

/* Details may quote names from a vault: nothing of them may steer the terminal. */
static enum ecode
add_shown(struct buf *out, const char *label, const char *text, struct err *e)
{
	enum ecode rc = buf_printf(out, e, "  %-8s ", label);

	if (rc == E_OK)
		rc = text_show(out, text, strlen(text), e);
	return rc;
}

static enum ecode
add_line(struct buf *out, const char *label, const char *text, struct err *e)
{
	enum ecode rc = add_shown(out, label, text, e);

	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}

/* The system's word for it, unless the detail has it already. */
static enum ecode
add_why(struct buf *out, const struct err *why, struct err *e)
{
	const char *system = why->sys > 0 ? strerrordesc_np(why->sys) : NULL;
	enum ecode rc = add_shown(out, "why", why->detail, e);

	if (rc == E_OK && system != NULL && strstr(why->detail, system) == NULL)
		rc = buf_printf(out, e, ": %s", system);
	if (rc == E_OK && system != NULL)
		rc = buf_printf(out, e, " (%s)", strerrorname_np(why->sys));
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}

static enum ecode
add_evidence(
	struct buf *out, const struct err *why, const struct refusal_place *place, struct err *e)
{
	enum ecode rc = E_OK;
	const char *label = "evidence";

	for (unsigned i = 0; rc == E_OK && i < why->notes; i++) {
		rc = add_line(out, label, why->note[i], e);
		label = "";
	}
	if (rc == E_OK && err_row(why->code)->caller == CALLER_BUG && why->file != NULL) {
		rc = buf_printf(
			out, e, "  %-8s program %s, line %d\n", label, why->file, why->line);
		label = "";
	}
	if (rc == E_OK && place->run_id != NULL)
		rc = buf_printf(out, e, "  %-8s run %s, journal %s/execution_journal.jsonl\n",
			label, place->run_id, place->run_dir);
	return rc;
}

static enum ecode
add_steps(struct buf *out, const struct err *why, const char *help, struct err *e)
{
	const char *next = help != NULL ? "" : err_row(why->code)->next;
	struct step steps[STEPS_MAX];
	size_t n = steps_of(next, steps);
	enum ecode rc = E_OK;

	for (size_t i = 0; rc == E_OK && i < n; i++)
		rc = buf_printf(out, e, "  %-8s %zu. %.*s\n", i == 0 ? "next" : "", i + 1,
			(int)steps[i].text.len, (const char *)steps[i].text.p);
	if (rc == E_OK && why->next[0] != '\0')
		rc = buf_printf(out, e, "  %-8s %zu. %s\n", n == 0 ? "next" : "", n + 1, why->next);
	if (rc == E_OK && help != NULL)
		rc = buf_printf(out, e, "  %-8s %zu. Examples and flags:  %s\n",
			n == 0 ? "next" : "", n + 1, help);
	return rc;
}

enum ecode
refusal_text(
	const struct err *why, const struct refusal_place *place, struct buf *out, struct err *e)
{
	const struct err_row *row = err_row(why->code);
	enum ecode rc = buf_printf(out, e, "%s: %s (%s, %s, code %d)\n", verdict(row->class),
		row->what, eclass_name(row->class), err_severity(row->code), (int)row->code);

	if (rc == E_OK && place->operation != NULL)
		rc = add_line(out, "what", place->operation, e);
	if (rc == E_OK)
		rc = add_why(out, why, e);
	if (rc == E_OK)
		rc = add_evidence(out, why, place, e);
	if (rc == E_OK)
		rc = add_steps(out, why, place->help, e);
	return rc;
}

enum ecode
refusal_line(
	const struct err *why, const struct refusal_place *place, struct buf *out, struct err *e)
{
	const struct err_row *row = err_row(why->code);
	autoclean(buf_done) struct buf message = buf_limit(REFUSAL_MAX_BYTES);
	struct json_out w;
	enum ecode rc = buf_printf(&message, e, "%s: %s", row->what, why->detail);

	if (rc != E_OK)
		return rc;
	json_begin(&w, out);
	json_open_object(&w);
	json_member_str(&w, "message_type", "exit_error");
	json_put_key(&w, "code");
	json_put_i64(&w, (int64_t)row->class);
	json_put_key(&w, "message");
	json_put_text(&w, message.p, message.len);
	json_put_key(&w, "refusal");
	refusal_json(&w, why, place->run_id);
	json_close_object(&w);
	rc = json_done(&w, e);
	return rc == E_OK ? buf_add_byte(out, '\n', e) : rc;
}
