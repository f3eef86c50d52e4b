/* scheduler: see scheduler.h.  Sequences that generate come first in every step, one row each, those that
 * have waited longest first; the rest of the step's rows goes to prompts, in turn.  A prompt waits while
 * another sequence computes the block that it needs next, so that of several prompts with the same beginning
 * only one computes it. */
#include "daemon/serve/coordinator/scheduler.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TAILQ_HEAD(sequence_list, sequence);

struct scheduler {
	uint32_t parallel, max_rows, stages, twice;
	struct kv_blocks *kv;
	uint32_t blocks;
	uint64_t promised; /* blocks that the running sequences may need until they end */
	uint64_t found;
	uint64_t served; /* sequences that have ended after they ran */
	struct sequence_list
	        running; /* in order of turn: a sequence that was served a prompt chunk goes last */
	struct sequence_list queue;
	uint32_t nrunning, nqueued;
	uint32_t decoding; /* steps in flight that carry next tokens */
	uint32_t ahead;    /* steps in flight with only drafted tokens */
	uint64_t steps;
	uint32_t *free_slot; /* a stack: of `parallel`, those that no running sequence has */
};

int scheduler_create(struct scheduler **out, const struct scheduler_config *c) {
	struct scheduler *s = calloc(1, sizeof *s);
	const struct kv_blocks_config kv = {
	        c->blocks, c->window_blocks, c->window, c->places, c->root, c->len};
	if (!s || !(s->free_slot = calloc(c->parallel ? c->parallel : 1, sizeof *s->free_slot)) ||
	        kv_blocks_create(&s->kv, &kv) != 0) {
		scheduler_destroy(s);
		return -ENOMEM;
	}
	s->parallel = c->parallel;
	for (uint32_t i = 0; i < c->parallel; i++)
		s->free_slot[i] = c->parallel - 1 - i;
	s->max_rows = c->max_rows;
	s->stages = c->stages;
	s->twice = c->twice;
	s->blocks = c->blocks;
	TAILQ_INIT(&s->running);
	TAILQ_INIT(&s->queue);
	*out = s;
	return 0;
}

void scheduler_destroy(struct scheduler *s) {
	if (!s)
		return;
	kv_blocks_destroy(s->kv);
	free(s->free_slot);
	free(s);
}

/* The sequence has had its turn. */
static void scheduler_move_last(struct scheduler *s, struct sequence *q) {
	TAILQ_REMOVE(&s->running, q, next);
	TAILQ_INSERT_TAIL(&s->running, q, next);
}

/* ---- the queue ----------------------------------------------------------------------------------- */

