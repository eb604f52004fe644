/* Taking a password from where the person said, or asking for it without echo.  Never from argv. */
#ifndef HF_CLI_PASSWORD_H
#define HF_CLI_PASSWORD_H

#include "cli/env.h"
#include "crypto/secret.h"

/*
 * Fill `out` as `s` says.  `twice`: when asked on the terminal, ask again and compare.
 * refuses: E_PASSWORD_NONE (nothing given and no terminal: every place looked at is named; or empty),
 * E_PASSWORD_SOURCE, E_INTERRUPTED
 */
enum ecode password_get(const struct os *os, const struct settings *s, const char *prompt,
	bool twice, struct secret *out, struct err *e) must_check;

#endif
