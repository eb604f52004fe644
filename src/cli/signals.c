#include "cli/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

/* A handler reaches nothing but file scope: the one place where mutable globals are right. */
static volatile sig_atomic_t stopped_by;
static volatile sig_atomic_t status_wanted;
static volatile sig_atomic_t guarded_fd = -1;
static struct termios guarded; /* written only while guarded_fd is -1 */

static void
on_stop(int sig)
{
	if (stopped_by != 0 && sig == SIGINT) {
		if (guarded_fd >= 0)
			(void)tcsetattr(guarded_fd, TCSANOW, &guarded);
		_exit(130);
	}
	if (stopped_by == 0)
		stopped_by = sig;
	(void)alarm(1);
}

/* Another thread may have taken the signal, or a read may have begun just after: each second wakes whoever still waits. */
static void
on_alarm(int sig)
{
	(void)sig;
	(void)alarm(1);
}

static void
on_usr1(int sig)
{
	(void)sig;
	status_wanted = 1;
}

static void catch (int sig, void (*handler)(int))
{
	struct sigaction act = { .sa_handler =
					 handler }; /* no SA_RESTART: a prompt must come back */

	(void)sigemptyset(&act.sa_mask);
	(void)sigaction(sig, &act, NULL); /* refused only for numbers that are no signals */
}

void
signals_install(void)
{
	catch (SIGINT, on_stop);
	catch (SIGTERM, on_stop);
	catch (SIGUSR1, on_usr1);
	catch (SIGALRM, on_alarm);
	catch (SIGPIPE, SIG_IGN);
}

void
signals_ignore_hup(void)
{
	catch (SIGHUP, SIG_IGN);
}

int
signals_stopped_by(void)
{
	return (int)stopped_by;
}

bool
signals_status_wanted(void)
{
	bool wanted = status_wanted != 0;

	if (wanted)
		status_wanted = 0;
	return wanted;
}

void
signals_guard_terminal(int fd, const struct termios *was)
{
	guarded = *was;
	atomic_signal_fence(memory_order_seq_cst);
	guarded_fd = fd;
}

void
signals_unguard_terminal(void)
{
	guarded_fd = -1;
}
