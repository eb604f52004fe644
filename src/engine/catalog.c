#include "engine/catalog.h"

#include <string.h>

#include "engine/incomplete.h"
#include "store/store.h"

enum ecode
catalog_init(const struct catalog_init_args *args, struct id *repo_id, struct err *e)
{
	struct vault_init_args init = {
		.password = args->password, .version = 2, .params = args->params
	};
	struct store *opened = NULL;
	enum ecode rc = E_OK;

	if (args->store == NULL)
		rc = store_open(args->os, args->location, &opened, e);
	if (rc == E_OK)
		rc = vault_init(
			args->os, args->store == NULL ? opened : args->store, &init, repo_id, e);
	if (opened != NULL)
		store_close(&opened);
	return rc;
}

enum ecode
catalog_list(struct session *s, struct arena *a, struct snapshot_list *out, struct err *e)
{
	return snapshot_list_load(s->vault, s->own, a, out, e);
}

enum ecode
catalog_choose(struct session *s, const struct snapshot_filter *filter, const char *text,
	struct arena *a, const struct snapshot **out, const char **sub, struct err *e)
{
	struct snapshot_list list = { .n = 0 };
	enum ecode rc = catalog_list(s, a, &list, e);

	if (rc != E_OK)
		return rc;
	if (list.unreadable > 0 && strncmp(text, "latest", strlen("latest")) == 0) {
		*e = list.first_unreadable;
		err_note(e, "which snapshot is the latest is not certain; give an id");
		return e->code;
	}
	rc = snapshot_select(&list, filter, text, a, out, sub, e);
	return rc == E_OK ? E_OK : incomplete_named(s, text, rc, e);
}

enum ecode
catalog_record_open(const struct snapshot *s, struct buf *out, struct err *e)
{
	enum ecode rc = snapshot_write(s, out, e);

	if (rc != E_OK)
		return rc;
	while (out->len > 0 && out->p[out->len - 1] != '}')
		out->len--;
	invariant(out->len > 0);
	out->len--;
	return E_OK;
}
