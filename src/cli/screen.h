/*
 * The only place that prints.  Results go to stdout, everything else to
 * stderr; a status line that is being redrawn is taken away first.  Every call
 * prints whole lines and is safe from any thread.
 */
#ifndef HF_CLI_SCREEN_H
#define HF_CLI_SCREEN_H

#include <pthread.h>

#include "base/buf.h"
#include "base/json.h"

struct screen {
	pthread_mutex_t lock;
	bool json, quiet;
	unsigned verbose;
	bool live;  /* stderr is a terminal that can redraw a line */
	bool drawn; /* a status line stands there */
	bool held;  /* a question stands there: no status line */
};
/* TERM=dumb and a stderr that is no terminal mean no redrawing. */
void screen_init(struct screen *s);
void screen_out(struct screen *s, const char *fmt, ...)
	printf_like(2, 3); /* a line of the result */
void screen_err(struct screen *s, const char *fmt, ...) printf_like(2, 3); /* a line for stderr */
void screen_out_bytes(struct screen *s, const void *p, size_t len);        /* as they are */
/* Ends the document, and prints it as a line of the result; its buf is done with.  E_NOMEM, E_LIMIT */
enum ecode screen_out_json(struct screen *s, struct json_out *w, struct err *e) must_check;
void screen_err_bytes(struct screen *s, const void *p, size_t len);
/* Replace the status line; cut to the terminal's width.  Nothing when not live. */
void screen_status(struct screen *s, const char *line);
void screen_clear(struct screen *s);
/* While held, no status line is drawn. */
void screen_hold(struct screen *s, bool held);
/* Let go of what was printed; a failure is told by the next screen_flush. */
void screen_push(struct screen *s);
/* Everything printed so far has left this process.  E_OUTPUT */
enum ecode screen_flush(struct screen *s, struct err *e) must_check;

#endif
