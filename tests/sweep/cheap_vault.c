/*
 * A vault whose key costs nothing, so that restic can open it as fast as the
 * sweeps need it: cheap_vault DIR.  The password is TEST_PASSWORD.
 */
#include <stdio.h>

#include "support/make_vault.h"

#define VERSION 2

int
main(int argc, char **argv)
{
	if (argc != 2) {
		(void)fputs("usage: cheap_vault DIR\n", stderr);
		return 2;
	}
	make_vault(os_posix(), argv[1], VERSION);
	return 0;
}
