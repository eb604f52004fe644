/*
 * Loading every index file (format document 5.3): one task a file, fetched,
 * opened and parsed in a worker's own memory, then entered shard by shard.
 * The union does not depend on the order of the files.
 */
#include "repo/index_internal.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/wire.h"

/*
 * Bytes of an index file per blob, on the high side: tables made for fewer blobs
 * than there are grow, tables made for more would waste memory.
 */
#define FILE_BYTES_PER_BLOB_V1 160
#define FILE_BYTES_PER_BLOB_V2 64

struct load_worker {
	struct buf json;
	struct listing listing;
};

struct load_task {
	struct flow_task task; /* first: the flow gives it back */
	struct load *load;
	struct id file;
};

struct load {
	struct index *ix;
	struct vault *v;
	struct blob_codec *const *codecs;
	struct index_flaws *flaws;
	void (*each_flaw)(void *arg, const struct id *file, const struct err *why);
	void *arg;
	pthread_mutex_t lock; /* flaws.unreadable, each_flaw */
	struct load_worker *workers;
	unsigned worker_count;
	struct load_task *tasks;
	size_t task_count;
};

static enum ecode
load_file(struct load *l, const struct id *file, unsigned worker, struct err *e)
{
	struct load_worker *w = &l->workers[worker];
	enum ecode rc;

	buf_clear(&w->json);
	rc = vault_load(l->v, l->codecs[worker], O_INDEX, file, &w->json, e);
	if (rc == E_OK)
		rc = listing_parse(&w->listing, w->json.p, w->json.len, l->v->version, e);
	if (rc == E_OK)
		rc = index_enter(l->ix, &w->listing, l->flaws, e);
	return rc;
}

/* What says something about the file, not about this machine. */
static bool
is_flaw(enum ecode rc)
{
	return rc != E_OK && err_row(rc)->caller != CALLER_BUG && rc != E_NOMEM;
}

static void
tell_flaw(struct load *l, const struct id *file, const struct err *why)
{
	int rc = pthread_mutex_lock(&l->lock);

	invariant(rc == 0);
	l->flaws->unreadable++;
	if (l->each_flaw != NULL)
		l->each_flaw(l->arg, file, why);
	rc = pthread_mutex_unlock(&l->lock);
	invariant(rc == 0);
}

/* Whatever is damaged about an index file, what to do is the same. */
static enum ecode
refuse_file(const struct id *file, enum ecode rc, struct err *e)
{
	char name[ID_HEX_SIZE];

	id_hex(file, name);
	if (err_row(rc)->caller != CALLER_CORRUPT || e == NULL) {
		err_note(e, "while loading index %s", name);
		return rc;
	}
	if (rc != E_INDEX_FORMAT)
		err_note(e, "%s: %s", err_row(rc)->name, err_row(rc)->what);
	err_note(e, "index %s", name);
	e->code = E_INDEX_FORMAT;
	return E_INDEX_FORMAT;
}

static enum ecode
load_run(struct flow_task *task, unsigned worker, struct err *e)
{
	struct load_task *t = (struct load_task *)task;
	struct err why = { .code = E_OK };
	enum ecode rc = load_file(t->load, &t->file, worker, &why);

	if (rc == E_OK)
		return E_OK;
	if (t->load->flaws != NULL && is_flaw(rc)) {
		tell_flaw(t->load, &t->file, &why);
		return E_OK;
	}
	rc = refuse_file(&t->file, rc, &why);
	if (e != NULL)
		*e = why;
	return rc;
}

/* The tasks are one array, freed at the end. */
static void
load_drop(struct flow_task *task)
{
	(void)task;
}

static void
load_done(struct load *l)
{
	for (unsigned i = 0; l->workers != NULL && i < l->worker_count; i++) {
		buf_done(&l->workers[i].json);
		listing_done(&l->workers[i].listing);
	}
	free(l->workers);
	free(l->tasks);
	(void)pthread_mutex_destroy(&l->lock);
}

static enum ecode
load_prepare(struct load *l, const struct store_listing *files, unsigned workers, struct err *e)
{
	l->workers = calloc(workers, sizeof(*l->workers));
	l->tasks = calloc(files->n + 1, sizeof(*l->tasks)); /* never of size 0 */
	if (l->workers == NULL || l->tasks == NULL)
		return err_set(e, E_NOMEM, 0, "loading %zu index files", files->n);
	l->worker_count = workers;
	for (unsigned i = 0; i < workers; i++)
		l->workers[i].json = buf_limit(UNPACKED_MAX_BYTES);
	l->task_count = files->n;
	for (size_t i = 0; i < files->n; i++) {
		l->tasks[i] = (struct load_task){
			.task = { .run = load_run, .drop = load_drop },
			.load = l,
			.file = files->v[i].id,
		};
	}
	return E_OK;
}

static enum ecode
expect(struct index *ix, const struct vault *v, const struct store_listing *files, struct err *e)
{
	uint64_t bytes = 0,
		 per_blob = v->version < 2 ? FILE_BYTES_PER_BLOB_V1 : FILE_BYTES_PER_BLOB_V2;

	for (size_t i = 0; i < files->n; i++) {
		if (files->v[i].size <= UNPACKED_MAX_BYTES) /* a larger one will be refused */
			bytes += files->v[i].size;
	}
	return index_expect(ix, bytes / per_blob, e);
}

enum ecode
index_load(struct index *ix, struct vault *v, struct flow *flow, struct blob_codec *const codecs[],
	struct index_flaws *flaws,
	void (*each_flaw)(void *arg, const struct id *file, const struct err *why), void *arg,
	struct err *e)
{
	autoclean(store_listing_done) struct store_listing files = { 0 };
	struct load l = {
		.ix = ix,
		.v = v,
		.codecs = codecs,
		.flaws = flaws,
		.each_flaw = each_flaw,
		.arg = arg,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	enum ecode rc = store_list_all(v->store, O_INDEX, &files, e);

	if (rc == E_OK)
		rc = expect(ix, v, &files, e);
	if (rc == E_OK)
		rc = load_prepare(&l, &files, flow_workers(flow), e);
	if (rc == E_OK) {
		for (size_t i = 0; i < l.task_count; i++)
			flow_add(flow, &l.tasks[i].task);
		rc = flow_finish(flow, e);
	}
	if (rc == E_OK && flaws != NULL)
		flaws->mixed_packs = index_mixed_packs(ix);
	load_done(&l);
	return rc;
}
