#include "engine/safety_incident.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "engine/status.h"

#define RUNS_ARENA_BYTES ((size_t)256 << 20) /* reports of all run folders */

static bool
is_about(const struct run_info *run, const char *vault, const char *dest)
{
	return (run->repo_id != NULL && strcmp(run->repo_id, vault) == 0) ||
	       (run->target != NULL && strcmp(run->target, dest) == 0);
}

enum ecode
safety_incident_open(const struct os *os, const char *state_dir, const struct id *vault,
	const char *dest, bool *open, struct err *e)
{
	autoclean(arena_done) struct arena a = arena_limit(RUNS_ARENA_BYTES);
	char hex[ID_HEX_SIZE];
	struct run_info *runs = NULL;
	enum run_concern *concern;
	enum ecode rc = E_OK;
	size_t n = 0;
	void *p;

	*open = false;
	if (state_dir == NULL)
		return E_OK;
	id_hex(vault, hex);
	rc = run_list_all(os, state_dir, &a, &runs, &n, e);
	if (rc == E_OK)
		rc = arena_alloc(&a, (n + 1) * sizeof(*concern), &p, e);
	if (rc != E_OK)
		return rc;
	concern = p;
	status_judge(runs, n, concern);
	for (size_t i = 0; i < n; i++)
		*open = *open || (concern[i] == CONCERN_INCIDENT && is_about(&runs[i], hex, dest));
	return E_OK;
}
