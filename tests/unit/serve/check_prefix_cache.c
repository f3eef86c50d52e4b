/* prefix: what is found, what goes first, and a scheduler with the cache beside a model of KV memory: whatever
 * comes, ends, is cancelled or lost, every step reads what its sequence's tokens say and no other's blocks. */
#include "daemon/serve/coordinator/prefix_cache.h"
#include "shard/model/hparams.h"
#include "tests/unit/serve/sequences.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

enum { N = KERN_KV_BLOCK };

static struct prefix *cache(uint32_t blocks) {
	struct prefix *p;
	ck_assert_int_eq(prefix_create(&p, blocks, "root", 4), 0);
	return p;
}

static void fill(uint32_t *tokens, uint32_t with) {
	for (uint32_t i = 0; i < N; i++)
		tokens[i] = with * 1000 + i;
}

/* ---- the cache alone ----------------------------------------------------------------------------- */

START_TEST(found_by_all_tokens_and_what_is_before) {
	struct prefix *p = cache(4);
	uint32_t t[N];
	fill(t, 1);
	ck_assert_uint_eq(prefix_find(p, PREFIX_NONE, t), PREFIX_NONE);
	prefix_add(p, 3, PREFIX_NONE, t);
	prefix_add(p, 1, 3, t);
	ck_assert_uint_eq(prefix_find(p, PREFIX_NONE, t), 3);
	ck_assert_uint_eq(prefix_find(p, 3, t), 1);
	ck_assert_uint_eq(prefix_find(p, 1, t), PREFIX_NONE);
	for (uint32_t i = 0; i < N; i++) {
		t[i] ^= 1;
		ck_assert_uint_eq(prefix_find(p, PREFIX_NONE, t), PREFIX_NONE);
		ck_assert_uint_eq(prefix_find(p, 3, t), PREFIX_NONE);
		t[i] ^= 1;
	}
	prefix_destroy(p);
}
END_TEST

/* A table of 8 places with 8 blocks in it: most of what is asked for meets some of them there. */
START_TEST(a_common_place_is_no_hit) {
	struct prefix *p = cache(8);
	uint32_t t[N], before = PREFIX_NONE;
	for (uint32_t b = 0; b < 8; b++) {
		fill(t, b);
		prefix_add(p, b, before, t);
		before = b % 2 ? PREFIX_NONE : b;
	}
	for (uint32_t i = 8; i < 20000; i++) {
		fill(t, i);
		ck_assert_uint_eq(prefix_find(p, i % 9 == 8 ? PREFIX_NONE : i % 9, t), PREFIX_NONE);
	}
	/* and of what is there, only behind the block that it came after */
	uint32_t found = 0;
	for (uint32_t b = 0; b < 8; b++)
		for (uint32_t at = 0; at <= 8; at++) {
			fill(t, b);
			uint32_t got = prefix_find(p, at == 8 ? PREFIX_NONE : at, t);
			ck_assert(got == PREFIX_NONE || (got == b && at == (b % 2 ? b - 1 : 8)));
			found += got == b;
		}
	ck_assert_uint_eq(found, 8);
	prefix_destroy(p);
}
END_TEST

