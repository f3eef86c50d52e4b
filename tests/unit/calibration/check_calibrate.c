/* measure: figures that are there soon, are kept, and are made anew when they mean something else. */
#include "daemon/calibration/calibrate.h"
#include "daemon/calibration/calibration_file.h"
#include "daemon/calibration/kernel_rates.h"
#include "daemon/calibration/page_rates.h"
#include <check.h>
#include <errno.h>
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
	setenv("CARAVAN_TUNE", "off", 1); /* it takes seconds */
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

static const char *never(void *arg, bool asked) {
	(void)arg;
	(void)asked;
	return NULL;
}

static int start(struct calibration **m, uint64_t memory, unsigned threads) {
	return calibrate_start(m,
	        &(struct calibrate_config){
	                .loop = loop, .state_dir = dir, .memory = memory, .threads = threads, .busy = never});
}

static void look(void *arg) {
	if (calibrate_ready(arg))
		loop_stop(loop);
}

static double measured(unsigned threads, bool at_once, Caravan__NodeState *state, struct calibration **keep) {
	struct calibration *m;
	caravan__node_state__init(state);
	ck_assert_int_eq(start(&m, 1ul << 30, threads), 0);
	ck_assert_int_eq(calibrate_ready(m), at_once);
	calibrate_fill(m, state);
	ck_assert_uint_eq(state->n_rates > 0, at_once);
	uint64_t begin = loop_now_ns();
	struct loop_timer *t = loop_timer_start(loop, 5, true, look, m);
	loop_run(loop);
	loop_timer_stop(t);
	calibrate_fill(m, state);
	*keep = m;
	return (double)(loop_now_ns() - begin) / 1e9;
}

START_TEST(measures_every_type_once) {
	Caravan__NodeState state, again;
	struct calibration *m, *n;
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
	calibrate_stop(n);
	calibrate_stop(m);
}
END_TEST

START_TEST(what_means_something_else_or_nothing_is_measured_anew) {
	Caravan__NodeState state;
	struct calibration *m;
	const char *const useless[] = {
	        "rates 4 cpu nonesuch threads 1 arithmetic 1 layout 1\nread 1e9 1e9 1e9\ndisk 0\n",
	        "rates 3 cpu ref thr", "", "\n\n\n", "type 2 1e9\n"};
	measured(1, false, &state, &m);
	calibrate_stop(m);
	measured(2, false, &state, &m);
	calibrate_stop(m);
	for (size_t i = 0; i < sizeof useless / sizeof *useless; i++) {
		FILE *f = fopen(rates, "w");
		fputs(useless[i], f);
		fclose(f);
		ck_assert_int_eq(start(&m, 1ul << 30, 1), 0);
		ck_assert(!calibrate_ready(m));
		calibrate_stop(m); /* in the middle of it */
	}
}
END_TEST

/* Makes the figures in the file those of a machine so many times slower, which had all its looks so many seconds ago. */
static void change_file(unsigned threads, double times, time_t ago) {
	struct calibration_kept k;
	long long age;
	ck_assert_int_eq(calibration_file_load(dir, threads, &k, &age), 0);
	struct kernel_rates *of[] = {&k.known.best, &k.known.low, &k.known.high};
	for (size_t i = 0; i < 3; i++)
		for (size_t f = 0; f < sizeof(struct kernel_rates) / sizeof(double); f++)
			((double *)(void *)of[i])[f] /= times;
	k.known.runs = 4;
	ck_assert_int_eq(calibration_file_save(dir, threads, &k), 0);
	struct timespec then[2] = {{.tv_sec = time(NULL) - ago}, {.tv_sec = time(NULL) - ago}};
	ck_assert_int_eq(utimensat(AT_FDCWD, rates, then, 0), 0);
}

struct drift {
	struct calibration *m;
	double was;
};

static void drifted(void *arg) {
	struct drift *d = arg;
	Caravan__NodeState state;
	caravan__node_state__init(&state);
	calibrate_fill(d->m, &state);
	if (state.rates[0]->bytes_per_second > 10 * d->was)
		loop_stop(loop);
}

START_TEST(what_a_machine_has_drifted_from_is_measured_anew) {
	Caravan__NodeState state;
	struct drift d;
	measured(2, false, &state, &d.m);
	calibrate_stop(d.m);
	change_file(2, 100, 7200);
	ck_assert_int_eq(start(&d.m, 1ul << 30, 2), 0);
	ck_assert(calibrate_ready(d.m)); /* with what was kept, until then */
	caravan__node_state__init(&state);
	calibrate_fill(d.m, &state);
	d.was = state.rates[0]->bytes_per_second;
	struct loop_timer *t = loop_timer_start(loop, 20, true, drifted, &d);
	loop_run(loop);
	loop_timer_stop(t);
	calibrate_stop(d.m);
	/* and kept */
	ck_assert_int_eq(start(&d.m, 1ul << 30, 2), 0);
	caravan__node_state__init(&state);
	calibrate_fill(d.m, &state);
	ck_assert_double_gt(state.rates[0]->bytes_per_second, 10 * d.was);
	calibrate_stop(d.m);
}
END_TEST

START_TEST(what_was_measured_lately_is_taken_as_it_is) {
	Caravan__NodeState state;
	struct calibration *m;
	measured(1, false, &state, &m);
	double was = state.rates[0]->bytes_per_second;
	calibrate_stop(m);
	unsigned before = least_threads();
	const time_t old = 7200, fresh = 60, future = -7200;
	for (int i = 0; i < 3; i++) {
		change_file(1, i == 0 ? 100 : 1, i == 0 ? fresh : i == 1 ? old : future);
		ck_assert_int_eq(start(&m, 1ul << 30, 1), 0);
		ck_assert(calibrate_ready(m));
		ck_assert_uint_eq((i == 0 ? least_threads() : threads_now()) > before, i != 0);
		caravan__node_state__init(&state);
		calibrate_fill(m, &state);
		ck_assert_double_lt(state.rates[0]->bytes_per_second, was / 50);
		calibrate_stop(m);
	}
}
END_TEST

