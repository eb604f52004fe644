#include "store/conform.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"
#include "store/erase.h"

#define ALL_KINDS ((1U << O_KINDS) - 1)

struct oname
conform_name(enum okind kind, uint8_t first, unsigned seed)
{
	struct oname name = { .kind = kind };

	if (kind == O_CONFIG)
		return name;
	for (size_t i = 0; i < sizeof(name.id.b); i++)
		name.id.b[i] = (uint8_t)((size_t)seed * 131 + i * 29);
	name.id.b[0] = first;
	memcpy(name.id.b + 28, &seed, sizeof(seed));
	return name;
}

static struct slice
text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static void
put_text(struct store *st, const struct oname *name, const char *s)
{
	struct slice part = text(s);
	struct err e;

	assert_int_equal(store_put(st, name, &part, 1, &e), E_OK);
}

static void
expect(struct store *st, const struct oname *name, const char *s)
{
	autoclean(buf_done) struct buf out = buf_limit(1 << 20);
	uint64_t size = 0;
	struct err e;

	assert_int_equal(store_stat(st, name, &size, &e), E_OK);
	assert_int_equal(size, strlen(s));
	assert_int_equal(store_get_all(st, name, &out, &e), E_OK);
	assert_int_equal(out.len, strlen(s));
	if (out.len > 0)
		assert_memory_equal(out.p, s, out.len);
}

static void
erase(struct store *st, const struct oname *name)
{
	struct eraser er = eraser_for(st, ALL_KINDS);
	struct err e;

	assert_int_equal(eraser_erase(&er, name, &e), E_OK);
}

static void
absent_objects(struct store *st)
{
	for (unsigned kind = 0; kind < O_KINDS; kind++) {
		struct oname name = conform_name((enum okind)kind, 0xab, kind);
		autoclean(buf_done) struct buf out = buf_limit(100);
		uint64_t size = 77;
		struct err e;

		assert_int_equal(store_stat(st, &name, &size, &e), E_STORE_ABSENT);
		assert_int_equal(size, 77);
		assert_int_equal(store_get(st, &name, 0, 0, &out, &e), E_STORE_ABSENT);
		assert_int_equal(store_get(st, &name, 0, 5, &out, NULL), E_STORE_ABSENT);
		assert_int_equal(store_get_all(st, &name, &out, &e), E_STORE_ABSENT);
		assert_int_equal(out.len, 0);
		erase(st, &name); /* absent counts as erased */
	}
}

static void
whole_objects(struct store *st)
{
	struct slice parts[] = { text("one "), { NULL, 0 }, text("two "), text("three") };
	struct err e;

	for (unsigned kind = 0; kind < O_KINDS; kind++) {
		struct oname name = conform_name((enum okind)kind, 0xcd, kind);

		assert_int_equal(store_put(st, &name, parts, 4, &e), E_OK);
		expect(st, &name, "one two three");
		assert_int_equal(store_put(st, &name, parts, 4, &e), E_OK); /* idempotent */
		expect(st, &name, "one two three");
		erase(st, &name);
		assert_int_equal(store_stat(st, &name, &(uint64_t){ 0 }, &e), E_STORE_ABSENT);
	}
}

static void
empty_objects(struct store *st)
{
	struct oname name = conform_name(O_INDEX, 0, 9);
	struct err e;

	assert_int_equal(store_put(st, &name, NULL, 0, &e), E_OK);
	expect(st, &name, "");
	erase(st, &name);
}

static void
config_can_be_replaced(struct store *st)
{
	struct oname name = conform_name(O_CONFIG, 0, 0);

	put_text(st, &name, "version one, which is longer");
	put_text(st, &name, "version two");
	expect(st, &name, "version two");
	put_text(st, &name, "version three, longer again");
	expect(st, &name, "version three, longer again");
	erase(st, &name);
}

static void
check_range(struct store *st, const struct oname *name, uint64_t off, size_t len, enum ecode want)
{
	static const char whole[] = "0123456789";
	autoclean(buf_done) struct buf out = buf_limit(100);
	struct err e;

	assert_int_equal(buf_add_str(&out, "##", &e), E_OK);
	assert_int_equal(store_get(st, name, off, len, &out, &e), want);
	assert_memory_equal(out.p, "##", 2);
	assert_int_equal(out.len, want == E_OK ? 2 + len : 2);
	if (want == E_OK)
		assert_memory_equal(out.p + 2, whole + off, len);
}

