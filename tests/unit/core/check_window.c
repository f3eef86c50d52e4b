/* Counts over the last while, against all events kept and counted again; percentiles, against all times sorted. */
#include "daemon/core/quantile.h"
#include "daemon/core/window.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>

#define S 1000000000ull

static uint64_t state;

static uint32_t below(uint32_t n) {
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % n;
}

/* ---- windows ------------------------------------------------------------------------------------- */

enum { WIDTH = 3, EVENTS = 4000 };

struct event {
	uint64_t at_ns;
	uint32_t i, n;
};

/* What the window should say: events of the current slot and the slots - 1 before it. */
static uint32_t sum_of(
        const struct event *e, size_t n, uint32_t i, uint32_t slots, uint64_t slot_ns, uint64_t now) {
	uint32_t sum = 0;
	for (size_t k = 0; k < n; k++)
		if (e[k].i == i && now / slot_ns - e[k].at_ns / slot_ns < slots)
			sum += e[k].n;
	return sum;
}

START_TEST(what_is_older_than_the_window_leaves_it) {
	static struct event e[EVENTS];
	uint32_t slots = _i == 0 ? 1 : _i == 1 ? 12 : 60;
	uint64_t slot_ns = _i == 1 ? 5 * S : S, now = 1000 * S + 123;
	struct window *w;
	state = 1 + (uint64_t)_i;
	ck_assert_int_eq(window_create(&w, slots, WIDTH, slot_ns, now), 0);
	for (size_t k = 0; k < EVENTS; k++) {
		/* mostly close together; sometimes by nearly the window's length, by all of it, or more */
		if (below(400) == 0)
			now += (slots - 1 + below(3)) * slot_ns;
		else
			now += below(1u << 29);
		e[k] = (struct event){now, below(WIDTH), below(1000)};
		window_add(w, now, e[k].i, e[k].n);
		const uint32_t *sum = window_sums(w, now);
		for (uint32_t i = 0; i < WIDTH; i++)
			ck_assert_uint_eq(sum[i], sum_of(e, k + 1, i, slots, slot_ns, now));
	}
	/* nothing more comes: it ages all the same */
	for (uint32_t t = 0; t <= slots + 1; t++, now += slot_ns) {
		const uint32_t *sum = window_sums(w, now);
		for (uint32_t i = 0; i < WIDTH; i++)
			ck_assert_uint_eq(sum[i], sum_of(e, EVENTS, i, slots, slot_ns, now));
	}
	ck_assert_uint_eq(window_sums(w, now)[0], 0);
	window_destroy(w);
}
END_TEST

START_TEST(what_it_covers) {
	struct window *w;
	ck_assert_int_eq(window_create(&w, 60, 1, S, 100 * S + S / 2), 0);
	ck_assert(window_seconds(w, 100 * S) == 0);
	ck_assert_double_eq_tol(window_seconds(w, 100 * S + 3 * S / 4), 0.25, 1e-9);
	ck_assert_double_eq_tol(window_seconds(w, 110 * S + S / 2), 10, 1e-9); /* its age */
	ck_assert_double_eq_tol(window_seconds(w, 159 * S + S / 2), 59, 1e-9);
	ck_assert_double_eq_tol(window_seconds(w, 160 * S + S / 2), 59.5, 1e-9); /* from then on its length */
	ck_assert_double_eq_tol(window_seconds(w, 500 * S), 59, 1e-9);
	ck_assert_double_eq_tol(window_seconds(w, 501 * S - 1), 60, 1e-6);
	window_destroy(w);
	/* a clock that has just begun */
	ck_assert_int_eq(window_create(&w, 60, 1, S, 0), 0);
	ck_assert_double_eq_tol(window_seconds(w, 3 * S), 3, 1e-9);
	window_destroy(w);
}
END_TEST

/* ---- percentiles --------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double uniform(void) {
	return (below(1u << 30) + 0.5) / (1u << 30);
}

/* Times of several kinds: all of a size, over all sizes, most short and a few long, few at all. */
static double some_time(int kind) {
	switch (kind) {
	case 0:
		return 0.08 + 0.01 * uniform();
	case 1:
		return 1e-5 * pow(7e8, uniform());
	case 2:
		return below(100) ? 0.002 * uniform() + 1e-4 : 10 + 90 * uniform();
	default:
		return -log(uniform()) * 0.3 + 2e-5;
	}
}

START_TEST(percentiles_are_those_of_sorted_times) {
	static double time[20000];
	static const double share[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
	for (int kind = 0; kind < 4; kind++)
		for (size_t n = 1; n <= 20000; n = n < 4 ? n + 1 : n * 3) {
			uint32_t count[QUANTILE_BUCKETS] = {0};
			state = n * 4 + (uint64_t)kind;
			for (size_t i = 0; i < n; i++) {
				time[i] = some_time(kind);
				count[quantile_bucket(time[i])]++;
			}
			qsort(time, n, sizeof *time, compare);
			ck_assert_uint_eq(quantile_count(count), n);
			for (size_t i = 0; i < sizeof share / sizeof *share; i++) {
				double exact = time[(size_t)ceil(share[i] * (double)n) - 1];
				ck_assert_double_le(
				        fabs(quantile_seconds(count, share[i]) / exact - 1), QUANTILE_ERROR);
			}
		}
}
END_TEST

START_TEST(times_beyond_all_buckets) {
	static const double odd[] = {0, -1, 1e-300, 1e-6, 1e5, 1e300, INFINITY, NAN};
	uint32_t count[QUANTILE_BUCKETS] = {0};
	ck_assert(quantile_seconds(count, 0.5) == 0);
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		uint32_t b = quantile_bucket(odd[i]);
		ck_assert_uint_eq(b, odd[i] > 1 ? QUANTILE_BUCKETS - 1 : 0);
		count[b]++;
	}
	ck_assert_double_eq_tol(quantile_seconds(count, 0.1), 1e-5, 1e-9);
	ck_assert_double_ge(quantile_seconds(count, 1), 7200);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("window");
	TCase *windows = tcase_create("windows"), *percentiles = tcase_create("percentiles");
	tcase_add_loop_test(windows, what_is_older_than_the_window_leaves_it, 0, 3);
	tcase_add_test(windows, what_it_covers);
	tcase_add_test(percentiles, percentiles_are_those_of_sorted_times);
	tcase_add_test(percentiles, times_beyond_all_buckets);
	suite_add_tcase(s, windows);
	suite_add_tcase(s, percentiles);
	return s;
}

#include "tests/unit/check_main.h"