START_TEST(a_machine_with_little_memory_is_measured_with_little) {
	const size_t much = kernel_rates_bytes(1ull << 40);
	ck_assert_uint_ge(much, 128ul << 20);
	ck_assert_uint_eq(kernel_rates_bytes(4 * (uint64_t)much), much);
	ck_assert_uint_eq(kernel_rates_bytes(256ul << 20), 64ul << 20);
	ck_assert_uint_eq(kernel_rates_bytes(16ul << 20), 32ul << 20); /* so much it takes */
	struct calibration *m;
	ck_assert_int_eq(start(&m, 256ul << 20, 1), 0);
	ck_assert_uint_eq(calibrate_memory(m), 64ul << 20);
	calibrate_stop(m);
}
END_TEST

/* ---- what becomes of looks: with a machine that is what the test says ----------------------------------- */

#define ONE 10e9 /* of a machine at rest */
#define MANY 90e9

static struct {
	_Atomic double speed, lost; /* of the machine now; a look may be under way */
	_Atomic double pages;       /* what huge pages gain */
	unsigned looks, disks;
	_Atomic unsigned pages_asked;
	const char *busy, *soon_busy;
	struct calibration *m;
	unsigned until;      /* looks, then the loop stops */
	struct tuning tuned; /* what is found when ways are tried */
	int tuning_rc;
	_Atomic unsigned tunings, runs,
	        at_first_tuning; /* how often they were; runs; runs before the first time */
	unsigned asked;
	char error[WIRE_TEXT_MAX];
} fake;

static int fake_look(void *arg, const char *folder, size_t bytes, unsigned threads, const int *cpus,
        const atomic_bool *stop, struct tuning *tuning, struct kernel_rates_run *out) {
	struct kernel_rates *of[] = {&out->low, &out->mid, &out->high};
	(void)arg;
	(void)folder;
	(void)bytes;
	(void)threads;
	(void)cpus;
	(void)stop;
	if (tuning) {
		if (fake.tunings++ == 0)
			fake.at_first_tuning = fake.runs;
		*tuning = fake.tuned;
		if (fake.tuning_rc)
			return fake.tuning_rc;
	}
	fake.runs++;
	for (int i = 0; i < 3; i++) {
		double speed = fake.speed * (0.95 + 0.05 * i);
		of[i]->read = 2 * ONE * speed;
		of[i]->one[KERN_Q4_0] = of[i]->one[KERN_F32] = ONE * speed;
		of[i]->many[KERN_Q4_0] = of[i]->many[KERN_F32] = MANY * speed;
	}
	if (fake.lost > 0) /* a little too much, as guesses are */
		out->alone.one[KERN_Q4_0] = 1.2 * ONE;
	out->lost = fake.lost;
	return 0;
}

static double fake_disk(void *arg, const char *folder) {
	(void)arg;
	(void)folder;
	fake.disks++;
	return 1e9 * fake.speed;
}

static double fake_pages(void *arg, const char *folder, size_t bytes, unsigned threads, const int *cpus,
        const atomic_bool *stop) {
	(void)arg;
	(void)cpus;
	ck_assert(folder && bytes && threads && !atomic_load(stop));
	fake.pages_asked++;
	return fake.pages;
}

static const char *fake_busy(void *arg, bool asked) {
	(void)arg;
	return asked ? fake.soon_busy : fake.busy;
}

static struct calibrate_ops fake_ways = {.run = fake_look,
        .disk = fake_disk,
        .pages = fake_pages,
        .soon_ms = 20,
        .soon_most_ms = 50,
        .later_ms = 3600000,
        .patience_ms = 300};

static double rate_now(double *low, double *high) {
	Caravan__NodeState state;
	caravan__node_state__init(&state);
	calibrate_fill(fake.m, &state);
	for (size_t i = 0; i < state.n_rates; i++)
		if (state.rates[i]->type == KERN_Q4_0) {
			if (low)
				*low = state.rates[i]->low;
			if (high)
				*high = state.rates[i]->high;
			return state.rates[i]->bytes_per_second;
		}
	return 0;
}

static void fake_start_with(const struct calibrate_ops *ops) {
	ck_assert_int_eq(calibrate_start(&fake.m, &(struct calibrate_config){.loop = loop,
	                                                  .state_dir = dir,
	                                                  .memory = 1ul << 30,
	                                                  .threads = 1,
	                                                  .busy = fake_busy,
	                                                  .ops = ops}),
	        0);
}

static void fake_start(void) {
	fake_start_with(&fake_ways);
}

/* The looks that the file speaks of. */
static unsigned looks(void) {
	struct calibration_kept k;
	long long age;
	return calibration_file_load(dir, 1, &k, &age) == 0 ? k.known.runs : 0;
}

static void enough(void *arg) {
	(void)arg;
	if (looks() >= fake.until)
		loop_stop(loop);
}

static void run_until_looks(unsigned n) {
	fake.until = n;
	struct loop_timer *t = loop_timer_start(loop, 5, true, enough, NULL);
	loop_run(loop);
	loop_timer_stop(t);
}

/* So many milliseconds. */
static void stop_loop(void *arg) {
	(void)arg;
	loop_stop(loop);
}

static void run_for(unsigned ms) {
	loop_timer_start(loop, ms, false, stop_loop, NULL);
	loop_run(loop);
}

static void fake_setup(void) {
	setup();
	memset(&fake, 0, sizeof fake);
	fake.speed = 1;
}

static void other_machine(double speed, double lost) {
	fake.speed = speed;
	fake.lost = lost;
}

