/* bench/probe: clocks, memory, and the probe that only reads; see bench.h. */
#include "tests/bench/bench.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MEMORY = 640 << 20, PIECES = 4096, PROBE_PIECE = 2 << 20, PROBE_BYTES = 512 << 20, FAR = 3072 };

double bench_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double bench_median(double *v, size_t n) {
	qsort(v, n, sizeof *v, ascending);
	return v[n / 2];
}

void *bench_alloc(size_t bytes) {
	size_t size = (bytes / KERN_ALIGN + 1) * KERN_ALIGN;
	void *p = aligned_alloc(KERN_ALIGN, size);
	if (!p) {
		fprintf(stderr, "bench: no memory for %zu bytes\n", bytes);
		exit(99);
	}
	return memset(p, 0, size);
}

double bench_core_hz(void) {
	enum { CHAIN = 200000, TRIES = 25 };
	double best = 0;
	for (int k = 0; k < TRIES; k++) { /* short, so that some are not disturbed */
		double t0 = bench_now();
		uint64_t x = 1, y = (uint64_t)k;
		for (int i = 0; i < CHAIN; i++) {
			x += y;
			__asm__ volatile("" : "+r"(x));
		}
		double rate = CHAIN / (bench_now() - t0);
		best = rate > best ? rate : best;
	}
	return best;
}

void bench_create(struct bench *b, const struct kern_ops *ops, unsigned threads, unsigned rounds) {
	const size_t bytes = MEMORY;
	uint64_t pattern[64], z = 42;
	*b = (struct bench){.ops = ops, .threads = threads, .rounds = rounds, .bytes = bytes};
	if (team_create(&b->team, threads, NULL)) {
		fprintf(stderr, "bench: no team of %u threads\n", threads);
		exit(99);
	}
	for (size_t i = 0; i < 64; i++) { /* the highest bit of an exponent stays clear */
		z = z * 6364136223846793005u + 1442695040888963407u;
		pattern[i] = (z ^ z >> 29) & 0x3f3f3f3f3f3f3f3fu;
	}
	b->memory = bench_alloc(bytes);
	for (size_t i = 0; i < bytes; i += sizeof pattern)
		memcpy(b->memory + i, pattern, bytes - i < sizeof pattern ? bytes - i : sizeof pattern);
	b->core_hz = bench_core_hz();
}

void bench_destroy(struct bench *b) {
	team_destroy(b->team);
	free(b->memory);
	free(b->rows);
}

struct job {
	const uint8_t *memory;
	bench_piece_fn *fn;
	void *arg;
	size_t piece, total, times;
	double rates[BENCH_THREADS_MAX];
};

static void member(struct team *team, void *arg, unsigned id) {
	struct job *j = arg;
	size_t first, last, count = 0;
	double *rates = bench_alloc(PIECES * sizeof *rates);
	team_share(team, id, j->total / j->piece, 1, &first, &last);
	for (size_t k = 0; k < j->times; k++)
		for (size_t i = first; i < last && count < PIECES; i++) {
			double t0 = bench_now();
			j->fn(j->arg, id, j->memory + i * j->piece, j->piece);
			rates[count++] = (double)j->piece / (bench_now() - t0);
		}
	j->rates[id] = count ? bench_median(rates, count) : 0;
	free(rates);
}

double bench_run(struct bench *b, bench_piece_fn *fn, void *arg, size_t piece, size_t total, size_t times) {
	struct job j = {b->memory, fn, arg, piece, total, times, {0}};
	double sum = 0;
	team_run(b->team, member, &j);
	for (unsigned i = 0; i < b->threads; i++)
		sum += j.rates[i];
	return sum;
}

struct reading {
	size_t streams, ahead;
	uint64_t sums[BENCH_THREADS_MAX][8]; /* so that reading is not left out */
};

/* As wide as the processor loads. */
typedef uint64_t word __attribute__((vector_size(32), aligned(32)));

#ifdef __x86_64__
__attribute__((target_clones("avx2", "default")))
#endif
static void
read_piece(void *arg, unsigned id, const uint8_t *p, size_t bytes) {
	struct reading *r = arg;
	size_t part = bytes / r->streams / 64 * 64;
	word a = {0}, b = {0};
	for (size_t i = 0; i < part; i += 64)
		for (size_t s = 0; s < r->streams; s++) {
			const word *at = (const void *)(p + s * part + i);
			if (r->ahead) /* beyond a part lies the one that takes its place, as in products */
				__builtin_prefetch((const uint8_t *)at + r->ahead +
				                   (i + r->ahead >= part ? bytes - part : 0));
			a += at[0];
			b += at[1];
		}
	a += b;
	r->sums[id][0] += a[0] + a[1] + a[2] + a[3];
}

double bench_read(struct bench *b) {
	static struct reading r;
	double best = 0;
	for (r.ahead = 0; r.ahead <= FAR; r.ahead += FAR)
		for (r.streams = 1; r.streams <= 8; r.streams *= 2)
			best = fmax(best, bench_run(b, read_piece, &r, PROBE_PIECE, PROBE_BYTES, 1));
	return best;
}

void bench_row(struct bench *b, const char *unit, double value, double bound, double target, bool less,
        const char *name, ...) {
	struct bench_row *rows = realloc(b->rows, (b->nrows + 1) * sizeof *rows), *r;
	va_list args;
	if (!rows)
		abort();
	b->rows = rows;
	r = &rows[b->nrows++];
	*r = (struct bench_row){.value = value, .bound = bound, .target = target, .less = less};
	snprintf(r->unit, sizeof r->unit, "%s", unit);
	va_start(args, name);
	vsnprintf(r->name, sizeof r->name, name, args);
	va_end(args);
}

bool bench_met(const struct bench_row *r) {
	return r->less ? r->value <= r->target : r->value >= r->target;
}