START_TEST(oldest_leaf_first) {
	struct prefix *p = cache(8);
	uint32_t t[N], none;
	/* 0 - 1 - 2 and 0 - 3 - 4; and 5 alone */
	for (uint32_t b = 0; b < 6; b++) {
		fill(t, b);
		if (b == 3)
			prefix_use(p, 0);
		prefix_add(p, b, b == 0 || b == 5 ? PREFIX_NONE : b == 3 ? 0 : b - 1, t);
	}
	ck_assert_uint_eq(prefix_evict(p, &none), PREFIX_NONE); /* all are used */
	static const uint32_t first[] = {2, 1, 0}, second[] = {4, 3, 0}, order[] = {2, 1, 4, 3, 0};
	for (size_t i = 0; i < 3; i++)
		prefix_release(p, first[i]);
	prefix_release(p, 5);
	for (size_t i = 0; i < 3; i++)
		prefix_release(p, second[i]);
	ck_assert_uint_eq(prefix_idle(p), 6);
	prefix_use(p, 5); /* found again: it is young now, but used */
	for (size_t i = 0; i < 5; i++) {
		ck_assert_uint_eq(prefix_evict(p, &none), order[i]);
		ck_assert(!prefix_has(p, order[i]));
	}
	ck_assert_uint_eq(prefix_evict(p, &none), PREFIX_NONE);
	ck_assert_uint_eq(none, PREFIX_NONE);
	ck_assert_uint_eq(prefix_users(p, 5), 1);
	fill(t, 5);
	ck_assert_uint_eq(prefix_find(p, PREFIX_NONE, t), 5);
	fill(t, 0);
	ck_assert_uint_eq(prefix_find(p, PREFIX_NONE, t), PREFIX_NONE);
	prefix_destroy(p);
}
END_TEST

/* Window blocks that were passed go first, the oldest first; then the others; and each with its block. */
START_TEST(windows_in_order) {
	struct prefix *p = cache(8);
	uint32_t t[N], window;
	for (uint32_t b = 0; b < 5; b++) {
		fill(t, b);
		prefix_add(p, b, b ? b - 1 : PREFIX_NONE, t);
		ck_assert_uint_eq(prefix_window(p, b), PREFIX_NONE);
		prefix_add_window(p, b, 10 + b);
	}
	ck_assert_uint_eq(prefix_evict_window(p), PREFIX_NONE); /* all are used */
	prefix_release_window(p, 3, false);
	prefix_release_window(p, 1, true);
	prefix_release_window(p, 0, true);
	prefix_use_window(p, 4);
	prefix_release_window(p, 4, false); /* another still uses it */
	ck_assert_uint_eq(prefix_idle_windows(p), 3);
	prefix_use_window(p, 1); /* found again, and passed again: it is young now */
	ck_assert_uint_eq(prefix_window_users(p, 1), 1);
	prefix_release_window(p, 1, true);
	static const uint32_t order[] = {0, 1, 3};
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(prefix_evict_window(p), 10 + order[i]);
		ck_assert_uint_eq(prefix_window(p, order[i]), PREFIX_NONE);
		ck_assert(prefix_has(p, order[i]));
	}
	ck_assert_uint_eq(prefix_evict_window(p), PREFIX_NONE);
	prefix_add_window(p, 3, 9); /* computed again */
	prefix_release_window(p, 3, true);
	prefix_release_window(p, 4, false);
	prefix_release_window(p, 2, false);
	for (uint32_t b = 5; b-- > 0;)
		prefix_release(p, b);
	ck_assert_uint_eq(prefix_evict(p, &window), 4);
	ck_assert_uint_eq(window, 14);
	ck_assert_uint_eq(prefix_evict(p, &window), 3);
	ck_assert_uint_eq(window, 9);
	ck_assert_uint_eq(prefix_evict(p, &window), 2);
	ck_assert_uint_eq(window, 12);
	ck_assert_uint_eq(prefix_idle_windows(p), 0);
	prefix_destroy(p);
}
END_TEST