START_TEST(a_first_look_that_was_disturbed_is_soon_repeated) {
	double low, high;
	Caravan__NodeState state;
	fake.speed = 0.02;
	fake.lost = 0.9;
	fake_start();
	while (!calibrate_ready(fake.m))
		run_for(5);
	ck_assert_double_eq_tol(
	        rate_now(NULL, NULL), 1.2 * ONE, 1); /* better than what a busy machine said */
	caravan__node_state__init(&state);
	calibrate_fill(fake.m, &state);
	ck_assert(state.disturbed);
	ck_assert_double_eq(state.lost, 0.9);
	run_for(100);
	ck_assert_uint_eq(looks(), 0); /* however often it was looked at */
	other_machine(1, 0);
	run_until_looks(4);
	ck_assert_double_eq_tol(rate_now(&low, &high), ONE, 1);
	ck_assert_double_eq_tol(low, 0.95 * ONE, 1); /* what a busy machine said is not within the spread */
	ck_assert_double_eq_tol(high, 1.05 * ONE, 1);
	calibrate_fill(fake.m, &state);
	ck_assert(!state.disturbed);
	ck_assert_double_eq_tol(state.disk_rate, 1e9, 1);
	ck_assert_uint_eq(fake.disks, 2); /* once for lack of anything better, and once at rest */
	calibrate_stop(fake.m);
	/* and all of it is kept */
	fake_start();
	ck_assert(calibrate_ready(fake.m));
	ck_assert_double_eq_tol(rate_now(&low, &high), ONE, 1e4);
	ck_assert_double_eq_tol(low, 0.95 * ONE, 1e4);
	calibrate_stop(fake.m);
}
END_TEST

/* Measured once, kept, and again when all is; products with one column are predicted as they will be. */
START_TEST(huge_pages_count_where_they_gain) {
	Caravan__NodeState state;
	static const struct { double pages, times; } cases[] = {{1.2, 1.2}, {1.04, 1}, {0.7, 1}, {0, 1}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		fake.pages = cases[i].pages;
		fake.pages_asked = 0;
		fake_start();
		run_until_looks(4);
		for (int again = 0; again < 2; again++) {
			caravan__node_state__init(&state);
			calibrate_fill(fake.m, &state);
			ck_assert_double_eq_tol(state.huge_pages, cases[i].pages, 1e-6);
			ck_assert_int_eq(calibrate_huge_pages(fake.m), cases[i].times > 1);
			double low, high;
			ck_assert_double_eq_tol(rate_now(&low, &high) / ONE, cases[i].times, 1e-4);
			ck_assert_double_eq_tol(low / ONE, 0.95 * cases[i].times, 1e-4);
			ck_assert_double_eq_tol(high / ONE, 1.05 * cases[i].times, 1e-4);
			for (size_t k = 0; k < state.n_rates; k++)
				ck_assert_double_eq_tol(state.rates[k]->many / MANY, 1, 1e-4);
			calibrate_stop(fake.m);
			if (!again) { /* all is kept */
				ck_assert_uint_eq(fake.pages_asked, cases[i].pages > 0 ? 1 : 4);
				fake_start();
				ck_assert(calibrate_ready(fake.m));
			}
		}
		ck_assert_uint_eq(fake.pages_asked, cases[i].pages > 0 ? 1 : 4);
		ck_assert_int_eq(unlink(rates), 0);
	}
	ck_assert(!calibrate_huge_pages(NULL));
}
END_TEST

/* Of this machine: two maps of the same memory differ by less than what a figure may be. */
START_TEST(pages_are_compared) {
	static const atomic_bool never_stop;
	static const atomic_bool stopped = true;
	double found = page_rates(dir, 64ul << 20, 2, NULL, &never_stop);
	printf("# huge pages: %.3f times a map of a file\n", found);
	ck_assert(found > 1 / PAGE_RATES_MOST && found <= PAGE_RATES_MOST);
	double none = page_rates("/nonesuch", 64ul << 20, 1, NULL, &never_stop);
	ck_assert(none == 0 || none == 1); /* 1: of a system without huge pages */
	none = page_rates(dir, 64ul << 20, 1, NULL, &stopped);
	ck_assert(none == 0 || none == 1);
}
END_TEST

START_TEST(the_best_of_several_looks_counts) {
	struct kernel_rates_known k = {.runs = 0};
	struct kernel_rates_run l = {.mid = {.read = 10}, .low = {.read = 9}, .high = {.read = 11}};
	kernel_rates_add(&k, &l, true);
	l.mid.read = 5, l.low.read = 4, l.high.read = 6;
	kernel_rates_add(&k, &l, true);
	ck_assert_double_eq(k.best.read, 10);
	ck_assert_double_eq(k.low.read, 4);
	ck_assert_double_eq(k.high.read, 11);
	l.mid.read = 1, l.low.read = 0.5, l.high.read = 1.5; /* disturbed */
	kernel_rates_add(&k, &l, false);
	ck_assert_double_eq(k.best.read, 10);
	ck_assert_double_eq(k.low.read, 4);
	ck_assert_uint_eq(k.runs, 2);
	l.mid.read = 12, l.low.read = 11, l.high.read = 13; /* so quick it is, whatever disturbed it */
	kernel_rates_add(&k, &l, false);
	ck_assert_double_eq(k.best.read, 12);
	ck_assert_double_eq(k.high.read, 13);
	/* what others have of the processors */
	ck_assert_double_eq(kernel_rates_lost(3, 3, 1), 0);
	ck_assert_double_eq(kernel_rates_lost(3, 4, 1), 0); /* ticks are coarse */
	ck_assert_double_eq(kernel_rates_lost(1e9, 0, 1), 1);
	ck_assert(!kernel_rates_disturbed(0.05));
	ck_assert(kernel_rates_disturbed(0.3));
	ck_assert(kernel_rates_explained(0.5, 4));
	ck_assert(!kernel_rates_explained(0.5, 50));
	ck_assert(!kernel_rates_explained(0, 1.6));
}
END_TEST

