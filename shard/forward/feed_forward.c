/* feed_forward: the second half of a layer: a feed-forward, or a mixture of experts, of which each row uses a few.
 *
 * A mixture's rows are grouped by expert, so that an expert's weights are read once in a step, however many of its rows use it.
 * A part is one feed-forward with the rows that go through it: the layer's own, an expert's, or the shared expert's.  A place is
 * where the results of a row in an expert are: places of an expert are neighbours.  With one row every member chooses for
 * itself, which is cheaper than waiting, and the places are those of its choice, the best expert first.
 * Experts that are not mapped are computed as they come from disk, those in memory first: then the parts are reordered.
 * The result of a row depends on nothing of this: the experts' outputs are added in the order of the row's choice. */
#include "shard/forward/feed_forward.h"
#include "shard/forward/share.h"
#include <errno.h>
#include <math.h>
#include <string.h>

#include "kernels/math.h"

enum { MATRIX_GATE, MATRIX_UP, MATRIX_DOWN }; /* of an expert, as in struct expert_layer */

/* The roles of a part's tensors, and of their biases, which only experts have. */
struct feed_kind {
	enum layer_role gate, up, down, gate_bias, up_bias, down_bias;
};
static const struct feed_kind dense = {LAYER_GATE, LAYER_UP, LAYER_DOWN, LAYER_ROLES, LAYER_ROLES,
                                      LAYER_ROLES},
                              expert = {LAYER_EXPERT_GATE, LAYER_EXPERT_UP, LAYER_EXPERT_DOWN,
                                      LAYER_EXPERT_GATE_BIAS, LAYER_EXPERT_UP_BIAS, LAYER_EXPERT_DOWN_BIAS},
                              shared = {LAYER_SHARED_GATE, LAYER_SHARED_UP, LAYER_SHARED_DOWN, LAYER_ROLES,
                                      LAYER_ROLES, LAYER_ROLES};

/* ---- the choice ---- */

/* A row's choice, from its scores; false: a score, or what is added to it for the choice, is not finite. */
static bool feed_forward_choose_row(
        const struct forward *f, struct member *m, uint32_t layer, size_t row, struct choice *out) {
	uint32_t n = f->hp->experts;
	const float *score = f->score + row * n, *bias = f->vector[layer][LAYER_CHOICE_BIAS];
	for (uint32_t e = 0; e < n; e++) {
		if (!isfinite(score[e]) || (bias && !isfinite(bias[e])))
			return false;
		m->score[e] = score[e];
	}
	router_choose(f->hp, m->score, bias, out);
	return true;
}

/* ---- parts ---- */

static size_t feed_forward_width(const struct forward *f, uint32_t layer, const struct feed_kind *kind) {
	return kind == &dense ? f->shape[layer].ffn : kind == &expert ? f->hp->expert_ffn : f->hp->shared_ffn;
}

static bool feed_forward_has(const struct forward *f, uint32_t layer, enum layer_role r) {
	return f->slice->layer[layer][r] != NULL;
}

/* The part of all rows: the layer's own feed-forward, or the shared expert.  at: of the first row's activations. */
static struct feed_part feed_forward_whole(const struct forward *f, const struct feed_kind *kind, size_t at) {
	return (struct feed_part){.kind = kind,
	        .rows = f->step->rows,
	        .in = &f->act,
	        .in_at = at,
	        .hidden = f->ffn,
	        .mid = &f->act,
	        .mid_at = at,
	        .y = f->y};
}

/* Gives each expert that a row has chosen its part, and each choice its place. */
static void feed_forward_group(struct forward *f, uint32_t layer) {
	size_t rows = f->step->rows, used = f->hp->experts_used, parts = 0, place = 0;
	uint32_t *count = f->expert_rows;
	if (feed_forward_has(f, layer, LAYER_SHARED_GATE))
		f->part[parts++] = feed_forward_whole(f, &shared, 0);
	memset(count, 0, f->hp->experts * sizeof *count);
	for (size_t i = 0; i < rows * used; i++)
		count[f->choice[i].expert]++;
	for (uint32_t e = 0; e < f->hp->experts; e++) {
		uint32_t n = count[e];
		count[e] = (uint32_t)place; /* from here on, the expert's next place */
		if (!n)
			continue;
		expert_use_add(f->use, layer, e, n);
		f->part[parts++] = (struct feed_part){.kind = &expert,
		        .expert = e,
		        .rows = n,
		        .in = &f->expert_act,
		        .in_at = place,
		        .hidden = f->expert_hidden + place * f->hp->expert_ffn,
		        .mid = &f->expert_mid,
		        .mid_at = place,
		        .y = f->expert_y + place * f->hp->dim};
		place += n;
	}
	for (size_t i = 0; i < rows * used; i++) {
		struct choice *c = &f->choice[i];
		c->place = count[c->expert]++;
		f->place_row[c->place] = (uint32_t)(i / used);
	}
	f->parts = parts;
}

