/* The judge of fault loops: is a vault whole, and how many snapshots has it; and making it empty again between runs. */
#ifndef HF_TESTS_WHOLE_VAULT_H
#define HF_TESTS_WHOLE_VAULT_H

#include "engine/check.h"
#include "support/fault_os.h"

/* A listener of check_run(); `arg` is a char[FINDING_BYTES] that keeps the last damage in words. */
#define FINDING_BYTES 512
void keep_finding(void *arg, const struct check_finding *finding);
/*
 * With the real kernel and TEST_PASSWORD: all that the vault claims is there, byte by byte; returns its snapshots.
 * Fails the test otherwise, with the calls that `faults` recorded.
 */
uint64_t whole_vault(const char *vault, struct fault_os *faults);
/* Only the config, the keys and the directories stay. */
void empty_vault(const char *vault);

#endif
