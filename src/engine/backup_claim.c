/* What the snapshot will claim about itself: the member "holdfast" (docs/format.md, section 7). */
#include <string.h>

#include "engine/backup_internal.h"
#include "engine/ownrecord.h"

static struct slice
text_or_none(const char *text)
{
	return text == NULL ? (struct slice){ NULL, 0 }
			    : (struct slice){ (const uint8_t *)text, strlen(text) };
}

/* One entry for every target that was counted by itself. */
static enum ecode
fill_sources(struct backup *b, struct arena *a, struct own_record *own, struct err *e)
{
	struct own_source *list;
	void *p;
	enum ecode rc = arena_alloc(a, b->source_count * sizeof(*list), &p, e);

	if (rc != E_OK)
		return rc;
	list = p;
	for (size_t i = 0; i < b->source_count; i++) {
		if (b->source[i].nested)
			continue;
		list[own->source_count++] = (struct own_source){
			.path = text_or_none(b->source[i].path),
			.files = atomic_load(&b->source[i].files),
			.bytes = atomic_load(&b->source[i].bytes),
		};
	}
	own->sources = list;
	return E_OK;
}

enum ecode
claim_write(struct backup *b, struct record *rec, struct err *e)
{
	autoclean(buf_done) struct buf text = buf_limit(UNPACKED_MAX_BYTES);
	uint64_t lost = atomic_load(&b->unreadable);
	struct own_record own = {
		.run_id = text_or_none(b->args->run_id),
		.continued_from = text_or_none(b->continued_from),
		.state = lost == 0 ? COMPLETENESS_COMPLETE : COMPLETENESS_PARTIAL,
		.unreadable = lost,
		.changed_while_read = atomic_load(&b->changed),
		.vanished = atomic_load(&b->vanished),
		.excluded = atomic_load(&b->excluded),
		.sockets_skipped = atomic_load(&b->sockets),
		.has_digest = lost > 0,
		.list_digest = b->lost.now.digest,
	};
	enum ecode rc = fill_sources(b, &rec->arena, &own, e);

	if (rc == E_OK)
		rc = own_write(&own, &text, e);
	return rc == E_OK ? arena_copy(&rec->arena, text.p, text.len, &rec->next.holdfast, e) : rc;
}