/* Random chains against the rule spelled out: of idle blocks with nothing after them the one released longest ago. */
START_TEST(order_of_eviction_at_random) {
	enum { BLOCKS = 40, CHAINS = 6 };
	struct prefix *p = cache(BLOCKS);
	struct {
		bool held;
		uint32_t before, after, users;
		uint64_t released;
	} m[BLOCKS] = {{0}};
	uint32_t version[CHAINS][8], len[CHAINS] = {0}, t[N], none, evicted = 0, deep = 0;
	uint64_t clock = 0;
	srand(3);
	for (int round = 0; round < 20000; round++) {
		uint32_t c = (uint32_t)rand() % CHAINS;
		if (len[c]) {
			while (len[c]) {
				uint32_t b = version[c][--len[c]];
				prefix_release(p, b);
				m[b].released = ++clock;
				m[b].users--;
			}
			continue;
		}
		for (uint32_t want = 1 + (uint32_t)rand() % 8; len[c] < want;) {
			uint32_t before = len[c] ? version[c][len[c] - 1] : PREFIX_NONE, b;
			fill(t, (uint32_t)rand() % 3);
			if ((b = prefix_find(p, before, t)) != PREFIX_NONE) {
				prefix_use(p, b);
				m[b].users++;
			} else {
				for (b = 0; b < BLOCKS && m[b].held; b++)
					;
				if (b == BLOCKS) {
					uint32_t best = PREFIX_NONE;
					for (uint32_t i = 0; i < BLOCKS; i++)
						if (m[i].users == 0 && m[i].after == 0 &&
						        (best == PREFIX_NONE ||
						                m[i].released < m[best].released))
							best = i;
					b = prefix_evict(p, &none);
					ck_assert_uint_eq(b, best);
					if (b == PREFIX_NONE)
						break;
					evicted++;
					m[b].held = false;
					if (m[b].before != PREFIX_NONE) {
						m[m[b].before].after--;
						deep++;
					}
				}
				prefix_add(p, b, before, t);
				m[b].held = true;
				m[b].before = before;
				m[b].after = 0;
				m[b].users = 1;
				if (before != PREFIX_NONE)
					m[before].after++;
			}
			version[c][len[c]++] = b;
		}
	}
	ck_assert_uint_gt(evicted, 1000);
	ck_assert_uint_gt(deep, 500);
	prefix_destroy(p);
}
END_TEST

/* ---- the scheduler with it ----------------------------------------------------------------------- */

static void end(struct scheduler *s, struct sequence *q) {
	if (scheduler_end(s, q))
		left(NULL, q);
}

/* Runs everything there is to do; a sequence whose last position was computed gets a token until its room is full. */
static uint32_t run(struct scheduler *s) {
	uint32_t rows = 0;
	for (struct scheduler_step *st; (st = scheduler_next(s));) {
		rows += st->rows;
		back(s, st);
	}
	return rows;
}

START_TEST(next_turn_computes_what_is_new) {
	struct scheduler *s = scheduler(16, 2, 512);
	struct sequence *q = sequence(200, 300);
	scheduler_add(s, q);
	ck_assert_uint_eq(run(s), 300);
	ck_assert_uint_eq(prefix_idle(scheduler_prefix(s)), 0);
	end(s, q);
	ck_assert_uint_eq(prefix_idle(scheduler_prefix(s)), 4);
	ck_assert_uint_eq(scheduler_free_blocks(s), 16); /* what is kept counts as free */
	/* the prompt, the answer, and something new: the answer's full blocks are there as well */
	q = sequence(330, 330);
	q->log[320] = 7;
	scheduler_add(s, q);
	ck_assert_uint_eq(run(s), 330 - 4 * N);
	ck_assert_uint_eq(scheduler_found(s), 4 * N);
	end(s, q);
	/* of a prompt that is there whole the last position is computed all the same */
	q = sequence(4 * N, 4 * N);
	scheduler_add(s, q);
	struct scheduler_step *st = scheduler_next(s);
	ck_assert_uint_eq(st->rows, N);
	ck_assert_uint_eq(st->outputs, 1);
	ck_assert_uint_eq(scheduler_found(s), 7 * N);
	scheduler_done(s, st, left, NULL);
	end(s, q);
	scheduler_destroy(s);
}
END_TEST