START_TEST(a_busy_hour_changes_nothing_and_a_slower_machine_is_found_out) {
	fake_start();
	run_until_looks(4);
	calibrate_stop(fake.m);
	change_file(1, 1, 7200); /* it is looked at again */
	other_machine(0.5, 0.5);
	fake_start();
	run_for(150);
	ck_assert_double_eq_tol(rate_now(NULL, NULL), ONE, 1e4);
	other_machine(0.5, 0);
	run_for(150);
	run_until_looks(4);
	ck_assert_double_eq_tol(rate_now(NULL, NULL), ONE / 2, 1e4);
	calibrate_stop(fake.m);
	/* so much slower that it is another machine, whose figures say nothing of this one */
	double low, high;
	change_file(1, 1, 7200);
	other_machine(0.02, 0);
	fake_start();
	run_for(150);
	run_until_looks(4);
	ck_assert_double_eq_tol(rate_now(&low, &high), 0.02 * ONE, 1e4);
	ck_assert_double_eq_tol(low, 0.95 * 0.02 * ONE, 1e4);
	ck_assert_double_eq_tol(high, 1.05 * 0.02 * ONE, 1e4);
	calibrate_stop(fake.m);
}
END_TEST

static void told(void *arg, const char *error) {
	(void)arg;
	fake.asked++;
	snprintf(fake.error, sizeof fake.error, "%s", error ? error : "");
}

START_TEST(who_asks_has_it_measured_now_or_hears_why_not) {
	fake_start();
	ck_assert(!calibrate_fresh(fake.m, 60000));
	run_until_looks(4);
	ck_assert(calibrate_fresh(fake.m, 60000));
	run_for(20);
	ck_assert(!calibrate_fresh(fake.m, 1));
	fake.speed = 0.5;
	fake.busy = "it is serving"; /* of long rests there are none, */
	ck_assert_int_eq(calibrate_now(fake.m, told, NULL), 0);
	ck_assert_int_eq(calibrate_now(fake.m, told, NULL), 0);
	while (fake.asked < 2)
		run_for(10);
	ck_assert_str_eq(fake.error, "");
	ck_assert_double_eq_tol(rate_now(NULL, NULL), ONE / 2, 1);
	fake.soon_busy = "it is serving"; /* nor short ones */
	fake_ways.patience_ms = 3600000;
	ck_assert_int_eq(calibrate_now(fake.m, told, NULL), 0);
	run_for(1000);
	ck_assert_uint_eq(fake.asked, 2); /* that may pass */
	fake_ways.patience_ms = 300;
	while (fake.asked < 3)
		run_for(10);
	ck_assert_ptr_nonnull(strstr(fake.error, "it is serving"));
	for (int i = 0; i < 16; i++)
		ck_assert_int_eq(calibrate_now(fake.m, told, NULL), 0);
	ck_assert_int_eq(calibrate_now(fake.m, told, NULL), -EBUSY);
	calibrate_stop(fake.m);
	ck_assert_uint_eq(fake.asked, 3);
}
END_TEST

/* ---- what serving shows --------------------------------------------------------------------------------- */

#define LAYERS 4u

/* Layers of 64 MiB each, all of one type. */
static struct manifest *large_model(void) {
	struct manifest *m;
	struct hparams hp = {.layers = LAYERS};
	ck_assert_int_eq(manifest_create(&m, &hp, NULL), 0);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (int r = 0; r < LAYER_PLAIN; r++) {
			bool norm = manifest_layer_is_vector((enum layer_role)r);
			manifest_find(m, l, r)->type = norm ? KERN_F32 : KERN_Q4_0;
			manifest_find(m, l, r)->bytes = norm ? 4096 : (64u << 20) / 7;
		}
	return m;
}

/* Rows one after the other, of so many seconds each, on a machine of which others have this part. */
static struct served_off serve_rows_of(struct served_rates *s, const struct manifest *m,
        enum served_kind kind, const struct kernel_rates *r, struct served_sum *sum, double seconds,
        double lost, unsigned rows, size_t small) {
	struct served_off off = {0};
	double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
	if (sum->wall == 0) {
		sum->wall = 1;
		(void)served_rates_add(s, m, 0, LAYERS, kind, sum, r, small, 1000);
	}
	for (unsigned i = 0; i < rows; i++) {
		sum->rows++;
		sum->seconds += seconds;
		sum->wall += seconds;
		sum->own += seconds;
		sum->busy += seconds + lost * seconds * cpus;
		off = served_rates_add(s, m, 0, LAYERS, kind, sum, r, small, 1000);
		if (off.factor > 0)
			break;
	}
	return off;
}

static struct served_off serve_rows(struct served_rates *s, const struct manifest *m,
        const struct kernel_rates *r, struct served_sum *sum, double seconds, double lost, unsigned rows,
        size_t small) {
	return serve_rows_of(s, m, SERVED_ONE, r, sum, seconds, lost, rows, small);
}

