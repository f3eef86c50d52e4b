/* latent: multi-head latent attention (DeepSeek-AI 2024, "DeepSeek-V2"), in its absorbed form.
 *
 * Keys and values of all heads are made of one latent row, and only that is cached, with a part of the key that is rotated and that
 * the heads share.  A head's matrix for keys is multiplied with its query instead, and its matrix for values with what attention
 * gives: so attention is that of one key/value head of latent and rotated part, whose values are the latent (doc/numerics.md).
 *
 * Heads' parts of a row are quantised apart, those of a head side by side: its matrix is read once in a step.
 * Threads: the members of a team. */
#include "shard/forward/latent.h"
#include <errno.h>
#include <string.h>

static size_t latent_most(size_t a, size_t b) {
	return a > b ? a : b;
}

size_t latent_split(const struct hparams *hp) {
	return hp->heads * latent_most(hp->query_head, hp->value_head);
}

size_t latent_part(const struct hparams *hp) {
	return latent_most(hp->query_head, hp->latent);
}

/* Rows of every head's matrix with the head's activations: y[token * ldy + head * stride + matrix row]. */
static void latent_share(struct forward *f, struct phase_member *j, const struct store_tensor *w, float *y,
        size_t ldy, size_t stride) {
	const struct content_tensor *t = &w->record;
	size_t heads = f->hp->heads, each = t->rows / heads, bytes = kern_row_bytes(t->type, t->n);
	size_t rows = f->step->rows, first, strips;
	struct phase_cut cut = {.strips = phase_strips(t->rows), .least = PHASE_STRIPS};
	while (phase_next_run(j, &cut, &first, &strips)) {
		size_t row = first * KERN_STRIP, last = row + strips * KERN_STRIP, n;
		for (; row < last; row += n) {
			size_t head = row / each, of = row % each;
			n = each - of < last - row ? each - of : last - row;
			product_rows(f->ops, t, (const uint8_t *)w->packed + row * bytes,
			        y + head * stride + of, ldy, n, &f->head_act, head * rows, rows);
		}
	}
}

/* Puts the member's share of the heads' parts, n elements each, `stride` floats apart; false: a value is not finite. */
static bool latent_put(
        struct forward *f, struct phase_member *j, const float *x, size_t stride, size_t n, unsigned forms) {
	size_t rows = f->step->rows, heads = f->hp->heads, first, last;
	bool fine = true;
	team_share(j->team, j->id, rows * heads, 1, &first, &last);
	for (size_t i = first; i < last; i++)
		fine &= act_put(&f->head_act, forms, i, x + (i % rows * heads + i / rows) * stride, n) == 0;
	return fine;
}

/* Queries of low rank: normalised, then multiplied again. */
static int latent_raise(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *const w[LAYER_ROLES]) {
	size_t rank = f->hp->query_rank, first, last;
	float *y = f->member[j->id].norm;
	bool fine = true;
	forward_share_rows(f, j, &first, &last);
	for (size_t r = first; r < last; r++)
		fine &= f->ops->rmsnorm(y, f->low + r * rank, f->vector[layer][LAYER_Q_A_NORM], rank,
		                f->hp->eps) == 0 &&
		        act_put(&f->act, f->forms[layer].raised, forward_slot_of(f, j, r), y, rank) == 0;
	if (forward_is_prepared(f, j, !fine, layer << 8 | AT_HEADS))
		return -EDOM;
	const struct product raised = {
	        .w = w[LAYER_Q_B], .y = f->split, .ldy = (size_t)f->hp->heads * f->hp->query_head};
	product_share(j, f->ops, &raised, 1, &f->act, forward_slot_of(f, j, 0), f->step->rows);
	return phase_gate(j);
}

/* The part of each query that is rotated, behind its latent one. */
static void latent_copy_rotated(struct forward *f, struct phase_member *j) {
	const struct hparams *hp = f->hp;
	size_t rotated = 2 * (size_t)hp->pairs, first, last;
	team_share(j->team, j->id, f->step->rows * hp->heads, 1, &first, &last);
	for (size_t i = first; i < last; i++)
		memcpy(f->q + i * hp->head_size + hp->latent,
		        f->split + i * hp->query_head + hp->query_head - rotated, rotated * sizeof(float));
}

int latent_queries(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *const w[LAYER_ROLES]) {
	const struct hparams *hp = f->hp;
	size_t wide = (size_t)hp->heads * hp->query_head, rank = hp->query_rank;
	const struct product of_row[] = {{.w = w[rank ? LAYER_Q_A : LAYER_Q],
	                                         .y = rank ? f->low : f->split,
	                                         .ldy = rank ? rank : wide},
	        {.w = w[LAYER_KV_A], .y = f->k, .ldy = hp->head_size}};
	product_share(j, f->ops, of_row, 2, &f->act, forward_slot_of(f, j, 0), f->step->rows);
	if (phase_gate(j) || (rank && latent_raise(f, j, layer, w)))
		return -EDOM;
	if (!latent_put(f, j, f->split, hp->query_head, hp->query_head - 2 * (size_t)hp->pairs,
	            f->forms[layer].keys))
		phase_fail(j, layer << 8 | AT_HEADS);
	latent_copy_rotated(f, j);
	if (phase_gate(j))
		return -EDOM;
	latent_share(f, j, w[LAYER_K_B], f->q, (size_t)hp->heads * hp->head_size, hp->head_size);
	return 0;
}

int latent_values(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *const w[LAYER_ROLES]) {
	const struct hparams *hp = f->hp;
	if (!latent_put(f, j, f->attended, hp->head_size, hp->latent, f->forms[layer].values))
		phase_fail(j, layer << 8 | AT_ATTENTION);
	if (phase_gate(j))
		return -EDOM;
	latent_share(f, j, w[LAYER_V_B], f->split, (size_t)hp->heads * hp->value_head, hp->value_head);
	return phase_gate(j);
}