START_TEST(prompts_that_come_together_are_computed_once) {
	struct scheduler *s = scheduler(64, 4, 128);
	struct sequence *q[4];
	for (uint32_t i = 0; i < 4; i++) {
		scheduler_add(s, q[i] = sequence(400, 401));
		q[i]->log[390] = i; /* forks in the seventh block */
	}
	/* several steps in flight */
	struct scheduler_step *flight[3] = {scheduler_next(s), scheduler_next(s)};
	uint32_t rows = 0;
	for (uint32_t n = 2; n > 0;) {
		rows += flight[0]->rows;
		scheduler_done(s, flight[0], left, NULL);
		memmove(flight, flight + 1, 2 * sizeof *flight);
		n--;
		while (n < 3 && (flight[n] = scheduler_next(s)))
			n++;
	}
	ck_assert_uint_eq(rows, 400 + 3 * (400 - 6 * N));
	ck_assert_uint_eq(scheduler_found(s), 3 * 6 * N);
	for (uint32_t i = 1; i < 4; i++) {
		ck_assert_uint_eq(memcmp(q[i]->kv.block, q[0]->kv.block, 6 * sizeof(uint32_t)), 0);
		ck_assert_uint_ne(q[i]->kv.block[6], q[i - 1]->kv.block[6]);
	}
	ck_assert_uint_eq(prefix_users(scheduler_prefix(s), q[0]->kv.block[5]), 4);
	ck_assert_uint_eq(scheduler_free_blocks(s), 64 - 6 - 4);
	for (uint32_t i = 0; i < 4; i++)
		end(s, q[i]);
	scheduler_destroy(s);
}
END_TEST

START_TEST(equal_blocks_become_one) {
	struct scheduler *s = scheduler(8, 4, 512);
	struct sequence *q = sequence(60, 66), *r = sequence(60, 66);
	scheduler_add(s, q);
	scheduler_add(s, r);
	run(s);
	ck_assert_uint_eq(q->kv.block[0], r->kv.block[0]);
	ck_assert_uint_ne(q->kv.block[1], r->kv.block[1]);
	ck_assert_uint_eq(scheduler_free_blocks(s), 8 - 3);
	end(s, q);
	end(s, r);
	scheduler_destroy(s);
}
END_TEST

START_TEST(a_block_that_a_step_names_is_not_given_up) {
	struct scheduler *s = scheduler(8, 4, N);
	struct sequence *q = sequence(2 * N, 2 * N), *r = sequence(2 * N, 2 * N);
	scheduler_add(s, q);
	run(s);
	r->all_outputs = true; /* finds nothing, and so computes the same again */
	scheduler_add(s, r);
	struct scheduler_step *a = scheduler_next(s), *b = scheduler_next(s);
	uint32_t own = r->kv.block[0];
	scheduler_done(s, a, left, NULL);
	ck_assert_uint_eq(r->kv.block[0], own);
	ck_assert_uint_eq(scheduler_free_blocks(s), 4);
	scheduler_done(s, b, left, NULL);
	ck_assert_uint_eq(memcmp(q->kv.block, r->kv.block, 2 * sizeof own), 0);
	ck_assert_uint_eq(scheduler_free_blocks(s), 6);
	ck_assert_uint_eq(scheduler_found(s), 0);
	end(s, q);
	end(s, r);
	scheduler_destroy(s);
}
END_TEST

START_TEST(what_a_lost_step_leaves_is_not_kept) {
	struct scheduler *s = scheduler(8, 4, N);
	struct sequence *q = sequence(3 * N, 3 * N + 1);
	scheduler_add(s, q);
	struct scheduler_step *a = scheduler_next(s), *b = scheduler_next(s), *c = scheduler_next(s);
	scheduler_done(s, a, left, NULL);
	scheduler_lost(s, b, left, NULL);
	ck_assert(!scheduler_end(s, q));
	nleft = 0;
	scheduler_done(s, c, left, NULL);
	ck_assert_uint_eq(nleft, 1);
	ck_assert_uint_eq(prefix_idle(scheduler_prefix(s)), 1);
	ck_assert_uint_eq(scheduler_free_blocks(s), 8);
	scheduler_destroy(s);
}
END_TEST

/* Steps without outputs overtake others at their end.  Whatever their order, what is written is known, and a prompt that waits for its
 * beginning goes on. */
