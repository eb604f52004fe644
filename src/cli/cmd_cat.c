/* cat: raw objects, as they are. */
#include <string.h>

#include "cli/job.h"
#include "engine/inspect.h"

#define CAT_MAX_BYTES \
	((size_t)2 << 30) /* the largest blob or index text the format allows (repo/format.h) */

static const char *const kinds[] = { "config", "key", "snapshot", "index", "tree", "blob", "lock",
	"pack" };
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static enum ecode
check_words(const struct cli *cli, struct err *e)
{
	const struct options *o = cli->opt;
	const char *near = nearest_word(o->args[0], kinds, KINDS);
	bool config = strcmp(o->args[0], "config") == 0, known = false;

	for (size_t i = 0; i < KINDS; i++)
		known = known || strcmp(kinds[i], o->args[0]) == 0;
	if (!known && near != NULL)
		return err_set(e, E_USAGE, 0, "cat knows no \"%s\"; the nearest kind is \"%s\"",
			o->args[0], near);
	if (!known)
		return err_set(e, E_USAGE, 0,
			"cat knows no \"%s\"; give config, key, snapshot, index, tree, blob, lock or pack",
			o->args[0]);
	if (config && o->arg_count > 1)
		return err_set(e, E_USAGE, 0, "cat config takes no id");
	if (!config && o->arg_count < 2)
		return err_set(e, E_USAGE, 0, "cat %s needs an id", o->args[0]);
	return E_OK;
}

/* Text gets a final newline; blobs and packs are bytes. */
static enum ecode
print(struct cli *cli, struct buf *out, struct err *e)
{
	const char *kind = cli->opt->args[0];
	bool bytes = strcmp(kind, "blob") == 0 || strcmp(kind, "pack") == 0;
	enum ecode rc = E_OK;

	if (!bytes && (out->len == 0 || out->p[out->len - 1] != '\n'))
		rc = buf_add_byte(out, '\n', e);
	if (rc == E_OK)
		screen_out_bytes(&cli->screen, out->p, out->len);
	return rc;
}

enum ecode
cmd_cat(struct cli *cli, struct err *e)
{
	autoclean(buf_done) struct buf out = buf_limit(CAT_MAX_BYTES);
	const char *const *words = cli->opt->args;
	struct job_args args = { .kind = TICKER_OTHER };
	struct job_open_args how = { .lock = SESSION_SHARED };
	struct session s = { .os = NULL };
	struct job job;
	enum ecode rc = check_words(cli, e);

	args.operation = cli->opt->arg_count > 1
				 ? cli_text(cli, "printing %s %s", words[0], words[1])
				 : cli_text(cli, "printing %s", words[0]);
	if (rc == E_OK)
		rc = job_begin(&job, cli, &args, e);
	if (rc != E_OK)
		return rc;
	rc = job_open(&job, &how, &s, e);
	if (rc == E_OK)
		rc = inspect_cat(&s, words[0], cli->opt->arg_count > 1 ? words[1] : NULL, &out, e);
	rc = job_end(&job, &s, rc, e);
	return rc == E_OK ? print(cli, &out, e) : rc;
}
