/* scheduler: see scheduler.h.  Sequences that generate come first in every step, one row each; what is left of
 * the step's rows goes to prompts, in turn. */
#include "daemon/serve/scheduler.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct scheduler {
	uint32_t parallel, max_rows;
	uint32_t *free_block; /* a stack */
	uint32_t nfree, blocks;
	struct sequence *running; /* in order of turn: who was served a prompt chunk goes last */
	struct sequence *queue;
	uint32_t nrunning, nqueued;
	uint64_t steps;
};

int scheduler_create(struct scheduler **out, uint32_t blocks, uint32_t parallel, uint32_t max_rows) {
	struct scheduler *s = calloc(1, sizeof *s);
	if (!s || !(s->free_block = calloc(blocks ? blocks : 1, sizeof *s->free_block))) {
		free(s);
		return -ENOMEM;
	}
	s->parallel = parallel;
	s->max_rows = max_rows;
	s->blocks = s->nfree = blocks;
	for (uint32_t i = 0; i < blocks; i++)
		s->free_block[i] = blocks - 1 - i;
	*out = s;
	return 0;
}

void scheduler_destroy(struct scheduler *s) {
	if (!s)
		return;
	free(s->free_block);
	free(s);
}

static void append(struct sequence **list, struct sequence *q) {
	while (*list)
		list = &(*list)->next;
	*list = q;
	q->next = NULL;
}

static bool take_out(struct sequence **list, struct sequence *q) {
	for (; *list; list = &(*list)->next)
		if (*list == q) {
			*list = q->next;
			q->next = NULL;
			return true;
		}
	return false;
}

static void admit(struct scheduler *s) {
	while (s->queue && s->nrunning < s->parallel) {
		struct sequence *q = s->queue;
		s->queue = q->next;
		s->nqueued--;
		append(&s->running, q);
		s->nrunning++;
		q->running = true;
	}
}

int scheduler_add(struct scheduler *s, struct sequence *q) {
	if (s->nqueued >= SCHEDULER_QUEUE_MAX && s->nrunning >= s->parallel)
		return -EBUSY;
	append(&s->queue, q);
	s->nqueued++;
	admit(s);
	return 0;
}

static void leave(struct scheduler *s, struct sequence *q) {
	if (q->running) {
		take_out(&s->running, q);
		s->nrunning--;
	} else if (take_out(&s->queue, q)) {
		s->nqueued--;
	}
	q->running = false;
	for (uint32_t i = q->nblocks; i-- > 0;)
		s->free_block[s->nfree++] = q->block[i];
	free(q->block);
	q->block = NULL;
	q->nblocks = 0;
	admit(s);
}

bool scheduler_end(struct scheduler *s, struct sequence *q) {
	q->ended = true;
	if (q->in_flight)
		return false;
	leave(s, q);
	return true;
}

/* Gives q the blocks that its first `positions` positions need; false when there are not enough. */
static bool cover(struct scheduler *s, struct sequence *q, uint32_t positions) {
	uint32_t want = (positions + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
	if (want <= q->nblocks)
		return true;
	if (want - q->nblocks > s->nfree)
		return false;
	uint32_t *grown = realloc(q->block, want * sizeof *grown);
	if (!grown)
		return false;
	q->block = grown;
	while (q->nblocks < want)
		q->block[q->nblocks++] = s->free_block[--s->nfree];
	return true;
}

struct build {
	struct scheduler_step *st;
	uint32_t table;
};

static void put_rows(struct build *b, struct sequence *q, uint32_t rows) {
	bool last = q->scheduled + rows == q->tokens;
	struct scheduled *e = &b->st->seq[b->st->nseqs++];
	*e = (struct scheduled){.seq = q,
	        .rows = rows,
	        .position = q->scheduled,
	        .outputs = q->all_outputs ? rows
	                   : last         ? 1
	                                  : 0};
	b->st->rows += rows;
	b->st->outputs += e->outputs;
	b->table += q->nblocks * (uint32_t)sizeof *q->block;
	q->scheduled += rows;
	q->in_flight++;
}

static bool has_room(const struct scheduler *s, const struct build *b, const struct sequence *q) {
	/* +1: the block that this very row may need */
	return b->st->rows < s->max_rows &&
	       (b->st->nseqs == 0 || b->table + (q->nblocks + 1) * sizeof *q->block <= SCHEDULER_TABLE_MAX);
}

/* A sequence whose prompt is done and that has one new token. */
static bool generates(const struct sequence *q) {
	return !q->ended && !q->all_outputs && q->done > 0 && q->done == q->scheduled &&
	       q->tokens == q->scheduled + 1;
}

struct scheduler_step *scheduler_next(struct scheduler *s) {
	struct build b = {.st = calloc(1, sizeof *b.st)};
	if (!b.st || !(b.st->seq = calloc(s->nrunning ? s->nrunning : 1, sizeof *b.st->seq))) {
		free(b.st);
		return NULL;
	}
	for (struct sequence *q = s->running; q; q = q->next)
		if (generates(q) && has_room(s, &b, q) && cover(s, q, q->scheduled + 1))
			put_rows(&b, q, 1);
	uint32_t limit =
	        b.st->nseqs && s->max_rows > SCHEDULER_MIXED_ROWS ? SCHEDULER_MIXED_ROWS : s->max_rows;
	struct sequence *served = NULL;
	for (struct sequence *q = s->running; q; q = q->next) {
		if (q->ended || q->scheduled >= q->tokens || generates(q) || !has_room(s, &b, q))
			continue;
		uint32_t rows = q->tokens - q->scheduled, left = s->max_rows - b.st->rows;
		rows = rows > limit ? limit : rows;
		rows = rows > left ? left : rows;
		if (!cover(s, q, q->scheduled + rows))
			continue;
		put_rows(&b, q, rows);
		served = q;
		limit -= rows < limit ? rows : limit;
		if (limit == 0)
			break;
	}
	if (b.st->nseqs == 0) {
		free(b.st->seq);
		free(b.st);
		return NULL;
	}
	if (served && served->scheduled < served->tokens) {
		take_out(&s->running, served);
		append(&s->running, served);
	}
	b.st->number = ++s->steps;
	return b.st;
}

void scheduler_done(struct scheduler *s, struct scheduler_step *st,
        void (*left)(void *arg, struct sequence *q), void *arg) {
	for (uint32_t i = 0; i < st->nseqs; i++) {
		struct sequence *q = st->seq[i].seq;
		q->in_flight--;
		q->done += st->seq[i].rows;
		if (q->ended && q->in_flight == 0) {
			leave(s, q);
			left(arg, q);
		}
	}
	free(st->seq);
	free(st);
}

uint32_t scheduler_running(const struct scheduler *s) {
	return s->nrunning;
}

uint32_t scheduler_queued(const struct scheduler *s) {
	return s->nqueued;
}

uint32_t scheduler_free_blocks(const struct scheduler *s) {
	return s->nfree;
}

struct sequence *scheduler_at(const struct scheduler *s, uint32_t i) {
	for (struct sequence *q = s->running; q; q = q->next)
		if (i-- == 0)
			return q;
	for (struct sequence *q = s->queue; q; q = q->next)
		if (i-- == 0)
			return q;
	return NULL;
}
