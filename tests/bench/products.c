/* bench/products: products of weights and activations, every type: decode from the second cache and from memory,
 * 2, 4 and 8 columns, and a tile of many (prefill: unpacking included, quantisation of activations not).
 * From memory, pieces are computed and only read in turn: that is for comparing kernels with each other.  What a whole token has of
 * reading is less, and measured by bench/tokens. */
#include "tests/bench/bench.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	N = 4096,         /* elements in a row */
	MEMORY_MIB = 512, /* weights that come from memory */
	LAPS = 6,         /* over them: there are a few dozen pieces then for each way of reading */
	PIECE_KIB = 2048, /* a piece of them */
	CACHE_KIB = 256,  /* weights that stay in the second cache */
	PREFILL_COLS = 512,
	FEWS = 3 /* 2, 4, 8 columns */
};

struct product {
	const struct kern_ops *ops;
	uint32_t type;
	const uint8_t *x;
	float *y[BENCH_THREADS_MAX];
	size_t row, stride, cols;
};

static void piece(void *arg, unsigned id, const uint8_t *at, size_t bytes) {
	struct product *p = arg;
	size_t rows = bytes / p->row;
	kern_mul(p->ops, p->type, p->cols)(p->y[id], rows, at, rows, N, p->x, p->stride, p->cols);
}

struct figures {
	double cache[BENCH_ROUNDS_MAX], memory[BENCH_ROUNDS_MAX], share[BENCH_ROUNDS_MAX],
	        few[FEWS][BENCH_ROUNDS_MAX], prefill[BENCH_ROUNDS_MAX];
};

/* Whole walks of strips of a type in about so many bytes. */
static size_t strips_in(uint32_t type, size_t bytes) {
	size_t four = 4 * KERN_STRIP * kern_row_bytes(type, N);
	return bytes < four ? four : bytes / four * four;
}

static void make_acts(const struct kern_ops *ops, uint32_t type, uint8_t *x, size_t cols) {
	enum kern_form form = kern_traits(type)->form;
	static float v[N];
	for (size_t c = 0; c < cols; c++) {
		for (size_t i = 0; i < N; i++)
			v[i] = (float)((i * 7919 + c * 104729) % 1009) / 504.5f - 1;
		ops->quantize[form](x + c * kern_act_bytes(form, N), v, N);
	}
}

/* One type in one round. */
static void round_of(struct bench *b, struct product *p, uint32_t type, struct figures *f, unsigned round) {
	size_t cache = strips_in(type, CACHE_KIB << 10), memory = strips_in(type, PIECE_KIB << 10);
	size_t panel = 4 * KERN_STRIP * p->row; /* short, so that few are interrupted */
	double elements = (double)N / (double)p->row;
	p->cols = 1;
	f->cache[round] = bench_run(b, piece, p, cache, cache * b->threads, 200);
	f->memory[round] = bench_beside(
	        b, piece, p, memory, ((size_t)MEMORY_MIB << 20) / memory * memory, LAPS, &f->share[round]);
	for (int k = 0; k < FEWS; k++) {
		p->cols = (size_t)2 << k;
		/* from memory, as a step of few sequences has them; columns a second, in bytes of weights */
		f->few[k][round] = bench_run(b, piece, p, memory, 64 * memory, 1) * (double)p->cols;
	}
	p->cols = PREFILL_COLS;
	f->prefill[round] = bench_run(b, piece, p, panel, panel * b->threads, 12) * PREFILL_COLS * elements;
}

static bool wanted(const struct bench *b, uint32_t type, const char *only) {
	return kern_traits(type) && (!only || !strcasecmp(only, kern_traits(type)->name));
}

