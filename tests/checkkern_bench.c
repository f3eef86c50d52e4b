/* checkkern --bench: what products cost.
 *
 * Decode (one column) is measured on weights that stay in the second cache and on weights that come from
 * memory, the latter beside a probe that only reads, as 1, 2, 4 or 8 streams; rounds of probe and every type
 * in turn, so that a noisy minute hits all alike.  Every thread times pieces of about a millisecond or less
 * and its rate is that of the median piece: a thread that was put aside for a while loses some pieces, not
 * the figure.  Rates of threads are added, and medians over the rounds are printed.  Prefill is a tile of
 * many columns.  Cycles are those of the time-stamp counter, not of the core's clock. */
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

enum {
	N = 4096, /* elements in a row */
	ROUNDS = 5,
	MEMORY_MIB = 512,  /* weights that come from memory */
	MEMORY_KIB = 2048, /* a piece of them */
	CACHE_KIB = 256,   /* weights that stay in the second cache */
	PREFILL_COLS = 512,
	FEW_COLS = 4,
	MAX_TEAM = 2, /* threads */
	PIECES = 1024 /* of a thread in one job, at most */
};

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

/* What the members of a team do.  Each takes an even share of `total` bytes and walks it in pieces of
 * `piece` bytes, times over, and reports the work of a piece over the time of its median one. */
struct job {
	const struct kern_ops *rung;
	uint32_t type;
	const uint8_t *w, *x;
	size_t total, piece, times, cols, streams;
	double rates[MAX_TEAM]; /* out, of each member: bytes a second */
};

static uint64_t read_piece(const uint8_t *p, size_t bytes, size_t streams) {
	size_t part = bytes / streams / 64 * 64;
	uint64_t a = 0, b = 0, c = 0, d = 0, v[8];
	for (size_t i = 0; i < part; i += 64)
		for (size_t s = 0; s < streams; s++) {
			memcpy(v, p + s * part + i, sizeof v);
			a += v[0] ^ v[4];
			b += v[1] ^ v[5];
			c += v[2] ^ v[6];
			d += v[3] ^ v[7];
		}
	return a + b + c + d;
}

static void member(struct team *team, void *arg, unsigned id) {
	static volatile uint64_t sink;
	struct job *j = arg;
	size_t first, last, count = 0, row = j->streams ? 64 : kern_row_bytes(j->type, N),
	                    rows = j->piece / row;
	size_t stride = j->streams ? 0 : kern_act_bytes(kern_traits(j->type)->form, N);
	double rates[PIECES];
	float *y = checkkern_alloc(rows * (j->cols + 1) * sizeof *y);
	team_share(team, id, j->total / j->piece, 1, &first, &last);
	for (size_t k = 0; k < j->times; k++)
		for (size_t i = first; i < last && count < PIECES; i++) {
			const uint8_t *w = j->w + i * j->piece;
			double t0 = now();
			if (j->streams)
				sink += read_piece(w, j->piece, j->streams);
			else
				j->rung->mul[j->type](y, rows, w, rows, N, j->x, stride, j->cols);
			rates[count++] = (double)j->piece / (now() - t0);
		}
	j->rates[id] = count ? median(rates, count) : 0;
	free(y);
}

/* Bytes a second of all members. */
static double run(struct team *team, struct job *j, size_t piece, size_t total, size_t times) {
	double sum = 0;
	j->piece = piece;
	j->total = total;
	j->times = times;
	team_run(team, member, j);
	for (unsigned i = 0; i < team_size(team); i++)
		sum += j->rates[i];
	return sum;
}

/* Bytes a second of the best number of streams. */
static double probe(struct team *team, struct job *j) {
	double best = 0, rate;
	for (j->streams = 1; j->streams <= 8; j->streams *= 2) {
		rate = run(team, j, MEMORY_KIB << 10, (size_t)MEMORY_MIB << 20, 1);
		best = rate > best ? rate : best;
	}
	j->streams = 0;
	return best;
}

/* Bytes that repeat, but none that makes a scale infinite: the highest bit of an exponent stays clear. */
static void fill_weights(struct checkkern *ck, uint8_t *w, size_t bytes) {
	uint64_t pattern[64];
	for (size_t i = 0; i < 64; i++)
		pattern[i] = checkkern_random(ck) & 0x3f3f3f3f3f3f3f3fu;
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
	double cache[ROUNDS], memory[ROUNDS], share[ROUNDS], few[ROUNDS], prefill[ROUNDS];
};