/* Copies the member's share of the rows to their places. */
static void feed_forward_gather(struct forward *f, const struct phase_member *j, unsigned forms) {
	size_t first, last;
	team_share(j->team, j->id, f->step->rows * f->hp->experts_used, 1, &first, &last);
	for (size_t i = first; i < last; i++)
		for (int form = 0; form < KERN_FORMS; form++) {
			size_t bytes = kern_act_bytes((enum kern_form)form, f->hp->dim);
			if (forms & 1u << form)
				memcpy(f->expert_act.form[form] + i * bytes,
				        f->act.form[form] + f->place_row[i] * bytes, bytes);
		}
}

/* The parts of a mixture for one row; -EDOM: a score is not finite.  All members find the same. */
static int feed_forward_mix_row(struct forward *f, struct phase_member *j, uint32_t layer) {
	struct member *m = &f->member[j->id];
	size_t used = f->hp->experts_used;
	m->parts = 0;
	if (!feed_forward_choose_row(f, m, layer, 0, m->choice)) {
		phase_fail(j, layer << 8 | AT_ROUTER);
		return -EDOM;
	}
	if (feed_forward_has(f, layer, LAYER_SHARED_GATE))
		m->part[m->parts++] = feed_forward_whole(f, &shared, j->id);
	for (uint32_t i = 0; i < used; i++) {
		m->choice[i].place = i;
		if (j->id == 0)
			expert_use_add(f->use, layer, m->choice[i].expert, 1);
		m->part[m->parts++] = (struct feed_part){.kind = &expert,
		        .expert = m->choice[i].expert,
		        .rows = 1,
		        .in = &f->act,
		        .in_at = j->id,
		        .hidden = f->expert_hidden + i * f->hp->expert_ffn,
		        .mid = &f->expert_mid,
		        .mid_at = j->id * used + i,
		        .y = f->expert_y + i * f->hp->dim};
	}
	return 0;
}

/* The same for several, which the members share. */
static int feed_forward_mix_rows(struct forward *f, struct phase_member *j, uint32_t layer) {
	struct member *m = &f->member[j->id];
	size_t first, last;
	bool fine = true;
	team_share(j->team, j->id, f->step->rows, 1, &first, &last);
	for (size_t r = first; r < last; r++)
		fine &= feed_forward_choose_row(f, m, layer, r, f->choice + r * f->hp->experts_used);
	if (!fine)
		phase_fail(j, layer << 8 | AT_ROUTER);
	if (phase_gate(j))
		return -EDOM;
	if (j->id == 0)
		feed_forward_group(f, layer);
	phase_gate(j);
	feed_forward_gather(f, j, f->forms[layer].expert);
	return phase_gate(j);
}

/* Finds the layer's parts: those of a step of one row, or of a layer that is no mixture, are the member's own. */
static int feed_forward_find_parts(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *router, struct feed_part **part, size_t *parts) {
	struct member *m = &f->member[j->id];
	size_t at = forward_slot_of(f, j, 0);
	*part = m->part;
	*parts = 1;
	if (!router) {
		m->part[0] = feed_forward_whole(f, &dense, at);
		return 0;
	}
	const struct store_tensor *shared_router = f->slice->layer[layer][LAYER_SHARED_ROUTER];
	const struct product routers[] = {
	        {router, f->score, f->hp->experts, f->vector[layer][LAYER_ROUTER_BIAS], 0},
	        {shared_router, f->shared_score, 1, NULL, 0}};
	product_share(j, f->ops, routers, shared_router ? 2 : 1, &f->act, at, f->step->rows);
	if (phase_gate(j))
		return -EDOM;
	bool alone = f->step->rows == 1;
	int rc = alone ? feed_forward_mix_row(f, j, layer) : feed_forward_mix_rows(f, j, layer);
	*part = alone ? m->part : f->part;
	*parts = alone ? m->parts : f->parts;
	return rc;
}

/* ---- products ---- */

/* The bias of rows `first` on of a part's product; NULL: none. */
static const float *feed_forward_bias(const struct forward *f, uint32_t layer, enum layer_role r,
        const struct feed_part *p, size_t n, size_t first) {
	const float *bias = r < LAYER_ROLES ? f->vector[layer][r] : NULL;
	return bias ? bias + p->expert * n + first : NULL;
}

