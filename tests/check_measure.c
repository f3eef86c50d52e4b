/* measure: figures that are there soon, are kept, and are made anew when they mean something else. */
#include "daemon/cluster/measure.h"
#include "daemon/cluster/rates.h"
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct loop *loop;
static char dir[64], rates[80];

/* Of this process: measuring has its own, and its team's. */
static unsigned threads_now(void) {
	char line[200];
	unsigned n = 0;
	FILE *f = fopen("/proc/self/status", "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof line, f))
		(void)sscanf(line, "Threads: %u", &n);
	fclose(f);
	return n;
}

/* In three tenths of a second: one that has been joined is counted for a moment more. */
static unsigned least_threads(void) {
	unsigned least = threads_now();
	for (int i = 0; i < 30; i++) {
		usleep(10000);
		unsigned now = threads_now();
		least = now < least ? now : least;
	}
	return least;
}

static void setup(void) {
	char err[200];
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	ck_assert_int_eq(loop_create(&loop), 0);
	snprintf(dir, sizeof dir, "/tmp/caravan-measure.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(rates, sizeof rates, "%s/rates", dir);
}

static void teardown(void) {
	loop_destroy(loop);
	unlink(rates);
	ck_assert_int_eq(rmdir(dir), 0);
}

static bool never(void *arg) {
	(void)arg;
	return false;
}

static void look(void *arg) {
	if (measure_ready(arg))
		loop_stop(loop);
}

static double measured(unsigned threads, bool at_once, Caravan__NodeState *state, struct measure **keep) {
	struct measure *m;
	caravan__node_state__init(state);
	ck_assert_int_eq(measure_start(&m, loop, dir, 1ul << 30, threads, NULL, never, NULL), 0);
	ck_assert_int_eq(measure_ready(m), at_once);
	measure_fill(m, state);
	ck_assert_uint_eq(state->n_rates > 0, at_once);
	uint64_t begin = loop_now_ns();
	struct loop_timer *t = loop_timer_start(loop, 5, true, look, m);
	loop_run(loop);
	loop_timer_stop(t);
	measure_fill(m, state);
	*keep = m;
	return (double)(loop_now_ns() - begin) / 1e9;
}

START_TEST(measures_every_type_once) {
	Caravan__NodeState state, again;
	struct measure *m, *n;
	double took = measured(2, false, &state, &m);
	printf("# measured in %.2f s: reads %.1f GB/s\n", took, state.read_bandwidth / 1e9);
	unsigned types = 0;
	for (unsigned t = 0; t < KERN_TYPES; t++)
		types += kern_traits(t) != NULL;
	ck_assert_uint_eq(state.n_rates, types);
	ck_assert_double_gt(state.read_bandwidth, 1e7);
	for (size_t i = 0; i < state.n_rates; i++) {
		ck_assert_double_gt(state.rates[i]->bytes_per_second, 1e5);
		ck_assert_double_gt(state.rates[i]->many, 1e5);
		printf("# %s %.2f GB/s, with many columns %.1f\n", kern_traits(state.rates[i]->type)->name,
		        state.rates[i]->bytes_per_second / 1e9, state.rates[i]->many / 1e9);
	}
	/* kept */
	measured(2, true, &again, &n);
	ck_assert_uint_eq(again.n_rates, types);
	ck_assert_double_eq_tol(
	        again.rates[0]->bytes_per_second / state.rates[0]->bytes_per_second, 1.0, 1e-4);
	measure_stop(n);
	measure_stop(m);
}
END_TEST

START_TEST(what_means_something_else_or_nothing_is_measured_anew) {
	Caravan__NodeState state;
	struct measure *m;
	const char *const useless[] = {
	        "rates 3 cpu nonesuch threads 1 arithmetic 1 layout 1\nread 1e9\ntype 2 1e9 1e9\n",
	        "rates 2 cpu ref thr", "", "\n\n\n", "type 2 1e9\n"};
	measured(1, false, &state, &m);
	measure_stop(m);
	measured(2, false, &state, &m);
	measure_stop(m);
	for (size_t i = 0; i < sizeof useless / sizeof *useless; i++) {
		FILE *f = fopen(rates, "w");
		fputs(useless[i], f);
		fclose(f);
		ck_assert_int_eq(measure_start(&m, loop, dir, 1ul << 30, 1, NULL, never, NULL), 0);
		ck_assert(!measure_ready(m));
		measure_stop(m); /* in the middle of it */
	}
}
END_TEST

/* Makes the figures in the file those of a machine a hundred times slower, which had all its looks so many seconds ago. */
static void slow_down(time_t ago) {
	char line[200], out[8192], key[16];
	size_t at = 0;
	FILE *f = fopen(rates, "r");
	while (fgets(line, sizeof line, f)) {
		unsigned type;
		double one, many;
		if (sscanf(line, "type %u %lf %lf", &type, &one, &many) == 3)
			at += (size_t)snprintf(
			        out + at, sizeof out - at, "type %u %e %e\n", type, one / 100, many / 100);
		else if (sscanf(line, "%15s %lf", key, &one) == 2 && strcmp(key, "read") == 0)
			at += (size_t)snprintf(out + at, sizeof out - at, "read %e\n", one / 100);
		else if (strncmp(line, "looks ", 6) == 0)
			at += (size_t)snprintf(out + at, sizeof out - at, "looks 4\n");
		else
			at += (size_t)snprintf(out + at, sizeof out - at, "%s", line);
	}
	fclose(f);
	f = fopen(rates, "w");
	fputs(out, f);
	fclose(f);
	struct timespec then[2] = {{.tv_sec = time(NULL) - ago}, {.tv_sec = time(NULL) - ago}};
	ck_assert_int_eq(utimensat(AT_FDCWD, rates, then, 0), 0);
}

struct drift {
	struct measure *m;
	double was;
};

static void drifted(void *arg) {
	struct drift *d = arg;
	Caravan__NodeState state;
	caravan__node_state__init(&state);
	measure_fill(d->m, &state);
	if (state.rates[0]->bytes_per_second > 10 * d->was)
		loop_stop(loop);
}

START_TEST(what_a_machine_has_drifted_from_is_measured_anew) {
	Caravan__NodeState state;
	struct drift d;
	measured(2, false, &state, &d.m);
	measure_stop(d.m);
	slow_down(7200);
	ck_assert_int_eq(measure_start(&d.m, loop, dir, 1ul << 30, 2, NULL, never, NULL), 0);
	ck_assert(measure_ready(d.m)); /* with what was kept, until then */
	caravan__node_state__init(&state);
	measure_fill(d.m, &state);
	d.was = state.rates[0]->bytes_per_second;
	struct loop_timer *t = loop_timer_start(loop, 20, true, drifted, &d);
	loop_run(loop);
	loop_timer_stop(t);
	measure_stop(d.m);
	/* and kept */
	ck_assert_int_eq(measure_start(&d.m, loop, dir, 1ul << 30, 2, NULL, never, NULL), 0);
	caravan__node_state__init(&state);
	measure_fill(d.m, &state);
	ck_assert_double_gt(state.rates[0]->bytes_per_second, 10 * d.was);
	measure_stop(d.m);
}
END_TEST

START_TEST(what_was_measured_lately_is_taken_as_it_is) {
	Caravan__NodeState state;
	struct measure *m;
	measured(1, false, &state, &m);
	double was = state.rates[0]->bytes_per_second;
	measure_stop(m);
	unsigned before = least_threads();
	const time_t old = 7200, fresh = 60, future = -7200;
	for (int i = 0; i < 3; i++) {
		slow_down(i == 0 ? fresh : i == 1 ? old : future);
		ck_assert_int_eq(measure_start(&m, loop, dir, 1ul << 30, 1, NULL, never, NULL), 0);
		ck_assert(measure_ready(m));
		ck_assert_uint_eq((i == 0 ? least_threads() : threads_now()) > before, i != 0);
		caravan__node_state__init(&state);
		measure_fill(m, &state);
		ck_assert_double_lt(state.rates[0]->bytes_per_second, was / 50);
		measure_stop(m);
	}
}
END_TEST

START_TEST(a_machine_with_little_memory_is_measured_with_little) {
	const size_t much = rates_bytes(1ull << 40);
	ck_assert_uint_ge(much, 128ul << 20);
	ck_assert_uint_eq(rates_bytes(4 * (uint64_t)much), much);
	ck_assert_uint_eq(rates_bytes(256ul << 20), 64ul << 20);
	ck_assert_uint_eq(rates_bytes(16ul << 20), 32ul << 20); /* so much it takes */
	struct measure *m;
	ck_assert_int_eq(measure_start(&m, loop, dir, 256ul << 20, 1, NULL, never, NULL), 0);
	ck_assert_uint_eq(measure_memory(m), 64ul << 20);
	measure_stop(m);
}
END_TEST

static unsigned looks(void) {
	char line[200];
	unsigned n = 0;
	FILE *f = fopen(rates, "r");
	while (f && fgets(line, sizeof line, f))
		(void)sscanf(line, "looks %u", &n);
	if (f)
		fclose(f);
	return n;
}

static void looked(void *arg) {
	(void)arg;
	if (looks() > 0)
		loop_stop(loop);
}

START_TEST(the_first_figures_are_soon_replaced_and_that_is_kept) {
	Caravan__NodeState first, then;
	struct measure *m;
	measured(1, false, &first, &m);
	double was = first.rates[0]->bytes_per_second;
	ck_assert_uint_eq(looks(), 0);
	struct loop_timer *t = loop_timer_start(loop, 50, true, looked, NULL);
	loop_run(loop);
	loop_timer_stop(t);
	measure_stop(m);
	ck_assert_uint_eq(looks(), 1);
	measured(1, true, &then, &m);
	ck_assert_double_ne(then.rates[0]->bytes_per_second, was);
	measure_stop(m);
}
END_TEST

START_TEST(a_disturbed_look_counts_for_nothing) {
	struct rates look[4] = {{.read = 10}, {.read = 0.5}, {.read = 8}, {.read = 40}}, mean;
	for (int i = 0; i < 4; i++)
		look[i].one[KERN_Q4_0] = 100 * look[i].read;
	look[1].one[KERN_Q8_0] = 7; /* one look alone has it */
	rates_mean(look, 1, &mean);
	ck_assert_double_eq(mean.read, 10);
	rates_mean(look, 2, &mean); /* of times: of two there is no middle */
	ck_assert_double_eq_tol(mean.read, 2 / (1 / 10.0 + 1 / 0.5), 1e-9);
	rates_mean(look, 4, &mean);
	ck_assert_double_eq_tol(mean.read, 2 / (1 / 10.0 + 1 / 8.0), 1e-9);
	ck_assert_double_eq_tol(mean.one[KERN_Q4_0], 200 / (1 / 10.0 + 1 / 8.0), 1e-7);
	ck_assert_double_eq(mean.one[KERN_Q8_0], 7);
	ck_assert_double_eq(mean.many[KERN_Q4_0], 0);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("measure");
	TCase *t = tcase_create("measure");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, measures_every_type_once);
	tcase_add_test(t, what_was_measured_lately_is_taken_as_it_is);
	tcase_add_test(t, a_machine_with_little_memory_is_measured_with_little);
	tcase_add_test(t, a_disturbed_look_counts_for_nothing);
	tcase_add_test(t, what_means_something_else_or_nothing_is_measured_anew);
	tcase_add_test(t, the_first_figures_are_soon_replaced_and_that_is_kept);
	tcase_add_test(t, what_a_machine_has_drifted_from_is_measured_anew);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/check_main.h"
