/* bench/attention: one span of attention after the other over keys and values that come from memory, for one
 * head and for groups of heads that share them (decode), and for the rows of a chunk (prefill). */
#include "tests/bench/bench.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEAD = 128,
	BLOCKS = KERN_SPAN / KERN_KV_BLOCK,
	MOST = 64, /* queries of a call */
	BYTES = 512 << 20
};

static const size_t queries[] = {1, 4, 8, MOST}; /* the last: 16 rows of four heads */
enum { COUNTS = sizeof queries / sizeof *queries };

struct spans {
	const struct kern_ops *ops;
	size_t nq;
	struct member {
		struct kern_query q[MOST];
		float x[MOST][HEAD], o[MOST][HEAD], m[MOST], l[MOST];
		void *scratch;
	} * member;
};

/* The bytes of one span are its blocks' keys and then their values. */
static void piece(void *arg, unsigned id, const uint8_t *at, size_t bytes) {
	struct spans *s = arg;
	const uint16_t *keys[BLOCKS], *values[BLOCKS];
	size_t block = kern_kv_bytes(HEAD), span = 2 * BLOCKS * block;
	for (size_t i = 0; i + span <= bytes; i += span) {
		for (size_t k = 0; k < BLOCKS; k++) {
			keys[k] = (const uint16_t *)(const void *)(at + i + k * block);
			values[k] = (const uint16_t *)(const void *)(at + i + (BLOCKS + k) * block);
		}
		s->ops->span(s->member[id].q, s->nq, keys, values, HEAD, 0.01f, s->member[id].scratch);
	}
}

void bench_attention(struct bench *b) {
	struct spans s = {.ops = b->ops, .member = bench_alloc(b->threads * sizeof *s.member)};
	double share[COUNTS][BENCH_ROUNDS_MAX], mac[COUNTS][BENCH_ROUNDS_MAX];
	size_t span = 2 * BLOCKS * kern_kv_bytes(HEAD);
	for (unsigned i = 0; i < b->threads; i++) {
		struct member *m = &s.member[i];
		m->scratch = bench_alloc(kern_span_scratch(MOST));
		for (size_t k = 0; k < MOST; k++) {
			for (size_t d = 0; d < HEAD; d++)
				m->x[k][d] = (float)((k * 31 + d * 17) % 101) / 5000;
			m->q[k] = (struct kern_query){m->x[k], m->o[k], &m->m[k], &m->l[k], KERN_SPAN};
		}
	}
	double reading = bench_read(b);
	for (unsigned round = 0; round < b->rounds; round++)
		for (size_t c = 0; c < COUNTS; c++) {
			s.nq = queries[c];
			double rate = bench_run(b, piece, &s, 4 * span, BYTES, 1), before = reading;
			reading = bench_read(b);
			share[c][round] = rate / fmax(before, reading);
			/* a float16 is met by each query */
			mac[c][round] = rate / 2 * (double)s.nq / b->core_hz / b->threads;
		}
	printf("\nAttention over float16 keys and values from memory, head size %d, %u threads\n", HEAD,
	        b->threads);
	printf("queries  share of reading  multiply-adds a cycle\n");
	for (size_t c = 0; c < COUNTS; c++) {
		double part = bench_median(share[c], b->rounds), cycle = bench_median(mac[c], b->rounds);
		printf("%7zu  %16.2f  %21.1f\n", queries[c], part, cycle);
		bench_row(
		        b, "share of read bandwidth", part, 1, NAN, false, "attention.share%zu", queries[c]);
		bench_row(b, "multiply-adds a cycle", cycle, NAN, NAN, false, "attention.mac%zu", queries[c]);
	}
	for (unsigned i = 0; i < b->threads; i++)
		free(s.member[i].scratch);
	free(s.member);
}