START_TEST(steps_end_in_another_order) {
	static const uint32_t order[] = {1, 3, 0, 2}, written[] = {0, 0, 2, 4};
	struct scheduler *s;
	struct scheduler_step *st[5], *more;
	struct sequence *q = sequence(5 * N, 6 * N), *r = sequence(5 * N, 6 * N);
	ck_assert_int_eq(scheduler_create(&s, &(struct scheduler_config){.blocks = 16,
	                                              .parallel = 2,
	                                              .places = 5,
	                                              .max_rows = N,
	                                              .stages = 4,
	                                              .root = ""}),
	        0);
	scheduler_add(s, q);
	for (uint32_t i = 0; i < 5; i++)
		st[i] = scheduler_next(s);
	for (uint32_t i = 0; i < 4; i++) {
		scheduler_done(s, st[order[i]], left, NULL);
		ck_assert_uint_eq(q->written, written[i] * N);
		ck_assert_uint_eq(q->kv.shared, written[i]);
	}
	back(s, st[4]);
	/* a wrong draft, with a step behind it */
	q->drafted = 4;
	st[0] = scheduler_next(s);
	q->drafted = 6;
	st[1] = scheduler_next(s);
	ck_assert_uint_eq(st[1]->seq[0].position, 5 * N + 5);
	q->tokens++;
	scheduler_reject(&st[0]->seq[0], 1);
	scheduler_done(s, st[0], left, NULL);
	ck_assert_uint_eq(q->written, 5 * N + 1);
	more = scheduler_next(s);
	scheduler_lost(s, st[1], left, NULL);
	ck_assert_uint_eq(q->written, 5 * N + 1);
	back(s, more);
	ck_assert_uint_eq(q->written, 5 * N + 2);
	scheduler_add(s, r);
	more = scheduler_next(s);
	ck_assert_uint_eq(more->nseqs, 2);
	ck_assert_uint_eq(more->seq[1].position, 4 * N);
	ck_assert_uint_ne(more->seq[1].begin, 0);
	back(s, more);
	end(s, q);
	end(s, r);
	ck_assert_uint_eq(scheduler_free_blocks(s), 16);
	scheduler_destroy(s);
}
END_TEST

/* ---- everything at random ------------------------------------------------------------------------ */

enum { BLOCKS = 24, SEQS = 3000, LEN = 330 };

/* Models without windows, and with: then there are as few window blocks as the sequences that run need to go on. */
static const struct life {
	uint32_t window, window_blocks, parallel, max_rows, stages;
} lives[] = {{0, 0, 6, 96, 1}, {40, 12, 3, 32, 3}, {65, 8, 2, 64, 1}, {100, 18, 3, 96, 3}}, *life;

/* What stages would have: for each position a value over it and all before it, as the block table leads to them, and the other one. */
static uint32_t memory[BLOCKS][N], window_memory[BLOCKS][N];

static uint32_t after(uint32_t value, uint32_t token) {
	return (value ^ (token + 1)) * 0x9e3779b1u + (value >> 15);
}

static uint32_t *at(const struct sequence *q, uint32_t position) {
	return &memory[q->kv.block[position / N]][position % N];
}

static uint32_t *window_at(const struct sequence *q, uint32_t position) {
	return &window_memory[q->kv.window[position / N]][position % N];
}

/* The first block with a window block that a sequence has. */
static uint32_t first_window(const struct sequence *q) {
	return life->window ? q->kv.first_window : q->kv.nblocks;
}

/* Whether a window block that a step writes is its sequence's alone. */
static bool window_is_own(const struct scheduler *s, const struct sequence *q, uint32_t b) {
	bool own = b >= q->kv.shared && b >= first_window(q);
	const struct sequence *r;
	for (uint32_t k = 0; (r = scheduler_at(s, k)); k++)
		for (uint32_t c = first_window(r); c < r->kv.nblocks; c++)
			own &= r->kv.window[c] != q->kv.window[b] || (r == q && c == b);
	for (uint32_t k = 0; k < BLOCKS; k++)
		own &= !prefix_has(scheduler_prefix(s), k) ||
		       prefix_window(scheduler_prefix(s), k) != q->kv.window[b];
	return own;
}

