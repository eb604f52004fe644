/* One file of a snapshot against the vault alone: is all of it there, as long as recorded, and whole?  (DF-20) */
#ifndef HF_ENGINE_MATCH_VAULT_H
#define HF_ENGINE_MATCH_VAULT_H

#include "engine/match.h"

struct match_vault;
/* Lists the packs.  The session's index is loaded.  refuses: E_STORE_READ, E_NOMEM */
enum ecode match_vault_open(struct session *s, enum match_level level, struct match_vault **out,
	struct err *e) must_check;
void match_vault_close(struct match_vault **m);
/* Fills status, hashed, actual_size and why of `r`, whose node is a file.  refuses: E_STORE_READ, E_NOMEM */
enum ecode match_vault_file(
	struct match_vault *m, struct match_record *r, struct err *e) must_check;

#endif
