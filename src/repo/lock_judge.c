/* Who of the others still lives (format document 8.4), and what to say of a lock that is in the way. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "base/wire.h"
#include "repo/lock_internal.h"

enum lock_verdict
lock_judge(const struct os *os, const struct lock_info *info)
{
	struct instant now = os->wall(os), limit = info->time;
	char host[HOST_NAME_BYTES] = "";

	if (limit.s > INT64_MAX - LOCK_STALE_S)
		limit.s = INT64_MAX - LOCK_STALE_S;
	limit.s += LOCK_STALE_S;
	if (instant_cmp(limit, now) < 0)
		return LOCK_TOO_OLD;
	if (os->hostname(os, host, sizeof(host)) < 0 || host[0] == '\0' ||
		info->hostname.len == 0 || !slice_is(info->hostname, host))
		return LOCK_UNKNOWN_HOST;
	if (info->pid <= 0 ||
		info->pid > INT_MAX) /* no process of this system: only the age can tell */
		return LOCK_UNKNOWN_HOST;
	return os->kill(os, (int)info->pid, 0) == -ESRCH ? LOCK_DEAD_PROCESS : LOCK_ALIVE;
}

static const char *
verdict_text(enum lock_verdict verdict)
{
	switch (verdict) {
	case LOCK_ALIVE:
		return "the process is running";
	case LOCK_DEAD_PROCESS:
		return "the process is not there any more";
	case LOCK_TOO_OLD:
		return "not refreshed for more than 30 minutes";
	case LOCK_UNKNOWN_HOST:
		return "on another host, refreshed within 30 minutes";
	}
	return "?"; /* not reached */
}

static int
shown(struct slice s)
{
	return s.len < 100 ? (int)s.len : 100;
}

enum ecode
lock_refusal(const struct os *os, const struct lock_info *info, struct err *e)
{
	char id[9], when[INSTANT_TEXT_MAX];

	id_short(&info->id, id);
	when[instant_format(info->time, when)] = '\0';
	return err_set(e, E_LOCKED, 0, "%s lock %s of %.*s@%.*s, process %" PRId64 ", since %s: %s",
		info->exclusive ? "exclusive" : "shared", id, shown(info->username),
		(const char *)info->username.p, shown(info->hostname),
		(const char *)info->hostname.p, info->pid, when,
		verdict_text(lock_judge(os, info)));
}
