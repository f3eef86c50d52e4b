/* Payloads: whoever has the last reference lets go of the bytes, and nobody before. */
#include "daemon/net/payload.h"
#include <check.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

static void released(void *arg) {
	++*(unsigned *)arg;
}

START_TEST(bytes_are_let_go_by_the_last) {
	char data[100] = "bytes";
	unsigned n = 0;
	struct payload *p = payload_wrap(data, sizeof data, released, &n);
	ck_assert_ptr_eq(payload_data(p), data);
	ck_assert_uint_eq(payload_len(p), sizeof data);
	ck_assert_ptr_eq(payload_ref(p), p);
	payload_ref(p);
	payload_unref(p);
	payload_unref(p);
	ck_assert_uint_eq(n, 0);
	payload_unref(p);
	ck_assert_uint_eq(n, 1);
	payload_unref(NULL);
}
END_TEST

/* The memory itself goes too: what is so large has a mapping of its own, which the C library counts.  A sanitizer allocates
 * without it, and looks for leaks itself. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
START_TEST(memory_is_given_back) {
	size_t before = mallinfo2().hblkhd;
	struct payload *p[8];
	for (int i = 0; i < 8; i++)
		ck_assert_ptr_nonnull(p[i] = payload_create(64u << 20));
	ck_assert_uint_ge(mallinfo2().hblkhd - before, 8 * (64u << 20));
	for (int i = 0; i < 8; i++)
		payload_unref(p[i]);
	ck_assert_uint_eq(mallinfo2().hblkhd, before);
}
END_TEST
#endif

START_TEST(bytes_are_copied_and_aligned) {
	char data[] = "something to copy";
	struct payload *p = payload_copy(data, sizeof data), *none = payload_copy(NULL, 0);
	memset(data, 0, sizeof data);
	ck_assert_str_eq(payload_data(p), "something to copy");
	ck_assert_uint_eq((uintptr_t)payload_data(p) % 64, 0);
	ck_assert_uint_eq(payload_len(none), 0);
	ck_assert_ptr_null(payload_create(SIZE_MAX - 64));
	payload_unref(p);
	payload_unref(none);
}
END_TEST

static void *ref_and_unref(void *arg) {
	for (int i = 0; i < 200000; i++)
		payload_unref(payload_ref(arg));
	return NULL;
}

START_TEST(threads_count_together) {
	unsigned n = 0;
	pthread_t thread[3];
	struct payload *p = payload_wrap(&n, sizeof n, released, &n);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, ref_and_unref, p), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_eq(n, 0);
	payload_unref(p);
	ck_assert_uint_eq(n, 1);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("payload");
	TCase *t = tcase_create("payload");
	tcase_add_test(t, bytes_are_let_go_by_the_last);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	tcase_add_test(t, memory_is_given_back);
#endif
	tcase_add_test(t, bytes_are_copied_and_aligned);
	tcase_add_test(t, threads_count_together);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
