/* delta: gated delta nets: the convolution, the state and its gate, shared by the team by (sequence, value head).
 *
 * A head's state is carried over all of a sequence's rows by one member, some rows at a time: first what goes into it (the
 * convolution of this head's channels, norms, rates), then the state, then what comes out.
 *
 * A step moves the anchor of the sequence's slot (state.h) up to the first of its positions that may be taken back, and has the
 * other state at its end.  If a step begins before that end (drafts were taken back), the state there is made again from the
 * anchor, from the rows of the log.  The operations are the same, so the bits are.
 *
 * A sequence whose state is not here, because a step before failed, is lost; the others of the step are computed. */
#include "kernels/math.h"
#include "shard/forward/forward_internal.h"
#include <math.h>
#include <string.h>

size_t delta_scratch(const struct hparams *hp) {
	return DELTA_ROWS * (4 * (size_t)hp->state_size + 2);
}

/* Where a sequence's rows begin in the states that there are.  False: nowhere. */
static bool delta_plan(const struct state *s, const struct forward_seq *q, struct state_span *span) {
	const struct state_slot *had = &s->slot[q->slot];
	uint32_t p = q->position, end = p + q->rows, sure = end > q->open ? end - q->open : 0;
	bool fresh = p == 0 || q->begin, goes_on = had->known && had->end == p && had->anchor < p;
	if (q->begin ? s->kept[q->begin - 1] != p : p && !(had->known && had->anchor <= p && p <= had->end))
		return false;
	uint32_t from = fresh ? p : had->anchor, anchor = sure > from ? sure : from;
	span->fresh = fresh;
	span->which = had->which;
	span->anchor = anchor;
	/* from the state at the anchor, or what the sequence begins with, to the new anchor, and on from there */
	span->run[0] = (struct state_run){from, anchor, q->begin ? RUN_KEPT : fresh ? RUN_ZERO : RUN_ANCHOR};
	span->run[1] = (struct state_run){anchor, end, RUN_ANCHOR};
	if (fresh || !goes_on)
		return true;
	/* the state at its end is that before its first row */
	if (anchor < p) {
		span->run[1] = (struct state_run){p, end, RUN_LATEST};
	} else if (anchor == p) {
		span->which = !had->which;
		span->run[0].from = p;
	} else {
		span->run[0] = (struct state_run){p, anchor, RUN_LATEST};
	}
	return true;
}

void delta_begin(struct forward *f) {
	struct state *s = f->kv->state;
	uint32_t row = 0;
	for (uint32_t i = 0; i < f->step->nseqs; row += f->step->seqs[i++].rows) {
		struct forward_seq *q = &f->step->seqs[i];
		struct state_span *span = &f->span[i];
		if (!q->lost && !delta_plan(s, q, span))
			q->lost = true;
		if (q->lost) {
			uint32_t p = q->position;
			*span = (struct state_span){
			        .anchor = p, .run = {{p, p, RUN_ZERO}, {p, p + q->rows, RUN_ZERO}}};
			memset(f->step->x + (size_t)row * f->hp->dim, 0,
			        (size_t)q->rows * f->hp->dim * sizeof(float));
		}
		span->row = row;
	}
	for (uint32_t i = 0; i < f->step->nseqs; i++) {
		const struct forward_seq *q = &f->step->seqs[i];
		s->slot[q->slot].known = false;
		for (uint32_t k = 0; k < q->nkeeps; k++)
			s->kept[q->keep[k].place] = STATE_UNKNOWN;
	}
}

void delta_end(struct forward *f) {
	struct state *s = f->kv->state;
	for (uint32_t i = 0; i < f->step->nseqs; i++) {
		const struct forward_seq *q = &f->step->seqs[i];
		const struct state_span *span = &f->span[i];
		struct state_slot *slot = &s->slot[q->slot];
		if (q->lost)
			continue;
		*slot = (struct state_slot){.anchor = span->anchor,
		        .end = q->position + q->rows,
		        .which = span->which,
		        .log = !slot->log,
		        .known = true};
		for (uint32_t k = 0; k < q->nkeeps; k++)
			s->kept[q->keep[k].place] = q->keep[k].position;
	}
}

/* What a member computes: a value head of a sequence in a layer. */
struct delta_task {
	const struct forward_seq *seq;
	const struct state_span *span;
	uint32_t layer, place; /* place: among the slice's recurrent layers */
	uint32_t head;
	float *x, *o, *rate; /* scratch of DELTA_ROWS rows: q, k and v; o; decay and beta */
};

/* The row that the convolution reads at a position. */
static const float *delta_input(const struct forward *f, const struct delta_task *t, int64_t position) {
	const struct state *s = f->kv->state;
	const struct forward_seq *q = t->seq;
	if (position >= q->position)
		return f->mixed + (t->span->row + (size_t)position - q->position) * hparams_channels(f->hp);
	if (position < 0 || q->lost)
		return f->zeros;
	if (t->span->fresh)
		return state_kept_row(
		        s, q->begin - 1, t->place, (uint32_t)(position + STATE_BEFORE - q->position));
	return state_row(s, q->slot, s->slot[q->slot].log, t->place, (uint32_t)position);
}