static void
ranges(struct store *st)
{
	struct oname name = conform_name(O_PACK, 0x3f, 4);

	put_text(st, &name, "0123456789");
	for (uint64_t off = 0; off <= 12; off++) {
		for (size_t len = 0; len <= 12; len++)
			check_range(st, &name, off, len, off + len <= 10 ? E_OK : E_STORE_SHORT);
	}
	check_range(st, &name, UINT64_MAX, 1, E_STORE_SHORT);
	check_range(st, &name, UINT64_MAX - 3, 10, E_STORE_SHORT);
	check_range(st, &name, (uint64_t)1 << 63, 1, E_STORE_SHORT);
	check_range(st, &name, 1, SIZE_MAX, E_STORE_SHORT);
	erase(st, &name);
}

static void
limits(struct store *st)
{
	autoclean(buf_done) struct buf out = buf_limit(9);
	struct oname name = conform_name(O_SNAPSHOT, 1, 5);
	struct err e;

	put_text(st, &name, "0123456789");
	assert_int_equal(store_get_all(st, &name, &out, &e), E_LIMIT);
	assert_int_equal(store_get(st, &name, 0, 10, &out, &e), E_LIMIT);
	assert_int_equal(out.len, 0);
	assert_int_equal(store_get(st, &name, 1, 9, &out, &e), E_OK);
	assert_int_equal(out.len, 9);
	erase(st, &name);
}

#define LISTED 300

static void
listings(struct store *st)
{
	autoclean(store_listing_done) struct store_listing l = { 0 };
	char content[LISTED + 1];
	struct err e;

	memset(content, 'c', LISTED);
	for (unsigned i = 0; i < LISTED; i++) {
		struct oname name = conform_name(O_PACK, (uint8_t)(i * 7), i);

		content[LISTED - i] = '\0';
		put_text(st, &name, content);
	}
	for (unsigned kind = O_KEY; kind < O_KINDS; kind++) {
		assert_int_equal(store_list_all(st, (enum okind)kind, &l, &e), E_OK);
		assert_int_equal(l.n, kind == O_PACK ? LISTED : 0);
	}
	assert_int_equal(store_list_all(st, O_PACK, &l, &e), E_OK);
	for (size_t i = 0; i < l.n; i++) {
		struct oname name = { .kind = O_PACK, .id = l.v[i].id };
		uint64_t size;

		if (i > 0)
			assert_true(id_cmp(&l.v[i - 1].id, &l.v[i].id) < 0);
		assert_int_equal(store_stat(st, &name, &size, &e), E_OK);
		assert_int_equal(l.v[i].size, size);
		erase(st, &name);
	}
	assert_int_equal(store_list_all(st, O_PACK, &l, &e), E_OK);
	assert_int_equal(l.n, 0);
}

struct refuser {
	unsigned calls;
	struct store *st;
};

/* Refuses at the second entry, and uses the store meanwhile. */
static enum ecode
refuse_second(void *arg, const struct store_entry *entry, struct err *e)
{
	struct refuser *r = arg;
	struct oname name = { .kind = O_LOCK, .id = entry->id };
	uint64_t size;

	r->calls++;
	assert_int_equal(store_stat(r->st, &name, &size, e), E_OK);
	assert_int_equal(size, entry->size);
	return r->calls == 2 ? err_set(e, E_LOCKED, 0, "by this test") : E_OK;
}

static void
listing_stops_at_a_refusal(struct store *st)
{
	struct refuser r = { .st = st };
	struct err e;

	for (unsigned i = 0; i < 5; i++) {
		struct oname name = conform_name(O_LOCK, 7, i);

		put_text(st, &name, "lock");
	}
	assert_int_equal(store_list(st, O_LOCK, refuse_second, &r, &e), E_LOCKED);
	assert_int_equal(r.calls, 2);
	assert_string_equal(e.detail, "by this test");
	for (unsigned i = 0; i < 5; i++) {
		struct oname name = conform_name(O_LOCK, 7, i);

		erase(st, &name);
	}
}

static void
kinds_do_not_mix(struct store *st)
{
	struct oname a = conform_name(O_KEY, 1, 1), b = a;

	b.kind = O_LOCK;
	put_text(st, &a, "a key");
	put_text(st, &b, "a lock");
	expect(st, &a, "a key");
	erase(st, &b);
	expect(st, &a, "a key");
	erase(st, &a);
}

