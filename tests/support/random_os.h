/*
 * For tests of crypto and repo: a kernel table that answers random() and who
 * and when we are, nothing else.  Bytes come from splitmix64 of a seed; the
 * n-th call of random() can be refused.
 */
#ifndef HF_TESTS_SUPPORT_RANDOM_OS_H
#define HF_TESTS_SUPPORT_RANDOM_OS_H

#include <errno.h>
#include <string.h>

#include "os/os.h"

struct random_os {
	struct os os; /* first: the slot casts back */
	uint64_t *state;
	unsigned *calls;
	unsigned refuse_from; /* this call and all later ones fail; 0: none */
	bool zeros;
};

static inline uint64_t
random_next(uint64_t *state)
{
	uint64_t z;

	*state += UINT64_C(0x9e3779b97f4a7c15);
	z = *state;
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline int
random_os_random(const struct os *os, void *p, size_t len)
{
	const struct random_os *ro = (const struct random_os *)os;
	uint8_t *out = p;

	++*ro->calls;
	if (ro->refuse_from != 0 && *ro->calls >= ro->refuse_from)
		return -EIO;
	for (size_t i = 0; i < len; i++)
		out[i] = ro->zeros ? 0 : (uint8_t)random_next(ro->state);
	return 0;
}

/* 2026-11-21T03:15:22.5Z */
static inline struct instant
random_os_wall(const struct os *os)
{
	(void)os;
	return (struct instant){ .s = 1795230922, .ns = 500000000 };
}

static inline struct os_ids
random_os_ids(const struct os *os)
{
	(void)os;
	return (struct os_ids){ 1000, 1000 };
}

static inline int
random_os_user_name(const struct os *os, uint32_t uid, char *p, size_t len)
{
	(void)os;
	(void)uid;
	if (len < sizeof("ada"))
		return -ERANGE;
	memcpy(p, "ada", sizeof("ada"));
	return 0;
}

static inline int
random_os_hostname(const struct os *os, char *p, size_t len)
{
	(void)os;
	if (len < sizeof("host"))
		return -ENAMETOOLONG;
	memcpy(p, "host", sizeof("host"));
	return 0;
}

/* `state` is the seed; both pointers belong to the test. */
static inline struct random_os
random_os_make(uint64_t *state, unsigned *calls)
{
	*calls = 0;
	return (struct random_os){
		.os = {
			.random = random_os_random,
			.wall = random_os_wall,
			.ids = random_os_ids,
			.user_name = random_os_user_name,
			.hostname = random_os_hostname,
		},
		.state = state,
		.calls = calls,
	};
}

#endif
