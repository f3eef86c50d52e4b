/* forward: see forward.h.
 *
 * A step is one job of the team.  With one row (decode) every member keeps a copy of the row, and normalises and quantises it
 * itself: that is cheaper than waiting.  A layer then has six barriers: after the QKV products, after keys and values are
 * stored, after attention, after the output product, after the gate and up products (SwiGLU is part of their tasks) and after
 * the down product.  With more rows, members share the rows and wait for each other after that as well.  Each row goes
 * through the same operations either way. */
#include "common/fail.h"
#include "shard/forward/forward_internal.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a step can fail; a fault has the layer in the bits above this. */
enum { AT_ATTN_NORM, AT_HEADS, AT_ATTENTION, AT_FFN_NORM, AT_FFN };
static const char *const at_name[] = {"the norm before attention", "the norm of a head",
        "the output of attention", "the norm before the feed-forward", "the feed-forward's hidden row"};

/* Allocates a buffer from the arena; without an arena it only counts. */
static void *forward_carve(uint8_t *arena, size_t *used, size_t count, size_t size) {
	size_t at = *used;
	*used += (count * size + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN;
	return arena ? arena + at : NULL;
}

/* Lays out the buffers, and returns their total size. */
static size_t forward_lay(
        struct forward *f, uint8_t *arena, const struct hparams *hp, size_t rows, unsigned team) {
	size_t used = 0, wide = (size_t)hp->heads * hp->head_size,
	       narrow = (size_t)hp->kv_heads * hp->head_size;
	size_t n = wide > hp->dim ? wide : hp->dim, slots = rows > team ? rows : team;
	size_t queries = attention_queries(hp);
	n = n > hp->ffn ? n : hp->ffn;
	for (int form = 0; form < KERN_FORMS; form++)
		f->act.form[form] = forward_carve(arena, &used, 1, act_bytes(form, slots, n));
	f->q = forward_carve(arena, &used, rows * wide, sizeof(float));
	f->k = forward_carve(arena, &used, rows * narrow, sizeof(float));
	f->v = forward_carve(arena, &used, rows * narrow, sizeof(float));
	f->attended = forward_carve(arena, &used, rows * wide, sizeof(float));
	f->y = forward_carve(arena, &used, rows * hp->dim, sizeof(float));
	f->ffn = forward_carve(arena, &used, rows * hp->ffn, sizeof(float));
	f->angles = forward_carve(arena, &used, rows * 2 * hp->pairs, sizeof(float));
	f->partials = attention_partials(hp, team);
	f->po = forward_carve(arena, &used, f->partials * hp->head_size, sizeof(float));
	f->pm = forward_carve(arena, &used, f->partials, sizeof(float));
	f->pl = forward_carve(arena, &used, f->partials, sizeof(float));
	f->open = forward_carve(arena, &used, rows * hp->kv_heads, sizeof *f->open);
	f->row_seq = forward_carve(arena, &used, rows, sizeof *f->row_seq);
	f->row_position = forward_carve(arena, &used, rows, sizeof *f->row_position);
	f->tile = forward_carve(arena, &used, rows, sizeof *f->tile);
	f->member = forward_carve(arena, &used, team, sizeof *f->member);
	for (unsigned i = 0; i < team; i++) {
		struct member m = {.x = forward_carve(arena, &used, hp->dim, sizeof(float)),
		        .norm = forward_carve(arena, &used, hp->dim, sizeof(float)),
		        .up = forward_carve(arena, &used, rows * PHASE_CHUNK, sizeof(float)),
		        .query = forward_carve(arena, &used, queries, sizeof(struct kern_query)),
		        .scratch = forward_carve(arena, &used, 1, kern_span_scratch(queries))};
		if (arena)
			f->member[i] = m;
	}
	return used;
}

/* Elements of the norms and biases of layers [first, last). */
static size_t forward_vector_floats(const struct manifest *m, uint32_t first, uint32_t last) {
	size_t n = 0;
	for (uint32_t i = m->at[first]; i < m->at[last]; i++)
		n += manifest_layer_is_vector((enum layer_role)m->tensor[i].role) ? m->tensor[i].n : 0;
	return n;
}

size_t forward_bytes(const struct manifest *m, uint32_t max_rows, unsigned team) {
	struct forward f;
	return forward_lay(&f, NULL, &m->hp, max_rows, team) +
	       forward_vector_floats(m, 0, m->hp.layers) * sizeof(float);
}

/* Dequantises the norms and biases of a layer to `to`; returns where the next layer's begin. */
static float *forward_take_vectors(struct forward *f, uint32_t layer, float *to) {
	for (int r = 0; r < LAYER_ROLES; r++) {
		const struct store_tensor *w = f->slice->layer[layer][r];
		if (!w || !manifest_layer_is_vector((enum layer_role)r))
			continue;
		kern_dequant_packed(w->record.type, to, w->packed, 0, w->record.n);
		f->vector[layer][r] = to;
		to += w->record.n;
	}
	return to;
}

int forward_create(
        struct forward **out, const struct slice *s, struct kv *kv, struct team *t, uint32_t max_rows) {
	const struct hparams *hp = &s->manifest->hp;
	size_t layers = s->last - s->first;
	if (!layers || !max_rows || kv->layers != layers || kv->kv_heads != hp->kv_heads ||
	        kv->head_size != hp->head_size)
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
	f->forms = calloc(layers, sizeof *f->forms);
	f->vector = calloc(layers, sizeof *f->vector);
	f->vectors = malloc(forward_vector_floats(s->manifest, s->first, s->last) * sizeof(float));
	f->written = calloc(kv->blocks, 1);
	size_t bytes = forward_lay(f, NULL, hp, max_rows, team_size(t));
	f->arena = aligned_alloc(KERN_ALIGN, bytes);
	if (!f->forms || !f->vector || !f->vectors || !f->written || !f->arena) {
		forward_destroy(f);
		return -ENOMEM;
	}
	forward_lay(f, f->arena, hp, max_rows, team_size(t));
	float *vectors = f->vectors;
	for (uint32_t l = 0; l < layers; l++) {
		const struct store_tensor *const *w = s->layer[l];
		f->forms[l] = (struct layer_forms){
		        .qkv = act_form_of(w[LAYER_Q]) | act_form_of(w[LAYER_K]) | act_form_of(w[LAYER_V]),
		        .out = act_form_of(w[LAYER_OUT]),
		        .ffn = act_form_of(w[LAYER_GATE]) | act_form_of(w[LAYER_UP]),
		        .down = act_form_of(w[LAYER_DOWN])};
		vectors = forward_take_vectors(f, l, vectors);
	}
	*out = f;
	return 0;
}

void forward_destroy(struct forward *f) {
	if (!f)
		return;
	int saved = errno;
	free(f->forms);
	free(f->vector);
	free(f->vectors);
	free(f->written);
	free(f->arena);
	free(f);
	errno = saved;
}

/* The rows that a member prepares for the next products: its share, or the one row there is. */
static void forward_share_rows(
        const struct forward *f, const struct phase_member *j, size_t *first, size_t *last) {
	*first = 0;
	*last = 1;
	if (f->step->rows > 1)
		team_share(j->team, j->id, f->step->rows, 1, first, last);
}

/* The index of a prepared row among the activations. */
static size_t forward_slot_of(const struct forward *f, const struct phase_member *j, size_t row) {
	return f->step->rows > 1 ? row : j->id;
}

static float *forward_row_of(const struct forward *f, const struct phase_member *j, size_t row) {
	return f->step->rows > 1 ? f->step->x + row * f->hp->dim : f->member[j->id].x;
}

/* After rows were prepared: waits for shared rows.  A member whose own single row failed knows that already,
 * and leaves at the same gate as the others. */
static int forward_is_prepared(struct forward *f, struct phase_member *j, bool failed, uint32_t where) {
	if (failed)
		phase_fail(j, where);
	return f->step->rows > 1 ? phase_gate(j) : 0;
}

/* x += the output of the last products.  scratch: [dim] */
static void forward_add(const struct forward *f, float *x, const float *y, float *scratch) {
	float scale = f->hp->residual_scale;
	for (size_t i = 0; scale != 0 && i < f->hp->dim; i++)
		scratch[i] = y[i] * scale;
	f->ops->add(x, scale != 0 ? scratch : y, f->hp->dim);
}

/* x += the output of the last products, if any; then norm, in the forms of the next products. */
static int forward_prepare_norm(struct forward *f, struct phase_member *j, bool residual, const float *norm,
        unsigned forms, uint32_t where) {
	size_t first, last, dim = f->hp->dim;
	bool failed = false;
	forward_share_rows(f, j, &first, &last);
	for (size_t r = first; r < last; r++) {
		float *x = forward_row_of(f, j, r), *y = f->member[j->id].norm;
		if (residual)
			forward_add(f, x, f->y + r * dim, y);
		failed |= f->ops->rmsnorm(y, x, norm, dim, f->hp->eps) ||
		          act_put(&f->act, forms, forward_slot_of(f, j, r), y, dim);
	}
	return forward_is_prepared(f, j, failed, where);
}

/* Prepares rows of a buffer in the forms of the next product. */
static int forward_prepare_rows(struct forward *f, struct phase_member *j, const float *rows, size_t n,
        unsigned forms, uint32_t where) {
	size_t first, last;
	bool failed = false;
	forward_share_rows(f, j, &first, &last);
	for (size_t r = first; r < last; r++)
		failed |= act_put(&f->act, forms, forward_slot_of(f, j, r), rows + r * n, n) != 0;
	return forward_is_prepared(f, j, failed, where);
}

/* Gate and up side by side, so that SwiGLU finds both in the first-level cache. */
static void forward_share_swiglu(struct forward *f, struct phase_member *j, const struct store_tensor *gate,
        const struct store_tensor *up) {
	size_t ffn = f->hp->ffn, at = forward_slot_of(f, j, 0), cols = f->step->rows, run, strips;
	struct phase_cut cut = {.strips = (ffn + KERN_STRIP - 1) / KERN_STRIP, .least = PHASE_STRIPS};
	float *u = f->member[j->id].up;
	while (phase_next_run(j, &cut, &run, &strips)) {
		size_t end = (run + strips) * KERN_STRIP < ffn ? (run + strips) * KERN_STRIP : ffn;
		for (size_t first = run * KERN_STRIP, n; first < end; first += n) {
			n = end - first < PHASE_CHUNK ? end - first : PHASE_CHUNK;
			product_rows(f->ops, gate, f->ffn + first, ffn, first, n, &f->act, at, cols);
			product_rows(f->ops, up, u, PHASE_CHUNK, first, n, &f->act, at, cols);
			for (size_t c = 0; c < cols; c++) {
				float *g = f->ffn + c * ffn + first;
				f->ops->swiglu(g, g, u + c * PHASE_CHUNK, n);
			}
		}
	}
}

/* If a group of the layer's weights is streamed, waits for it and puts it into w. */
static int forward_fetch_group(struct forward *f, struct phase_member *j, uint32_t layer, enum weight_group g,
        const struct store_tensor *w[LAYER_ROLES]) {
	struct weight_stream *stream = f->slice->stream;
	return stream && weight_stream_has(stream, layer, g) ? weight_stream_wait(stream, j->next_group, w)
	                                                     : 0;
}

/* Ends the phase that computed from a group. */
static int forward_leave_group(
        struct forward *f, struct phase_member *j, uint32_t layer, enum weight_group g) {
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

static int forward_run_layer(struct forward *f, struct phase_member *j, uint32_t layer, bool residual) {
	const struct hparams *hp = f->hp;
	const struct store_tensor *w[LAYER_ROLES];
	const struct layer_forms *forms = &f->forms[layer];
	const float *const *vector = f->vector[layer];
	size_t wide = (size_t)hp->heads * hp->head_size, narrow = (size_t)hp->kv_heads * hp->head_size;
	size_t rows = f->step->rows, at = forward_slot_of(f, j, 0);
	uint32_t where = layer << 8;
	memcpy(w, f->slice->layer[layer], sizeof w);

	if (forward_prepare_norm(f, j, residual, vector[LAYER_ATTN_NORM], forms->qkv, where | AT_ATTN_NORM))
		return -EDOM;
	if (forward_fetch_group(f, j, layer, WEIGHTS_QKV, w))
		return -EIO;
	const struct product qkv[3] = {{w[LAYER_Q], f->q, wide, vector[LAYER_Q_BIAS], 0},
	        {w[LAYER_K], f->k, narrow, vector[LAYER_K_BIAS], 0},
	        {w[LAYER_V], f->v, narrow, vector[LAYER_V_BIAS], 0}};
	product_share(j, f->ops, qkv, 3, &f->act, at, rows);
	if (forward_leave_group(f, j, layer, WEIGHTS_QKV))
		return -EDOM;
	if (!attention_store(f, j, layer))
		phase_fail(j, where | AT_HEADS);
	if (phase_gate(j))
		return -EDOM;
	attention_share(f, j, layer);
	phase_gate(j);

	if (forward_prepare_rows(f, j, f->attended, wide, forms->out, where | AT_ATTENTION))
		return -EDOM;
	if (forward_fetch_group(f, j, layer, WEIGHTS_OUT, w))
		return -EIO;
	product_share(j, f->ops, &(struct product){w[LAYER_OUT], f->y, hp->dim, vector[LAYER_OUT_BIAS], 0}, 1,
	        &f->act, at, rows);
	if (forward_leave_group(f, j, layer, WEIGHTS_OUT))
		return -EDOM;

	if (forward_prepare_norm(f, j, true, vector[LAYER_FFN_NORM], forms->ffn, where | AT_FFN_NORM))
		return -EDOM;
	if (forward_fetch_group(f, j, layer, WEIGHTS_UP, w))
		return -EIO;
	forward_share_swiglu(f, j, w[LAYER_GATE], w[LAYER_UP]);
	if (forward_leave_group(f, j, layer, WEIGHTS_UP))
		return -EDOM;

	if (forward_prepare_rows(f, j, f->ffn, hp->ffn, forms->down, where | AT_FFN))
		return -EDOM;
	if (forward_fetch_group(f, j, layer, WEIGHTS_DOWN, w))
		return -EIO;
	product_share(j, f->ops, &(struct product){.w = w[LAYER_DOWN], .y = f->y, .ldy = hp->dim}, 1, &f->act,
	        at, rows);
	return forward_leave_group(f, j, layer, WEIGHTS_DOWN);
}

static void forward_run_member(struct team *t, void *arg, unsigned id) {
	struct forward *f = arg;
	struct phase_member j = {.team = t, .id = id, .fault = &f->fault, .next_group = f->first_group};
	size_t first, last, dim = f->hp->dim, pairs = f->hp->pairs;
	team_share(t, id, f->step->rows, 1, &first, &last);
	for (size_t r = first; r < last; r++) { /* first needed two barriers later */
		float *cs = f->angles + r * 2 * pairs, magnitude = f->hp->rope_magnitude;
		kern_rope_angles(cs, f->hp->freq, pairs, f->row_position[r]);
		for (size_t i = 0; magnitude != 0 && i < 2 * pairs; i++)
			cs[i] *= magnitude;
	}
	if (f->step->rows == 1)
		memcpy(f->member[id].x, f->step->x, dim * sizeof(float));
	for (uint32_t l = 0; l < f->kv->layers; l++)
		if (forward_run_layer(f, &j, l, l > 0)) {
			atomic_store_explicit(&f->left, true, memory_order_relaxed);
			return;
		}
	if (f->step->rows == 1) {
		first = 0;
		last = id == 0;
	}
	for (size_t r = first; r < last; r++) {
		float *x = forward_row_of(f, &j, r);
		forward_add(f, x, f->y + r * dim, f->member[id].norm);
		if (f->step->rows == 1)
			memcpy(f->step->x, x, dim * sizeof(float));
	}
}

int forward_run(struct forward *f, const struct forward_step *st, char *err, size_t errlen) {
	uint64_t renewed = SLICE_BEFORE;
	int rc = slice_check(f->slice, &renewed, err, errlen);
	if (rc)
		return rc;
	f->step = st;
	uint32_t row = 0;
	for (uint32_t s = 0; s < st->nseqs; s++)
		for (uint32_t i = 0; i < st->seqs[s].rows; i++, row++) {
			f->row_seq[row] = &st->seqs[s];
			f->row_position[row] = st->seqs[s].position + i;
		}
	attention_plan(f);
	f->fault = 0;
	f->left = false;
	f->first_group = f->slice->stream ? weight_stream_begin(f->slice->stream) : 0;
	team_reset_counter(f->team);
	team_run(f->team, forward_run_member, f);
	if ((rc = slice_check(f->slice, &renewed, err, errlen)))
		return rc;
	if (!f->fault && !f->left)
		return 0;
	if (!f->fault) {
		weight_stream_error(f->slice->stream, err, errlen);
		return -EIO;
	}
	uint32_t where = phase_fault_where(f->fault);
	return fail_with(-EDOM, err, errlen, "layer %u: a value is not finite in %s",
	        f->slice->first + (where >> 8), at_name[where & 0xff]);
}
