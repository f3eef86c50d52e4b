/* attention: the queries of a step against the KV cache, shared by the team.
 *
 * The contract (doc/numerics.md) reduces each span of 512 positions by itself and combines spans in ascending order, so any
 * member may compute any span.  A step with few partial results (decode) has one task per (tile, head, span); the member that
 * finishes the last span of a tile combines them.  A larger step (prefill) has one task per (tile, head), and the member keeps
 * its partial results to itself.  Both use the same scratch, whose size depends only on the context.  The queries of a group
 * of heads read their keys and values together. */
#include "kernels/kvcopy.h"
#include "shard/forward/share.h"

/* Partial results per member, unless one token of a long context needs more. */
#define MEMBER_PARTIALS 2048

static size_t attention_group_of(const struct layer_shape *shape) {
	return shape->heads / shape->kv_heads;
}

/* Of the layer that has most heads for one of keys and values: what a step is planned for. */
static size_t attention_most_group(const struct hparams *hp) {
	size_t most = 1;
	for (uint32_t l = 0; l < (hp->unlike || hp->attention_every ? hp->layers : 1); l++) {
		struct layer_shape shape = hparams_layer(hp, l);
		size_t g = shape.kv_heads ? attention_group_of(&shape) : 0;
		most = g > most ? g : most;
	}
	return most;
}

static size_t attention_spans_of(size_t positions) {
	return (positions + KERN_SPAN - 1) / KERN_SPAN;
}

size_t attention_queries(const struct hparams *hp) {
	size_t g = attention_most_group(hp);
	return g > PASS_QUERIES ? g : PASS_QUERIES;
}

static size_t attention_member_partials(const struct hparams *hp) {
	size_t least = attention_most_group(hp) * attention_spans_of(hp->context);
	return least > MEMBER_PARTIALS ? least : MEMBER_PARTIALS;
}

/* The partial results of all members, or of all heads of one row: decode of a single stream is always split
 * into spans. */
size_t attention_partials(const struct hparams *hp, unsigned team) {
	size_t own = team * attention_member_partials(hp), row = hp->heads * attention_spans_of(hp->context);
	return own > row ? own : row;
}

static bool attention_has_window(const struct forward *f, uint32_t layer) {
	return hparams_has_window(f->hp, f->slice->first + layer);
}

/* The numbers of a sequence's blocks of a layer, from the one at index `from` on. */
static const uint32_t *attention_blocks(
        const struct forward *f, const struct forward_seq *q, uint32_t layer, uint32_t from) {
	return attention_has_window(f, layer) ? q->windows + (from - (q->nblocks - q->nwindows))
	                                      : q->blocks + from;
}

/* The most spans that a tile of these tokens sees; a window that begins within a span reaches into one more. */
static size_t attention_most_spans(uint32_t position, uint32_t rows, uint32_t window) {
	size_t all = attention_spans_of((size_t)position + rows);
	size_t within = attention_spans_of((size_t)window + rows) + 1;
	return window && within < all ? within : all;
}

static void attention_tile_up(struct forward *f, struct tiling *c, uint32_t window) {
	const struct hparams *hp = f->hp;
	size_t g = attention_most_group(hp), own = f->partials / team_size(f->team), total = 0;
	uint32_t row = 0;
	c->tiles = 0;
	for (uint32_t s = 0; s < f->step->nseqs; s++) {
		const struct forward_seq *seq = &f->step->seqs[s];
		size_t fit = own / (g * attention_most_spans(seq->position, seq->rows, window)),
		       wide = attention_queries(hp) / g;
		uint32_t tokens = (uint32_t)(fit < wide ? fit : wide);
		for (uint32_t i = 0; i < seq->rows; i += tokens) {
			struct tile *t = &c->tile[c->tiles++];
			*t = (struct tile){.seq = seq, .row = row + i, .position = seq->position + i};
			t->tokens = seq->rows - i < tokens ? seq->rows - i : tokens;
			t->first_span = hparams_first_seen(t->position, window) / KERN_SPAN;
			t->spans =
			        (uint32_t)attention_spans_of((size_t)t->position + t->tokens) - t->first_span;
			t->partial = total;
			total += (size_t)t->tokens * hp->heads * t->spans;
		}
		row += seq->rows;
	}
	c->split = total <= f->partials;
	c->head_tasks = 0;
	for (uint32_t i = 0; i < c->tiles; i++) {
		struct tile *t = &c->tile[i];
		t->task = c->head_tasks;
		c->head_tasks += c->split ? t->spans : 1;
		for (uint32_t h = 0; c->split && h < hp->kv_heads; h++)
			atomic_store_explicit(&c->open[i * hp->kv_heads + h], t->spans, memory_order_relaxed);
	}
}

