/* delta: gated delta nets: the convolution, the state and its gate, shared by the team by (sequence, value head).
 *
 * A head's state is carried over all of a sequence's rows by one member, some rows at a time: first what goes into it (the
 * convolution of this head's channels, norms, rates), then the state, then what comes out.  Where the rows pass from one block
 * into the next, the state goes on in the next block's memory, and the full block keeps what it had at its end.
 *
 * If a block's state is not the one before the first row (drafts were taken back, or a step failed), it is made again from the
 * block's beginning, from the rows that the block has.  The operations are the same, so the bits are. */
#include "common/fail.h"
#include "kernels/math.h"
#include "shard/forward/forward_internal.h"
#include <errno.h>
#include <math.h>
#include <string.h>

size_t delta_scratch(const struct hparams *hp) {
	return DELTA_ROWS * (4 * (size_t)hp->state_size + 2);
}

int delta_begin(struct forward *f, char *err, size_t errlen) {
	struct state *s = f->kv->state;
	uint32_t row = 0;
	for (uint32_t i = 0; i < f->step->nseqs; row += f->step->seqs[i++].rows) {
		const struct forward_seq *q = &f->step->seqs[i];
		uint32_t at = q->position / KERN_KV_BLOCK, slot = q->position % KERN_KV_BLOCK,
		         block = q->blocks[at];
		bool anew = s->known[block] != slot;
		if ((slot && s->logged[block] < slot) ||
		        (at && (!slot || anew) && s->known[q->blocks[at - 1]] != KERN_KV_BLOCK))
			return fail_with(-EINVAL, err, errlen,
			        "sequence %u: its state before position %u is not here", i, q->position);
		f->span[i] = (struct state_span){.row = row, .from = q->position - (anew ? slot : 0)};
	}
	for (uint32_t i = 0; i < f->step->nseqs; i++) {
		const struct forward_seq *q = &f->step->seqs[i];
		uint32_t first = q->position / KERN_KV_BLOCK,
		         last = (q->position + q->rows - 1) / KERN_KV_BLOCK;
		for (uint32_t b = first; b <= last; b++) {
			s->known[q->blocks[b]] = STATE_UNKNOWN;
			s->logged[q->blocks[b]] = (uint8_t)(b == first ? q->position % KERN_KV_BLOCK : 0);
		}
	}
	return 0;
}

void delta_end(struct forward *f) {
	struct state *s = f->kv->state;
	for (uint32_t i = 0; i < f->step->nseqs; i++) {
		const struct forward_seq *q = &f->step->seqs[i];
		uint32_t end = q->position + q->rows;
		for (uint32_t b = q->position / KERN_KV_BLOCK; b * KERN_KV_BLOCK < end; b++) {
			uint32_t n = end - b * KERN_KV_BLOCK;
			n = n < KERN_KV_BLOCK ? n : KERN_KV_BLOCK;
			s->known[q->blocks[b]] = s->logged[q->blocks[b]] = (uint8_t)n;
		}
	}
}

/* What a member computes: a value head of a sequence in a layer. */
struct delta_task {
	const struct forward_seq *seq;
	uint32_t first;        /* row of the step: the sequence's first */
	uint32_t layer, place; /* place: among the slice's recurrent layers */
	uint32_t head;
	float *x, *o, *rate; /* scratch of DELTA_ROWS rows: q, k and v; o; decay and beta */
};

/* The row that the convolution reads at a position. */
static const float *delta_input(const struct forward *f, const struct delta_task *t, int64_t position) {
	if (position < 0)
		return f->zeros;
	if (position >= t->seq->position)
		return f->mixed + (t->first + (size_t)position - t->seq->position) * hparams_channels(f->hp);
	return state_row(f->kv->state, t->seq->blocks[position / KERN_KV_BLOCK], t->place,
	        (uint32_t)(position % KERN_KV_BLOCK));
}

/* Keeps this head's part of a row, and of what all heads of a key head share its first head does. */
static void delta_keep(const struct forward *f, const struct delta_task *t, uint32_t position, const float *x,
        const float *rate) {
	const struct hparams *hp = f->hp;
	size_t n = hp->state_size, g = hp->state_groups, channels = hparams_channels(hp);
	float *to = state_row(
	        f->kv->state, t->seq->blocks[position / KERN_KV_BLOCK], t->place, position % KERN_KV_BLOCK);
	bool first;
	uint32_t key = hparams_key_head(hp, t->head, &first);
	for (size_t part = 0; part < 2 && first; part++)
		memcpy(to + (part * g + key) * n, x + (part * g + key) * n, n * sizeof *x);
	memcpy(to + (2 * g + t->head) * n, x + (2 * g + t->head) * n, n * sizeof *x);
	memcpy(to + channels + 2 * t->head, rate, 2 * sizeof *rate);
}

/* Decay and beta of a row of the step. */
static void delta_rates(const struct forward *f, const struct delta_task *t, size_t row, float *rate) {
	const float *const *vector = f->vector[t->layer];
	size_t at = row * f->hp->state_heads + t->head;
	float a = f->alpha[at] + vector[LAYER_DELTA_DT][t->head];
	rate[0] = kern_exp(vector[LAYER_DELTA_A][t->head] * kern_softplus(a));
	rate[1] = 1.0f / (1.0f + kern_exp(-f->beta[at]));
}

