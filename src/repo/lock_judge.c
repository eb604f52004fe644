/*
 * Who of the others still lives (format document 8.4), and what to say of a
 * lock that is in the way.  The wall clock may jump, here or where the lock
 * was written; so a proof goes before an age, and the age alone lets nobody
 * remove anything unasked.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "repo/lock_internal.h"

/* seconds; a clock that nobody set right may be off by this when a machine starts: chosen, above the drift of months */
#define BOOT_SLACK_S 60
/* bytes shown of a name from a lock */
#define NAME_SHOWN   100

static struct instant
later_by(struct instant t, int64_t s)
{
	if (__builtin_add_overflow(t.s, s, &t.s))
		t.s = s < 0 ? INT64_MIN : INT64_MAX;
	return t;
}

static bool
names_a_process(const struct lock_info *info)
{
	return info->identity.boot[0] != '\0';
}

static bool
of_this_host(const struct os *os, const struct lock_info *info)
{
	char host[HOST_NAME_BYTES] = "";

	return os->hostname(os, host, sizeof(host)) >= 0 && host[0] != '\0' &&
	       info->hostname.len > 0 && slice_is(info->hostname, host);
}

static bool
before_this_boot(const struct os *os, const struct lock_info *info)
{
	int64_t up_s = (int64_t)(os->boottime_ns(os) / NS_PER_S);

	return instant_cmp(info->time, later_by(os->wall(os), BOOT_SLACK_S - up_s)) < 0;
}

bool
lock_is_gone(const struct os *os, const struct lock_info *info, const char **why)
{
	struct identity self;

	if (!names_a_process(info) || identity_judge(os, &info->identity) != IDENTITY_GONE ||
		identity_self(os, &self, NULL) != E_OK)
		return false;
	if (strcmp(self.boot, info->identity.boot) != 0 &&
		(!of_this_host(os, info) || !before_this_boot(os, info)))
		return false;
	if (why != NULL)
		*why = identity_why(os, &info->identity);
	return true;
}

static bool
too_old(const struct os *os, const struct lock_info *info)
{
	return instant_cmp(later_by(info->time, LOCK_STALE_S), os->wall(os)) < 0;
}

/* restic's locks say no more than a host's name and a number. */
static enum lock_verdict
judge_by_number(const struct os *os, const struct lock_info *info)
{
	if (too_old(os, info))
		return LOCK_TOO_OLD;
	if (!of_this_host(os, info))
		return LOCK_UNKNOWN_HOST;
	if (info->pid <= 0 ||
		info->pid > INT_MAX) /* no process of this system: only the age can tell */
		return LOCK_UNKNOWN_HOST;
	return os->kill(os, (int)info->pid, 0) == -ESRCH ? LOCK_DEAD_PROCESS : LOCK_ALIVE;
}

enum lock_verdict
lock_judge(const struct os *os, const struct lock_info *info)
{
	if (!names_a_process(info))
		return judge_by_number(os, info);
	if (identity_judge(os, &info->identity) == IDENTITY_ALIVE)
		return LOCK_ALIVE;
	if (lock_is_gone(os, info, NULL))
		return LOCK_DEAD_PROCESS;
	return too_old(os, info) ? LOCK_TOO_OLD : LOCK_UNKNOWN_HOST;
}

/* ---- words ---- */

static int
shown(struct slice s)
{
	return s.len < NAME_SHOWN ? (int)s.len : NAME_SHOWN;
}

void
lock_who(const struct lock_info *info, char out[static LOCK_WHO_BYTES])
{
	char id[9], when[INSTANT_TEXT_MAX];

	id_short(&info->id, id);
	when[instant_format(info->time, when)] = '\0';
	(void)snprintf(out, LOCK_WHO_BYTES,
		"%s lock %s of %.*s@%.*s, process %" PRId64 ", since %s",
		info->exclusive ? "exclusive" : "shared", id, shown(info->username),
		(const char *)info->username.p, shown(info->hostname),
		(const char *)info->hostname.p, info->pid, when);
}

static const char *
verdict_text(enum lock_verdict verdict, bool named)
{
	switch (verdict) {
	case LOCK_ALIVE:
		return "the process is running";
	case LOCK_DEAD_PROCESS:
		return "the process is not there any more";
	case LOCK_TOO_OLD:
		return "not refreshed for more than 30 minutes";
	case LOCK_UNKNOWN_HOST:
		return named ? "refreshed within 30 minutes"
			     : "on another host, refreshed within 30 minutes";
	}
	return "?"; /* not reached */
}

enum ecode
lock_refusal(const struct os *os, const struct lock_info *info, struct err *e)
{
	enum lock_verdict verdict = lock_judge(os, info);
	bool named = names_a_process(info),
	     doubt = named && verdict != LOCK_ALIVE && verdict != LOCK_DEAD_PROCESS;
	char who[LOCK_WHO_BYTES];

	lock_who(info, who);
	return err_set(e, E_LOCKED, 0, "%s: %s%s%s", who, verdict_text(verdict, named),
		doubt ? "; " : "", doubt ? identity_why(os, &info->identity) : "");
}