/* Copies this head's part of a row, and of what all heads of a key head share its first head does. */
static void delta_copy_row(
        const struct forward *f, const struct delta_task *t, float *to, const float *from) {
	size_t n = f->hp->state_size, g = f->hp->state_groups;
	bool first;
	uint32_t key = hparams_key_head(f->hp, t->head, &first);
	for (size_t part = 0; part < 2 && first; part++)
		memcpy(to + (part * g + key) * n, from + (part * g + key) * n, n * sizeof *to);
	memcpy(to + (2 * g + t->head) * n, from + (2 * g + t->head) * n, n * sizeof *to);
}

/* The same into the log that the step writes, with the head's rates. */
static void delta_log(const struct forward *f, const struct delta_task *t, uint32_t position, const float *x,
        const float *rate) {
	const struct state *s = f->kv->state;
	float *to = state_row(s, t->seq->slot, !s->slot[t->seq->slot].log, t->place, position);
	delta_copy_row(f, t, to, x);
	memcpy(to + hparams_channels(f->hp) + 2 * t->head, rate, 2 * sizeof *rate);
}

/* Logs what is needed of the rows before the step's. */
static void delta_log_earlier(const struct forward *f, const struct delta_task *t) {
	size_t rates = (size_t)hparams_channels(f->hp) + 2 * t->head;
	uint32_t p = t->span->anchor > STATE_BEFORE ? t->span->anchor - STATE_BEFORE : 0;
	for (; p < t->seq->position && !t->seq->lost; p++) {
		const float *x = delta_input(f, t, p);
		delta_log(f, t, p, x, x + rates);
	}
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
		delta_rates(f, t, t->span->row + position - t->seq->position, rate);
		if (position + STATE_BEFORE >= t->span->anchor)
			delta_log(f, t, position, in[KERN_CONV - 1], rate);
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

/* Carries the state over positions [from, to), at most DELTA_ROWS; before: NULL for +0. */
static bool delta_run_rows(const struct forward *f, const struct delta_task *t, uint32_t from, uint32_t to,
        float *own, const float *before) {
	size_t n = f->hp->state_size;
	uint32_t position = t->seq->position;
	bool fine = true;
	for (uint32_t p = from; p < to; p++)
		fine &= delta_prepare(f, t, p, t->x + (p - from) * 3 * n, t->rate + 2 * (p - from));
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
	for (uint32_t p = from > position ? from : position; p < to; p++)
		fine &= delta_finish(f, t, t->span->row + p - position, t->o + (p - from) * n);
	return fine;
}

/* Keeps the state at a position, if that is wanted. */
static void delta_keep(
        const struct forward *f, const struct delta_task *t, uint32_t position, const float *own) {
	const struct state *s = f->kv->state;
	for (uint32_t k = 0; k < t->seq->nkeeps; k++) {
		uint32_t place = t->seq->keep[k].place;
		if (t->seq->keep[k].position != position)
			continue;
		memcpy(state_kept_head(s, place, t->place, t->head), own, s->head * sizeof *own);
		for (uint32_t i = 0; i < STATE_BEFORE; i++)
			delta_copy_row(f, t, state_kept_row(s, place, t->place, i),
			        delta_input(f, t, (int64_t)position - STATE_BEFORE + i));
	}
}

/* The first position after `from` where a state is to be kept, or `to`. */
static uint32_t delta_next_kept(const struct forward_seq *q, uint32_t from, uint32_t to) {
	for (uint32_t k = 0; k < q->nkeeps; k++)
		if (q->keep[k].position > from && q->keep[k].position < to)
			to = q->keep[k].position;
	return to;
}

/* What a run begins with; NULL: +0. */
static const float *delta_source(
        const struct forward *f, const struct delta_task *t, enum run_before before) {
	const struct state *s = f->kv->state;
	const struct forward_seq *q = t->seq;
	unsigned anchor = t->span->which;
	return before == RUN_ZERO     ? NULL
	       : before == RUN_KEPT   ? state_kept_head(s, q->begin - 1, t->place, t->head)
	       : before == RUN_ANCHOR ? state_head(s, q->slot, anchor, t->place, t->head)
	                              : state_head(s, q->slot, !anchor, t->place, t->head);
}

/* which: 0 carries the anchor on, 1 the state at the end. */
static bool delta_run(const struct forward *f, const struct delta_task *t, unsigned which) {
	const struct state_run *run = &t->span->run[which];
	float *own = state_head(f->kv->state, t->seq->slot, t->span->which ^ which, t->place, t->head);
	const float *before = delta_source(f, t, run->before);
	size_t bytes = f->kv->state->head * sizeof *own;
	bool fine = true;
	if (run->from == run->to && which == 0 && before != own) {
		if (before)
			memcpy(own, before, bytes);
		else
			memset(own, 0, bytes);
	}
	for (uint32_t from = run->from, to; from < run->to; from = to, before = own) {
		to = delta_next_kept(t->seq, from, run->to);
		to = to < from + DELTA_ROWS ? to : from + DELTA_ROWS;
		fine &= delta_run_rows(f, t, from, to, own, before);
		if (to > t->seq->position && !t->seq->lost)
			delta_keep(f, t, to, own);
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
			        .span = &f->span[seq],
			        .layer = layer,
			        .place = hparams_recurrent_before(f->hp, begin + layer) -
			                 hparams_recurrent_before(f->hp, begin),
			        .head = (uint32_t)(i % heads),
			        .x = scratch,
			        .o = scratch + DELTA_ROWS * 3 * n,
			        .rate = scratch + DELTA_ROWS * 4 * n};
			delta_log_earlier(f, &t);
			fine &= delta_run(f, &t, 0) & delta_run(f, &t, 1);
		}
	return fine;
}