START_TEST(serving_corrects_what_was_measured) {
	struct manifest *m = large_model();
	struct kernel_rates r = {.read = ONE}, told;
	struct served_off off;
	r.one[KERN_Q4_0] = r.one[KERN_F32] = r.one[KERN_Q8_0] = ONE;
	const double seconds = LAYERS * (64u << 20) / ONE; /* of a row, as it was measured */
	/* as measured, and a little less: nothing */
	struct served_rates s = {.uses = 0};
	struct served_sum sum = {.wall = 0};
	ck_assert_double_eq(serve_rows(&s, m, &r, &sum, seconds, 0, 64, 0).factor, 0);
	ck_assert_double_eq(serve_rows(&s, m, &r, &sum, seconds * 1.6, 0, 64, 0).factor, 0);
	told = r;
	served_rates_apply(&s, &told, 1000);
	ck_assert_double_eq(told.one[KERN_Q4_0], ONE);
	/* 50 times quicker: at once, and for good */
	s = (struct served_rates){.uses = 0};
	sum = (struct served_sum){.wall = 0};
	off = serve_rows(&s, m, &r, &sum, seconds / 50, 0.8, 640, 0);
	ck_assert_double_eq_tol(off.factor, 50, 0.1);
	ck_assert(off.first);
	ck_assert(!serve_rows(&s, m, &r, &sum, seconds / 50, 0, 640, 0).first); /* it was told */
	told = r;
	served_rates_apply(&s, &told, 1000 + 100 * 86400);
	ck_assert_double_eq_tol(told.one[KERN_Q4_0] / ONE, 50, 0.1);
	ck_assert_double_eq(told.one[KERN_Q8_0], ONE); /* it says nothing of those */
	/* 50 times slower: not by one window; then for a day, in which it may be so */
	s = (struct served_rates){.uses = 0};
	sum = (struct served_sum){.wall = 0};
	ck_assert_double_eq(serve_rows(&s, m, &r, &sum, seconds * 50, 0, 8, 0).factor, 0);
	ck_assert_double_eq_tol(serve_rows(&s, m, &r, &sum, seconds * 50, 0, 128, 0).factor, 50, 0.1);
	told = r;
	served_rates_apply(&s, &told, 1000 + 3600);
	ck_assert_double_eq_tol(told.one[KERN_Q4_0] / ONE, 0.02, 1e-4);
	told = r;
	served_rates_apply(&s, &told, 1000 + SERVED_BELIEVED + 1);
	ck_assert_double_eq(told.one[KERN_Q4_0], ONE);
	/* it was measured again, and agrees: nothing is corrected any more */
	r.one[KERN_Q4_0] = r.one[KERN_F32] = ONE / 50;
	ck_assert_double_eq(serve_rows(&s, m, &r, &sum, seconds * 50, 0, 64, 0).factor, 0);
	told = r;
	served_rates_apply(&s, &told, 1000);
	ck_assert_double_eq(told.one[KERN_Q4_0], ONE / 50);
	manifest_destroy(m);
}
END_TEST

START_TEST(of_experts_those_count_that_a_row_uses) {
	struct manifest *m = large_model();
	struct kernel_rates r = {.read = ONE};
	r.one[KERN_Q4_0] = r.many[KERN_Q4_0] = r.one[KERN_F32] = ONE;
	/* a matrix of seven, of which a row uses a quarter */
	const double seconds = LAYERS * ((64u << 20) * (6.25 / 7)) / ONE, all = LAYERS * (64u << 20) / ONE;
	struct served_rates s = {.uses = 0};
	struct served_sum sum = {.wall = 0};
	ck_assert_double_eq_tol(
	        serve_rows_of(&s, m, SERVED_MANY, &r, &sum, all * 50, 0, 6400, 0).factor, 50, 0.1);
	for (uint32_t l = 0; l < LAYERS; l++)
		manifest_find(m, l, LAYER_DOWN)->parts = 16;
	m->hp.experts = 16;
	m->hp.experts_used = 4;
	s = (struct served_rates){.uses = 0};
	sum = (struct served_sum){.wall = 0};
	ck_assert_double_eq_tol(serve_rows(&s, m, &r, &sum, seconds / 50, 0, 640, 0).factor, 50, 0.1);
	/* in a step of many rows each reads what others read too */
	s = (struct served_rates){.uses = 0};
	sum = (struct served_sum){.wall = 0};
	ck_assert_double_eq(serve_rows_of(&s, m, SERVED_MANY, &r, &sum, seconds * 50, 0, 6400, 0).factor, 0);
	manifest_destroy(m);
}
END_TEST

START_TEST(what_a_busy_machine_or_a_small_stage_shows_corrects_nothing) {
	struct manifest *m = large_model();
	struct kernel_rates r = {.read = ONE}, told;
	r.one[KERN_Q4_0] = r.one[KERN_F32] = ONE;
	const double seconds = LAYERS * (64u << 20) / ONE;
	/* three times slower, and others have half of the machine */
	struct served_rates s = {.uses = 0};
	struct served_sum sum = {.wall = 0};
	ck_assert_double_eq(serve_rows(&s, m, &r, &sum, seconds * 3, 0.5, 192, 0).factor, 0);
	/* fifty times: that is not why */
	ck_assert_double_eq_tol(serve_rows(&s, m, &r, &sum, seconds * 50, 0.5, 192, 0).factor, 50, 0.1);
	/* three times quicker, out of a cache; thirty times, which no cache is: then it is off, but by how much it does not say */
	s = (struct served_rates){.uses = 0};
	sum = (struct served_sum){.wall = 0};
	ck_assert_double_eq(serve_rows(&s, m, &r, &sum, seconds / 3, 0, 960, 1ul << 30).factor, 0);
	ck_assert_double_eq_tol(
	        serve_rows(&s, m, &r, &sum, seconds / 30, 0, 9600, 1ul << 30).factor, 30, 0.1);
	told = r;
	served_rates_apply(&s, &told, 1000);
	ck_assert_double_eq(told.one[KERN_Q4_0], ONE);
	/* a stage made anew begins anew */
	sum = (struct served_sum){.wall = 5, .rows = 1};
	ck_assert_double_eq(served_rates_add(&s, m, 0, LAYERS, SERVED_ONE, &sum, &r, 0, 1000).factor, 0);
	manifest_destroy(m);
}
END_TEST