/* Rows [first, first + n) of the product with one of a part's matrices: gate, up, down. */
static void feed_forward_product(const struct forward *f, const struct feed_part *p, int matrix,
        const struct store_tensor *w, float *y, size_t ldy, size_t first, size_t n) {
	const struct content_tensor *t = &w->record;
	size_t row = kern_row_bytes(t->type, t->n), each = t->rows / t->parts;
	const uint8_t *packed = p->packed[matrix];
	if (!packed)
		packed = (const uint8_t *)w->packed + p->expert * each * row;
	bool down = matrix == MATRIX_DOWN;
	product_rows(f->ops, t, packed + first * row, y, ldy, n, down ? p->mid : p->in,
	        down ? p->mid_at : p->in_at, p->rows);
}

/* Rows [first, first + n) of gate and up side by side, so that the gated unit finds both in the first-level cache. */
static void feed_forward_glu(struct forward *f, struct member *m, uint32_t layer, const struct feed_part *p,
        const struct store_tensor *const w[LAYER_ROLES], size_t first, size_t n) {
	size_t width = feed_forward_width(f, layer, p->kind);
	const float *gate_bias = feed_forward_bias(f, layer, p->kind->gate_bias, p, width, first),
	            *up_bias = feed_forward_bias(f, layer, p->kind->up_bias, p, width, first);
	feed_forward_product(f, p, MATRIX_GATE, w[p->kind->gate], p->hidden + first, width, first, n);
	feed_forward_product(f, p, MATRIX_UP, w[p->kind->up], m->up, PHASE_CHUNK, first, n);
	for (size_t c = 0; c < p->rows; c++) {
		float *g = p->hidden + c * width + first, *u = m->up + c * PHASE_CHUNK;
		if (gate_bias)
			f->ops->add(g, gate_bias, n);
		if (up_bias)
			f->ops->add(u, up_bias, n);
		f->glu(g, g, u, n);
	}
}

static void feed_forward_down(struct forward *f, uint32_t layer, const struct feed_part *p,
        const struct store_tensor *const w[LAYER_ROLES], size_t first, size_t n) {
	size_t dim = f->hp->dim;
	const float *bias = feed_forward_bias(f, layer, p->kind->down_bias, p, dim, first);
	feed_forward_product(f, p, MATRIX_DOWN, w[p->kind->down], p->y + first, dim, first, n);
	for (size_t c = 0; bias && c < p->rows; c++)
		f->ops->add(p->y + c * dim + first, bias, n);
}

/* The rows of a part's first products, or of its second, that this node computes. */
static void feed_forward_own(const struct forward *f, uint32_t layer, const struct feed_part *p, bool down,
        size_t *first, size_t *last) {
	share_own_rows(f, down ? f->hp->dim : feed_forward_width(f, layer, p->kind), first, last);
}

/* The member's share of the first products of all parts, or of the second. */
static void feed_forward_share(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct feed_part *part, size_t parts, const struct store_tensor *const w[LAYER_ROLES],
        bool down) {
	struct phase_cut cut = {.least = PHASE_STRIPS};
	size_t run, strips, own, past;
	for (size_t i = 0; i < parts; i++) {
		feed_forward_own(f, layer, &part[i], down, &own, &past);
		cut.strips += phase_strips(past - own);
	}
	while (phase_next_run(j, &cut, &run, &strips))
		for (size_t i = 0, begin = 0; i < parts && begin < run + strips; i++) {
			feed_forward_own(f, layer, &part[i], down, &own, &past);
			size_t n, end = begin + phase_strips(past - own),
			          from = run > begin ? run - begin : 0;
			size_t last = own + ((run + strips < end ? run + strips : end) - begin) * KERN_STRIP;
			last = last < past ? last : past;
			for (size_t first = own + from * KERN_STRIP; first < last; first += n) {
				n = down || last - first < PHASE_CHUNK ? last - first : PHASE_CHUNK;
				if (down)
					feed_forward_down(f, layer, &part[i], w, first, n);
				else
					feed_forward_glu(f, &f->member[j->id], layer, &part[i], w, first, n);
			}
			begin = end;
		}
}

/* ---- both products ---- */

/* Quantises the hidden rows of experts: the member's share of them, or all those of a single row. */
static bool feed_forward_prepare_experts(struct forward *f, struct phase_member *j,
        const struct feed_part *part, size_t parts, unsigned forms) {
	size_t n = f->hp->expert_ffn, rows = 0, first = 0, last, at = 0;
	bool fine = true;
	for (size_t i = 0; i < parts; i++)
		rows += part[i].kind == &expert ? part[i].rows : 0;
	last = rows;
	if (f->step->rows > 1)
		team_share(j->team, j->id, rows, 1, &first, &last);
	for (size_t i = 0; i < parts; i++)
		for (size_t c = 0; part[i].kind == &expert && c < part[i].rows; c++, at++)
			if (at >= first && at < last)
				fine &= act_put(&f->expert_mid, forms, part[i].mid_at + c,
				                part[i].hidden + c * n, n) == 0;
	return fine;
}

