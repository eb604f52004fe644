#include "engine/catalog.h"

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
