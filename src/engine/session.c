#include "engine/session.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "engine/health.h"

/*
 * What waits in the flow at most, in bytes of content: a largest chunk (8 MiB),
 * or half a dozen of the usual 1.5 MiB.  Workers over it help instead of waiting.
 */
#define SESSION_FLOW_BYTES ((size_t)12 << 20)

/*
 * Fixed, or libc raises both to the size of the largest buffer ever freed, and
 * every thread's heap keeps holes of that size: 50 MB in a first backup.
 */
#define HEAP_LARGE_BYTES (1 << 20)
#define HEAP_TRIM_BYTES  (2 << 20)

/* bytes; a run id has 24 */
#define RUN_ID_SHOWN 64

static void
tune_heap(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, HEAP_LARGE_BYTES); /* refused: more memory, nothing else */
	(void)mallopt(M_TRIM_THRESHOLD, HEAP_TRIM_BYTES);
}

static bool
session_stopped(void *arg)
{
	const struct listener *l = arg;

	return l->stop(l->arg);
}

enum ecode
session_go_on(void *session, struct err *e)
{
	const struct session *s = session;
	const struct listener *l = s->listener;

	if (!l->stop(l->arg))
		return E_OK;
	return err_set(e, E_INTERRUPTED, 0, "stopped while %s",
		phase_text((enum phase)atomic_load(&l->progress->phase)));
}

static enum ecode
open_codecs(struct session *s, enum compression compression, struct err *e)
{
	struct vault *v = s->vault;
	enum ecode rc;

	rc = blob_codec_open(v->keys, s->os, v->version, compression, &s->own, e);
	for (unsigned i = 0; rc == E_OK && i < s->workers; i++)
		rc = blob_codec_open(v->keys, s->os, v->version, compression, &s->codec[i], e);
	return rc;
}

static void
tell_takeover(void *arg, const struct lock_takeover *what)
{
	const struct lock_info *info = what->info;
	const struct listener *l = arg;
	char who[LOCK_WHO_BYTES], run[LOCK_WHO_BYTES] = "", text[3 * LOCK_WHO_BYTES];

	lock_who(info, who);
	if (info->run_id.len > 0 && info->run_id.len < RUN_ID_SHOWN)
		(void)snprintf(run, sizeof(run), ", run %.*s", (int)info->run_id.len,
			(const char *)info->run_id.p);
	if (what->refusal == NULL)
		(void)snprintf(text, sizeof(text),
			"a lock that was left behind was removed: %s%s; %s", who, run, what->why);
	else
		(void)snprintf(text, sizeof(text),
			"a lock that was left behind could not be removed (%s) and does not count: "
			"%s%s; %s",
			err_row(what->refusal->code)->what, who, run, what->why);
	l->note(l->arg, what->refusal == NULL ? SESSION_NOTE_STALE_LOCK : SESSION_NOTE_STALE_STAYS,
		text);
}

static enum ecode
take_lock(struct session *s, const struct session_args *args, struct err *e)
{
	struct lock_args how = {
		.exclusive = args->lock == SESSION_EXCLUSIVE,
		.refresh_thread = args->threads > 0,
		.retry_for_s = args->retry_lock_s,
		.run_id = args->run_id,
		.stopped = session_stopped,
		.taken_over = tell_takeover,
		.arg = (void *)(uintptr_t)args->listener,
	};

	if (args->lock == SESSION_NO_LOCK)
		return E_OK;
	return lock_take(s->vault, &how, &s->lock, e);
}

static enum ecode
open_parts(struct session *s, const struct session_args *args, struct err *e)
{
	enum ecode rc = E_OK;

	if (s->store == NULL) {
		s->store_owned = true;
		rc = store_open(s->os, args->location, &s->store, e);
	}
	if (rc == E_OK)
		rc = vault_open(s->os, s->store, args->password, args->key_hint, &s->vault, e);
	s->flow_bytes = SESSION_FLOW_BYTES;
	if (rc == E_OK)
		rc = flow_open(&s->flow, s->threads, FLOW_LIFO, s->flow_bytes, e);
	if (rc != E_OK)
		return rc;
	flow_watch(s->flow, session_go_on, s);
	s->workers = flow_workers(s->flow);
	rc = open_codecs(s, args->compression, e);
	if (rc == E_OK)
		rc = index_open(&s->index, e);
	if (rc != E_OK)
		return rc;
	rc = take_lock(s, args, e);
	return rc == E_OK ? rc : health_lock_refused(s, args->health_dir, rc, e);
}

enum ecode
session_open(struct session *s, const struct session_args *args, struct err *e)
{
	enum ecode rc;

	tune_heap();
	*s = (struct session){
		.os = args->os,
		.store = args->store,
		.threads =
			args->threads > SESSION_WORKERS_MAX ? SESSION_WORKERS_MAX : args->threads,
		.compression = args->compression,
		.listener = args->listener,
	};
	rc = open_parts(s, args, e);
	if (rc != E_OK)
		session_abandon(s);
	return rc;
}

enum ecode
session_load_index(struct session *s, struct err *e)
{
	atomic_store(&s->listener->progress->phase, PHASE_INDEX);
	return index_load(s->index, s->vault, s->flow, s->codec, NULL, NULL, NULL, e);
}

enum ecode
session_close(struct session *s, struct err *e)
{
	enum ecode rc = E_OK;

	if (s->lock != NULL)
		rc = lock_release(&s->lock, e);
	flow_close(&s->flow);
	for (unsigned i = 0; i < s->workers; i++)
		blob_codec_close(&s->codec[i]);
	blob_codec_close(&s->own);
	index_close(&s->index);
	vault_close(&s->vault);
	if (s->store_owned)
		store_close(&s->store);
	memset(s, 0, sizeof(*s));
	return rc;
}

void
session_abandon(struct session *s)
{
	struct err late;

	if (session_close(s, &late) != E_OK)
		return; /* the first refusal was reported already, and nothing is left to release */
}

size_t
session_task_cost(const struct session *s, uint64_t bytes)
{
	size_t share = s->flow_bytes / (s->workers + 1);

	return bytes < share ? (size_t)bytes : share;
}
