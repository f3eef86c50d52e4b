/* checkkern --bench: what products cost.
 *
 * Decode (one column) is measured on weights that stay in the second cache and on weights that come from
 * memory, beside a probe that only reads as much memory, in the same run: rounds of probe and every type in
 * turn, medians reported, so that a noisy minute hits all alike.  Prefill is a tile of many columns.
 * Cycles are those of the time-stamp counter, not of the core's clock. */
#include "config.h"
#include "kernels/team.h"
#include "tests/checkkern.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

enum { N = 4096, ROUNDS = 7, PREFILL_ROWS = 1024, PREFILL_COLS = 512, MEMORY_MIB = 768, MAX_TEAM = 64 };

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Ticks of the time-stamp counter in a second; of the nanosecond clock where there is none. */
static double tick_rate(void) {
#ifdef __x86_64__
	double t0 = now(), t1;
	unsigned long long c0 = __rdtsc();
	while ((t1 = now()) < t0 + 0.05)
		;
	return (double)(__rdtsc() - c0) / (t1 - t0);
#else
	return 1e9;
#endif
}

static int ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, size_t n) {
	qsort(v, n, sizeof *v, ascending);
	return v[n / 2];
}

/* What every member of a team does: its share of a product, or of reading. */
struct job {
	const struct kern_ops *rung;
	uint32_t type;
	const uint8_t *w, *x;
	float *y;
	size_t rows, n, cols;
	size_t bytes, streams; /* of the probe */
	uint64_t sums[MAX_TEAM][8];
};

static void mul_share(struct team *team, void *arg, unsigned id) {
	struct job *j = arg;
	size_t first, last, stride = kern_act_bytes(kern_traits(j->type)->form, j->n);
	team_share(team, id, j->rows, KERN_STRIP, &first, &last);
	if (first < last)
		j->rung->mul[j->type](j->y + first, j->rows, j->w + first * kern_row_bytes(j->type, j->n),
		        last - first, j->n, j->x, stride, j->cols);
}

static void read_share(struct team *team, void *arg, unsigned id) {
	struct job *j = arg;
	size_t first, last;
	team_share(team, id, j->bytes, 4096, &first, &last);
	size_t part = (last - first) / j->streams / 64 * 64;
	uint64_t a = 0, b = 0, c = 0, d = 0;
	for (size_t i = 0; i < part; i += 64)
		for (size_t s = 0; s < j->streams; s++) {
			uint64_t v[8];
			memcpy(v, j->w + first + s * part + i, sizeof v);
			a += v[0] ^ v[4];
			b += v[1] ^ v[5];
			c += v[2] ^ v[6];
			d += v[3] ^ v[7];
		}
	j->sums[id][0] += a + b + c + d;
}

static double run(struct team *team, team_fn *fn, struct job *j) {
	double t0 = now();
	team_run(team, fn, j);
	return now() - t0;
}

/* GB/s of the best number of streams. */
static double probe(struct team *team, struct job *j) {
	double best = 0;
	for (j->streams = 1; j->streams <= 8; j->streams *= 2) {
		double rate = (double)j->bytes / run(team, read_share, j) / 1e9;
		best = rate > best ? rate : best;
	}
	return best;
}

/* Seconds for one product that is repeated until it can be timed. */
static double repeated(struct team *team, struct job *j) {
	size_t times = 1;
	double t = run(team, mul_share, j);
	if (t < 0.02)
		times = (size_t)(0.02 / t) + 1;
	double t0 = now();
	for (size_t i = 0; i < times; i++)
		team_run(team, mul_share, j);
	return (now() - t0) / (double)times;
}

static void fill_weights(struct checkkern *ck, uint32_t type, uint8_t *w, size_t rows, size_t n) {
	/* bytes that repeat, but no scale that is not finite: the highest bit of an exponent stays clear */
	uint64_t pattern[64];
	for (size_t i = 0; i < 64; i++)
		pattern[i] = checkkern_random(ck) & 0x3f3f3f3f3f3f3f3fu;
	size_t bytes = kern_packed_bytes(type, rows, n);
	for (size_t i = 0; i < bytes; i += sizeof pattern)
		memcpy(w + i, pattern, bytes - i < sizeof pattern ? bytes - i : sizeof pattern);
}

static void make_acts(
        struct checkkern *ck, const struct kern_ops *rung, uint32_t type, uint8_t *x, size_t cols) {
	enum kern_form form = kern_traits(type)->form;
	static float v[N];
	for (size_t c = 0; c < cols; c++) {
		for (size_t i = 0; i < N; i++)
			v[i] = checkkern_float(ck);
		rung->quantize[form](x + c * kern_act_bytes(form, N), v, N);
	}
}