static uint64_t scheduler_blocks_for(uint32_t positions) {
	return ((uint64_t)positions + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
}

/* Counts the sequences of q's client in the list, up to q. */
static uint32_t scheduler_count_client(const struct sequence_list *list, const struct sequence *q) {
	uint32_t n = 0;
	for (const struct sequence *w = TAILQ_FIRST(list); w && w != q; w = TAILQ_NEXT(w, next))
		n += w->client == q->client;
	return n;
}

/* The turn of q: how many of its client's sequences are before it, running or waiting.  The lowest is next;
 * among equals, the one whose client's last sequence ended longest ago, then the one that came first. */
static uint32_t scheduler_turn_of(const struct scheduler *s, const struct sequence *q) {
	return scheduler_count_client(&s->running, q) + scheduler_count_client(&s->queue, q);
}

static struct sequence *scheduler_next_in_line(const struct scheduler *s) {
	struct sequence *best = NULL;
	uint32_t least = UINT32_MAX;
	for (struct sequence *q = TAILQ_FIRST(&s->queue); q; q = TAILQ_NEXT(q, next)) {
		uint32_t turn = scheduler_turn_of(s, q);
		if (turn < least || (turn == least && q->served < best->served)) {
			least = turn;
			best = q;
		}
	}
	return best;
}

/* A sequence of this client has run and ended. */
static void scheduler_client_served(struct scheduler *s, uint64_t client) {
	struct sequence *lists[] = {TAILQ_FIRST(&s->running), TAILQ_FIRST(&s->queue)};
	s->served++;
	for (int i = 0; i < 2; i++)
		for (struct sequence *q = lists[i]; q; q = TAILQ_NEXT(q, next))
			if (q->client == client)
				q->served = s->served;
}

static void scheduler_admit(struct scheduler *s) {
	struct sequence *q;
	while (s->nrunning < s->parallel && (q = scheduler_next_in_line(s))) {
		/* a sequence may run alone whatever it needs: waiting would free nothing more */
		if (s->nrunning && s->promised + scheduler_blocks_for(q->capacity) > s->blocks)
			return;
		TAILQ_REMOVE(&s->queue, q, next);
		s->nqueued--;
		TAILQ_INSERT_TAIL(&s->running, q, next);
		q->slot = s->free_slot[s->parallel - ++s->nrunning];
		s->promised += scheduler_blocks_for(q->capacity);
		q->running = true;
		q->queued = false;
		q->place = 0;
	}
}

void scheduler_places(struct scheduler *s, void (*moved)(void *arg, struct sequence *q), void *arg) {
	uint32_t turn[SCHEDULER_QUEUE_MAX + 1], n = 0;
	uint64_t served[SCHEDULER_QUEUE_MAX + 1];
	for (struct sequence *q = TAILQ_FIRST(&s->queue); q && n < SCHEDULER_QUEUE_MAX;
	        q = TAILQ_NEXT(q, next)) {
		served[n] = q->served;
		turn[n++] = scheduler_turn_of(s, q);
	}
	struct sequence *q = TAILQ_FIRST(&s->queue);
	for (uint32_t i = 0; i < n; i++, q = TAILQ_NEXT(q, next)) {
		uint32_t place = 1;
		for (uint32_t k = 0; k < n; k++)
			place += turn[k] < turn[i] ||
			         (turn[k] == turn[i] &&
			                 (served[k] < served[i] || (served[k] == served[i] && k < i)));
		if (place == q->place)
			continue;
		q->place = place;
		moved(arg, q);
	}
}

/* Whether a client or node with `waiting` sequences in the queue may add one. */
static bool scheduler_may_queue(const struct scheduler *s, uint32_t waiting) {
	return waiting < SCHEDULER_QUEUE_MAX - s->nqueued;
}

int scheduler_add(struct scheduler *s, struct sequence *q) {
	uint32_t its_client = 0, its_node = 0;
	uint64_t served = s->served;
	for (const struct sequence *w = TAILQ_FIRST(&s->running); w; w = TAILQ_NEXT(w, next))
		served = w->client == q->client ? w->served : served;
	for (const struct sequence *w = TAILQ_FIRST(&s->queue); w; w = TAILQ_NEXT(w, next)) {
		its_client += w->client == q->client;
		its_node += w->author == q->author;
		served = w->client == q->client ? w->served : served;
	}
	if (!scheduler_may_queue(s, its_client) || !scheduler_may_queue(s, its_node))
		return -EBUSY;
	q->served = served;
	TAILQ_INIT(&q->at_work);
	TAILQ_INSERT_TAIL(&s->queue, q, next);
	q->queued = true;
	s->nqueued++;
	scheduler_admit(s);
	return 0;
}

/* ---- the prefix cache ---------------------------------------------------------------------------- */

/* How many full blocks there are before its last token. */
static uint32_t scheduler_full_before(const struct sequence *q) {
	return q->tokens ? (q->tokens - 1) / KERN_KV_BLOCK : 0;
}

/* Adds full blocks of q that are certainly written to the cache. */
static void scheduler_share_blocks(struct scheduler *s, struct sequence *q) {
	uint32_t sure = q->tokens - q->provisional;
	kv_blocks_share(s->kv, &q->kv, q->log, (q->written < sure ? q->written : sure) / KERN_KV_BLOCK,
	        q->in_flight > 0);
}

/* Gives back the window blocks that neither a step in flight nor a later one sees: those are seen that begin before what a step in
 * flight writes, before what may be rolled back, or before what comes next. */
static void scheduler_forget_windows(struct scheduler *s, struct sequence *q) {
	uint32_t sure = q->tokens - q->provisional, next = q->in_flight ? q->written : q->scheduled;
	kv_blocks_forget(s->kv, &q->kv, next < sure ? next : sure);
}

/* Whether the cache may supply q's next block: all blocks before it are shared, and it does not hold q's last
 * position, which is always computed because its output is wanted. */
static bool scheduler_may_reuse(const struct sequence *q) {
	return !q->all_outputs && q->kv.shared == q->kv.nblocks &&
	       q->scheduled == q->kv.shared * KERN_KV_BLOCK && q->scheduled + KERN_KV_BLOCK < q->tokens;
}

/* Positions of a prompt, or tokens, that are in no step yet. */
static uint32_t scheduler_unscheduled_rows(const struct sequence *q) {
	uint32_t end = q->limit && q->limit < q->tokens ? q->limit : q->tokens;
	return q->ended || q->held || q->scheduled >= end ? 0 : end - q->scheduled;
}

/* The kept state that its next rows begin with is another one: 1 + its place, or 0. */
static void scheduler_begin_elsewhere(struct scheduler *s, struct sequence *q, uint32_t begin) {
	if (begin)
		kept_states_pin(kv_blocks_kept(s->kv), begin - 1);
	if (q->begin)
		kept_states_unpin(kv_blocks_kept(s->kv), q->begin - 1);
	q->begin = begin;
}

/* Advances a prompt by the blocks that the cache has. */
static void scheduler_reuse_blocks(struct scheduler *s, struct sequence *q) {
	const struct kept_states *kept = kv_blocks_kept(s->kv);
	uint32_t n =
	        scheduler_may_reuse(q) ? kv_blocks_reuse(s->kv, &q->kv, q->log, scheduler_full_before(q)) : 0;
	if (n == 0)
		return;
	q->scheduled += n * KERN_KV_BLOCK;
	q->first = q->done = q->written = q->scheduled;
	s->found += n * KERN_KV_BLOCK;
	if (kept)
		scheduler_begin_elsewhere(s, q, 1 + kept_states_find(kept, q->kv.block[q->kv.shared - 1]));
}

/* The same for a model with recurrent layers: a running prompt that is ahead of q, with the same tokens, will keep its state. */
static bool scheduler_awaits_state(const struct scheduler *s, const struct sequence *q) {
	for (const struct sequence *r = TAILQ_FIRST(&s->running); r; r = TAILQ_NEXT(r, next)) {
		uint32_t full = scheduler_full_before(r), end = full * KERN_KV_BLOCK;
		if (r != q && !r->ended && !r->all_outputs &&
		        (r->in_flight || scheduler_unscheduled_rows(r)) && r->scheduled > q->scheduled &&
		        r->written < end && end > q->scheduled && full <= scheduler_full_before(q) &&
		        memcmp(r->log, q->log, end * sizeof *q->log) == 0)
			return true;
	}
	return false;
}

/* Whether another sequence with the same tokens has a step in flight that writes the block that q needs
 * next. */
static bool scheduler_awaits_block(const struct scheduler *s, const struct sequence *q) {
	uint32_t end = q->scheduled + KERN_KV_BLOCK;
	if (!scheduler_may_reuse(q))
		return false;
	if (kv_blocks_kept(s->kv))
		return scheduler_awaits_state(s, q);
	for (const struct sequence *r = TAILQ_FIRST(&s->running); r; r = TAILQ_NEXT(r, next))
		if (r != q && !r->ended && r->in_flight && r->scheduled >= end && r->written < end &&
		        memcmp(r->log, q->log, end * sizeof *q->log) == 0)
			return true;
	return false;
}

/* ---- sequences that leave ------------------------------------------------------------------------ */

static void scheduler_remove(struct scheduler *s, struct sequence *q) {
	if (q->running) {
		TAILQ_REMOVE(&s->running, q, next);
		s->free_slot[s->parallel - s->nrunning--] = q->slot;
		scheduler_begin_elsewhere(s, q, 0);
		scheduler_client_served(s, q->client);
		s->promised -= scheduler_blocks_for(q->capacity);
	} else if (q->queued) {
		TAILQ_REMOVE(&s->queue, q, next);
		s->nqueued--;
	}
	q->running = q->queued = false;
	scheduler_share_blocks(s, q);
	kv_blocks_free(s->kv, &q->kv);
	scheduler_admit(s);
}

bool scheduler_end(struct scheduler *s, struct sequence *q) {
	q->ended = true;
	if (q->in_flight)
		return false;
	scheduler_remove(s, q);
	return true;
}

/* ---- steps --------------------------------------------------------------------------------------- */

struct build {
	struct scheduler_step *st;
	uint32_t table;
};

/* Bytes of q's tables in a step, if they had so many blocks more. */
static uint32_t scheduler_table_bytes(const struct sequence *q, uint32_t more) {
	uint32_t blocks = q->kv.nblocks + more, windows = q->kv.window ? blocks - q->kv.first_window : 0;
	return (blocks + windows) * (uint32_t)sizeof *q->kv.block;
}

/* Whether the state behind block i is to be kept when rows of e pass its end. */
static bool scheduler_wants_state(const struct sequence *q, const struct scheduled *e, uint32_t i) {
	bool met = i + 1 == q->kv.met, ends = i + 1 == scheduler_full_before(q);
	return met || ends || e->position + 1 >= q->tokens;
}

/* What e says of recurrent states. */
static void scheduler_put_states(struct scheduler *s, struct scheduled *e) {
	struct sequence *q = e->seq;
	struct kept_states *kept = kv_blocks_kept(s->kv);
	uint64_t step = s->steps + 1;
	uint32_t end = e->position + e->rows, sure = q->tokens - q->provisional;
	e->open = end > sure ? end - sure : 0;
	if ((e->begin = q->begin))
		kept_states_use(kept, q->begin - 1, step);
	scheduler_begin_elsewhere(s, q, 0);
	for (uint32_t i = e->position / KERN_KV_BLOCK; (i + 1) * KERN_KV_BLOCK <= end && !q->all_outputs;
	        i++) {
		bool has = kept_states_find(kept, q->kv.block[i]) != KEPT_NONE;
		if (!has && !scheduler_wants_state(q, e, i))
			continue;
		if (e->nkeeps == SCHEDULER_KEEPS_MAX) {
			kept_states_drop(kept, q->kv.block[i]);
			continue;
		}
		if (!has && e->position + 1 >= q->tokens) {
			if (q->rolling)
				kept_states_drop(kept, q->kv.block[q->rolling - 1]);
			q->rolling = i + 1;
		}
		uint32_t place = kept_states_take(kept, q->kv.block[i], step);
		if (place != KEPT_NONE)
			e->keep[e->nkeeps++] = (struct scheduled_keep){(i + 1) * KERN_KV_BLOCK, place};
	}
}

static void scheduler_put_rows(struct scheduler *s, struct build *b, struct sequence *q, uint32_t rows) {
	uint32_t end = q->scheduled + rows, first = q->scheduled < q->tokens ? q->tokens - 1 : q->scheduled;
	struct scheduled *e = &b->st->seq[b->st->nseqs++];
	*e = (struct scheduled){.seq = q,
	        .rows = rows,
	        .position = q->scheduled,
	        .outputs = q->all_outputs ? rows
	                   : end > first  ? end - first
	                                  : 0,
	        .version = q->version,
	        .kept = rows};
	b->st->rows += rows;
	b->st->outputs += e->outputs;
	b->table += scheduler_table_bytes(q, 0);
	if (kv_blocks_kept(s->kv))
		scheduler_put_states(s, e);
	q->scheduled += rows;
	q->in_flight++;
	TAILQ_INSERT_TAIL(&q->at_work, e, next);
}

static bool scheduler_has_capacity(
        const struct scheduler *s, const struct build *b, const struct sequence *q) {
	/* +1: the block that this row may need */
	return b->st->rows < s->max_rows && b->st->nseqs < SCHEDULER_SEQS_MAX &&
	       (b->st->nseqs == 0 || b->table + scheduler_table_bytes(q, 1) <= SCHEDULER_TABLE_MAX);
}

/* Whether its prompt is done and it has one new token. */
static bool scheduler_is_generating(const struct sequence *q) {
	return !q->ended && !q->held && !q->all_outputs && q->done > 0 && q->done == q->scheduled &&
	       q->tokens == q->scheduled + 1;
}

/* Whether its answer is being generated: it has a next token, or a step in flight will bring it. */
static bool scheduler_is_answered(const struct sequence *q) {
	return !q->ended && !q->all_outputs && q->scheduled > 0 && q->tokens <= q->scheduled + 1;
}

/* The number of drafted tokens to send with q's next token; allocates their blocks. */
static uint32_t scheduler_drafted_rows(struct scheduler *s, const struct build *b, struct sequence *q) {
	uint32_t left = s->max_rows - b->st->rows - 1, n = q->drafted < left ? q->drafted : left;
	n = n < SCHEDULER_DRAFT_MAX ? n : SCHEDULER_DRAFT_MAX;
	return kv_blocks_allocate(s->kv, &q->kv, q->scheduled + 1 + n) ? n : 0;
}

/* While stages are idle: adds drafted tokens that follow others in flight. */
static void scheduler_put_ahead(struct scheduler *s, struct build *b) {
	for (struct sequence *q = TAILQ_FIRST(&s->running); q; q = TAILQ_NEXT(q, next))
		if (scheduler_unscheduled_rows(q) > 0) /* its own next token comes first, and is due */
			return;
	for (struct sequence *q = TAILQ_FIRST(&s->running);
	        q && b->st->nseqs == 0 && s->decoding + s->ahead < s->stages; q = TAILQ_NEXT(q, next)) {
		uint32_t end = q->tokens + q->drafted;
		if (q->ended || !q->in_flight || q->scheduled < q->tokens || q->scheduled >= end ||
		        !scheduler_has_capacity(s, b, q))
			continue;
		uint32_t n =
		        end - q->scheduled < SCHEDULER_DRAFT_MAX ? end - q->scheduled : SCHEDULER_DRAFT_MAX;
		n = n < s->max_rows ? n : s->max_rows;
		if (!kv_blocks_allocate(s->kv, &q->kv, q->scheduled + n))
			continue;
		scheduler_put_rows(s, b, q, n);
		b->st->ahead = true;
	}
}

/* Next tokens: adds a group of the sequences that generate, as large as gives every stage a group. */
static void scheduler_put_tokens(struct scheduler *s, struct build *b, uint32_t answered) {
	uint32_t group = (answered + s->stages - 1) / s->stages;
	if (answered == 0 || s->decoding >= (answered + group - 1) / group)
		return;
	for (struct sequence *q = TAILQ_FIRST(&s->running); q && b->st->nseqs < group;
	        q = TAILQ_NEXT(q, next))
		if (scheduler_is_generating(q) && scheduler_has_capacity(s, b, q) &&
		        kv_blocks_allocate(s->kv, &q->kv, q->scheduled + 1))
			scheduler_put_rows(s, b, q, 1 + scheduler_drafted_rows(s, b, q));
	b->st->generating = b->st->nseqs;
}

/* The cost of `rows` rows of a prompt from a position on, in units of a row at position 0. */
static double scheduler_row_cost(const struct scheduler *s, uint32_t position, uint32_t rows) {
	double look_back = s->twice ? (position + rows / 2.0) / s->twice : 0;
	return rows * (1 + look_back);
}

/* A step's budget for rows of prompts: their total cost, and the fewest rows to take of a longer prompt. */
struct portion {
	double cost;
	uint32_t least;
};

/* How many rows from a position on use up the budget; rounded to whole blocks, unless few. */
static uint32_t scheduler_rows_worth(const struct scheduler *s, uint32_t position, const struct portion *p) {
	double here = (double)s->twice + position,
	       rows = s->twice ? sqrt(here * here + 2.0 * s->twice * p->cost) - here : p->cost;
	if (s->twice && rows > KERN_KV_BLOCK / 2)
		rows = floor(rows / KERN_KV_BLOCK + 0.5) * KERN_KV_BLOCK;
	return rows < p->least ? p->least : rows < s->max_rows ? (uint32_t)rows : s->max_rows;
}

static struct portion scheduler_prompt_portion(const struct scheduler *s, uint32_t answered) {
	double all = 0;
	if (answered)
		return (struct portion){SCHEDULER_MIXED_ROWS, SCHEDULER_FEW_ROWS};
	if (s->stages == 1)
		return (struct portion){INFINITY, SCHEDULER_FEW_ROWS};
	for (const struct sequence *q = TAILQ_FIRST(&s->running); q; q = TAILQ_NEXT(q, next))
		all += scheduler_unscheduled_rows(q) ? scheduler_row_cost(s, q->first, q->tokens - q->first)
		                                     : 0;
	/* four chunks per stage: filling and draining the pipeline is then a fifth of the time */
	all /= 4 * s->stages;
	return (struct portion){all < SCHEDULER_CHUNK_ROWS ? SCHEDULER_CHUNK_ROWS : all, KERN_KV_BLOCK};
}

/* Adds prompts, in turn; the one that was served last goes to the end. */
static void scheduler_put_prompts(struct scheduler *s, struct build *b, struct portion p) {
	struct sequence *served = NULL;
	for (struct sequence *q = TAILQ_FIRST(&s->running); q && p.cost >= 1; q = TAILQ_NEXT(q, next)) {
		if (scheduler_unscheduled_rows(q) == 0 || scheduler_is_generating(q))
			continue;
		scheduler_reuse_blocks(s, q);
		if (scheduler_awaits_block(s, q) || !scheduler_has_capacity(s, b, q))
			continue;
		uint32_t rows = scheduler_unscheduled_rows(q),
		         worth = scheduler_rows_worth(s, q->scheduled, &p), left = s->max_rows - b->st->rows;
		rows = rows > worth ? worth : rows;
		rows = rows > left ? left : rows;
		if (!kv_blocks_allocate(s->kv, &q->kv, q->scheduled + rows))
			continue;
		p.cost -= scheduler_row_cost(s, q->scheduled, rows);
		p.least = 1; /* others get what is left of the budget */
		scheduler_put_rows(s, b, q, rows);
		served = q;
	}
	if (served && served->scheduled < served->tokens)
		scheduler_move_last(s, served);
}

struct scheduler_step *scheduler_next(struct scheduler *s) {
	uint32_t answered = scheduler_answered(s);
	struct build b = {.st = calloc(1, sizeof *b.st)};
	if (!b.st || !(b.st->seq = calloc(s->nrunning ? s->nrunning : 1, sizeof *b.st->seq))) {
		free(b.st);
		return NULL;
	}
	scheduler_put_tokens(s, &b, answered);
	for (uint32_t i = 0; i < b.st->generating && b.st->generating < answered; i++)
		scheduler_move_last(s, b.st->seq[i].seq);
	scheduler_put_prompts(s, &b, scheduler_prompt_portion(s, answered));
	if (b.st->nseqs == 0)
		scheduler_put_ahead(s, &b);
	if (b.st->nseqs == 0) {
		free(b.st->seq);
		free(b.st);
		return NULL;
	}
	s->decoding += b.st->generating > 0;
	s->ahead += b.st->ahead;
	b.st->number = ++s->steps;
	return b.st;
}

bool scheduler_entry_valid(const struct scheduled *e) {
	return !e->seq->ended && e->version == e->seq->version;
}

void scheduler_reject(struct scheduled *e, uint32_t kept) {
	struct sequence *q = e->seq;
	e->kept = kept;
	e->version = ++q->version;
	q->drafted = 0;
	q->scheduled = e->position + kept;
}

void scheduler_roll_back(struct sequence *q, uint32_t tokens) {
	q->tokens = tokens;
	q->provisional = 0;
	if (q->scheduled < tokens)
		return;
	q->version++;
	q->scheduled = tokens - 1;
	q->done = q->done < q->scheduled ? q->done : q->scheduled;
	q->written = q->written < q->scheduled ? q->written : q->scheduled;
}

/* Steps do not end in the order in which they were made: one without outputs ends before an older one with outputs.  So what is
 * before the first that is not back is written.  What follows a lost step depends on what that step did not write, and never
 * counts. */
static void scheduler_note_written(struct sequence *q) {
	const struct scheduled *e = TAILQ_FIRST(&q->at_work);
	while (e && e->version != q->version)
		e = TAILQ_NEXT(e, next);
	q->written = e ? e->position : q->scheduled;
	if (q->gap && q->gap <= q->written)
		q->written = q->gap - 1;
}

static void scheduler_finish_step(struct scheduler *s, struct scheduler_step *st, bool whole,
        void (*left)(void *arg, struct sequence *q), void *arg) {
	s->decoding -= st->generating > 0;
	s->ahead -= st->ahead;
	for (uint32_t i = 0; i < st->nseqs; i++) {
		struct scheduled *e = &st->seq[i];
		struct sequence *q = e->seq;
		q->in_flight--;
		TAILQ_REMOVE(&q->at_work, e, next);
		if (e->version == q->version) {
			q->done += e->kept;
			if ((!whole || e->lost) && (!q->gap || e->position < q->gap))
				q->gap = e->position + 1;
		}
		scheduler_note_written(q);
		scheduler_share_blocks(s, q);
		scheduler_forget_windows(s, q);
		if (q->ended && q->in_flight == 0) {
			scheduler_remove(s, q);
			left(arg, q);
		}
	}
	free(st->seq);
	free(st);
}

void scheduler_done(struct scheduler *s, struct scheduler_step *st,
        void (*left)(void *arg, struct sequence *q), void *arg) {
	scheduler_finish_step(s, st, true, left, arg);
}

void scheduler_lost(struct scheduler *s, struct scheduler_step *st,
        void (*left)(void *arg, struct sequence *q), void *arg) {
	scheduler_finish_step(s, st, false, left, arg);
}

uint32_t scheduler_running(const struct scheduler *s) {
	return s->nrunning;
}

uint32_t scheduler_answered(const struct scheduler *s) {
	uint32_t n = 0;
	for (const struct sequence *q = TAILQ_FIRST(&s->running); q; q = TAILQ_NEXT(q, next))
		n += scheduler_is_answered(q);
	return n;
}

uint32_t scheduler_queued(const struct scheduler *s) {
	return s->nqueued;
}

uint32_t scheduler_free_blocks(const struct scheduler *s) {
	return kv_blocks_available(s->kv);
}

uint32_t scheduler_free_windows(const struct scheduler *s) {
	return kv_blocks_windows_available(s->kv);
}

uint64_t scheduler_found(const struct scheduler *s) {
	return s->found;
}

const struct prefix *scheduler_prefix(const struct scheduler *s) {
	return kv_blocks_prefix(s->kv);
}

struct sequence *scheduler_at(const struct scheduler *s, uint32_t i) {
	for (struct sequence *q = TAILQ_FIRST(&s->running); q; q = TAILQ_NEXT(q, next))
		if (i-- == 0)
			return q;
	for (struct sequence *q = TAILQ_FIRST(&s->queue); q; q = TAILQ_NEXT(q, next))
		if (i-- == 0)
			return q;
	return NULL;
}