/* A type's line and rows; few columns have targets for the types of four bits, prefill for floats. */
static void tell(struct bench *b, uint32_t type, struct figures *f, double hz) {
	static const double wish[FEWS] = {1.9, 3.2, 4.5};
	unsigned n = b->rounds;
	const char *name = kern_traits(type)->name;
	bool four = type == KERN_Q4_0 || type == KERN_Q4_1 || type == KERN_Q4_K || type == KERN_IQ4_NL;
	bool is_float = kern_traits(type)->form == KERN_FORM_F32;
	double cache = bench_median(f->cache, n) / hz / b->threads, gbs = bench_median(f->memory, n);
	double share = bench_median(f->share, n), mac = bench_median(f->prefill, n) / hz / b->threads,
	       few[FEWS];
	for (int k = 0; k < FEWS; k++)
		few[k] = bench_median(f->few[k], n) / gbs;
	printf("%-8s%9.1f %8.1f   %.2f (%.2f to %.2f)   %5.2f %5.2f %5.2f   %8.1f\n", name, cache, gbs / 1e9,
	        share, f->share[0], f->share[n - 1], few[0], few[1], few[2], mac);
	bench_row(b, "times reading pieces in turn", share, 1, 0.95, false, "decode.%s", name);
	bench_row_spread(b, f->share[0], f->share[n - 1]);
	for (int k = 0; k < FEWS; k++)
		bench_row(b, "times one column", few[k], 2 << k, four ? wish[k] : NAN, false, "columns%d.%s",
		        2 << k, name);
	/* a multiply-add of eight floats in each of two pipes */
	bench_row(b, "multiply-adds a cycle", mac, is_float ? 16 : NAN, is_float ? 0.85 * 16 : NAN, false,
	        "prefill.%s", name);
}

void bench_products(struct bench *b, const char *only) {
	struct product p = {.ops = b->ops, .cols = 1};
	struct figures *f = bench_alloc(KERN_TYPES * sizeof *f);
	uint8_t *x = bench_alloc(PREFILL_COLS * kern_act_bytes(KERN_FORM_F32, N));
	double probes[BENCH_ROUNDS_MAX], hz[BENCH_ROUNDS_MAX];
	size_t most = 64 * KERN_STRIP * PREFILL_COLS;
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		if (wanted(b, t, only)) {
			size_t rows = strips_in(t, PIECE_KIB << 10) / kern_row_bytes(t, N);
			most = 8 * rows > most ? 8 * rows : most;
		}
	for (unsigned i = 0; i < b->threads; i++)
		p.y[i] = bench_alloc(most * sizeof(float));
	p.x = x;
	bench_read(b); /* warms up */
	for (unsigned round = 0; round < b->rounds; round++) {
		probes[round] = bench_read(b);
		hz[round] = bench_core_hz();
		for (uint32_t t = 0; t < KERN_TYPES; t++) {
			if (!wanted(b, t, only))
				continue;
			p.type = t;
			p.row = kern_row_bytes(t, N);
			p.stride = kern_act_bytes(kern_traits(t)->form, N);
			make_acts(b->ops, t, x, PREFILL_COLS);
			round_of(b, &p, t, &f[t], round);
		}
	}
	b->core_hz = bench_median(hz, b->rounds);
	printf("\nProducts: level %s, %u thread%s, core at %.2f GHz, reading memory at %.1f GB/s\n",
	        b->ops->name, b->threads, b->threads > 1 ? "s" : "", b->core_hz / 1e9,
	        bench_median(probes, b->rounds) / 1e9);
	printf("        in cache   from memory, times reading pieces  columns, times one     %d columns\n",
	        PREFILL_COLS);
	printf("type    B/cycle     GB/s   median (spread)            2     4     8   MAC/cycle\n");
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		if (wanted(b, t, only))
			tell(b, t, &f[t], b->core_hz);
	bench_row(b, "GB/s", bench_median(probes, b->rounds) / 1e9, NAN, NAN, false, "read");
	for (unsigned i = 0; i < b->threads; i++)
		free(p.y[i]);
	free(f);
	free(x);
}