START_TEST(what_serving_contradicts_is_measured_again_when_the_node_rests) {
	struct manifest *m = large_model();
	struct served_sum sum = {.wall = 1};
	fake_start();
	run_until_looks(4);
	calibrate_stop(fake.m);
	change_file(1, 50, 60); /* fresh, and wrong */
	fake.busy = "it is serving";
	fake_start();
	calibrate_served(fake.m, "kitchen", m, 0, LAYERS, SERVED_ONE, &sum);
	for (unsigned i = 0; i < 64; i++) {
		sum.rows++;
		sum.wall += LAYERS * (64u << 20) / ONE;
		sum.seconds += LAYERS * (64u << 20) / ONE;
		calibrate_served(fake.m, "kitchen", m, 0, LAYERS, SERVED_ONE, &sum);
	}
	/* others hear at once of what serving showed; */
	ck_assert_double_eq_tol(rate_now(NULL, NULL) / ONE, 1, 1e-3);
	Caravan__NodeState state;
	caravan__node_state__init(&state);
	calibrate_fill(fake.m, &state);
	ck_assert(state.measuring);
	run_for(100); /* it does not rest */
	calibrate_fill(fake.m, &state);
	ck_assert(state.measuring);
	fake.busy = NULL;
	while (state.measuring) {
		run_for(10);
		calibrate_fill(fake.m, &state);
	}
	run_until_looks(4);
	calibrate_stop(fake.m);
	struct calibration_kept k;
	long long age;
	ck_assert_int_eq(calibration_file_load(dir, 1, &k, &age), 0);
	ck_assert_double_eq_tol(k.known.best.one[KERN_Q4_0] / ONE, 1, 1e-3);
	manifest_destroy(m);
}
END_TEST

START_TEST(a_file_with_figures_that_no_machine_has_is_none) {
	static const char *const lines[] = {"read inf inf inf", "read nan 1 1", "read 1e30 1e30 1e30",
	        "read 5 6 7", "read -5 -5 -5", "type 2 1 1 1 0 0 0", "type 999 1 1 1 1 1 1", "type 2 1 1 1",
	        "served 2 inf 5 0 0", "served 2 1 -5 0 0", "disk -1", "disk inf", "looks", "nonsense"};
	struct calibration_kept k;
	long long age;
	char good[4096], text[8192];
	fake_start();
	run_until_looks(1);
	calibrate_stop(fake.m);
	FILE *f = fopen(rates, "r");
	size_t len = fread(good, 1, sizeof good - 1, f);
	good[len] = '\0';
	fclose(f);
	ck_assert_int_eq(calibration_file_load(dir, 1, &k, &age), 0);
	ck_assert_int_eq(calibration_file_load(dir, 2, &k, &age), -ESTALE);
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		snprintf(text, sizeof text, "%s%s\n", good, lines[i]);
		f = fopen(rates, "w");
		fputs(text, f);
		fclose(f);
		ck_assert_msg(calibration_file_load(dir, 1, &k, &age) == -ESTALE, "%s", lines[i]);
		ck_assert_double_eq(k.known.best.read, 0);
	}
	/* nor is one that does not say what every machine has */
	for (size_t i = 0; i < 2; i++) {
		const char *line = strstr(good, i ? "\ndisk " : "\nread "), *rest = strchr(line + 1, '\n');
		snprintf(text, sizeof text, "%.*s%s", (int)(line - good), good, rest);
		f = fopen(rates, "w");
		fputs(text, f);
		fclose(f);
		ck_assert_int_eq(calibration_file_load(dir, 1, &k, &age), -ESTALE);
	}
}
END_TEST

/* ---- ways of products ------------------------------------------------------------------------------------ */

/* A level of two types, with two and three ways. */
static const struct kern_way two[] = {{"usual", NULL}, {"other", NULL}, {NULL, NULL}},
                             three[] = {{"usual", NULL}, {"other", NULL}, {"third", NULL}, {NULL, NULL}};

static struct {
	double gain[TUNING_ROUNDS][3]; /* of the three, in each round */
	size_t tries, stop_at;         /* so many tries, then none is answered */
	const struct kern_way *seen[4];
} trial;

static double try_way(void *arg, uint32_t type, enum kern_class class, const struct kern_way *way) {
	const struct kern_ops *ops = arg;
	const struct kern_way *ways = ops->ways[type][class];
	if (trial.stop_at && trial.tries >= trial.stop_at)
		return 0;
	if (trial.tries < sizeof trial.seen / sizeof *trial.seen)
		trial.seen[trial.tries] = way;
	size_t n = 0;
	while (ways[n].name)
		n++;
	size_t round = trial.tries++ / 5;
	ck_assert(n == 2 || n == 3);
	return n == 2 ? 5 : 7 * trial.gain[round][way - ways];
}

static void usual_gains(void) {
	memset(&trial, 0, sizeof trial);
	for (int r = 0; r < TUNING_ROUNDS; r++)
		for (int w = 0; w < 3; w++)
			trial.gain[r][w] = 1;
}

static struct tuned_way tried(void) {
	static struct kern_ops ops = {.name = "fake"};
	struct tuning t;
	ops.ways[KERN_Q4_0][KERN_COLS_1] = three;
	ops.ways[KERN_Q8_0][KERN_COLS_8] = two;
	trial.tries = 0;
	tuning_try(&ops, try_way, &ops, &t);
	ck_assert(t.known);
	ck_assert_ptr_eq(t.of[KERN_Q8_0][KERN_COLS_8].way, &two[0]);
	ck_assert_double_eq(t.of[KERN_Q8_0][KERN_COLS_8].gain, 1);
	ck_assert_ptr_null(t.of[KERN_Q8_0][KERN_COLS_1].way);
	return t.of[KERN_Q4_0][KERN_COLS_1];
}

