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
	BYTES = 512 << 20,
	LAPS = 2
};

static const size_t queries[] = {1, 4, 8, MOST}; /* the last: 16 rows of four heads */
enum { COUNTS = sizeof queries / sizeof *queries };

struct spans {
	const struct kern_ops *ops;
	enum kern_kv type;
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
	const void *keys[BLOCKS], *values[BLOCKS];
	size_t block = kern_kv_bytes(s->type, HEAD), span = 2 * BLOCKS * block;
	for (size_t i = 0; i + span <= bytes; i += span) {
		for (size_t k = 0; k < BLOCKS; k++) {
			keys[k] = at + i + k * block;
			values[k] = at + i + (BLOCKS + k) * block;
		}
		s->ops->kv[s->type].span(
		        s->member[id].q, s->nq, keys, values, HEAD, 0.01f, s->member[id].scratch);
	}
}

static void one_type(struct bench *b, struct spans *s) {
	double share[COUNTS][BENCH_ROUNDS_MAX], mac[COUNTS][BENCH_ROUNDS_MAX];
	size_t span = 2 * BLOCKS * kern_kv_bytes(s->type, HEAD);
	double element = (double)kern_kv_bytes(s->type, HEAD) / KERN_KV_BLOCK / HEAD;
	const char *name = kern_kv_name(s->type);
	for (unsigned round = 0; round < b->rounds; round++)
		for (size_t c = 0; c < COUNTS; c++) {
			s->nq = queries[c];
			double rate = bench_beside(b, piece, s, 4 * span, BYTES, LAPS, &share[c][round]);
			/* an element is met by each query */
			mac[c][round] = rate / element * (double)s->nq / b->core_hz / b->threads;
		}
	printf("\nAttention over %s keys and values from memory, head size %d, %u threads\n", name, HEAD,
	        b->threads);
	printf("queries  share of reading  multiply-adds a cycle\n");
	for (size_t c = 0; c < COUNTS; c++) {
		double part = bench_median(share[c], b->rounds), cycle = bench_median(mac[c], b->rounds);
		printf("%7zu  %16.2f  %21.1f\n", queries[c], part, cycle);
		bench_row(b, "share of read bandwidth", part, 1, NAN, false, "attention.%s.share%zu", name,
		        queries[c]);
		bench_row(b, "multiply-adds a cycle", cycle, NAN, NAN, false, "attention.%s.mac%zu", name,
		        queries[c]);
	}
}

void bench_attention(struct bench *b) {
	struct spans s = {.ops = b->ops, .member = bench_alloc(b->threads * sizeof *s.member)};
	for (unsigned i = 0; i < b->threads; i++) {
		struct member *m = &s.member[i];
		m->scratch = bench_alloc(kern_span_scratch(MOST, HEAD));
		for (size_t k = 0; k < MOST; k++) {
			for (size_t d = 0; d < HEAD; d++)
				m->x[k][d] = (float)((k * 31 + d * 17) % 101) / 5000;
			m->q[k] = (struct kern_query){m->x[k], m->o[k], &m->m[k], &m->l[k], 0, KERN_SPAN};
		}
	}
	for (s.type = 0; s.type < KERN_KVS; s.type++)
		one_type(b, &s);
	for (unsigned i = 0; i < b->threads; i++)
		free(s.member[i].scratch);
	free(s.member);
}
