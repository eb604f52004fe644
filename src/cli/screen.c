#include "cli/screen.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_DEFAULT 80

void
screen_init(struct screen *s)
{
	const char *term = getenv("TERM");

	*s = (struct screen){ .json = false };
	(void)pthread_mutex_init(&s->lock, NULL); /* cannot fail with default attributes on Linux */
	s->live = isatty(STDERR_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0;
}

/* The caller holds the lock. */
static void
wipe(struct screen *s)
{
	if (s->drawn)
		(void)fputs("\r\033[K", stderr);
	s->drawn = false;
}

void
screen_out(struct screen *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)pthread_mutex_lock(&s->lock);
	wipe(s);
	(void)vfprintf(stdout, fmt, ap); /* a failure sticks to the stream: screen_flush tells it */
	(void)fputc('\n', stdout);
	(void)pthread_mutex_unlock(&s->lock);
	va_end(ap);
}

void
screen_err(struct screen *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)pthread_mutex_lock(&s->lock);
	wipe(s);
	(void)vfprintf(stderr, fmt, ap); /* nobody is left to tell when stderr fails */
	(void)fputc('\n', stderr);
	(void)pthread_mutex_unlock(&s->lock);
	va_end(ap);
}

void
screen_out_bytes(struct screen *s, const void *p, size_t len)
{
	(void)pthread_mutex_lock(&s->lock);
	wipe(s);
	(void)fwrite(p, 1, len, stdout); /* a failure sticks to the stream: screen_flush tells it */
	(void)pthread_mutex_unlock(&s->lock);
}

enum ecode
screen_out_json(struct screen *s, struct json_out *w, struct err *e)
{
	enum ecode rc = json_done(w, e);

	if (rc == E_OK)
		rc = buf_add_byte(w->out, '\n', e);
	if (rc == E_OK)
		screen_out_bytes(s, w->out->p, w->out->len);
	return rc;
}

void
screen_err_bytes(struct screen *s, const void *p, size_t len)
{
	(void)pthread_mutex_lock(&s->lock);
	wipe(s);
	(void)fwrite(p, 1, len, stderr); /* nobody is left to tell when stderr fails */
	(void)pthread_mutex_unlock(&s->lock);
}

static int
width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 2)
		return WIDTH_DEFAULT - 1;
	return size.ws_col - 1;
}

void
screen_status(struct screen *s, const char *line)
{
	if (!s->live)
		return;
	(void)pthread_mutex_lock(&s->lock);
	if (!s->held) {
		wipe(s);
		(void)fprintf(stderr, "%.*s", width(), line); /* a lost status line is no loss */
		s->drawn = true;
		(void)fflush(stderr);
	}
	(void)pthread_mutex_unlock(&s->lock);
}

void
screen_clear(struct screen *s)
{
	(void)pthread_mutex_lock(&s->lock);
	wipe(s);
	(void)pthread_mutex_unlock(&s->lock);
}

void
screen_hold(struct screen *s, bool held)
{
	(void)pthread_mutex_lock(&s->lock);
	wipe(s);
	s->held = held;
	(void)pthread_mutex_unlock(&s->lock);
}

void
screen_push(struct screen *s)
{
	(void)pthread_mutex_lock(&s->lock);
	(void)fflush(stdout); /* a failure sticks to the stream: screen_flush tells it */
	(void)pthread_mutex_unlock(&s->lock);
}

enum ecode
screen_flush(struct screen *s, struct err *e)
{
	enum ecode rc = E_OK;

	(void)pthread_mutex_lock(&s->lock);
	wipe(s);
	if (fflush(stdout) != 0)
		rc = err_set(e, E_OUTPUT, errno, "writing to standard output");
	else if (ferror(stdout) != 0)
		rc = err_set(e, E_OUTPUT, 0, "writing to standard output");
	(void)pthread_mutex_unlock(&s->lock);
	return rc;
}
