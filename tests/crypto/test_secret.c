#include "support/unit_json.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/parts.h"
#include "crypto/secret.h"

static void
holds_what_was_set(void **state)
{
	autoclean(secret_close) struct secret *s = NULL;
	struct slice got;

	(void)state;
	assert_int_equal(secret_open(&s, NULL), E_OK);
	assert_int_equal(secret_bytes(s).len, 0);
	assert_int_equal(secret_set(s, "pass\0word", 9, NULL), E_OK);
	got = secret_bytes(s);
	assert_int_equal(got.len, 9);
	assert_memory_equal(got.p, "pass\0word", 9);
	assert_int_equal(secret_set(s, NULL, 0, NULL), E_OK);
	assert_int_equal(secret_bytes(s).len, 0);
}

static void
a_shorter_secret_leaves_nothing_of_the_longer(void **state)
{
	autoclean(secret_close) struct secret *s = NULL;
	static const uint8_t zero[16];

	(void)state;
	assert_int_equal(secret_open(&s, NULL), E_OK);
	assert_int_equal(secret_set(s, "a longer password", 17, NULL), E_OK);
	assert_int_equal(secret_set(s, "x", 1, NULL), E_OK);
	assert_memory_equal(secret_bytes(s).p + 1, zero, 16);
}

static void
the_limit_is_exact(void **state)
{
	autoclean(secret_close) struct secret *s = NULL;
	static uint8_t bytes[SECRET_MAX_BYTES + 1];
	struct err e = { 0 };

	(void)state;
	memset(bytes, 'p', sizeof(bytes));
	assert_int_equal(secret_open(&s, &e), E_OK);
	assert_int_equal(secret_set(s, bytes, SECRET_MAX_BYTES, &e), E_OK);
	assert_int_equal(secret_set(s, "kept", 4, &e), E_OK);
	assert_int_equal(secret_set(s, bytes, SECRET_MAX_BYTES + 1, &e), E_LIMIT);
	assert_int_equal(e.code, E_LIMIT);
	assert_int_equal(secret_bytes(s).len, 4);
	assert_memory_equal(secret_bytes(s).p, "kept", 4);
}

static void
wipe_zeroes(void **state)
{
	uint8_t bytes[33];

	(void)state;
	memset(bytes, 0xa5, sizeof(bytes));
	secret_wipe(bytes, 32);
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(bytes[i], 0);
	assert_int_equal(bytes[32], 0xa5);
	secret_wipe(NULL, 0);
}

/* More secrets than the locked heap holds: the rest lives in ordinary memory, unseen by the caller. */
static void
a_full_locked_heap_is_no_refusal(void **state)
{
	struct secret *many[300];

	(void)state;
	for (size_t i = 0; i < 300; i++) {
		assert_int_equal(secret_open(&many[i], NULL), E_OK);
		assert_int_equal(secret_set(many[i], &i, sizeof(i), NULL), E_OK);
	}
	for (size_t i = 0; i < 300; i++) {
		assert_memory_equal(secret_bytes(many[i]).p, &i, sizeof(i));
		secret_close(&many[i]);
		assert_null(many[i]);
		secret_close(&many[i]);
	}
}

/* In a child, because the heap is made once per process: 0 when all went well. */
static int
child_without_memlock(void)
{
	const struct rlimit none = { 0, 0 };
	struct secret *s = NULL;

	if (setrlimit(RLIMIT_MEMLOCK, &none) != 0)
		return 1;
	if (secret_open(&s, NULL) != E_OK || secret_set(s, "abc", 3, NULL) != E_OK)
		return 2;
	if (memcmp(secret_bytes(s).p, "abc", 3) != 0)
		return 3;
	secret_close(&s);
	secret_harden_process();
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 4;
	struct rlimit core = { 1, 1 };
	if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
		return 5;
	return 0;
}

static void
no_locked_memory_and_a_hardened_process(void **state)
{
	int status = -1;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child_without_memlock());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void
secret_memory_starts_as_zeros(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		uint8_t *p = secret_alloc(200);

		assert_non_null(p);
		for (size_t i = 0; i < 200; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xee, 200);
		secret_free(p, 200);
	}
	secret_free(NULL, 200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			no_locked_memory_and_a_hardened_process), /* first: forks before the heap is made */
		cmocka_unit_test(holds_what_was_set),
		cmocka_unit_test(a_shorter_secret_leaves_nothing_of_the_longer),
		cmocka_unit_test(the_limit_is_exact),
		cmocka_unit_test(wipe_zeroes),
		cmocka_unit_test(a_full_locked_heap_is_no_refusal),
		cmocka_unit_test(secret_memory_starts_as_zeros),
	};

	return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
