/* served_rates: see served_rates.h. */
#include "daemon/calibration/served_rates.h"

#include <math.h>
#include <string.h>

#define SLOWER_WINDOWS 3   /* consecutive windows before a node counts as slower than measured */
#define SMALL_FACTOR 8.0   /* explained by caches, for a stage that fits into one */
#define SMALL_SECONDS 1e-3 /* smaller predictions are ignored for a small stage */
#define SMALL_SLOWER 5e-3  /* smaller differences are ignored for a small stage */
#define LAYER_SECONDS 1e-4 /* fixed time allowed per layer */
#define PROMPT_ROWS 64     /* least rows of a step of many (PLANNER_MANY) */
#define WINDOW_SECONDS 0.1 /* of computing, and */
#define WINDOW_ONE 16      /* rows; or */
#define WINDOW_LONG 2.0    /* seconds, and */
#define WINDOW_ONE_LEAST 4 /* rows */
#define WINDOW_MANY 128

static struct served_stage *served_rates_stage(
        struct served_rates *s, const struct manifest *m, uint32_t first, uint32_t last) {
	struct served_stage *old = &s->stage[0];
	for (size_t i = 0; i < SERVED_STAGES; i++) {
		struct served_stage *st = &s->stage[i];
		if (st->used && content_equal(&st->manifest, &m->id) && st->first == first &&
		        st->last == last) {
			st->used = ++s->uses;
			return st;
		}
		old = st->used < old->used ? st : old;
	}
	*old = (struct served_stage){.manifest = m->id, .first = first, .last = last, .used = ++s->uses};
	return old;
}

static double served_rates_rate(const struct kernel_rates *r, enum served_kind kind, enum kern_type t) {
	return kind == SERVED_ONE ? r->one[t] : r->many[t];
}

/* Seconds of a row by these rates; 0: a rate is unknown.  Norms count only in steps of one row, and of experts those that a row uses,
 * as in the planner.  How many rows share an expert in a step of many is not known here: it says nothing of rates. */
static double served_rates_predict(const struct manifest *m, uint32_t first, uint32_t last,
        enum served_kind kind, const struct kernel_rates *r, bool type[KERN_TYPES], uint64_t *bytes) {
	double seconds = 0;
	*bytes = 0;
	last = last < m->hp.layers ? last : m->hp.layers;
	for (uint32_t i = first < last ? m->at[first] : 0; first < last && i < m->at[last]; i++) {
		const struct manifest_tensor *t = &m->tensor[i];
		bool vector = manifest_layer_is_vector((enum layer_role)t->role);
		if (vector && kind == SERVED_MANY)
			continue;
		if (t->parts > 1 && kind == SERVED_MANY)
			return 0;
		if (!(served_rates_rate(r, kind, t->type) > 0))
			return 0;
		double used = manifest_read_bytes(&m->hp, t, 1);
		seconds += used / served_rates_rate(r, kind, t->type);
		*bytes += (uint64_t)used;
		type[t->type] = type[t->type] || !vector;
	}
	return seconds;
}

static bool served_rates_window_full(enum served_kind kind, uint64_t rows, double seconds) {
	if (kind == SERVED_MANY)
		return rows >= WINDOW_MANY && seconds >= WINDOW_SECONDS;
	return (rows >= WINDOW_ONE && seconds >= WINDOW_SECONDS) ||
	       (rows >= WINDOW_ONE_LEAST && seconds >= WINDOW_LONG);
}

static double served_rates_quickest(const struct served_stage *st, enum served_kind kind) {
	unsigned n = st->windows[kind] < SERVED_WINDOWS ? st->windows[kind] : SERVED_WINDOWS;
	double best = st->window[kind][0];
	for (unsigned i = 1; i < n; i++)
		best = fmin(best, st->window[kind][i]);
	return best;
}

/* The ratio of measured to predicted time; 0: not significant. */
static double served_rates_factor(
        double predicted, double measured, enum served_kind kind, uint32_t layers, bool small) {
	double fixed = layers * LAYER_SECONDS / (kind == SERVED_MANY ? PROMPT_ROWS : 1);
	double least = small ? SMALL_FACTOR : KERNEL_RATES_FACTOR;
	/* a step of a small stage is mostly thread wake-up, which takes long on a busy machine */
	if (measured > least * predicted + fixed && (!small || measured - predicted > SMALL_SLOWER))
		return measured / predicted;
	if (predicted > least * measured && (!small || predicted > SMALL_SECONDS))
		return predicted / measured;
	return 0;
}

struct served_off served_rates_add(struct served_rates *s, const struct manifest *m, uint32_t first,
        uint32_t last, enum served_kind kind, const struct served_sum *sum,
        const struct kernel_rates *measured, size_t small, long long now) {
	struct served_off off = {0};
	struct served_stage *st = served_rates_stage(s, m, first, last);
	struct served_sum *from = &st->from[kind];
	bool type[KERN_TYPES] = {false};
	uint64_t bytes;
	if (sum->rows < from->rows || sum->seconds < from->seconds) { /* the stage was created again */
		*from = *sum;
		return off;
	}
	if (from->wall == 0) { /* earlier work was not observed */
		*from = *sum;
		return off;
	}
	uint64_t rows = sum->rows - from->rows;
	if (rows == 0) { /* a window begins with its first step, not with the idle time before it */
		from->busy = sum->busy;
		from->own = sum->own;
		from->wall = sum->wall;
		return off;
	}
	if (!served_rates_window_full(kind, rows, sum->seconds - from->seconds))
		return off;
	double seconds = (sum->seconds - from->seconds) / (double)rows;
	double lost = kernel_rates_lost(sum->busy - from->busy, sum->own - from->own, sum->wall - from->wall);
	*from = *sum;
	double predicted = served_rates_predict(m, first, last, kind, measured, type, &bytes);
	if (!(predicted > 0))
		return off;
	if (seconds > predicted && kernel_rates_explained(lost, seconds / predicted))
		return off;
	st->window[kind][st->windows[kind]++ % SERVED_WINDOWS] = seconds;
	seconds = served_rates_quickest(st, kind);
	if (seconds > predicted && st->windows[kind] < SLOWER_WINDOWS)
		return off;
	off.predicted = predicted;
	off.measured = seconds;
	off.factor = served_rates_factor(predicted, seconds, kind, last - first, bytes <= small);
	off.first = off.factor > 0 && !st->reported[kind];
	st->reported[kind] = off.factor > 0;
	struct served_rate *rate = kind == SERVED_ONE ? s->one : s->many;
	for (unsigned t = 0; t < KERN_TYPES && bytes > small; t++)
		if (type[t])
			rate[t] = off.factor > 0 ? (struct served_rate){served_rates_rate(measured, kind, t) *
			                                                        predicted / seconds,
			                                   now}
			                         : (struct served_rate){0};
	return off;
}

static void served_rates_apply_one(const struct served_rate *s, double *r, long long now) {
	if (!(s->rate > 0) || !(*r > 0))
		return;
	bool old = now < s->at || now - s->at > SERVED_BELIEVED;
	if (s->rate > *r || !old)
		*r = s->rate;
}

void served_rates_apply(const struct served_rates *s, struct kernel_rates *r, long long now) {
	for (unsigned t = 0; t < KERN_TYPES; t++) {
		served_rates_apply_one(&s->one[t], &r->one[t], now);
		served_rates_apply_one(&s->many[t], &r->many[t], now);
	}
}
