/*
 * The reports of one verification, written while it runs: verify_report.jsonl,
 * verify_report.json, verify_summary.txt (WC-48), verification.toml and its
 * twin verification.json (DF-23).  A line for each path that is no directory,
 * and for each directory that is not as recorded.
 */
#ifndef HF_ENGINE_VERIFY_REPORT_H
#define HF_ENGINE_VERIFY_REPORT_H

#include "engine/restore_lines.h"
#include "engine/verify.h"

struct verify_report {
	const struct verify_args *args;
	const struct verify_result *result;
	int dir; /* LINES_NOWHERE: no reports */
	struct lines records, toml, json;
	bool begun;
};
/* refuses: E_REPORT_WRITE */
enum ecode verify_report_open(struct verify_report *r, struct session *s,
	const struct verify_args *args, const struct verify_result *result,
	struct err *e) must_check;
enum ecode verify_report_put(
	struct verify_report *r, const struct match_record *record, struct err *e) must_check;
/* Every file whole and durable.  `rc`: how the verification ended.  refuses: E_REPORT_WRITE */
enum ecode verify_report_close(struct verify_report *r, enum ecode rc, struct err *e) must_check;
void verify_report_done(struct verify_report *r);

#endif