struct note_names {
	unsigned n, stop_at;
	char name[8][NOTE_NAME_MAX];
};

static enum ecode
collect_note(void *arg, const char *name, struct err *e)
{
	struct note_names *l = arg;

	assert_true(l->n < 8);
	(void)snprintf(l->name[l->n++], NOTE_NAME_MAX, "%s", name);
	return l->n == l->stop_at ? err_set(e, E_LOCKED, 0, "by this test") : E_OK;
}

static unsigned
count_notes(struct store *st)
{
	struct note_names l = { 0 };
	struct err e;

	assert_int_equal(store_note_list(st, collect_note, &l, &e), E_OK);
	return l.n;
}

static void
expect_note(struct store *st, const char *name, const char *want)
{
	autoclean(buf_done) struct buf out = buf_limit(2 + strlen(want));
	struct err e;

	assert_int_equal(buf_add_str(&out, "##", &e), E_OK); /* appended, exactly to the limit */
	assert_int_equal(store_note_get(st, name, &out, &e), E_OK);
	assert_int_equal(out.len, 2 + strlen(want));
	assert_memory_equal(out.p, "##", 2);
	assert_memory_equal(out.p + 2, want, strlen(want));
}

static void
notes(struct store *st)
{
	static const char one[] = NOTE_PREFIX "20261121T031522Z-5e0c7a11", two[] = NOTE_PREFIX "b";
	autoclean(buf_done) struct buf small = buf_limit(5);
	struct note_names l = { .stop_at = 1 };
	struct err e;

	assert_true(store_has_notes(st));
	assert_int_equal(count_notes(st), 0);
	assert_int_equal(store_note_get(st, one, &small, &e), E_STORE_ABSENT);
	assert_int_equal(store_note_put(st, one, text("a longer first text"), &e), E_OK);
	expect_note(st, one, "a longer first text");
	assert_int_equal(store_note_put(st, one, text("second"), &e), E_OK); /* replaced */
	assert_int_equal(store_note_put(st, two, text(""), &e), E_OK);
	expect_note(st, one, "second");
	expect_note(st, two, "");
	assert_int_equal(store_note_get(st, one, &small, &e), E_LIMIT);
	assert_int_equal(small.len, 0);
	assert_int_equal(store_note_put(st, NOTE_DRILL_PREFIX "b", text("drill"), &e), E_OK);
	assert_int_equal(count_notes(st), 3); /* of both kinds */
	expect_note(st, NOTE_DRILL_PREFIX "b", "drill");
	assert_int_equal(store_note_erase(st, NOTE_DRILL_PREFIX "b", &e), E_OK);
	assert_int_equal(count_notes(st), 2);
	assert_int_equal(store_note_list(st, collect_note, &l, &e), E_LOCKED);
	assert_int_equal(l.n, 1);
	assert_int_equal(store_note_erase(st, one, &e), E_OK);
	assert_int_equal(store_note_erase(st, one, &e), E_OK); /* absent counts as erased */
	assert_int_equal(count_notes(st), 1);
	expect_note(st, two, "");
	assert_int_equal(store_note_erase(st, two, &e), E_OK);
	assert_int_equal(count_notes(st), 0);
}

static void
health(struct store *st)
{
	struct store_health h = { 0 };
	struct oname name = conform_name(O_PACK, 0x21, 1);
	struct err e;

	assert_int_equal(store_probe(st, &h, &e), E_OK);
	assert_true(h.probed);
	assert_int_equal(h.leftovers, 0);
	store_go_cold(st, &name); /* not there: nothing happens */
	put_text(st, &name, "read again");
	store_go_cold(st, &name);
	expect(st, &name, "read again");
	erase(st, &name);
}

void
conform_run(struct store *st)
{
	struct err e;

	assert_non_null(st->location);
	assert_true(st->connections >= 1);
	assert_int_equal(store_prepare(st, &e), E_OK); /* existing ones are fine */
	absent_objects(st);
	whole_objects(st);
	empty_objects(st);
	config_can_be_replaced(st);
	ranges(st);
	limits(st);
	listings(st);
	listing_stops_at_a_refusal(st);
	kinds_do_not_mix(st);
	notes(st);
	health(st);
}
