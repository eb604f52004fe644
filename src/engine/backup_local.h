/*
 * Copies of a run's sealed incomplete record in the state directory, for stores
 * that keep no notes: <state>/vaults/<repo id>/checkpoint-<run id>, mode 0600.
 * Shared by backup*.c only.
 */
#ifndef HF_ENGINE_BACKUP_LOCAL_H
#define HF_ENGINE_BACKUP_LOCAL_H

#include "engine/incomplete.h"

/* Replaces at once and durably; makes the directories.  E_IO, E_IO_SPACE, E_IO_UNSURE */
enum ecode local_put(struct session *s, const char *state_dir, const struct incomplete *i,
	struct err *e) must_check;
/* Absent counts as erased.  E_IO */
enum ecode local_erase(
	struct session *s, const char *state_dir, const char *run_id, struct err *e) must_check;
/*
 * All of this vault, any order; one that cannot be read is counted in `unreadable` and stays.  No directory: none.
 * refuses: E_IO_READ, E_NOMEM
 */
enum ecode local_load(struct session *s, const char *state_dir, struct arena *a,
	struct incomplete_list *out, struct err *e) must_check;

#endif
