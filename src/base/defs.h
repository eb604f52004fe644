/* The few macros of this project, and the two shapes every room needs. */
#ifndef HF_BASE_DEFS_H
#define HF_BASE_DEFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define must_check        __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
/* Release at scope exit.  `done` takes a pointer to the variable. */
#define autoclean(done)   __attribute__((cleanup(done)))

/* Bytes that somebody else owns; not NUL-terminated.  {NULL, 0} is empty. */
struct slice {
	const uint8_t *p;
	size_t len;
};

/* A 32-byte name: SHA-256 of a content, or a random repository id. */
struct id {
	uint8_t b[32];
};

/* 64 digits and the NUL */
#define ID_HEX_SIZE 65

#endif