/* One step: reads what is before each row's position, writes it.  A spoilt one writes something else. */
static void compute(const struct scheduler *s, const struct scheduler_step *st, bool spoilt) {
	bool own = true,
	     right = true; /* each assertion costs a message to the process that watches the test */
	for (uint32_t i = 0; i < st->nseqs; i++) {
		const struct scheduled *e = &st->seq[i];
		const struct sequence *q = e->seq, *r;
		uint32_t value = 0, end = e->position + e->rows;
		for (uint32_t b = e->position / N; b <= (end - 1) / N; b++) {
			own &= !prefix_has(scheduler_prefix(s), q->kv.block[b]);
			for (uint32_t k = 0; (r = scheduler_at(s, k)); k++)
				for (uint32_t c = 0; c < r->kv.nblocks; c++)
					own &= r->kv.block[c] != q->kv.block[b] || (r == q && c == b);
			own &= !life->window || window_is_own(s, q, b);
		}
		uint32_t seen = hparams_first_seen(e->position, life->window);
		right &= !life->window || q->kv.first_window <= seen / N;
		for (uint32_t k = 0; k < e->position; k++) {
			value = after(value, q->log[k]);
			right &= q->ended || *at(q, k) == value;
			right &= q->ended || !life->window || k < seen || *window_at(q, k) == value;
		}
		for (uint32_t k = e->position; k < end; k++) {
			*at(q, k) = spoilt ? (uint32_t)rand() : after(k ? *at(q, k - 1) : 0, q->log[k]);
			if (life->window)
				*window_at(q, k) = *at(q, k);
		}
	}
	ck_assert_msg(own, "a step writes a block that is not its sequence's alone");
	ck_assert_msg(right, "a step reads what its sequence's tokens do not say");
}

/* The same of window blocks; those beside a shared block are the cache's. */
static void account_windows(const struct scheduler *s) {
	uint32_t own[BLOCKS] = {0}, users[BLOCKS] = {0}, taken = 0;
	const struct prefix *p = scheduler_prefix(s);
	const struct sequence *q;
	bool right = true;
	for (uint32_t i = 0; (q = scheduler_at(s, i)); i++)
		for (uint32_t b = first_window(q); b < q->kv.nblocks; b++) {
			if (b < q->kv.shared) {
				users[q->kv.block[b]]++;
				right &= prefix_window(p, q->kv.block[b]) == q->kv.window[b];
			} else {
				own[q->kv.window[b]]++;
				taken++;
			}
		}
	for (uint32_t b = 0; b < BLOCKS; b++) {
		bool has = prefix_has(p, b) && prefix_window(p, b) != PREFIX_NONE;
		right &= own[b] <= 1 && (!has || !own[prefix_window(p, b)]);
		right &= users[b] == (has ? prefix_window_users(p, b) : 0);
		taken += users[b] > 0;
	}
	ck_assert_msg(right, "a window block is two sequences' own, or its users are miscounted");
	ck_assert_uint_eq(taken + scheduler_free_windows(s), life->window_blocks);
}

/* Every block is free, or somebody's own, or the cache's; and the cache counts its users right. */
static void account(const struct scheduler *s) {
	uint32_t own[BLOCKS] = {0}, users[BLOCKS] = {0}, taken = 0;
	const struct sequence *q;
	bool right = true;
	for (uint32_t i = 0; (q = scheduler_at(s, i)); i++) {
		right &= q->kv.shared <= q->kv.nblocks;
		for (uint32_t b = 0; b < q->kv.nblocks; b++)
			(b < q->kv.shared ? users : own)[q->kv.block[b]]++;
	}
	for (uint32_t b = 0; b < BLOCKS; b++) {
		bool has = prefix_has(scheduler_prefix(s), b);
		right &= own[b] + has <= 1;
		right &= users[b] == (has ? prefix_users(scheduler_prefix(s), b) : 0);
		taken += own[b] + (users[b] > 0);
	}
	ck_assert_msg(right, "a block is two sequences' own, or its users are miscounted");
	ck_assert_uint_eq(taken + scheduler_free_blocks(s), BLOCKS);
	account_windows(s);
}