/* Whole strips of a type in about so many bytes. */
static size_t strips_in(uint32_t type, size_t bytes) {
	size_t four = 4 * KERN_STRIP * kern_row_bytes(type, N);
	return bytes < four ? four : bytes / four * four;
}

/* One type in one round; *reading is the rate of the probe before, and after. */
static void bench_type(struct team *team, struct job *j, struct row *r, int round, double *reading) {
	unsigned threads = team_size(team);
	size_t cache = strips_in(j->type, CACHE_KIB << 10), memory = strips_in(j->type, MEMORY_KIB << 10);
	double elements = (double)N / (double)kern_row_bytes(j->type, N), before = *reading;
	j->cols = 1;
	r->cache[round] = run(team, j, cache, cache * threads, 200);
	r->memory[round] = run(team, j, memory, ((size_t)MEMORY_MIB << 20) / memory * memory, 1);
	*reading = probe(team, j);
	r->share[round] = r->memory[round] / (before > *reading ? before : *reading);
	j->cols = FEW_COLS;
	r->few[round] = run(team, j, cache, cache * threads, 50) * FEW_COLS * elements;
	j->cols = PREFILL_COLS;
	size_t panel = 2 * KERN_STRIP * kern_row_bytes(j->type, N); /* short, so that few are interrupted */
	r->prefill[round] = run(team, j, panel, panel * threads, 12) * PREFILL_COLS * elements;
}

static void bench_rung(const struct kern_ops *rung, const char *only, unsigned threads, double ticks) {
	struct checkkern ck = {.random = 42};
	struct team *team;
	size_t size = (size_t)MEMORY_MIB << 20;
	struct row *rows = calloc(KERN_TYPES, sizeof *rows);
	double reading, probes[ROUNDS];
	uint8_t *w = checkkern_alloc(size),
	        *x = checkkern_alloc(PREFILL_COLS * kern_act_bytes(KERN_FORM_F32, N));
	struct job j = {.rung = rung, .w = w, .x = x};
	if (!rows || team_create(&team, threads, NULL)) {
		fprintf(stderr, "checkkern: no team of %u threads\n", threads);
		exit(99);
	}
	fill_weights(&ck, w, size);
	probe(team, &j); /* warms up */
	for (int round = 0; round < ROUNDS; round++) {
		probes[round] = reading = probe(team, &j);
		for (j.type = 0; j.type < KERN_TYPES; j.type++) {
			if (!rung->mul[j.type] || (only && strcasecmp(only, kern_traits(j.type)->name)))
				continue;
			make_acts(&ck, rung, j.type, x, PREFILL_COLS);
			bench_type(team, &j, &rows[j.type], round, &reading);
		}
	}
	printf("\n%s, %u thread%s; reading memory: %.1f GB/s\n", rung->name, threads, threads > 1 ? "s" : "",
	        median(probes, ROUNDS) / 1e9);
	printf("        decode in cache    decode from memory          %d columns  %d columns\n", FEW_COLS,
	        PREFILL_COLS);
	printf("type    bytes/tick  MAC/t  GB/s  of reading (spread)   MAC/t      MAC/t\n");
	for (uint32_t type = 0; type < KERN_TYPES; type++) {
		if (!rung->mul[type] || (only && strcasecmp(only, kern_traits(type)->name)))
			continue;
		struct row *r = &rows[type];
		double cache = median(r->cache, ROUNDS) / ticks / threads, share = median(r->share, ROUNDS);
		printf("%-8s%10.1f  %5.1f %5.1f  %.2f (%.2f to %.2f)      %5.1f      %5.1f\n",
		        kern_traits(type)->name, cache, cache * N / (double)kern_row_bytes(type, N),
		        median(r->memory, ROUNDS) / 1e9, share, r->share[0], r->share[ROUNDS - 1],
		        median(r->few, ROUNDS) / ticks / threads,
		        median(r->prefill, ROUNDS) / ticks / threads);
	}
	team_destroy(team);
	free(rows);
	free(w);
	free(x);
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
	for (unsigned threads = 1; threads <= MAX_TEAM; threads++)
		bench_rung(kern_rung(best), type, threads, ticks);
	return 0;
}
