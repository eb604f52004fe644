/* key list, add, passwd, remove. */
#include <string.h>

#include "base/json.h"
#include "cli/job.h"
#include "cli/password.h"
#include "cli/units.h"
#include "engine/keyadmin.h"

#define DOCUMENT_MAX_BYTES (64U << 20)

static enum ecode
list_json(struct cli *cli, const struct key_info *keys, size_t n, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(DOCUMENT_MAX_BYTES);
	char time[UNIT_TEXT_MAX];
	struct json_out w;

	json_begin(&w, &out);
	json_open_array(&w);
	for (size_t i = 0; i < n; i++) {
		json_open_object(&w);
		json_member_bool(&w, "current", keys[i].current);
		json_member_str(&w, "id", cli_short(cli, &keys[i].id));
		json_member_text(&w, "userName", keys[i].username);
		json_member_text(&w, "hostName", keys[i].hostname);
		json_member_str(&w, "created", local_text(keys[i].created, time));
		json_close_object(&w);
	}
	json_close_array(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static void
list_people(struct cli *cli, const struct key_info *keys, size_t n)
{
	char time[UNIT_TEXT_MAX];

	screen_out(&cli->screen, " %-8s  %-12s  %-16s  %s", "ID", "User", "Host", "Created");
	for (size_t i = 0; i < n; i++)
		screen_out(&cli->screen, "%c%s  %-12s  %-16s  %s", keys[i].current ? '*' : ' ',
			cli_short(cli, &keys[i].id),
			cli_shown(cli, keys[i].username.p, keys[i].username.len),
			cli_shown(cli, keys[i].hostname.p, keys[i].hostname.len),
			local_text(keys[i].created, time));
	screen_out(&cli->screen, "%zu key%s; * opened the vault", n, n == 1 ? "" : "s");
}

static enum ecode
show(struct cli *cli, struct session *s, struct err *e)
{
	struct key_info *keys;
	size_t n, damaged;
	enum ecode rc = keyadmin_list(s, &cli->arena, &keys, &n, &damaged, e);

	if (rc == E_OK && cli->screen.json)
		rc = list_json(cli, keys, n, e);
	else if (rc == E_OK)
		list_people(cli, keys, n);
	if (rc == E_OK && damaged > 0)
		rc = err_set(e, E_KEY_DAMAGED, 0,
			"%zu key file%s cannot be read; the others are listed", damaged,
			damaged == 1 ? "" : "s");
	return rc;
}

enum ecode
cmd_key_list(struct cli *cli, struct err *e)
{
	struct job_args args = { .kind = TICKER_OTHER };
	struct job_open_args how = { .lock = SESSION_SHARED };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc;

	args.operation = cli_text(
		cli, "listing the keys of %s", cli->set.repo == NULL ? "?" : cli->set.repo);
	rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = show(cli, &s, e);
	return job_end(&job, &s, rc, e);
}

/* ---- those that change ---- */

struct change {
	const char *operation;
	enum session_lock lock;
	enum ecode (*apply)(struct cli *cli, struct session *s, struct slice password,
		struct id *id, struct err *e);
	bool new_password;
	const char *told; /* "key %s …" */
};

/* The new password; never the source of the one that opens the vault. */
static enum ecode
new_password(struct cli *cli, struct secret *out, struct err *e)
{
	const char *file = flag_text(cli->opt, FLAG_NEW_PASSWORD_FILE);
	struct settings from = { .password_from = file == NULL ? PASSWORD_PROMPT : PASSWORD_FILE,
		.password = file };

	return password_get(cli->os, &from, "new password: ", true, out, e);
}

static enum ecode
change_with(struct job *j, const struct change *what, struct secret *password, struct id *id,
	struct err *e)
{
	struct job_open_args how = { .lock = what->lock };
	struct session s = { .os = NULL };
	enum ecode rc = E_OK;

	/* asked before the vault is opened: no prompt while a lock is held */
	if (what->new_password)
		rc = new_password(j->cli, password, e);
	if (rc == E_OK)
		rc = job_open(j, &how, &s, e);
	if (rc == E_OK)
		rc = what->apply(j->cli, &s, secret_bytes(password), id, e);
	return job_end(j, &s, rc, e);
}

static enum ecode
tell(struct cli *cli, const struct change *what, const struct id *id, struct err *e)
{
	autoclean(buf_done) struct buf line = buf_limit(DOCUMENT_MAX_BYTES);
	struct json_out w;

	if (!cli->screen.json) {
		if (!cli->screen.quiet)
			screen_out(&cli->screen, "key %s %s", cli_short(cli, id), what->told);
		return E_OK;
	}
	json_begin(&w, &line);
	json_open_object(&w);
	json_member_str(&w, "message_type", "key_changed");
	json_member_id(&w, "id", id);
	json_close_object(&w);
	return screen_out_json(&cli->screen, &w, e);
}

static enum ecode
change(struct cli *cli, const struct change *what, struct err *e)
{
	struct job_args args = {
		.mode = "key", .must_report = true, .changes = true, .kind = TICKER_OTHER
	};
	struct secret *password = NULL;
	struct job job;
	struct id id;
	enum ecode rc;

	args.target = cli->set.repo;
	args.operation = cli_text(
		cli, "%s %s", what->operation, cli->set.repo == NULL ? "?" : cli->set.repo);
	rc = secret_open(&password, e);
	if (rc != E_OK)
		return rc;
	rc = job_begin(&job, cli, &args, e);
	if (rc == E_OK)
		rc = change_with(&job, what, password, &id, e);
	secret_close(&password);
	return rc == E_OK ? tell(cli, what, &id, e) : rc;
}

static struct key_labels
labels_of(const struct cli *cli)
{
	return (struct key_labels){ .username = flag_text(cli->opt, FLAG_KEY_USER),
		.hostname = flag_text(cli->opt, FLAG_KEY_HOST) };
}

static enum ecode
apply_add(struct cli *cli, struct session *s, struct slice password, struct id *id, struct err *e)
{
	struct key_labels labels = labels_of(cli);
	struct keyadmin_args args = { .password = password, .labels = &labels };

	return keyadmin_add(s, &args, id, e);
}

static enum ecode
apply_passwd(
	struct cli *cli, struct session *s, struct slice password, struct id *id, struct err *e)
{
	struct key_labels labels = labels_of(cli);
	struct keyadmin_args args = { .password = password, .labels = &labels };

	return keyadmin_passwd(s, &args, id, e);
}

static enum ecode
apply_remove(
	struct cli *cli, struct session *s, struct slice password, struct id *id, struct err *e)
{
	(void)password; /* removing needs none but the one that opened the vault */
	return keyadmin_remove(s, cli->opt->args[0], id, e);
}

enum ecode
cmd_key_add(struct cli *cli, struct err *e)
{
	static const struct change what = { .operation = "adding a key to",
		.lock = SESSION_SHARED,
		.apply = apply_add,
		.new_password = true,
		.told = "added: the new password opens the vault" };

	return change(cli, &what, e);
}

enum ecode
cmd_key_passwd(struct cli *cli, struct err *e)
{
	static const struct change what = { .operation = "changing the password of",
		.lock = SESSION_EXCLUSIVE,
		.apply = apply_passwd,
		.new_password = true,
		.told = "is in use now: the new password opens the vault, the old one does not" };

	return change(cli, &what, e);
}

enum ecode
cmd_key_remove(struct cli *cli, struct err *e)
{
	static const struct change what = { .operation = "removing a key from",
		.lock = SESSION_EXCLUSIVE,
		.apply = apply_remove,
		.told = "removed" };

	return change(cli, &what, e);
}
