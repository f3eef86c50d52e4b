/* sequences: sequences and a scheduler that tests drive without computing anything. */
#ifndef TESTS_UNIT_SERVE_SEQUENCES_H
#define TESTS_UNIT_SERVE_SEQUENCES_H
#include "daemon/serve/coordinator/scheduler.h"
#include <check.h>
#include <stdlib.h>

static uint32_t nleft; /* sequences that have left, and are freed */
static inline void left(void *arg, struct sequence *q) {
	(void)arg;
	nleft++;
	free(q->log);
	free(q);
}

static inline struct sequence *sequence(uint32_t tokens, uint32_t capacity) {
	struct sequence *q = calloc(1, sizeof *q);
	q->log = calloc(capacity, sizeof *q->log);
	q->tokens = tokens;
	q->capacity = capacity;
	return q;
}

static inline struct scheduler *line(uint32_t blocks, uint32_t parallel, uint32_t max_rows, uint32_t stages) {
	struct scheduler *s;
	ck_assert_int_eq(scheduler_create(&s, &(struct scheduler_config){.blocks = blocks,
	                                              .parallel = parallel,
	                                              .max_rows = max_rows,
	                                              .stages = stages,
	                                              .root = ""}),
	        0);
	return s;
}

static inline struct scheduler *scheduler(uint32_t blocks, uint32_t parallel, uint32_t max_rows) {
	return line(blocks, parallel, max_rows, 1);
}

/* The step came back, with a next token for whoever asked for one. */
static inline void back(struct scheduler *s, struct scheduler_step *st) {
	for (uint32_t i = 0; i < st->nseqs; i++)
		if (st->seq[i].outputs && st->seq[i].seq->tokens < st->seq[i].seq->capacity)
			st->seq[i].seq->tokens++;
	scheduler_done(s, st, left, NULL);
}

#endif