/* The same of the whole rows, where there are some, and then waits for what is shared. */
static int feed_forward_prepare(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct feed_part *part, size_t parts) {
	const struct layer_forms *forms = &f->forms[layer];
	bool fine = feed_forward_prepare_experts(f, j, part, parts, forms->expert_down);
	if (part->kind != &expert)
		fine &= forward_put_rows(f, j, f->ffn, feed_forward_width(f, layer, part->kind), forms->down);
	return forward_is_prepared(f, j, !fine, layer << 8 | AT_FFN);
}

/* The nodes of a group put together the hidden rows. */
static int feed_forward_meet_hidden(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct feed_part *part, size_t parts) {
	const struct layer_forms *forms = &f->forms[layer];
	struct share e = {.meeting = MEET_HIDDEN, .layer = layer, .where = layer << 8 | AT_FFN};
	size_t rows = f->step->rows, used = f->hp->experts_used;
	bool whole = part->kind != &expert;
	if (whole) {
		struct share_rows *r = &e.rows[e.parts++];
		*r = share_columns(f, f->ffn, rows, feed_forward_width(f, layer, part->kind));
		r->act = &f->act;
		r->at = forward_slot_of(f, j, 0);
		r->forms = forms->down;
	}
	if (parts > whole) {
		struct share_rows *r = &e.rows[e.parts++];
		*r = share_columns(f, f->expert_hidden, rows * used, f->hp->expert_ffn);
		r->act = &f->expert_mid;
		r->at = forward_slot_of(f, j, 0) * used;
		r->forms = forms->expert_down;
	}
	return share_meet(f, j, &e);
}

/* Elements whose sums stay in registers. */
#define MIX_RUN 32

/* n <= MIX_RUN elements of the chosen experts' outputs times their weights, added in the order of the choice. */
static inline void feed_forward_mix(
        float *out, const float *y, size_t dim, const struct choice *c, size_t used, size_t n) {
	float sum[MIX_RUN];
	for (size_t k = 0; k < n; k++)
		sum[k] = y[c[0].place * dim + k] * c[0].weight;
	for (size_t i = 1; i < used; i++)
		for (size_t k = 0; k < n; k++)
			sum[k] += y[c[i].place * dim + k] * c[i].weight;
	memcpy(out, sum, n * sizeof *out);
}

static const struct choice *feed_forward_choice(
        const struct forward *f, const struct phase_member *j, size_t row) {
	return f->step->rows > 1 ? f->choice + row * f->hp->experts_used : f->member[j->id].choice;
}

/* Elements [first, last) of what a mixture makes of a row; out may be the row of the shared expert. */
static void feed_forward_mix_part(const struct forward *f, const struct choice *c, uint32_t layer, size_t row,
        float *out, size_t first, size_t last) {
	size_t dim = f->hp->dim, used = f->hp->experts_used;
	const float *y = f->y + row * dim;
	bool weighted = feed_forward_has(f, layer, LAYER_SHARED_ROUTER),
	     shared_too = feed_forward_has(f, layer, LAYER_SHARED_GATE);
	float weight = weighted ? 1 / (1 + kern_exp(-f->shared_score[row])) : 1;
	for (size_t at = first, n; at < last; at += n) {
		float sum[MIX_RUN];
		n = last - at < MIX_RUN ? last - at : MIX_RUN;
		feed_forward_mix(sum, f->expert_y + at, dim, c, used, n);
		for (size_t k = 0; weighted && k < n; k++)
			sum[k] = sum[k] + y[at + k] * weight;
		for (size_t k = 0; shared_too && !weighted && k < n; k++)
			sum[k] = sum[k] + y[at + k];
		memcpy(out + at, sum, n * sizeof *out);
	}
}

/* And the rows that the layer adds, of a mixture what is mixed of them. */
static int feed_forward_meet_down(struct forward *f, struct phase_member *j, uint32_t layer) {
	size_t dim = f->hp->dim, own, past, first, last;
	const struct share e = {.meeting = MEET_DOWN,
	        .layer = layer,
	        .rows = {share_columns(f, f->y, f->step->rows, dim)},
	        .parts = 1};
	share_own_rows(f, dim, &own, &past);
	team_share(j->team, j->id, feed_forward_has(f, layer, LAYER_ROUTER) ? f->step->rows : 0, 1, &first,
	        &last);
	for (size_t r = first; r < last; r++)
		feed_forward_mix_part(f, feed_forward_choice(f, j, r), layer, r, f->y + r * dim, own, past);
	return phase_gate(j) ? -EDOM : share_meet(f, j, &e);
}

