/* forward: see forward.h.
 *
 * A step is one job of the team.  With one row (decode) every member keeps a copy of the row, and normalises and quantises it
 * itself: that is cheaper than waiting.  A layer then has six barriers: after the QKV products, after keys and values are
 * stored, after attention, after the output product, after the gate and up products (the gated unit is part of their tasks) and
 * after the down product.  A layer without attention has one of its own (forward_meet).  With more rows, members share the rows
 * and wait for each other after that as well.  Each row goes through the same operations either way. */
#include "common/fail.h"
#include "shard/forward/feed_forward.h"
#include "shard/forward/latent.h"
#include "shard/forward/share.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const at_name[AT_PLACES] = {"the norm before attention", "the norm of a head",
        "the output of attention", "the norm before the feed-forward", "the router's scores",
        "the feed-forward's hidden row", "the norm after the feed-forward", "a recurrent state"};

/* Allocates a buffer from the arena; without an arena it only counts. */
static void *forward_carve(uint8_t *arena, size_t *used, size_t count, size_t size) {
	size_t at = *used;
	*used += (count * size + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN;
	return arena ? arena + at : NULL;
}

/* The forms that the products of these roles want, in any layer. */
static unsigned forward_forms_from(const struct manifest *m, enum layer_role first, enum layer_role last) {
	unsigned forms = 0;
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		if (m->tensor[i].role >= first && m->tensor[i].role <= last)
			forms |= 1u << kern_traits((uint32_t)m->tensor[i].type)->form;
	return forms;
}

/* Lays out the buffers of mixtures. */
static void forward_lay_experts(struct forward *f, uint8_t *arena, const struct manifest *m, size_t rows,
        unsigned team, size_t *used) {
	const struct hparams *hp = &m->hp;
	size_t places = rows * hp->experts_used;
	size_t slots = (rows > team ? rows : team) * hp->experts_used;
	unsigned forms = forward_forms_from(m, LAYER_EXPERT_GATE, LAYER_EXPERT_DOWN);
	for (int form = 0; form < KERN_FORMS; form++)
		if (forms & 1u << form) {
			f->expert_act.form[form] =
			        forward_carve(arena, used, 1, act_bytes(form, places, hp->dim));
			f->expert_mid.form[form] =
			        forward_carve(arena, used, 1, act_bytes(form, slots, hp->expert_ffn));
		}
	f->expert_hidden = forward_carve(arena, used, places * hp->expert_ffn, sizeof(float));
	f->expert_y = forward_carve(arena, used, places * hp->dim, sizeof(float));
	f->score = forward_carve(arena, used, rows * hp->experts, sizeof(float));
	f->shared_score = forward_carve(arena, used, hp->shared_ffn ? rows : 0, sizeof(float));
	f->choice = forward_carve(arena, used, places, sizeof *f->choice);
	f->part = forward_carve(arena, used, (size_t)hp->experts + 1, sizeof *f->part);
	f->expert_rows = forward_carve(arena, used, hp->experts, sizeof *f->expert_rows);
	f->place_row = forward_carve(arena, used, places, sizeof *f->place_row);
	f->ready = forward_carve(arena, used, hp->experts, sizeof *f->ready);
}

/* Lays out the buffers of latent attention. */
static void forward_lay_latent(
        struct forward *f, uint8_t *arena, const struct manifest *m, size_t rows, size_t *used) {
	const struct hparams *hp = &m->hp;
	unsigned forms = forward_forms_from(m, LAYER_K_B, LAYER_V_B);
	f->low = forward_carve(arena, used, rows * hp->query_rank, sizeof(float));
	f->split = forward_carve(arena, used, rows * latent_split(hp), sizeof(float));
	for (int form = 0; form < KERN_FORMS; form++)
		if (forms & 1u << form)
			f->head_act.form[form] = forward_carve(
			        arena, used, 1, act_bytes(form, rows * hp->heads, latent_part(hp)));
}

/* The widest hidden row of a feed-forward that all rows go through; a model whose layers are all mixtures names a width of its
 * feed-forwards and has none. */
static size_t forward_hidden_width(const struct manifest *m) {
	size_t width = m->hp.shared_ffn;
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		if (m->tensor[i].role == LAYER_DOWN && m->tensor[i].n > width)
			width = m->tensor[i].n;
	return width;
}

/* Lays out the buffers, and returns their total size. */
static size_t forward_lay(
        struct forward *f, uint8_t *arena, const struct manifest *m, size_t rows, unsigned team) {
	const struct hparams *hp = &m->hp;
	size_t used = 0, wide = (size_t)hp->heads * hp->head_size,
	       narrow = (size_t)hp->kv_heads * hp->head_size;
	size_t n = wide > hp->dim ? wide : hp->dim, slots = rows > team ? rows : team;
	size_t queries = attention_queries(hp), ffn = forward_hidden_width(m);
	size_t inner = (size_t)hp->state_heads * hp->state_size, channels = (size_t)hparams_channels(hp);
	n = n > ffn ? n : ffn;
	n = n > inner ? n : inner;
	n = n > hp->query_rank ? n : hp->query_rank;
	n = n > (size_t)hp->heads * hp->value_head ? n : (size_t)hp->heads * hp->value_head;
	for (int form = 0; form < KERN_FORMS; form++)
		f->act.form[form] = forward_carve(arena, &used, 1, act_bytes(form, slots, n));
	f->q = forward_carve(arena, &used, rows * wide * (hp->gated ? 2 : 1), sizeof(float));
	f->k = forward_carve(arena, &used, rows * narrow, sizeof(float));
	f->v = forward_carve(arena, &used, rows * narrow, sizeof(float));
	f->attended = forward_carve(arena, &used, rows * (wide > inner ? wide : inner), sizeof(float));
	f->mixed = forward_carve(arena, &used, rows * channels, sizeof(float));
	f->z = forward_carve(arena, &used, rows * inner, sizeof(float));
	f->alpha = forward_carve(arena, &used, rows * hp->state_heads, sizeof(float));
	f->beta = forward_carve(arena, &used, rows * hp->state_heads, sizeof(float));
	f->zeros = forward_carve(arena, &used, channels, sizeof(float));
	f->span = forward_carve(arena, &used, hp->attention_every ? rows : 0, sizeof *f->span);
	f->y = forward_carve(arena, &used, rows * hp->dim, sizeof(float));
	f->ffn = forward_carve(arena, &used, rows * ffn, sizeof(float));
	forward_lay_experts(f, arena, m, rows, team, &used);
	forward_lay_latent(f, arena, m, rows, &used);
	f->angles[0] = f->angles[1] = forward_carve(arena, &used, rows * 2 * hp->pairs, sizeof(float));
	if (hp->window_base != 0)
		f->angles[1] = forward_carve(arena, &used, rows * 2 * hp->pairs, sizeof(float));
	f->partials = attention_partials(hp, team);
	f->po = forward_carve(arena, &used, f->partials * hp->head_size, sizeof(float));
	f->pm = forward_carve(arena, &used, f->partials, sizeof(float));
	f->pl = forward_carve(arena, &used, f->partials, sizeof(float));
	f->row_seq = forward_carve(arena, &used, rows, sizeof *f->row_seq);
	f->row_position = forward_carve(arena, &used, rows, sizeof *f->row_position);
	for (int i = 0; i < (hp->window ? 2 : 1); i++) {
		struct tiling *t = &f->tiling[i];
		t->tile = forward_carve(arena, &used, rows, sizeof *t->tile);
		t->open = forward_carve(arena, &used, rows * hp->kv_heads, sizeof *t->open);
	}
	f->member = forward_carve(arena, &used, team, sizeof *f->member);
	for (unsigned i = 0; i < team; i++) {
		struct member own = {.x = forward_carve(arena, &used, hp->dim, sizeof(float)),
		        .norm = forward_carve(arena, &used,
		                hp->dim > hp->query_rank ? hp->dim : hp->query_rank, sizeof(float)),
		        .up = forward_carve(arena, &used, rows * PHASE_CHUNK, sizeof(float)),
		        .query = forward_carve(arena, &used, queries, sizeof(struct kern_query)),
		        .scratch = forward_carve(arena, &used, 1, kern_span_scratch(queries, hp->head_size)),
		        .values = forward_carve(arena, &used, hp->latent ? KERN_SPAN / KERN_KV_BLOCK : 0,
		                kern_kv_bytes(KERN_KV_F16, hp->head_size)), /* the larger type */
		        .delta = forward_carve(
		                arena, &used, hp->attention_every ? delta_scratch(hp) : 0, sizeof(float)),
		        .score = forward_carve(arena, &used, hp->experts, sizeof(float)),
		        .choice = forward_carve(arena, &used, hp->experts_used, sizeof(struct choice)),
		        .part = forward_carve(
		                arena, &used, (size_t)hp->experts_used + 1, sizeof(struct feed_part))};
		if (arena)
			f->member[i] = own;
	}
	return used;
}

/* Elements of the norms and biases of layers [first, last). */
static size_t forward_vector_floats(const struct manifest *m, uint32_t first, uint32_t last) {
	size_t n = 0;
	for (uint32_t i = m->at[first]; i < m->at[last]; i++)
		if (manifest_layer_is_vector((enum layer_role)m->tensor[i].role))
			n += m->tensor[i].rows * m->tensor[i].n;
	return n;
}

size_t forward_bytes(const struct manifest *m, uint32_t max_rows, unsigned team) {
	struct forward f;
	return forward_lay(&f, NULL, m, max_rows, team) +
	       forward_vector_floats(m, 0, m->hp.layers) * sizeof(float);
}

/* Dequantises the norms and biases of a layer to `to`; returns where the next layer's begin. */
static float *forward_take_vectors(struct forward *f, uint32_t layer, float *to) {
	for (int r = 0; r < LAYER_ROLES; r++) {
		const struct store_tensor *w = f->slice->layer[layer][r];
		if (!w || !manifest_layer_is_vector((enum layer_role)r))
			continue;
		f->vector[layer][r] = to;
		for (size_t row = 0; row < w->record.rows; row++, to += w->record.n)
			kern_dequant_packed(w->record.type, to, w->packed, row, w->record.n);
	}
	return to;
}

/* Puts a convolution's weights in the order in which it reads them: those of each row that it reads together. */
static void forward_take_conv(struct forward *f, uint32_t layer, float *to) {
	const float *w = f->vector[layer][LAYER_DELTA_CONV];
	size_t channels = (size_t)hparams_channels(f->hp);
	for (size_t c = 0; c < channels; c++)
		for (size_t t = 0; t < KERN_CONV; t++)
			to[t * channels + c] = w[c * KERN_CONV + t];
	f->conv[layer] = to;
}

/* The forms of those tensors of a layer that it has. */
static unsigned forward_forms_of(
        const struct store_tensor *const *w, const enum layer_role *role, size_t roles) {
	unsigned forms = 0;
	for (size_t i = 0; i < roles; i++)
		forms |= w[role[i]] ? act_form_of(w[role[i]]) : 0;
	return forms;
}
#define FORMS_OF(w, ...) \
	forward_forms_of(w, (const enum layer_role[]){__VA_ARGS__}, \
	        sizeof((const enum layer_role[]){__VA_ARGS__}) / sizeof(enum layer_role))

int forward_create(
        struct forward **out, const struct slice *s, struct kv *kv, struct team *t, uint32_t max_rows) {
	const struct hparams *hp = &s->manifest->hp;
	size_t layers = s->last - s->first;
	if (!layers || !max_rows || kv->layers != layers || kv->head_size != hp->head_size ||
	        kv->bytes != kv_bytes(hp, kv->size, s->first, s->last))
		return -EINVAL;
	struct forward *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->slice = s;
	f->kv = kv;
	f->team = t;
	f->hp = hp;
	f->ops = kern_ops();
	f->max_rows = max_rows;
	f->scale = hp->attention_scale != 0 ? hp->attention_scale : 1 / sqrtf((float)hp->head_size);
	f->rope = f->ops->rope[hp->halves ? KERN_ROPE_HALVES : KERN_ROPE_PAIRS];
	f->glu = f->ops->glu[hp->glu];
	if (hp->window_base != 0)
		hparams_window_freq(hp, f->window_freq);
	f->shape = calloc(layers, sizeof *f->shape);
	f->forms = calloc(layers, sizeof *f->forms);
	f->vector = calloc(layers, sizeof *f->vector);
	f->vectors = malloc(forward_vector_floats(s->manifest, s->first, s->last) * sizeof(float));
	f->written[0] = calloc(kv->size.blocks, 1);
	f->written[1] = calloc(kv->size.window_blocks + (size_t)1, 1);
	f->states_written = calloc(kv->state ? kv->state->slots + kv->state->places : 1, 1);
	size_t nets = kv->state ? kv->state->layers : 0, taps = KERN_CONV * (size_t)hparams_channels(hp);
	f->conv = calloc(layers, sizeof *f->conv);
	f->taps = malloc((nets * taps + 1) * sizeof(float));
	size_t bytes = forward_lay(f, NULL, s->manifest, max_rows, team_size(t));
	f->arena = aligned_alloc(KERN_ALIGN, bytes);
	if (!f->shape || !f->forms || !f->vector || !f->vectors || !f->written[0] || !f->written[1] ||
	        !f->states_written || !f->conv || !f->taps || !f->arena) {
		forward_destroy(f);
		return -ENOMEM;
	}
	if (hp->experts && expert_use_create(&f->use, (uint32_t)layers, hp->experts)) {
		forward_destroy(f);
		return -ENOMEM;
	}
	forward_lay(f, f->arena, s->manifest, max_rows, team_size(t));
	memset(f->zeros, 0, (size_t)hparams_channels(hp) * sizeof(float));
	float *vectors = f->vectors;
	size_t net = 0;
	for (uint32_t l = 0; l < layers; l++) {
		const struct store_tensor *const *w = s->layer[l];
		f->shape[l] = hparams_layer(hp, s->first + l);
		f->forms[l] = (struct layer_forms){
		        .qkv = FORMS_OF(w, LAYER_Q, LAYER_K, LAYER_V, LAYER_Q_A, LAYER_KV_A, LAYER_DELTA_QKV,
		                LAYER_DELTA_GATE, LAYER_DELTA_ALPHA, LAYER_DELTA_BETA),
		        .out = FORMS_OF(w, LAYER_OUT, LAYER_DELTA_OUT),
		        .ffn = FORMS_OF(w, LAYER_GATE, LAYER_UP, LAYER_ROUTER, LAYER_EXPERT_GATE,
		                LAYER_EXPERT_UP, LAYER_SHARED_GATE, LAYER_SHARED_UP, LAYER_SHARED_ROUTER),
		        .down = FORMS_OF(w, LAYER_DOWN, LAYER_SHARED_DOWN),
		        .expert = FORMS_OF(w, LAYER_EXPERT_GATE, LAYER_EXPERT_UP),
		        .expert_down = FORMS_OF(w, LAYER_EXPERT_DOWN),
		        .raised = FORMS_OF(w, LAYER_Q_B),
		        .keys = FORMS_OF(w, LAYER_K_B),
		        .values = FORMS_OF(w, LAYER_V_B)};
		vectors = forward_take_vectors(f, l, vectors);
		if (w[LAYER_DELTA_CONV])
			forward_take_conv(f, l, f->taps + net++ * taps);
	}
	*out = f;
	return 0;
}

void forward_destroy(struct forward *f) {
	if (!f)
		return;
	int saved = errno;
	free(f->shape);
	free(f->forms);
	free(f->vector);
	free(f->vectors);
	free(f->written[0]);
	free(f->written[1]);
	free(f->states_written);
	free(f->conv);
	free(f->taps);
	free(f->arena);
	free(f->passing);
	expert_use_destroy(f->use);
	free(f);
	errno = saved;
}

const struct expert_use *forward_expert_use(const struct forward *f) {
	return f->use;
}

void forward_share_rows(const struct forward *f, const struct phase_member *j, size_t *first, size_t *last) {
	*first = 0;
	*last = 1;
	if (f->step->rows > 1)
		team_share(j->team, j->id, f->step->rows, 1, first, last);
}

size_t forward_slot_of(const struct forward *f, const struct phase_member *j, size_t row) {
	return f->step->rows > 1 ? row : j->id;
}

static float *forward_row_of(const struct forward *f, const struct phase_member *j, size_t row) {
	return f->step->rows > 1 ? f->step->x + row * f->hp->dim : f->member[j->id].x;
}

int forward_is_prepared(struct forward *f, struct phase_member *j, bool failed, uint32_t where) {
	if (failed)
		phase_fail(j, where);
	return f->step->rows > 1 ? phase_gate(j) : 0;
}

/* x += the output of the last products, normalised in families that do that.  norm: NULL for none; scratch: [dim].  false: a
 * value is not finite. */
static bool forward_add(
        const struct forward *f, float *x, const float *y, const float *norm, float *scratch) {
	size_t dim = f->hp->dim;
	float scale = f->hp->residual_scale;
	bool ok = true;
	if (norm) {
		ok = f->ops->rmsnorm(scratch, y, norm, dim, f->hp->eps) == 0;
		y = scratch;
	}
	for (size_t i = 0; scale != 0 && i < dim; i++)
		scratch[i] = y[i] * scale;
	f->ops->add(x, scale != 0 ? scratch : y, dim);
	return ok;
}

/* x += the output of the layer's feed-forward. */
static bool forward_add_feed_forward(
        const struct forward *f, const struct phase_member *j, uint32_t layer, size_t row, float *x) {
	float *scratch = f->member[j->id].norm;
	return forward_add(f, x, feed_forward_row(f, j, layer, row, scratch),
	        f->vector[layer][LAYER_POST_FFN_NORM], scratch);
}

/* What is still to be added to the rows: the output of the last half, and its layer. */
struct residual {
	enum { NOTHING, ATTENTION, FEED_FORWARD } of;
	uint32_t layer;
};

/* x += that; false: a value is not finite. */
static bool forward_add_residual(const struct forward *f, const struct phase_member *j,
        const struct residual *before, size_t row, float *x) {
	if (before->of == ATTENTION)
		return forward_add(f, x, f->y + row * f->hp->dim,
		        f->vector[before->layer][LAYER_POST_ATTN_NORM], f->member[j->id].norm);
	return before->of == NOTHING || forward_add_feed_forward(f, j, before->layer, row, x);
}

/* x += what came before; then norm, in the forms of the next products. */
static int forward_prepare_norm(struct forward *f, struct phase_member *j, struct residual *before,
        const float *norm, unsigned forms, uint32_t where) {
	size_t first, last, dim = f->hp->dim;
	bool failed = false;
	forward_share_rows(f, j, &first, &last);
	for (size_t r = first; r < last; r++) {
		float *x = forward_row_of(f, j, r), *y = f->member[j->id].norm;
		failed |= !forward_add_residual(f, j, before, r, x);
		failed |= f->ops->rmsnorm(y, x, norm, dim, f->hp->eps) ||
		          act_put(&f->act, forms, forward_slot_of(f, j, r), y, dim);
	}
	return forward_is_prepared(f, j, failed, where);
}

bool forward_put_rows(
        struct forward *f, struct phase_member *j, const float *rows, size_t n, unsigned forms) {
	size_t first, last;
	bool fine = true;
	forward_share_rows(f, j, &first, &last);
	for (size_t r = first; r < last; r++)
		fine &= act_put(&f->act, forms, forward_slot_of(f, j, r), rows + r * n, n) == 0;
	return fine;
}

int forward_fetch_group(struct forward *f, struct phase_member *j, uint32_t layer, enum weight_group g,
        const struct store_tensor *w[LAYER_ROLES]) {
	struct weight_stream *stream = f->slice->stream;
	return stream && weight_stream_has(stream, layer, g) ? weight_stream_wait(stream, j->next_group, w)
	                                                     : 0;
}

int forward_leave_group(struct forward *f, struct phase_member *j, uint32_t layer, enum weight_group g) {
	struct weight_stream *stream = f->slice->stream;
	if (phase_gate(j))
		return -EDOM;
	if (stream && weight_stream_has(stream, layer, g)) {
		if (j->id == 0)
			weight_stream_release(stream, j->next_group);
		j->next_group++;
	}
	return 0;
}

int forward_join_group(struct forward *f, const struct group *g, char *err, size_t errlen) {
	const struct hparams *hp = f->hp;
	if (group_check(g))
		return fail_with(-EINVAL, err, errlen, "no group of %u nodes", g->nodes);
	if (hp->latent || hp->attention_every)
		return fail_with(-ENOTSUP, err, errlen,
		        "layers with %s cannot be shared by several nodes yet",
		        hp->latent ? "latent attention" : "recurrent states");
	if (f->slice->stream || f->slice->experts)
		return fail_with(-ENOTSUP, err, errlen,
		        "weights that are read from disk in every step cannot be shared by several nodes yet");
	if (hp->head_size % KERN_STRIP)
		return fail_with(-ENOTSUP, err, errlen,
		        "heads of %u rows cannot be shared by several nodes yet", hp->head_size);
	f->passing = aligned_alloc(KERN_ALIGN, share_bytes(f->slice->manifest, f->max_rows));
	if (!f->passing)
		return fail_memory(err, errlen, "a group's rows");
	f->group = *g;
	return 0;
}

/* The products of queries, keys and values; no gate. */
static int forward_project(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *const w[LAYER_ROLES]) {
	const float *const *vector = f->vector[layer];
	size_t hs = f->hp->head_size, wide = f->shape[layer].heads * hs,
	       narrow = f->shape[layer].kv_heads * hs;
	if (f->hp->latent)
		return latent_queries(f, j, layer, w);
	wide *= f->hp->gated ? 2 : 1;
	size_t each = wide / narrow, first, last;
	share_own_heads(f, layer, &first, &last);
	size_t before = first * hs, after = narrow - last * hs;
	const struct product qkv[3] = {
	        {w[LAYER_Q], f->q, wide, vector[LAYER_Q_BIAS], 0, before * each, after * each},
	        {w[LAYER_K], f->k, narrow, vector[LAYER_K_BIAS], 0, before, after},
	        {w[LAYER_V], f->v, narrow, vector[LAYER_V_BIAS], 0, before, after}};
	product_share(j, f->ops, qkv, 3, &f->act, forward_slot_of(f, j, 0), f->step->rows);
	return 0;
}

/* The nodes of a group put together what their heads attended to. */
static int forward_meet_heads(struct forward *f, struct phase_member *j, uint32_t layer) {
	struct share e = {
	        .meeting = MEET_HEADS, .layer = layer, .where = layer << 8 | AT_ATTENTION, .parts = 1};
	e.rows[0] = share_heads(f, layer, f->attended, f->shape[layer].heads * f->hp->head_size);
	e.rows[0].act = &f->act;
	e.rows[0].at = forward_slot_of(f, j, 0);
	e.rows[0].forms = f->forms[layer].out;
	return share_meet(f, j, &e);
}

/* The products of queries, keys and values, and attention. */
static int forward_attend(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *w[LAYER_ROLES]) {
	const struct hparams *hp = f->hp;
	size_t heads = f->shape[layer].heads;
	if (forward_fetch_group(f, j, layer, WEIGHTS_QKV, w))
		return -EIO;
	if (forward_project(f, j, layer, w) || forward_leave_group(f, j, layer, WEIGHTS_QKV))
		return -EDOM;
	if (!attention_store(f, j, layer))
		phase_fail(j, layer << 8 | AT_HEADS);
	if (phase_gate(j))
		return -EDOM;
	attention_share(f, j, layer);
	phase_gate(j);
	if (!share_is_alone(f))
		return forward_meet_heads(f, j, layer);
	if (hp->latent && latent_values(f, j, layer, w))
		return -EDOM;
	bool fine = hp->latent
	                    ? forward_put_rows(f, j, f->split, heads * hp->value_head, f->forms[layer].out)
	                    : forward_put_rows(f, j, f->attended, heads * hp->head_size, f->forms[layer].out);
	return forward_is_prepared(f, j, !fine, layer << 8 | AT_ATTENTION);
}

/* The products of a gated delta net's rows, and its states. */
static int forward_recur(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *w[LAYER_ROLES]) {
	const struct hparams *hp = f->hp;
	size_t heads = hp->state_heads, inner = heads * hp->state_size;
	const struct product in[4] = {
	        {.w = w[LAYER_DELTA_QKV], .y = f->mixed, .ldy = (size_t)hparams_channels(hp)},
	        {.w = w[LAYER_DELTA_GATE], .y = f->z, .ldy = inner},
	        {.w = w[LAYER_DELTA_ALPHA], .y = f->alpha, .ldy = heads},
	        {.w = w[LAYER_DELTA_BETA], .y = f->beta, .ldy = heads}};
	product_share(j, f->ops, in, 4, &f->act, forward_slot_of(f, j, 0), f->step->rows);
	if (phase_gate(j))
		return -EDOM;
	if (!delta_share(f, j, layer))
		phase_fail(j, layer << 8 | AT_STATE);
	if (phase_gate(j))
		return -EDOM;
	bool fine = forward_put_rows(f, j, f->attended, inner, f->forms[layer].out);
	return forward_is_prepared(f, j, !fine, layer << 8 | AT_ATTENTION);
}

/* Waits until every member has added what came before to its row: where attention does not come first, the next products may
 * write what others still read for that. */
static int forward_meet(const struct forward *f, struct phase_member *j) {
	return f->step->rows == 1 && phase_gate(j) ? -EDOM : 0; /* with more rows they have met */
}

/* The first half of a layer: attention, or a gated delta net; without keys and values the normalised row goes through the output
 * product itself. */
static int forward_run_attention(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *w[LAYER_ROLES], struct residual *before) {
	const struct layer_forms *forms = &f->forms[layer];
	const float *const *vector = f->vector[layer];
	bool attends = f->shape[layer].kv_heads != 0, recurs = w[LAYER_DELTA_OUT] != NULL;
	int rc = forward_prepare_norm(f, j, before, vector[LAYER_ATTN_NORM],
	        attends || recurs ? forms->qkv : forms->out, layer << 8 | AT_ATTN_NORM);
	if (rc == 0 && (attends || recurs))
		rc = (recurs ? forward_recur : forward_attend)(f, j, layer, w);
	else if (rc == 0)
		rc = forward_meet(f, j);
	if (rc)
		return rc;
	if (forward_fetch_group(f, j, layer, WEIGHTS_OUT, w))
		return -EIO;
	const struct store_tensor *out = w[recurs ? LAYER_DELTA_OUT : LAYER_OUT];
	size_t dim = f->hp->dim, first, last;
	share_own_rows(f, dim, &first, &last);
	product_share(j, f->ops,
	        &(struct product){out, f->y, dim, vector[LAYER_OUT_BIAS], 0, first, dim - last}, 1, &f->act,
	        forward_slot_of(f, j, 0), f->step->rows);
	*before = (struct residual){ATTENTION, layer};
	if (forward_leave_group(f, j, layer, WEIGHTS_OUT))
		return -EDOM;
	if (share_is_alone(f))
		return 0;
	const struct share e = {.meeting = MEET_OUT,
	        .layer = layer,
	        .rows = {share_columns(f, f->y, f->step->rows, dim)},
	        .parts = 1};
	return share_meet(f, j, &e);
}

static int forward_run_layer(
        struct forward *f, struct phase_member *j, uint32_t layer, struct residual *before) {
	const struct store_tensor *w[LAYER_ROLES];
	int rc = 0;
	memcpy(w, f->slice->layer[layer], sizeof w);
	bool first_half = f->shape[layer].heads || w[LAYER_DELTA_OUT];
	if (first_half)
		rc = forward_run_attention(f, j, layer, w, before);
	if (rc || !f->shape[layer].ffn)
		return rc;
	rc = forward_prepare_norm(f, j, before, f->vector[layer][LAYER_FFN_NORM], f->forms[layer].ffn,
	        layer << 8 | AT_FFN_NORM);
	if (rc == 0 && !first_half)
		rc = forward_meet(f, j);
	*before = (struct residual){FEED_FORWARD, layer};
	return rc ? rc : feed_forward_run(f, j, layer, w);
}

/* The cosines and sines of a row, in layers without and with a window. */
static void forward_take_angles(struct forward *f, size_t row) {
	size_t pairs = f->hp->pairs;
	float *cs = f->angles[0] + row * 2 * pairs, magnitude = f->hp->rope_magnitude;
	kern_rope_angles(cs, f->hp->freq, pairs, f->row_position[row]);
	for (size_t i = 0; magnitude != 0 && i < 2 * pairs; i++)
		cs[i] *= magnitude;
	if (f->angles[1] != f->angles[0])
		kern_rope_angles(f->angles[1] + row * 2 * pairs, f->window_freq, pairs, f->row_position[row]);
}

static void forward_run_member(struct team *t, void *arg, unsigned id) {
	struct forward *f = arg;
	struct phase_member j = {.team = t, .id = id, .fault = &f->fault, .next_group = f->first_group};
	size_t first, last, dim = f->hp->dim;
	team_share(t, id, f->step->rows, 1, &first, &last);
	for (size_t r = first; r < last; r++)
		forward_take_angles(f, r); /* first needed two barriers later */
	if (f->step->rows == 1)
		memcpy(f->member[id].x, f->step->x, dim * sizeof(float));
	struct residual before = {NOTHING, 0};
	for (uint32_t l = 0; l < f->kv->layers; l++)
		if (forward_run_layer(f, &j, l, &before)) {
			atomic_store_explicit(&f->left, true, memory_order_relaxed);
			return;
		}
	if (f->step->rows == 1) {
		first = 0;
		last = id == 0;
	}
	for (size_t r = first; r < last; r++) {
		float *x = forward_row_of(f, &j, r);
		if (!forward_add_residual(f, &j, &before, r, x))
			phase_fail(&j, before.layer << 8 | AT_END);
		if (f->step->rows == 1)
			memcpy(f->step->x, x, dim * sizeof(float));
	}
}

int forward_run(struct forward *f, const struct forward_step *st, char *err, size_t errlen) {
	uint64_t renewed = SLICE_BEFORE;
	int rc = slice_check(f->slice, &renewed, err, errlen);
	share_begin(f);
	if (rc) {
		share_end(f, rc);
		return rc;
	}
	f->step = st;
	uint32_t row = 0;
	for (uint32_t s = 0; s < st->nseqs; s++)
		for (uint32_t i = 0; i < st->seqs[s].rows; i++, row++) {
			f->row_seq[row] = &st->seqs[s];
			f->row_position[row] = st->seqs[s].position + i;
		}
	attention_plan(f);
	if (f->kv->state)
		delta_begin(f);
	f->left = false;
	f->first_group = f->slice->stream ? weight_stream_begin(f->slice->stream) : 0;
	if (f->slice->experts)
		expert_cache_begin(f->slice->experts);
	team_run(f->team, forward_run_member, f);
	rc = slice_check(f->slice, &renewed, err, errlen);
	share_end(f, rc);
	if (rc)
		return rc;
	if (f->lost)
		return fail_with(-EIO, err, errlen, "%s", f->why);
	if (f->fault && phase_fault_where(f->fault) == WHERE_ELSE)
		return fail_with(-EIO, err, errlen, "another node of the group cannot go on");
	if (!f->fault && !f->left) {
		if (f->kv->state)
			delta_end(f);
		return 0;
	}
	if (!f->fault && f->slice->experts)
		expert_cache_error(f->slice->experts, f->slice->first, err, errlen);
	else if (!f->fault)
		weight_stream_error(f->slice->stream, err, errlen);
	if (!f->fault)
		return -EIO;
	uint32_t where = phase_fault_where(f->fault);
	return fail_with(-EDOM, err, errlen, "layer %u: a value is not finite in %s",
	        f->slice->first + (where >> 8), at_name[where & 0xff]);
}