/* Query, key and value of a position, and its rates; false: a value is not finite. */
static bool delta_prepare(
        const struct forward *f, const struct delta_task *t, uint32_t position, float *x, float *rate) {
	const struct hparams *hp = f->hp;
	size_t n = hp->state_size, g = hp->state_groups, channels = hparams_channels(hp);
	bool first;
	uint32_t key = hparams_key_head(hp, t->head, &first);
	const size_t part[3] = {key * n, (g + key) * n, (2 * g + t->head) * n};
	const float *in[KERN_CONV], *w = f->conv[t->layer];
	for (size_t i = 0; i < KERN_CONV; i++)
		in[i] = delta_input(f, t, (int64_t)position - KERN_CONV + 1 + (int64_t)i);
	for (size_t p = 0; p < 3; p++) {
		const float *rows[KERN_CONV], *taps[KERN_CONV];
		for (size_t i = 0; i < KERN_CONV; i++) {
			rows[i] = in[i] + part[p];
			taps[i] = w + i * channels + part[p];
		}
		f->ops->conv(x + p * n, rows, taps, n);
	}
	if (position >= t->seq->position) {
		delta_rates(f, t, t->first + position - t->seq->position, rate);
		delta_keep(f, t, position, in[KERN_CONV - 1], rate);
	} else {
		memcpy(rate, in[KERN_CONV - 1] + channels + 2 * t->head, 2 * sizeof *rate);
	}
	return f->ops->l2norm(x, x, n, 1.0f / sqrtf((float)n)) == 0 &&
	       f->ops->l2norm(x + n, x + n, n, 1.0f) == 0;
}

/* What comes out of a row of the step; false: a value is not finite. */
static bool delta_finish(const struct forward *f, const struct delta_task *t, size_t row, float *o) {
	size_t n = f->hp->state_size, at = (row * f->hp->state_heads + t->head) * n;
	if (f->ops->rmsnorm(o, o, f->vector[t->layer][LAYER_DELTA_NORM], n, f->hp->eps))
		return false;
	f->ops->glu[KERN_SWIGLU](f->attended + at, f->z + at, o, n);
	return true;
}

/* Positions [from, to) of one block, at most DELTA_ROWS, all before the step's or all in it. */
static bool delta_run_rows(const struct forward *f, const struct delta_task *t, uint32_t from, uint32_t to) {
	const struct state *s = f->kv->state;
	size_t n = f->hp->state_size;
	uint32_t b = from / KERN_KV_BLOCK, slot = from % KERN_KV_BLOCK;
	bool fine = true;
	for (uint32_t p = from; p < to; p++)
		fine &= delta_prepare(f, t, p, t->x + (p - from) * 3 * n, t->rate + 2 * (p - from));
	float *own = state_head(s, t->seq->blocks[b], t->place, t->head);
	const float *before = slot ? own : b ? state_head(s, t->seq->blocks[b - 1], t->place, t->head) : NULL;
	struct kern_delta d = {.q = t->x,
	        .k = t->x + n,
	        .v = t->x + 2 * n,
	        .stride = 3 * n,
	        .o = t->o,
	        .o_stride = n,
	        .rate = t->rate,
	        .rate_stride = 2,
	        .rows = to - from};
	f->ops->delta(own, before, &d, n, n / KERN_PANEL);
	for (uint32_t p = from; p < to && p >= t->seq->position; p++)
		fine &= delta_finish(f, t, t->first + p - t->seq->position, t->o + (p - from) * n);
	return fine;
}

static bool delta_run(const struct forward *f, const struct delta_task *t, uint32_t from) {
	uint32_t end = t->seq->position + t->seq->rows;
	bool fine = true;
	while (from < end) {
		uint32_t to = (from / KERN_KV_BLOCK + 1) * KERN_KV_BLOCK,
		         most = from < t->seq->position ? t->seq->position : end;
		to = to < most ? to : most;
		to = to < from + DELTA_ROWS ? to : from + DELTA_ROWS;
		fine &= delta_run_rows(f, t, from, to);
		from = to;
	}
	return fine;
}

bool delta_share(struct forward *f, struct phase_member *j, uint32_t layer) {
	uint32_t heads = f->hp->state_heads, n = f->hp->state_size;
	struct phase_cut cut = {.strips = (size_t)f->step->nseqs * heads, .least = 1};
	float *scratch = f->member[j->id].delta;
	size_t first, count;
	bool fine = true;
	while (phase_next_run(j, &cut, &first, &count))
		for (size_t i = first; i < first + count; i++) {
			uint32_t seq = (uint32_t)(i / heads), begin = f->slice->first;
			struct delta_task t = {.seq = &f->step->seqs[seq],
			        .first = f->span[seq].row,
			        .layer = layer,
			        .place = hparams_recurrent_before(f->hp, begin + layer) -
			                 hparams_recurrent_before(f->hp, begin),
			        .head = (uint32_t)(i % heads),
			        .x = scratch,
			        .o = scratch + DELTA_ROWS * 3 * n,
			        .rate = scratch + DELTA_ROWS * 4 * n};
			fine &= delta_run(f, &t, f->span[seq].from);
		}
	return fine;
}