/* Of seven rounds at least six must be won by more than the margin. */
START_TEST(a_way_must_win_most_rounds_by_a_margin) {
	usual_gains();
	ck_assert_ptr_eq(tried().way, &three[0]);
	ck_assert_ptr_eq(trial.seen[0], &three[0]); /* in turn */
	ck_assert_ptr_eq(trial.seen[1], &three[1]);
	ck_assert_ptr_eq(trial.seen[2], &three[2]);
	ck_assert_uint_eq(trial.tries, 5 * TUNING_ROUNDS);
	for (int wins = 0; wins <= TUNING_ROUNDS; wins++) {
		usual_gains();
		for (int r = 0; r < wins; r++)
			trial.gain[r][1] = 1.2;
		ck_assert_ptr_eq(tried().way, &three[wins >= 6 ? 1 : 0]);
		ck_assert_double_eq_tol(tried().gain, wins >= 6 ? 1.2 : 1, 1e-9);
	}
	usual_gains();
	for (int r = 0; r < TUNING_ROUNDS; r++)
		trial.gain[r][2] = TUNING_MARGIN - 0.005;
	ck_assert_ptr_eq(tried().way, &three[0]);
	for (int r = 0; r < TUNING_ROUNDS; r++) {
		trial.gain[r][1] = 1.1;
		trial.gain[r][2] = r ? 1.3 : 0.5;
	}
	ck_assert_ptr_eq(tried().way, &three[2]);
	ck_assert_double_eq_tol(tried().gain, 1.3, 1e-9);
}
END_TEST

START_TEST(a_round_that_is_cut_short_does_not_count) {
	for (size_t rounds = 0; rounds < TUNING_ROUNDS; rounds++) {
		usual_gains();
		for (int r = 0; r < TUNING_ROUNDS; r++)
			trial.gain[r][2] = 1.5;
		trial.stop_at = rounds * 5 + 4;
		ck_assert_ptr_eq(tried().way, &three[rounds < TUNING_ROUNDS_LEAST ? 0 : 2]);
		ck_assert_uint_eq(trial.tries, rounds * 5 + 4);
	}
}
END_TEST

/* A type and class of the level in use with several ways; false: this processor's has none. */
static bool several_ways(uint32_t *type, enum kern_class *class) {
	for (*type = 0; *type < KERN_TYPES; ++*type)
		for (int c = 0; c < KERN_CLASSES; c++) {
			const struct kern_way *ways = kern_ops()->ways[*type][c];
			*class = (enum kern_class)c;
			if (ways && ways[0].name && ways[1].name)
				return true;
		}
	return false;
}

static const struct kern_way *not_default(uint32_t type, enum kern_class class) {
	const struct kern_way *ways = kern_ops()->ways[type][class];
	return &ways[kern_way_default(kern_ops(), type, class) == ways];
}

static void tune_for(uint32_t type, enum kern_class class) {
	fake.tuned.known = true;
	fake.tuned.of[type][class] = (struct tuned_way){not_default(type, class), 1.25};
}

START_TEST(ways_are_tried_once_kept_and_tried_again_when_asked) {
	uint32_t type;
	enum kern_class class;
	if (!several_ways(&type, &class))
		return;
	const struct kern_way *other = not_default(type, class);
	unsetenv("CARAVAN_TUNE");
	tune_for(type, class);
	fake_start();
	run_until_looks(4);
	ck_assert_uint_eq(fake.tunings, 1);
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	calibrate_fill_ways(fake.m, &state);
	ck_assert_uint_eq(state.n_ways, 1);
	ck_assert_uint_eq(state.ways[0]->type, type);
	ck_assert_uint_eq(state.ways[0]->columns, kern_class_most(class));
	ck_assert_str_eq(state.ways[0]->way, other->name);
	ck_assert(!state.ways[0]->is_default);
	ck_assert_double_eq(state.ways[0]->gain, 1.25);
	ck_assert_int_eq(calibrate_now(fake.m, told, NULL), 0);
	while (fake.asked < 1)
		run_for(10);
	ck_assert_uint_eq(fake.tunings, 2);
	calibrate_stop(fake.m);
	/* kept, and used from the start */
	kern_way_choose(type, class, NULL);
	fake_start();
	ck_assert_ptr_eq(kern_way_in_use(type, class), other);
	run_for(200);
	calibrate_fill_ways(fake.m, &state);
	ck_assert_uint_eq(state.n_ways, 1);
	ck_assert_double_eq(state.ways[0]->gain, 1.25);
	calibrate_stop(fake.m);
	ck_assert_uint_eq(fake.tunings, 2);
	/* not by who wants the defaults */
	setenv("CARAVAN_TUNE", "off", 1);
	fake_start();
	ck_assert_ptr_eq(kern_way_in_use(type, class), kern_way_default(kern_ops(), type, class));
	ck_assert_int_eq(calibrate_now(fake.m, told, NULL), 0);
	while (fake.asked < 2)
		run_for(10);
	calibrate_fill_ways(fake.m, &state);
	ck_assert_uint_eq(state.n_ways, 0);
	calibrate_stop(fake.m);
	ck_assert_uint_eq(fake.tunings, 2);
}
END_TEST

/* Until a run was undisturbed they are not tried again; then they are, and the rates measured anew. */
START_TEST(a_disturbed_machine_chooses_no_ways) {
	uint32_t type;
	enum kern_class class;
	if (!several_ways(&type, &class))
		return;
	unsetenv("CARAVAN_TUNE");
	other_machine(1, 0.5);
	fake_start();
	run_for(300); /* each run is disturbed */
	ck_assert_uint_eq(fake.tunings, 0);
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	calibrate_fill_ways(fake.m, &state);
	ck_assert_uint_eq(state.n_ways, 0);
	tune_for(type, class);
	other_machine(1, 0);
	run_until_looks(4);
	ck_assert_uint_eq(fake.tunings, 1);
	calibrate_fill_ways(fake.m, &state);
	ck_assert_uint_eq(state.n_ways, 1);
	calibrate_stop(fake.m);
}
END_TEST