/* How many blocks of q's beginning the cache has, by what they hold; with the window blocks that are seen after them. */
static uint32_t kept(const struct scheduler *s, const struct sequence *q) {
	uint32_t n = 0, value = 0, block[LEN / N];
	for (; (n + 1) * N < q->tokens; n++) {
		uint32_t b = 0;
		for (uint32_t k = n * N; k < (n + 1) * N; k++)
			value = after(value, q->log[k]);
		while (b < BLOCKS && !(prefix_has(scheduler_prefix(s), b) && memory[b][N - 1] == value))
			b++;
		if (b == BLOCKS)
			break;
		block[n] = b;
	}
	for (uint32_t b = n; life->window && b-- > 0;)
		if (b >= hparams_first_seen(n * N, life->window) / N &&
		        prefix_window(scheduler_prefix(s), block[b]) == PREFIX_NONE) {
			n--;
			b = n;
		}
	return n;
}

/* Begins like one that was there before, then goes its own way. */
static struct sequence *some_sequence(uint32_t (*old)[LEN], uint32_t *old_len, uint32_t n) {
	uint32_t from = (uint32_t)rand() % 20,
	         take = old_len[from] ? (uint32_t)rand() % (old_len[from] + 1) : 0;
	uint32_t more = 1 + (uint32_t)rand() % 120, tokens = take + more < LEN - 30 ? take + more : LEN - 30;
	struct sequence *q = sequence(tokens, tokens + 30);
	for (uint32_t i = 0; i < q->capacity; i++)
		q->log[i] = i < take && i < tokens ? old[from][i] : (uint32_t)rand() % 50;
	memcpy(old[n % 20], q->log, q->capacity * sizeof *q->log);
	old_len[n % 20] = q->capacity;
	q->all_outputs = rand() % 10 == 0;
	if (q->all_outputs)
		q->capacity = q->tokens;
	return q;
}

