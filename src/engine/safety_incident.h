/* Is something wrong that old safety sets may still be needed for? (D-8) */
#ifndef HF_ENGINE_SAFETY_INCIDENT_H
#define HF_ENGINE_SAFETY_INCIDENT_H

#include "os/os.h"
#include "repo/format.h"

/* *open: the newest run of its kind with this vault or this destination ended in a SEV-1.  Without a state directory: no. */
enum ecode safety_incident_open(const struct os *os, const char *state_dir, const struct id *vault,
	const char *dest, bool *open, struct err *e) must_check;

#endif
