/*
 * Any bytes as a line of the audit log; and the same bytes with a right digest
 * behind them, so that the search gets past it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "crypto/hash.h"
#include "report/audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ARENA ((size_t)64 << 20)

static void
look(const void *line, size_t len)
{
	autoclean(arena_done) struct arena a = arena_limit(FUZZ_ARENA);
	struct audit_record r = { .seq = 77 };
	struct err e = { .code = E_OK };
	enum ecode rc = audit_parse(line, len, &a, &r, &e);

	invariant(rc == E_OK || (rc == e.code && r.seq == 77));
	if (rc != E_OK)
		return;
	invariant(r.seq > 0 && strlen(r.log) == AUDIT_LOG_ID_SIZE - 1);
	invariant(r.run_id != NULL && r.vault != NULL && r.class_name != NULL);
	for (size_t i = 0; i < r.argc; i++)
		invariant(r.argv[i] != NULL);
	for (size_t i = 0; i < r.snapshot_count; i++)
		invariant(r.snapshots[i] != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autoclean(buf_done) struct buf line = buf_limit(AUDIT_LINE_MAX_BYTES * 2);
	char hex[ID_HEX_SIZE];
	struct hasher *h;
	struct err e;
	struct id sum;

	look(data, size);
	if (size > AUDIT_LINE_MAX_BYTES || hasher_open(&h, &e) != E_OK)
		return 0;
	hasher_sum(h, data, size, &sum);
	hasher_close(&h);
	id_hex(&sum, hex);
	if (buf_add(&line, data, size, &e) == E_OK &&
		buf_printf(&line, &e, ",\"sum\":\"%s\"}", hex) == E_OK)
		look(line.p, line.len);
	return 0;
}
