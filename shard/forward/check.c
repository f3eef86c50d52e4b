/* check: validates a step before any kernel sees it; see forward.h.
 * Threads: one at a time; may overlap a forward_run. */
#include "common/fail.h"
#include "shard/forward/forward_internal.h"
#include <errno.h>
#include <stdio.h>

/* The numbers of a sequence's blocks: of layers without a window, or with one. */
struct table {
	const uint32_t *block;
	uint32_t first, end; /* indices of those that there are; the step sees and writes within them */
	uint32_t bound;      /* of their numbers */
	uint8_t *written;
	const char *of;
};

static struct table forward_table(const struct forward *f, const struct forward_seq *q, int window) {
	if (!window)
		return (struct table){q->blocks, 0, q->nblocks, f->kv->size.blocks, f->written[0], "block"};
	return (struct table){q->windows, q->nblocks - q->nwindows, q->nblocks, f->kv->size.window_blocks,
	        f->written[1], "window block"};
}

static int forward_tables(const struct forward *f) {
	return f->hp->window ? 2 : 1;
}

/* Marks the blocks that a sequence writes (set) or unmarks them; false when one is marked already. */
static bool forward_mark_written(const struct table *t, const struct forward_seq *q, bool set) {
	uint32_t first = q->position / KERN_KV_BLOCK, last = (q->position + q->rows - 1) / KERN_KV_BLOCK;
	bool once = true;
	for (uint32_t b = first; b <= last; b++) {
		uint8_t *written = &t->written[t->block[b - t->first]];
		once &= !(set && *written);
		*written = set;
	}
	return once;
}

