#include "support/whole_vault.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/make_vault.h"

void
keep_finding(void *arg, const struct check_finding *finding)
{
	if (!finding->hint)
		(void)snprintf(arg, FINDING_BYTES, "%s: %s", finding->object, finding->text);
}

uint64_t
whole_vault(const char *vault, struct fault_os *faults)
{
	struct check_args args = { .read = CHECK_READ_ALL };
	char finding[FINDING_BYTES] = "";
	struct check_result r;
	struct session s;
	struct heard h;
	struct err e;
	uint64_t n;

	heard_init(&h);
	open_session(&s, os_posix(), vault, TEST_PASSWORD, 0, SESSION_NO_LOCK, &h);
	if (check_run(&s, &args, keep_finding, finding, &r, &e) != E_OK) {
		fault_os_print_log(faults);
		fail_msg("the vault is damaged: %s: %s", e.detail, finding);
	}
	n = r.snapshots;
	check_result_done(&r);
	session_abandon(&s);
	return n;
}

static int
unlink_object(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	if (type == FTW_F && strstr(path, "/config") == NULL && strstr(path, "/keys/") == NULL)
		assert_int_equal(unlink(path), 0);
	if (type == FTW_DP && where->level == 2 && strstr(path, "/data/") != NULL)
		assert_int_equal(rmdir(path),
			0); /* a writer makes data/xx again; 256 of them only slow the loops */
	return 0;
}

void
empty_vault(const char *vault)
{
	assert_int_equal(nftw(vault, unlink_object, 16, FTW_PHYS | FTW_DEPTH), 0);
}
