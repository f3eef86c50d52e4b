/* bench/probe: clocks, memory, and the probe that only reads; see bench.h. */
#include "tests/bench/bench.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum {
	MEMORY = 640 << 20,
	PIECES = 4096,
	PROBE_PIECE = 2 << 20,
	PROBE_BYTES = 512 << 20,
	HUGE_PAGE = 2 << 20
};

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

static _Noreturn void no_memory(size_t bytes) {
	fprintf(stderr, "bench: no memory for %zu bytes\n", bytes);
	exit(99);
}

void *bench_alloc(size_t bytes) {
	size_t size = (bytes / KERN_ALIGN + 1) * KERN_ALIGN;
	void *p = aligned_alloc(KERN_ALIGN, size);
	if (!p)
		no_memory(bytes);
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
	/* no float of them is large, and none so small that some processors need long for it */
	for (size_t i = 0; i < 64; i++) {
		z = z * 6364136223846793005u + 1442695040888963407u;
		pattern[i] = ((z ^ z >> 29) & 0x3f3f3f3f3f3f3f3fu) | 0x2020202020202020u;
	}
	/* in huge pages, as a slice is mapped (shard/store/write.c) */
	b->memory = aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
	if (!b->memory)
		no_memory(bytes);
	madvise(b->memory, bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < bytes; i += sizeof pattern)
		memcpy(b->memory + i, pattern, bytes - i < sizeof pattern ? bytes - i : sizeof pattern);
	b->core_hz = bench_core_hz();
}

void bench_destroy(struct bench *b) {
	team_destroy(b->team);
	free(b->memory);
	free(b->rows);
}

/* ---- reading ---- */

struct reading {
	unsigned way;
	uint64_t sums[BENCH_THREADS_MAX][8]; /* so that reading is not left out */
};

/* As wide as the processor loads. */
typedef uint64_t word __attribute__((vector_size(32), aligned(32)));

/* Ways of reading a piece: as so many streams side by side, asking so many bytes ahead, into the second cache or the first. */
static const struct way {
	size_t streams, ahead;
	bool second;
} ways[BENCH_WAYS] = {{1, 0, 0}, {2, 0, 0}, {4, 0, 0}, {8, 0, 0}, {1, 3072, 0}, {2, 3072, 0}, {4, 3072, 0},
        {8, 3072, 0}, {1, 6144, 0}, {1, 6144, 1}};

#ifdef __x86_64__
__attribute__((target_clones("avx2", "default")))
#endif
static uint64_t
read_streams(const uint8_t *p, size_t bytes, const uint8_t *next, size_t next_bytes, struct way way) {
	size_t part = bytes / way.streams / 64 * 64, next_part = next_bytes / way.streams / 64 * 64;
	word a = {0}, b = {0};
	for (size_t i = 0; i < part; i += 64)
		for (size_t s = 0; s < way.streams; s++) {
			const uint8_t *at = p + s * part + i;
			/* beyond a part lies the one that takes its place, as in products */
			const uint8_t *ahead = i + way.ahead < part
			                               ? at + way.ahead
			                               : next + s * next_part + (i + way.ahead - part);
			if (way.ahead && way.second)
				__builtin_prefetch(ahead, 0, 2);
			else if (way.ahead)
				__builtin_prefetch(ahead);
			a += ((const word *)(const void *)at)[0];
			b += ((const word *)(const void *)at)[1];
		}
	a += b;
	return a[0] + a[1] + a[2] + a[3];
}

uint64_t bench_read_piece(
        const uint8_t *p, size_t bytes, const uint8_t *next, size_t next_bytes, unsigned way) {
	return read_streams(p, bytes, next, next_bytes, ways[way]);
}

static void read_piece(void *arg, unsigned id, const uint8_t *p, size_t bytes) {
	struct reading *r = arg;
	r->sums[id][0] += bench_read_piece(p, bytes, p + bytes, bytes, r->way);
}

/* ---- pieces ---- */