/* Both products of some parts. */
static int feed_forward_run_parts(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct feed_part *part, size_t parts, const struct store_tensor *w[LAYER_ROLES]) {
	if (forward_fetch_group(f, j, layer, WEIGHTS_UP, w))
		return -EIO;
	feed_forward_share(f, j, layer, part, parts, w, false);
	if (forward_leave_group(f, j, layer, WEIGHTS_UP))
		return -EDOM;
	int rc = share_is_alone(f) ? feed_forward_prepare(f, j, layer, part, parts)
	                           : feed_forward_meet_hidden(f, j, layer, part, parts);
	if (rc)
		return rc;
	if (forward_fetch_group(f, j, layer, WEIGHTS_DOWN, w))
		return -EIO;
	feed_forward_share(f, j, layer, part, parts, w, true);
	if (forward_leave_group(f, j, layer, WEIGHTS_DOWN))
		return -EDOM;
	return share_is_alone(f) ? 0 : feed_forward_meet_down(f, j, layer);
}

/* ---- experts that are read from disk ---- */

static void feed_forward_want(
        const struct forward *f, uint32_t layer, const struct feed_part *part, size_t parts) {
	uint32_t wanted[HPARAMS_MAX_EXPERTS];
	size_t count = 0;
	for (size_t i = 0; i < parts; i++)
		if (part[i].kind == &expert)
			wanted[count++] = part[i].expert;
	expert_cache_want(f->slice->experts, layer, wanted, count);
}

/* Moves the parts that can be computed to the front: experts that are ready.  A whole part, which is the first, goes with the last
 * of them: its hidden row takes the place of the row that the experts of a single row begin with.  How many parts. */
static size_t feed_forward_take_ready(const struct forward *f, struct feed_part *part, size_t parts) {
	size_t whole = part->kind != &expert, count = whole;
	for (int i = 0; i < f->readies; i++, count++) {
		size_t k = count;
		while (k < parts && part[k].expert != f->ready[i].expert)
			k++;
		struct feed_part p = part[k];
		part[k] = part[count];
		memcpy(p.packed, f->ready[i].packed, sizeof p.packed);
		part[count] = p;
	}
	if (!whole || count == parts)
		return count;
	struct feed_part last = part[0];
	part[0] = part[count - 1];
	part[count - 1] = last;
	return count - 1;
}

/* Computes experts as they come.  The parts of several rows are everybody's, those of one row the member's own. */
static int feed_forward_run_read(struct forward *f, struct phase_member *j, uint32_t layer,
        struct feed_part *part, size_t parts, const struct store_tensor *w[LAYER_ROLES]) {
	bool alone = f->step->rows == 1;
	if (j->id == 0)
		feed_forward_want(f, layer, part, parts);
	for (size_t done = 0, count; done < parts; done += count) {
		if (j->id == 0) {
			f->readies = expert_cache_next(f->slice->experts, f->ready, f->hp->experts);
			if (!alone && f->readies > 0)
				f->taken = feed_forward_take_ready(f, part + done, parts - done);
		}
		if (phase_gate(j))
			return -EDOM;
		if (f->readies < 0)
			return -EIO;
		count = alone ? feed_forward_take_ready(f, part + done, parts - done) : f->taken;
		int rc = feed_forward_run_parts(f, j, layer, part + done, count, w);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- the whole ---- */

int feed_forward_run(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *w[LAYER_ROLES]) {
	struct feed_part *part;
	size_t parts;
	if (feed_forward_find_parts(f, j, layer, w[LAYER_ROUTER], &part, &parts))
		return -EDOM;
	if (f->slice->experts && w[LAYER_ROUTER])
		return feed_forward_run_read(f, j, layer, part, parts, w);
	return feed_forward_run_parts(f, j, layer, part, parts, w);
}

const float *feed_forward_row(
        const struct forward *f, const struct phase_member *j, uint32_t layer, size_t row, float *scratch) {
	size_t dim = f->hp->dim;
	if (!feed_forward_has(f, layer, LAYER_ROUTER) ||
	        !share_is_alone(f)) /* a group mixes before it meets */
		return f->y + row * dim;
	feed_forward_mix_part(f, feed_forward_choice(f, j, row), layer, row, scratch, 0, dim);
	return scratch;
}
