#include "report/event.h"

const char *
phase_text(enum phase phase)
{
	switch (phase) {
	case PHASE_START:
		return "opening";
	case PHASE_INDEX:
		return "reading the index";
	case PHASE_SCAN:
		return "scanning";
	case PHASE_WORK:
		return "working";
	case PHASE_COMMIT:
		return "making it durable";
	case PHASE_VERIFY:
		return "verifying";
	case PHASE_PROMOTE:
		return "putting in place";
	case PHASE_DONE:
		return "done";
	}
	return "?"; /* not reached: -Wswitch-enum proves the list above */
}