START_TEST(random_life) {
	static uint32_t old[20][LEN];
	uint32_t old_len[20] = {0}, nflight = 0, nlive = 0, made = 0, evicted = 0, lost = 0, first = 0;
	life = &lives[_i];
	struct scheduler *s;
	ck_assert_int_eq(scheduler_create(&s, &(struct scheduler_config){.blocks = BLOCKS,
	                                              .window_blocks = life->window_blocks,
	                                              .window = life->window,
	                                              .parallel = life->parallel,
	                                              .max_rows = life->max_rows,
	                                              .stages = life->stages,
	                                              .root = ""}),
	        0);
	struct scheduler_step *flight[4];
	uint32_t nback =
	        0; /* the first of these are back from the stages, and their outputs are being sampled */
	struct sequence *live[SEQS];
	bool had[BLOCKS] = {false};
	uint64_t number = 0;
	srand(7);
	nleft = 0;
	for (int round = 0; round < 60000; round++) {
		int what = rand() % 8;
		if (what == 0 && made < SEQS && nlive < 12) {
			struct sequence *q = some_sequence(old, old_len, made++);
			ck_assert_int_eq(scheduler_add(s, q), 0);
			live[nlive++] = q;
		} else if (what < 4 && nflight < 4) {
			struct scheduler_step *st = scheduler_next(s);
			bool right = !st || (st->number > number && st->rows <= life->max_rows);
			ck_assert_msg(st || nflight || !scheduler_running(s), "a sequence cannot go on");
			for (uint32_t i = 0; st && i < st->nseqs; i++) {
				const struct scheduled *e = &st->seq[i];
				right &= e->seq->kv.nblocks * N >= e->position + e->rows;
				if (e->seq->written == e->position && e->seq->in_flight == 1 &&
				        e->position == e->seq->kv.shared * N && !e->seq->all_outputs) {
					right &= kept(s, e->seq) == e->position / N;
					first++;
				}
			}
			ck_assert_msg(
			        right, "a step has too many rows or too few blocks, or missed what is kept");
			if (st) {
				number = st->number;
				flight[nflight++] = st;
			}
		} else if (what < 7 && nflight > 0) {
			/* a step without outputs overtakes older ones at its end */
			uint32_t which = nback < nflight && (nback == 0 || rand() % 3) ? nback : 0;
			struct scheduler_step *st = flight[which];
			bool lose = which == nback && rand() % 100 == 0;
			if (which == nback) {
				compute(s, st, lose);
				if (st->outputs && !lose && (nback || rand() % 2)) {
					nback++;
					continue;
				}
			} else {
				nback--;
			}
			nflight--;
			memmove(flight + which, flight + which + 1, (nflight - which) * sizeof *flight);
			for (uint32_t i = 0; i < st->nseqs; i++) {
				struct sequence *q = st->seq[i].seq;
				if (q->ended)
					continue;
				bool done = st->seq[i].position + st->seq[i].rows == q->tokens &&
				            q->tokens == q->capacity;
				if (st->seq[i].outputs && !q->all_outputs && q->tokens < q->capacity && !lose)
					q->tokens++;
				else if (done || lose)
					for (uint32_t k = 0; k < nlive; k++)
						if (live[k] == q) {
							live[k] = live[--nlive];
							ck_assert(!scheduler_end(s, q));
							break;
						}
			}
			lost += lose;
			(lose ? scheduler_lost : scheduler_done)(s, st, left, NULL);
		} else if (what == 7 && nlive > 0 && rand() % 20 == 0) {
			uint32_t k = (uint32_t)rand() % nlive;
			struct sequence *q = live[k];
			live[k] = live[--nlive];
			end(s, q);
		}
		account(s);
		for (uint32_t b = 0; b < BLOCKS; b++) {
			evicted += had[b] && !prefix_has(scheduler_prefix(s), b);
			had[b] = prefix_has(scheduler_prefix(s), b);
		}
	}
	while (nlive > 0)
		end(s, live[--nlive]);
	for (uint32_t k = 0; k < nflight; k++) {
		if (k >= nback)
			compute(s, flight[k], false);
		scheduler_done(s, flight[k], left, NULL);
	}
	account(s);
	ck_assert_uint_eq(nleft, made);
	ck_assert_uint_eq(scheduler_free_blocks(s), BLOCKS);
	ck_assert_uint_eq(scheduler_free_windows(s), life->window_blocks);
	ck_assert_uint_gt(made, 500);
	ck_assert_uint_gt(lost, 50);
	ck_assert_uint_gt(first, 500);
	ck_assert_uint_gt(evicted, 500);
	ck_assert_uint_gt(scheduler_found(s), (life->window ? 100 : 200) * N);
	printf("# %u sequences, %u steps lost, %u blocks evicted, %ju tokens found\n", made, lost, evicted,
	        (uintmax_t)scheduler_found(s));
	scheduler_destroy(s);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("prefix");
	TCase *t = tcase_create("prefix");
	tcase_add_test(t, found_by_all_tokens_and_what_is_before);
	tcase_add_test(t, a_common_place_is_no_hit);
	tcase_add_test(t, oldest_leaf_first);
	tcase_add_test(t, windows_in_order);
	tcase_add_test(t, order_of_eviction_at_random);
	tcase_add_test(t, next_turn_computes_what_is_new);
	tcase_add_test(t, prompts_that_come_together_are_computed_once);
	tcase_add_test(t, equal_blocks_become_one);
	tcase_add_test(t, a_block_that_a_step_names_is_not_given_up);
	tcase_add_test(t, what_a_lost_step_leaves_is_not_kept);
	tcase_add_test(t, steps_end_in_another_order);
	tcase_add_loop_test(t, random_life, 0, sizeof lives / sizeof *lives);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