struct pieces {
	const uint8_t *memory;
	bench_piece_fn *fn;
	void *arg;
	size_t piece, total, times;
	bool beside; /* every other piece is only read, each way in turn */
	double rates[BENCH_THREADS_MAX], reads[BENCH_WAYS][BENCH_THREADS_MAX];
};

/* Rates of pieces of a member's. */
struct rates {
	double *v;
	size_t count;
};

static void timed(
        struct rates *r, bench_piece_fn *fn, void *arg, unsigned id, const uint8_t *at, size_t bytes) {
	double t0 = bench_now();
	fn(arg, id, at, bytes);
	if (r->count < PIECES)
		r->v[r->count++] = (double)bytes / (bench_now() - t0);
}

static void member(struct team *team, void *arg, unsigned id) {
	struct pieces *j = arg;
	size_t first, last, turn = 0;
	struct rates own = {bench_alloc(PIECES * sizeof(double)), 0}, read[BENCH_WAYS];
	struct reading *r = bench_alloc(sizeof *r);
	for (unsigned w = 0; w < BENCH_WAYS; w++) /* what takes time is not to be in that of a short job */
		read[w] = (struct rates){j->beside ? bench_alloc(PIECES * sizeof(double)) : NULL, 0};
	team_share(team, id, j->total / j->piece, 1, &first, &last);
	for (size_t k = 0; k < j->times; k++)
		for (size_t i = first; i < last; i++, turn++) {
			const uint8_t *at = j->memory + i * j->piece;
			r->way = (unsigned)(turn / 2 % BENCH_WAYS);
			if (j->beside && turn % 2)
				timed(&read[r->way], read_piece, r, id, at, j->piece);
			else
				timed(&own, j->fn, j->arg, id, at, j->piece);
		}
	j->rates[id] = own.count ? bench_median(own.v, own.count) : 0;
	for (unsigned w = 0; w < BENCH_WAYS; w++) {
		j->reads[w][id] = read[w].count ? bench_median(read[w].v, read[w].count) : 0;
		free(read[w].v);
	}
	free(own.v);
	free(r);
}

static double of_all(const struct bench *b, const double *rates) {
	double sum = 0;
	for (unsigned i = 0; i < b->threads; i++)
		sum += rates[i];
	return sum;
}

double bench_run(struct bench *b, bench_piece_fn *fn, void *arg, size_t piece, size_t total, size_t times) {
	struct pieces j = {
	        .memory = b->memory, .fn = fn, .arg = arg, .piece = piece, .total = total, .times = times};
	team_run(b->team, member, &j);
	return of_all(b, j.rates);
}

double bench_beside(struct bench *b, bench_piece_fn *fn, void *arg, size_t piece, size_t total, size_t times,
        double *share) {
	struct pieces j = {.memory = b->memory,
	        .fn = fn,
	        .arg = arg,
	        .piece = piece,
	        .total = total,
	        .times = times,
	        .beside = true};
	double best = 0;
	team_run(b->team, member, &j);
	for (unsigned w = 0; w < BENCH_WAYS; w++)
		best = fmax(best, of_all(b, j.reads[w]));
	*share = of_all(b, j.rates) / best;
	return of_all(b, j.rates);
}

double bench_read(struct bench *b) {
	static struct reading r;
	double best = 0;
	for (r.way = 0; r.way < BENCH_WAYS; r.way++) {
		double rate = bench_run(b, read_piece, &r, PROBE_PIECE, PROBE_BYTES, 1);
		best = fmax(best, rate);
	}
	return best;
}

void bench_reading(struct bench *b) {
	double rates[BENCH_ROUNDS_MAX];
	for (unsigned i = 0; i < b->rounds; i++)
		rates[i] = bench_read(b) / 1e9;
	double rate = bench_median(rates, b->rounds);
	printf("reading memory with %u threads: %.1f GB/s\n", b->threads, rate);
	bench_row(b, "GB/s", rate, NAN, NAN, false, "read");
}
