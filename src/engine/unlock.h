/* Remove locks that are provably dead; say what was left and why. */
#ifndef HF_ENGINE_UNLOCK_H
#define HF_ENGINE_UNLOCK_H

#include "engine/session.h"

struct unlock_item {
	struct lock_info info; /* id only when unreadable */
	bool readable, removed;
	enum lock_verdict verdict;
};
/* `told` hears of every lock.  remove_all removes without judging.  The session has no lock. */
enum ecode unlock_run(struct session *s, bool remove_all,
	void (*told)(void *arg, const struct unlock_item *item), void *arg, size_t *removed,
	size_t *left, struct err *e) must_check;

#endif
