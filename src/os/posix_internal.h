/*
 * Internal to posix*.c: slots of the production table that lie in files of
 * their own.  What each does is said in os.h.
 */
#ifndef HF_OS_POSIX_INTERNAL_H
#define HF_OS_POSIX_INTERNAL_H

#include "os/os.h"

int posix_user_name(const struct os *os, uint32_t uid, char *p, size_t len);
int posix_group_name(const struct os *os, uint32_t gid, char *p, size_t len);
int posix_user_number(const struct os *os, const char *name, uint32_t *out);
int posix_group_number(const struct os *os, const char *name, uint32_t *out);
int posix_spawn_child(const struct os *os, char *const argv[], char *const env[], int *pid);
int posix_wait_child(const struct os *os, int pid);

#endif
