/*
 * Signals, as flags that others ask for.  First SIGINT or SIGTERM: end cleanly;
 * second SIGINT: end at once.  SIGUSR1: a status line.  SIGPIPE is ignored.
 */
#ifndef HF_CLI_SIGNALS_H
#define HF_CLI_SIGNALS_H

#include <stdbool.h>
#include <termios.h>

void signals_install(void);
/* From now on SIGHUP is ignored: other programs send it to the holder of a lock (format document 8.4). */
void signals_ignore_hup(void);
int signals_stopped_by(void);     /* SIGINT, SIGTERM, or 0 */
bool signals_status_wanted(void); /* once per signal */
/* Between these two, an end at once puts the terminal back first. */
void signals_guard_terminal(int fd, const struct termios *was);
void signals_unguard_terminal(void);

#endif