struct row {
	double cache[ROUNDS], memory[ROUNDS], share[ROUNDS], prefill[ROUNDS], few[ROUNDS];
};

static void bench_rung(const struct kern_ops *rung, const char *only, unsigned threads, double ticks) {
	struct checkkern ck = {.random = 42};
	struct team *team;
	size_t size = (size_t)MEMORY_MIB << 20;
	struct row *rows = calloc(KERN_TYPES, sizeof *rows);
	double probes[ROUNDS];
	struct job j = {.rung = rung, .n = N, .bytes = size};
	uint8_t *w = checkkern_alloc(size),
	        *x = checkkern_alloc(PREFILL_COLS * kern_act_bytes(KERN_FORM_F32, N));
	float *y = checkkern_alloc(sizeof(float) * (PREFILL_ROWS * PREFILL_COLS + size / N));
	int err = team_create(&team, threads, NULL);
	if (!rows || err) {
		fprintf(stderr, "checkkern: no team of %u threads\n", threads);
		exit(99);
	}
	j.w = w;
	j.x = x;
	j.y = y;
	fill_weights(&ck, KERN_Q4_0, w, size / kern_row_bytes(KERN_Q4_0, N) / 8 * 8, N);
	for (int round = 0; round < ROUNDS; round++) {
		probes[round] = probe(team, &j);
		for (uint32_t type = 0; type < KERN_TYPES; type++) {
			if (!rung->mul[type] || (only && strcasecmp(only, kern_traits(type)->name)))
				continue;
			struct row *r = &rows[type];
			size_t row_bytes = kern_row_bytes(type, N);
			j.type = type;
			make_acts(&ck, rung, type, x, PREFILL_COLS);
			j.cols = 1;
			j.rows = threads * ((256 << 10) / row_bytes / 32 * 32 + 32);
			r->cache[round] = (double)(j.rows * row_bytes) / repeated(team, &j);
			double before = probe(team, &j);
			j.rows = size / row_bytes / 32 * 32;
			r->memory[round] = (double)(j.rows * row_bytes) / run(team, mul_share, &j) / 1e9;
			double after = probe(team, &j);
			r->share[round] = r->memory[round] / (before > after ? before : after);
			j.rows = PREFILL_ROWS;
			j.cols = PREFILL_COLS;
			r->prefill[round] = (double)j.rows * (double)j.cols * N / run(team, mul_share, &j);
			j.cols = 4;
			r->few[round] = (double)j.rows * (double)j.cols * N / repeated(team, &j);
		}
	}
	printf("\n%s, %u thread%s; reading %d MiB of memory: %.1f GB/s\n", rung->name, threads,
	        threads > 1 ? "s" : "", MEMORY_MIB, median(probes, ROUNDS));
	printf("        decode in cache   decode in memory      4 columns   %d columns\n", PREFILL_COLS);
	printf("type    bytes/tick MAC/t  GB/s  share of probe  MAC/t       MAC/t\n");
	for (uint32_t type = 0; type < KERN_TYPES; type++) {
		if (!rung->mul[type] || (only && strcasecmp(only, kern_traits(type)->name)))
			continue;
		struct row *r = &rows[type];
		double cache = median(r->cache, ROUNDS) / ticks / threads;
		double per_byte = (double)N / (double)kern_row_bytes(type, N);
		double memory = median(r->memory, ROUNDS), share = median(r->share, ROUNDS);
		printf("%-8s%10.1f %5.1f  %4.1f  %.2f (%.2f-%.2f)  %5.1f       %5.1f\n",
		        kern_traits(type)->name, cache, cache * per_byte, memory, share, r->share[0],
		        r->share[ROUNDS - 1], median(r->few, ROUNDS) / ticks / threads,
		        median(r->prefill, ROUNDS) / ticks / threads);
	}
	team_destroy(team);
	free(rows);
	free(w);
	free(x);
	free(y);
}

int checkkern_bench(const char *type) {
	bool known = !type;
	for (uint32_t t = 0; t < KERN_TYPES && !known; t++)
		known = kern_traits(t) && !strcasecmp(type, kern_traits(t)->name);
	if (!known) {
		fprintf(stderr, "checkkern: no weight type %s\n", type);
		return 1;
	}
	double ticks = tick_rate();
	printf("%d elements a row; MAC/t: multiply-adds a tick and thread; a tick is 1/%.2f ns (%s)\n", N,
	        ticks / 1e9,
#ifdef __x86_64__
	        "time-stamp counter, not the core's clock"
#else
	        "nanosecond clock"
#endif
	);
	size_t best = 0;
	while (kern_rung(best + 1))
		best++;
	for (unsigned threads = 1; threads <= 2; threads++)
		bench_rung(kern_rung(best), type, threads, ticks);
	return 0;
}
