/* check: validates a step before any kernel sees it; see forward.h.
 * Threads: one at a time; may overlap a forward_run. */
#include "common/fail.h"
#include "shard/forward/forward_internal.h"
#include <errno.h>
#include <stdio.h>

/* Marks the blocks that a sequence writes (set) or unmarks them; false when one is marked already. */
static bool forward_mark_written(const struct forward *f, const struct forward_seq *q, bool set) {
	uint32_t first = q->position / KERN_KV_BLOCK, last = (q->position + q->rows - 1) / KERN_KV_BLOCK;
	bool once = true;
	for (uint32_t b = first; b <= last; b++) {
		once &= !(set && f->written[q->blocks[b]]);
		f->written[q->blocks[b]] = set;
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
	for (uint32_t b = 0; b < q->nblocks; b++)
		if (q->blocks[b] >= f->kv->blocks)
			return fail_with(-EINVAL, err, errlen, "sequence %u: block %u of %u", i, q->blocks[b],
			        f->kv->blocks);
	return 0;
}

/* A block that is written and occurs elsewhere in the step as well would make results depend on timing. */
static int forward_check_overlap(
        const struct forward *f, const struct forward_step *st, char *err, size_t errlen) {
	uint32_t s = 0, marked;
	int rc = 0;
	for (; s < st->nseqs && !rc; s++)
		if (!forward_mark_written(f, &st->seqs[s], true)) {
			snprintf(err, errlen, "sequence %u writes a block that the step writes already", s);
			rc = -EINVAL;
		}
	marked = s;
	for (s = 0; s < st->nseqs && !rc; s++) {
		const struct forward_seq *q = &st->seqs[s];
		uint32_t first = q->position / KERN_KV_BLOCK,
		         last = (q->position + q->rows - 1) / KERN_KV_BLOCK;
		for (uint32_t b = 0; b < q->nblocks && !rc; b++)
			if ((b < first || b > last) && f->written[q->blocks[b]]) {
				snprintf(err, errlen,
				        "sequence %u: block %u is written elsewhere in the step", s,
				        q->blocks[b]);
				rc = -EINVAL;
			}
	}
	for (s = 0; s < marked; s++)
		forward_mark_written(f, &st->seqs[s], false);
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
	return forward_check_overlap(f, st, err, errlen);
}