/* Checks the fields of one sequence. */
static int forward_check_seq(
        const struct forward *f, const struct forward_seq *q, uint32_t i, char *err, size_t errlen) {
	uint32_t context = f->hp->context;
	uint64_t end = (uint64_t)q->position + q->rows;
	if (!q->rows || end > context)
		return fail_with(-EINVAL, err, errlen,
		        "sequence %u: %u rows at position %u in a context of %u", i, q->rows, q->position,
		        context);
	if ((uint64_t)q->nblocks * KERN_KV_BLOCK < end ||
	        q->nblocks > ((uint64_t)context + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK) {
		return fail_with(-EINVAL, err, errlen, "sequence %u: %u blocks for %ju positions", i,
		        q->nblocks, (uintmax_t)end);
	}
	uint32_t seen = hparams_first_seen(q->position, f->hp->window);
	if (f->hp->window && (q->nwindows > q->nblocks || q->nblocks - q->nwindows > seen / KERN_KV_BLOCK))
		return fail_with(-EINVAL, err, errlen,
		        "sequence %u: %u window blocks beside %u blocks for what is seen from position %u on",
		        i, q->nwindows, q->nblocks, seen);
	for (int w = 0; w < forward_tables(f); w++) {
		struct table t = forward_table(f, q, w);
		for (uint32_t b = 0; b < t.end - t.first; b++)
			if (t.block[b] >= t.bound)
				return fail_with(-EINVAL, err, errlen, "sequence %u: %s %u of %u", i, t.of,
				        t.block[b], t.bound);
	}
	return 0;
}

/* A block that is written and occurs elsewhere in the step as well would make results depend on timing. */
static int forward_check_overlap(
        const struct forward *f, const struct forward_step *st, int window, char *err, size_t errlen) {
	uint32_t s = 0, marked;
	int rc = 0;
	for (; s < st->nseqs && !rc; s++) {
		struct table t = forward_table(f, &st->seqs[s], window);
		if (!forward_mark_written(&t, &st->seqs[s], true))
			rc = fail_with(-EINVAL, err, errlen,
			        "sequence %u writes a %s that the step writes already", s, t.of);
	}
	marked = s;
	for (s = 0; s < st->nseqs && !rc; s++) {
		const struct forward_seq *q = &st->seqs[s];
		struct table t = forward_table(f, q, window);
		uint32_t first = q->position / KERN_KV_BLOCK,
		         last = (q->position + q->rows - 1) / KERN_KV_BLOCK;
		for (uint32_t b = t.first; b < t.end && !rc; b++) {
			uint32_t block = t.block[b - t.first];
			if ((b < first || b > last) && t.written[block])
				rc = fail_with(-EINVAL, err, errlen,
				        "sequence %u: %s %u is written elsewhere in the step", s, t.of,
				        block);
		}
	}
	for (s = 0; s < marked; s++) {
		struct table t = forward_table(f, &st->seqs[s], window);
		forward_mark_written(&t, &st->seqs[s], false);
	}
	return rc;
}

/* Marks slots and places that a sequence writes (set) or unmarks them; false when one is marked already. */
static bool forward_mark_states(const struct forward *f, const struct forward_seq *q, bool set) {
	uint8_t *slot = f->states_written, *place = f->states_written + f->kv->state->slots;
	bool once = !(set && slot[q->slot]);
	slot[q->slot] = set;
	for (uint32_t k = 0; k < q->nkeeps; k++) {
		once &= !(set && place[q->keep[k].place]);
		place[q->keep[k].place] = set;
	}
	return once;
}

/* Checks the slot of one sequence, and what it keeps. */
static int forward_check_state(
        const struct forward *f, const struct forward_seq *q, uint32_t i, char *err, size_t errlen) {
	const struct state *s = f->kv->state;
	uint32_t end = q->position + q->rows;
	if (q->slot >= s->slots)
		return fail_with(-EINVAL, err, errlen, "sequence %u: slot %u of %u", i, q->slot, s->slots);
	if (q->open > STATE_OPEN)
		return fail_with(-EINVAL, err, errlen, "sequence %u: %u positions may be taken back, %u can",
		        i, q->open, (unsigned)STATE_OPEN);
	if (q->begin > s->places || (q->begin && !q->position))
		return fail_with(-EINVAL, err, errlen, "sequence %u begins at %u with kept state %u of %u", i,
		        q->position, q->begin, s->places);
	for (uint32_t k = 0; k < q->nkeeps; k++)
		if (q->keep[k].place >= s->places || q->keep[k].position <= q->position ||
		        q->keep[k].position > end)
			return fail_with(-EINVAL, err, errlen,
			        "sequence %u: its state at %u is to be kept in place %u of %u", i,
			        q->keep[k].position, q->keep[k].place, s->places);
	return 0;
}

/* What one sequence writes and another one uses would make results depend on timing. */
static int forward_check_states(
        const struct forward *f, const struct forward_step *st, char *err, size_t errlen) {
	uint32_t marked = 0;
	int rc = 0;
	for (uint32_t i = 0; i < st->nseqs && !rc; i++)
		rc = forward_check_state(f, &st->seqs[i], i, err, errlen);
	for (; marked < st->nseqs && !rc; marked++)
		if (!forward_mark_states(f, &st->seqs[marked], true))
			rc = fail_with(-EINVAL, err, errlen,
			        "sequence %u writes a state that the step writes already", marked);
	for (uint32_t i = 0; i < st->nseqs && !rc; i++)
		if (st->seqs[i].begin && f->states_written[f->kv->state->slots + st->seqs[i].begin - 1])
			rc = fail_with(-EINVAL, err, errlen,
			        "sequence %u begins with a state that the step writes", i);
	for (uint32_t i = 0; i < marked; i++)
		forward_mark_states(f, &st->seqs[i], false);
	return rc;
}

int forward_check(const struct forward *f, const struct forward_step *st, char *err, size_t errlen) {
	if (!st->rows || st->rows > f->max_rows || !st->nseqs || st->nseqs > st->rows)
		return fail_with(-EINVAL, err, errlen, "%u rows of %u sequences in a step of at most %u rows",
		        st->rows, st->nseqs, f->max_rows);
	uint64_t rows = 0;
	for (uint32_t i = 0; i < st->nseqs; i++) {
		int rc = forward_check_seq(f, &st->seqs[i], i, err, errlen);
		if (rc)
			return rc;
		rows += st->seqs[i].rows;
	}
	if (rows != st->rows)
		return fail_with(-EINVAL, err, errlen, "the sequences have %ju rows, the step %u",
		        (uintmax_t)rows, st->rows);
	int rc = 0;
	for (int w = 0; w < forward_tables(f) && !rc; w++)
		rc = forward_check_overlap(f, st, w, err, errlen);
	return rc || !f->kv->state ? rc : forward_check_states(f, st, err, errlen);
}
