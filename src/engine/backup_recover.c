/* The recovery question: what to do about paths that could not be read (DF-33). */
#include "engine/backup_internal.h"

/* The paths as the question lists them. */
static void
fill_question(struct backup *b, struct recover_path listed[static RECOVER_LISTED_MAX],
	struct recover_question *q)
{
	const struct lost_list *lost = &b->lost.now;

	*q = (struct recover_question){
		.done = atomic_load(&b->files),
		.failed = lost->total,
		.can_retry = lost->can_retry,
		.round = b->round,
		.may_retry = lost->can_retry > 0 && b->round < RECOVER_ROUNDS_MAX,
		.listed = listed,
	};
	for (const struct lost_path *p = lost->first;
		p != NULL && q->listed_count < RECOVER_LISTED_MAX; p = p->next)
		listed[q->listed_count++] = (struct recover_path){ .path = p->path,
			.reason = cause_short(p->cause),
			.can_retry = cause_can_retry(p->cause) };
}

/* All counts are of one round; only what was really read and stored adds up. */
static void
forget_counts(struct backup *b)
{
	struct progress *p = b->s->listener->progress;
	_Atomic uint64_t *const counts[] = { &b->files_new, &b->files_changed, &b->files_unmodified,
		&b->dirs_new, &b->dirs_changed, &b->dirs_unmodified, &b->files, &b->bytes,
		&b->unreadable, &b->changed, &b->vanished, &b->sockets, &b->excluded, &b->symlinks,
		&b->links_followed, &b->links_left_out, &p->done_items, &p->done_bytes,
		&p->problems };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		atomic_store(counts[i], 0);
	for (size_t i = 0; i < b->source_count; i++) {
		atomic_store(&b->source[i].files, 0);
		atomic_store(&b->source[i].bytes, 0);
	}
	for (size_t i = 0; b->by_rule != NULL && i < b->rule_count; i++) {
		atomic_store(&b->by_rule[i].count, 0);
		atomic_store(&b->by_rule[i].bytes, 0);
	}
	if (!b->counted_ahead) {
		atomic_store(&p->total_items, 0);
		atomic_store(&p->total_bytes, 0);
	}
}

/* What the round finished is looked up in its tree: only what failed is read again. */
static void
start_over(struct backup *b)
{
	if (b->round == 1) {
		b->first_files_reused = atomic_load(&b->files_reused);
		b->first_bytes_reused = atomic_load(&b->bytes_reused);
	}
	forget_counts(b);
	lost_next_round(b);
	b->done_tree = b->root_tree;
	b->has_done_tree = true;
	b->root_done = false;
	b->round++;
}

/* What came from an interrupted run is told; what came from an earlier round of this one is no news. */
static void
keep_first_reuse(struct backup *b)
{
	if (b->round == 1)
		return;
	atomic_store(&b->files_reused, b->first_files_reused);
	atomic_store(&b->bytes_reused, b->first_bytes_reused);
}

static bool
somebody_to_ask(const struct backup *b)
{
	return b->args->recover != NULL && !b->args->dry_run && b->lost.now.total > 0 &&
	       b->on_unreadable == UNREADABLE_REFUSE;
}

enum ecode
recover_ask(struct backup *b, bool *again, struct err *e)
{
	const struct listener *l = b->s->listener;
	struct recover_path listed[RECOVER_LISTED_MAX];
	struct recover_question q;
	enum recover_answer answer;

	*again = false;
	keep_first_reuse(b);
	if (!somebody_to_ask(b))
		return E_OK;
	fill_question(b, listed, &q);
	answer = b->args->recover(b->args->recover_arg, &q);
	if (l->stop(l->arg))
		return err_set(e, E_INTERRUPTED, 0, "stopped at the question what to do");
	switch (answer) {
	case RECOVER_RETRY:
		if (!q.may_retry)
			break;
		l->note(l->arg, "recovery_retry", "what failed is tried again");
		start_over(b);
		*again = true;
		break;
	case RECOVER_SKIP:
		l->note(l->arg, "recovery_skip", "the snapshot will be partial");
		b->on_unreadable = UNREADABLE_RECORD;
		break;
	case RECOVER_ABORT:
		l->note(l->arg, "recovery_abort", "no snapshot will be made");
		break;
	}
	return E_OK;
}