void attention_plan(struct forward *f) {
	attention_tile_up(f, &f->tiling[0], 0);
	if (f->hp->window)
		attention_tile_up(f, &f->tiling[1], f->hp->window);
}

/* Floats from one head's query to the next: where heads have gates, each follows its query. */
static size_t attention_stride(const struct hparams *hp) {
	return hp->head_size * (hp->gated ? (size_t)2 : 1);
}

/* The query of a head of a row, of a layer with so many. */
static float *attention_query(const struct forward *f, size_t heads, size_t row, size_t head) {
	return f->q + (row * heads + head) * attention_stride(f->hp);
}

/* Normalises each of some heads, which are `stride` apart; norm: NULL for families that do not.  false: a value is not finite. */
static bool attention_norm_heads(
        const struct forward *f, float *x, size_t heads, size_t stride, const float *norm) {
	bool ok = true;
	for (size_t h = 0; norm && h < heads; h++)
		ok &= f->ops->rmsnorm(x + h * stride, x + h * stride, norm, f->hp->head_size, f->hp->eps) ==
		      0;
	return ok;
}

/* Heads first, so that a member writes neighbouring positions of the same head. */
bool attention_store(struct forward *f, struct phase_member *j, uint32_t layer) {
	const struct hparams *hp = f->hp;
	const struct kern_kv_ops *ops = &f->ops->kv[f->kv->size.type];
	const struct layer_shape *shape = &f->shape[layer];
	size_t rows = f->step->rows, hs = hp->head_size, g = attention_group_of(shape), first, last;
	const float *const *vector = f->vector[layer];
	const float *table = f->angles[attention_has_window(f, layer)];
	bool rotates = !hp->plain_every || (f->slice->first + layer + 1) % hp->plain_every, ok = true;
	size_t own, past;
	share_own_heads(f, layer, &own, &past);
	team_share(j->team, j->id, rows * (past - own), 1, &first, &last);
	for (size_t i = first; i < last; i++) {
		size_t row = i % rows, head = own + i / rows;
		uint32_t position = f->row_position[row];
		uint32_t block = *attention_blocks(f, f->row_seq[row], layer, position / KERN_KV_BLOCK);
		size_t slot = position % KERN_KV_BLOCK;
		const float *angles = table + row * 2 * hp->pairs;
		float *q = attention_query(f, shape->heads, row, head * g),
		      *k = f->k + (row * shape->kv_heads + head) * hs;
		ok &= attention_norm_heads(f, q, g, attention_stride(hp), vector[LAYER_Q_NORM]);
		ok &= attention_norm_heads(f, k, 1, hs, vector[LAYER_K_NORM]);
		if (hp->latent)
			ok &= f->ops->rmsnorm(k, k, vector[LAYER_KV_A_NORM], hp->latent, hp->eps) == 0;
		if (rotates) {
			f->rope(q + hp->latent, g, attention_stride(hp), angles, hp->pairs);
			f->rope(k + hp->latent, 1, hs, angles, hp->pairs);
		}
		ops->put_key(kv_keys(f->kv, block, layer, (uint32_t)head), slot, k, hs);
		if (!hp->latent)
			ops->put_value(kv_values(f->kv, block, layer, (uint32_t)head), slot,
			        f->v + (row * shape->kv_heads + head) * hs, hs);
	}
	return ok;
}

/* A tile for one key/value head; partial results of query i, span s at first + i * spans + s - first_span. */
struct walk {
	const struct tile *tile;
	uint32_t layer, head, window;
	size_t first;
};

/* The values of block b of a span in latent attention. */
static const void *attention_values_of_keys(
        const struct forward *f, struct member *m, const void *keys, uint32_t b) {
	enum kern_kv type = f->kv->size.type;
	uint8_t *values = m->values + b * kern_kv_bytes(type, f->hp->head_size);
	kern_kv_values_of_keys(type, values, keys, f->hp->head_size);
	return values;
}

