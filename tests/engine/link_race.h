/*
 * Another process that exchanges directories and files for links, again and again: the race of test_link_race.c.
 */
#ifndef HF_TESTS_LINK_RACE_H
#define HF_TESTS_LINK_RACE_H

#include <stdatomic.h>

#include "support/restore_fix.h"

/* What both processes share. */
struct shared {
	atomic_bool go, idle, stop;
	_Atomic unsigned pause;      /* turns of a loop between two flips */
	_Atomic unsigned long flips; /* while a restore ran */
	char run[32];
};
struct spot {
	const char *base;   /* below the place's directory; %s: the run */
	const char *name;   /* below it */
	const char *canary; /* what its link leads to */
};
struct race {
	char dir[300];    /* of the race's own things */
	char canary[300]; /* what must stay */
	char root[300];   /* of the bases */
	int root_fd;
	const struct spot *spots;
	size_t n;
	struct shared *shared;
	pid_t pid;
};

/* A tree, a file, or nothing: gone. */
void race_clear(const char *path);
/* The other process is made, and waits; it goes on while a run of that name is told, and may linger between two flips. */
void race_begin(struct race *r);
void race_go(struct race *r, const char *run, unsigned pause);
void race_halt(struct race *r);
void race_end(struct race *r);

#endif