/* A load need not wait until the ways have been tried. */
START_TEST(a_new_node_has_rates_before_it_tries_ways) {
	unsetenv("CARAVAN_TUNE");
	fake_start();
	while (!calibrate_ready(fake.m))
		run_for(1);
	while (fake.tunings == 0)
		run_for(1);
	ck_assert_uint_eq(fake.at_first_tuning, 1);
	calibrate_stop(fake.m);
}
END_TEST

/* Others work while ways are tried, and not while rates are measured: as many tries as doubled intervals in this time, and
 * two for what the machine adds to it. */
START_TEST(trying_in_vain_is_not_repeated_without_end) {
	struct calibrate_ops quick = fake_ways;
	quick.soon_ms = 1;
	quick.soon_most_ms = 3600000;
	unsetenv("CARAVAN_TUNE");
	for (int rc = 0; rc >= -ENOMEM; rc -= ENOMEM) { /* the same when they cannot be tried */
		fake.tuning_rc = rc;
		fake.tunings = 0;
		fake_start_with(&quick);
		while (fake.tunings < 3)
			run_for(1);
		run_for(500);
		calibrate_stop(fake.m);
		ck_assert_uint_le(fake.tunings, 3 + 8 + 2);
		ck_assert_int_eq(unlink(rates), 0);
	}
}
END_TEST

/* Rewrites the file with this instead of what `from` begins. */
static void change_line(const char *from, const char *to) {
	char text[8192], out[8192 + 256];
	FILE *f = fopen(rates, "r");
	text[fread(text, 1, sizeof text - 1, f)] = '\0';
	fclose(f);
	char *at = strstr(text, from), *end = at ? strchr(at, '\n') : NULL;
	ck_assert_ptr_nonnull(end);
	snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, end);
	f = fopen(rates, "w");
	fputs(out, f);
	fclose(f);
}

START_TEST(ways_of_another_build_are_tried_again_and_false_ones_make_the_file_none) {
	static const char *const bad[] = {"way 999 0 1 far", "way 2 9 1 far", "way 2 0 inf x", "way 2 0 -1 x",
	        "way 2 0 1 abacus", "way 2 0 1", "way", "way 2"};
	uint32_t type;
	enum kern_class class;
	struct calibration_kept k;
	long long age;
	char good[128];
	if (!several_ways(&type, &class))
		return;
	unsetenv("CARAVAN_TUNE");
	tune_for(type, class);
	fake_start();
	run_until_looks(4);
	calibrate_stop(fake.m);
	ck_assert_int_eq(calibration_file_load(dir, 1, &k, &age), 0);
	ck_assert(k.tuning.known);
	ck_assert(tuning_same(&k.tuning, &fake.tuned));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		change_line("way", bad[i]);
		ck_assert_msg(calibration_file_load(dir, 1, &k, &age) == -ESTALE, "%s", bad[i]);
		ck_assert(!k.tuning.known);
	}
	/* a gain that nobody could be told */
	snprintf(good, sizeof good, "way %u %d 1001 %s", type, (int)class, not_default(type, class)->name);
	change_line("way", good);
	ck_assert_int_eq(calibration_file_load(dir, 1, &k, &age), -ESTALE);
	snprintf(good, sizeof good, "way %u %d 1000 %s", type, (int)class, not_default(type, class)->name);
	change_line("way", good);
	ck_assert_int_eq(calibration_file_load(dir, 1, &k, &age), 0);
	/* the rates are kept, and the names of the other build are not looked at */
	change_line("way", "way 2 0 1 abacus");
	change_line("tuned ", "tuned 0.0.1, another kernel, another processor");
	ck_assert_int_eq(calibration_file_load(dir, 1, &k, &age), 0);
	ck_assert(!k.tuning.known);
	ck_assert_double_gt(k.known.best.read, 0);
	fake_start();
	ck_assert_ptr_eq(kern_way_in_use(type, class), kern_way_default(kern_ops(), type, class));
	while (fake.tunings < 2)
		run_for(10);
	calibrate_stop(fake.m);
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
	tcase_add_test(t, what_means_something_else_or_nothing_is_measured_anew);
	tcase_add_test(t, what_a_machine_has_drifted_from_is_measured_anew);
	suite_add_tcase(s, t);
	t = tcase_create("looks");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, fake_setup, teardown);
	tcase_add_test(t, a_first_look_that_was_disturbed_is_soon_repeated);
	tcase_add_test(t, huge_pages_count_where_they_gain);
	tcase_add_test(t, pages_are_compared);
	tcase_add_test(t, the_best_of_several_looks_counts);
	tcase_add_test(t, a_busy_hour_changes_nothing_and_a_slower_machine_is_found_out);
	tcase_add_test(t, who_asks_has_it_measured_now_or_hears_why_not);
	tcase_add_test(t, serving_corrects_what_was_measured);
	tcase_add_test(t, of_experts_those_count_that_a_row_uses);
	tcase_add_test(t, what_a_busy_machine_or_a_small_stage_shows_corrects_nothing);
	tcase_add_test(t, what_serving_contradicts_is_measured_again_when_the_node_rests);
	tcase_add_test(t, a_file_with_figures_that_no_machine_has_is_none);
	tcase_add_test(t, ways_are_tried_once_kept_and_tried_again_when_asked);
	tcase_add_test(t, a_disturbed_machine_chooses_no_ways);
	tcase_add_test(t, a_new_node_has_rates_before_it_tries_ways);
	tcase_add_test(t, trying_in_vain_is_not_repeated_without_end);
	tcase_add_test(t, ways_of_another_build_are_tried_again_and_false_ones_make_the_file_none);
	tcase_add_test(t, a_way_must_win_most_rounds_by_a_margin);
	tcase_add_test(t, a_round_that_is_cut_short_does_not_count);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