/* Computes the tile's queries that see a span against it. */
static void attention_span(struct forward *f, struct member *m, const struct walk *w, uint32_t span) {
	const struct tile *t = w->tile;
	size_t heads = f->shape[w->layer].heads, g = attention_group_of(&f->shape[w->layer]),
	       hs = f->hp->head_size, n = 0;
	uint32_t start = span * KERN_SPAN, least = KERN_SPAN, most = 0;
	for (uint32_t token = 0; token < t->tokens; token++) {
		uint32_t position = t->position + token, seen = hparams_first_seen(position, w->window);
		if (position < start || seen >= start + KERN_SPAN)
			continue;
		uint32_t first = seen > start ? seen - start : 0;
		uint32_t count = position - start < KERN_SPAN ? position - start + 1 : KERN_SPAN;
		least = first < least ? first : least;
		most = count > most ? count : most;
		for (size_t h = 0; h < g; h++) {
			size_t partial = w->first + (token * g + h) * t->spans + span - t->first_span;
			m->query[n++] = (struct kern_query){
			        .q = attention_query(f, heads, t->row + token, w->head * g + h),
			        .o = f->po + partial * hs,
			        .m = f->pm + partial,
			        .l = f->pl + partial,
			        .first = first,
			        .count = count};
		}
	}
	const void *keys[KERN_SPAN / KERN_KV_BLOCK], *values[KERN_SPAN / KERN_KV_BLOCK];
	uint32_t seen = least / KERN_KV_BLOCK;
	const uint32_t *blocks = attention_blocks(f, t->seq, w->layer, start / KERN_KV_BLOCK + seen);
	for (uint32_t b = seen; b * KERN_KV_BLOCK < most; b++) {
		keys[b] = kv_keys(f->kv, blocks[b - seen], w->layer, w->head);
		values[b] = f->hp->latent ? attention_values_of_keys(f, m, keys[b], b)
		                          : kv_values(f->kv, blocks[b - seen], w->layer, w->head);
	}
	f->ops->kv[f->kv->size.type].span(m->query, n, keys, values, hs, f->scale, m->scratch);
}

static void attention_combine_tile(struct forward *f, const struct walk *w) {
	const struct tile *t = w->tile;
	const float *sinks = f->vector[w->layer][LAYER_SINKS];
	size_t heads = f->shape[w->layer].heads, g = attention_group_of(&f->shape[w->layer]),
	       hs = f->hp->head_size;
	for (uint32_t token = 0; token < t->tokens; token++) {
		uint32_t position = t->position + token;
		size_t before = hparams_first_seen(position, w->window) / KERN_SPAN,
		       spans = attention_spans_of((size_t)position + 1) - before;
		for (size_t h = 0; h < g; h++) {
			size_t head = w->head * g + h, row = t->row + token,
			       partial = w->first + (token * g + h) * t->spans + before - t->first_span;
			float *out = f->attended + (row * heads + head) * hs;
			f->ops->combine(out, f->po + partial * hs, f->pm + partial, f->pl + partial, spans,
			        sinks ? sinks + head : NULL, hs);
			if (f->hp->gated)
				f->ops->gate(out, out, attention_query(f, heads, row, head) + hs, hs);
		}
	}
}

/* The tile to which a task of a head belongs. */
static const struct tile *attention_tile_of(const struct tiling *c, size_t task) {
	uint32_t low = 0, high = c->tiles;
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;
		if (c->tile[mid].task <= task)
			low = mid;
		else
			high = mid;
	}
	return &c->tile[low];
}

/* Within a head the last tiles come first: they see most, and the short ones fill the end.  Spans of a tile
 * ascend, as in the cache, and a member takes several consecutive ones, so that it reads contiguous
 * memory. */
static void attention_run(struct forward *f, struct phase_member *j, uint32_t layer, size_t i) {
	struct member *m = &f->member[j->id];
	bool window = attention_has_window(f, layer);
	const struct tiling *c = &f->tiling[window];
	size_t g = attention_group_of(&f->shape[layer]), task = c->head_tasks - 1 - i % c->head_tasks;
	struct walk w = {.tile = attention_tile_of(c, task),
	        .layer = layer,
	        .head = (uint32_t)(i / c->head_tasks),
	        .window = window ? f->hp->window : 0};
	const struct tile *t = w.tile;
	if (!c->split) {
		w.first = j->id * (f->partials / team_size(j->team));
		for (uint32_t span = 0; span < t->spans; span++)
			attention_span(f, m, &w, t->first_span + span);
		attention_combine_tile(f, &w);
		return;
	}
	w.first = t->partial + w.head * (t->tokens * g * t->spans);
	attention_span(f, m, &w, t->first_span + t->spans - 1 - (uint32_t)(task - t->task));
	_Atomic uint32_t *open = &c->open[(size_t)(t - c->tile) * f->hp->kv_heads + w.head];
	if (atomic_fetch_sub(open, 1) == 1) {
		attention_combine_tile(f, &w);
		atomic_store_explicit(open, t->spans, memory_order_relaxed); /* for the next layer */
	}
}

void attention_share(struct forward *f, struct phase_member *j, uint32_t layer) {
	size_t tasks = f->tiling[attention_has_window(f, layer)].head_tasks, own, past, first, count;
	share_own_heads(f, layer, &own, &past);
	struct phase_cut cut = {.strips = tasks * (past - own), .least = 1};
	while (phase_next_run(j, &cut, &first, &count))
		for (size_t i = first; i < first + count; i++)
			attention_run(f, j, layer, own * tasks + i);
}
