/* synth: see synth.h. */
#include "tests/support/synth.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

/* Where a block's half-precision scale and minimum are (-1: none), and about how large its weights are for a
 * scale of one. */
static const struct shape {
	int d, m;
	float unit;
} shapes[KERN_TYPES] = {
        [KERN_Q4_0] = {0, -1, 4.6f},
        [KERN_Q4_1] = {0, 2, 9},
        [KERN_Q5_0] = {0, -1, 9.2f},
        [KERN_Q5_1] = {0, 2, 18},
        [KERN_Q8_0] = {0, -1, 74},
        [KERN_IQ4_NL] = {0, -1, 70},
        [KERN_Q2_K] = {80, 82, 15},
        [KERN_Q3_K] = {108, -1, 43},
        [KERN_Q4_K] = {0, 2, 280},
        [KERN_Q5_K] = {0, 2, 560},
        [KERN_Q6_K] = {208, -1, 1370},
        [KERN_IQ4_XS] = {0, -1, 1250},
        [KERN_MXFP4] = {-1, -1, 5.9f},
        [KERN_IQ2_XXS] = {0, -1, 53.3f},
        [KERN_IQ2_XS] = {0, -1, 55.9f},
        [KERN_IQ2_S] = {0, -1, 56.4f},
        [KERN_IQ3_XXS] = {0, -1, 142.5f},
        [KERN_IQ3_S] = {0, -1, 140.2f},
        [KERN_IQ1_S] = {0, -1, 7.21f},
        [KERN_IQ1_M] = {-1, -1, 7.2f},
        [KERN_TQ1_0] = {52, -1, 0.816f},
        [KERN_TQ2_0] = {64, -1, 1.22f},
};

static uint64_t draw(uint64_t *state) {
	*state += 0x9e3779b97f4a7c15u;
	uint64_t z = *state;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static float draw_float(uint64_t *state) {
	return (float)(draw(state) >> 40) * 0x1p-23f - 1;
}

static void *must(void *p) {
	if (!p) {
		perror("synth");
		abort();
	}
	return p;
}

/* Weights of about 1 / sqrt(n), norms around 1. */
static void fill(uint8_t *row, enum kern_type type, size_t n, float size, float around, uint64_t *state) {
	const struct kern_traits *tr = kern_traits(type);
	const struct shape *sh = &shapes[type];
	for (size_t b = 0; b < n / tr->block; b++, row += tr->bytes) {
		float v = around + draw_float(state) * size;
		uint32_t bits;
		memcpy(&bits, &v, 4);
		uint16_t half = kern_to_half(v);
		if (type == KERN_F32) {
			memcpy(row, &bits, 4);
		} else if (type == KERN_F16) {
			memcpy(row, &half, 2);
		} else if (type == KERN_BF16) {
			half = (uint16_t)(bits >> 16);
			memcpy(row, &half, 2);
		} else {
			for (size_t i = 0; i < tr->bytes; i++)
				row[i] = (uint8_t)draw(state);
			half = kern_to_half((draw_float(state) * 0.3f + 1) * size / sh->unit);
			if (type == KERN_MXFP4)
				row[0] = (uint8_t)lrintf(log2f(size / sh->unit) + 128);
			else if (type == KERN_IQ1_M) /* a nibble at the top of each of four shorts */
				for (int i = 0; i < 4; i++)
					row[49 + 2 * i] =
					        (uint8_t)((row[49 + 2 * i] & 15) | (half >> 4 * i & 15) << 4);
			else
				memcpy(row + sh->d, &half, 2);
			half = kern_to_half(
			        size / sh->unit * (type == KERN_Q4_1 || type == KERN_Q5_1 ? -8 : 7));
			if (sh->m >= 0)
				memcpy(row + sh->m, &half, 2);
		}
	}
}

static void tensor(
        struct store_tensor *t, enum kern_type type, size_t rows, size_t n, bool norm, uint64_t *state) {
	size_t bytes = kern_row_bytes(type, n);
	uint8_t *canonical = must(malloc(rows * bytes));
	for (size_t r = 0; r < rows; r++)
		fill(canonical + r * bytes, type, n, norm ? 0.5f : 1.5f / sqrtf((float)n), norm ? 1 : 0,
		        state);
	*t = (struct store_tensor){.record = {.type = type, .n = n, .rows = rows, .parts = 1}};
	t->packed_bytes = kern_packed_bytes(type, rows, n);
	/* what is large lies in huge pages, as the store has it mapped (shard/store/write.c), where matrices also share one */
	size_t align = t->packed_bytes < HUGE_PAGE / 8 ? KERN_ALIGN : HUGE_PAGE;
	size_t size = (t->packed_bytes + align - 1) / align * align;
	t->map = must(aligned_alloc(align, size));
	if (align == HUGE_PAGE)
		madvise(t->map, size, MADV_HUGEPAGE);
	t->packed = t->map;
	kern_pack(type, t->map, canonical, rows, n);
	free(canonical);
}

static void check(int rc, const char *what) {
	if (rc) {
		fprintf(stderr, "%s: %s\n", what, strerror(-rc));
		abort();
	}
}

#define DENSE (LAYER_BIT(LAYER_GATE) | LAYER_BIT(LAYER_UP) | LAYER_BIT(LAYER_DOWN))
#define MIXTURE ((LAYER_BIT(LAYER_SHARED_DOWN + 1) - 1) & ~(LAYER_BIT(LAYER_ROUTER) - 1))

struct synth *synth_create(const struct synth_spec *c) {
	struct synth *s = must(calloc(1, sizeof *s));
	uint64_t state = c->seed;
	struct hparams hp = {.layers = c->layers,
	        .dim = c->dim,
	        .heads = c->heads,
	        .kv_heads = c->kv_heads,
	        .head_size = c->head_size,
	        .ffn = c->ffn,
	        .vocab = c->vocab,
	        .context = c->context,
	        .pairs = c->head_size / 2,
	        .eps = 1e-5f};
	if (c->traits.latent) { /* with eight elements that are rotated */
		hp.kv_heads = 1;
		hp.head_size = c->traits.latent + 8;
		hp.pairs = 4;
	}
	struct hparams_trait trait[HPARAMS_TRAITS];
	for (uint32_t i = 0; i < hp.pairs; i++)
		hp.freq[i] = (float)pow(10000, -2.0 * i / (2 * hp.pairs));
	for (size_t i = hparams_traits(&c->traits, trait); i-- > 0;)
		check(hparams_set_trait(&hp, &trait[i]), "hparams_set_trait");
	memcpy(hp.shape, c->traits.shape, sizeof hp.shape);
	layer_roles *roles = must(malloc(c->layers * sizeof *roles));
	for (uint32_t l = 0; l < c->layers; l++) {
		bool mixture = c->roles & MIXTURE && l >= c->dense;
		roles[l] = manifest_fit_roles(
		        &hp, l, (LAYER_PLAIN_BITS | c->roles) & ~(mixture ? DENSE : MIXTURE));
	}
	check(manifest_create(&s->m, &hp, roles), "manifest_create");
	free(roles);
	s->layer = must(calloc(c->layers, sizeof *s->layer));
	s->whole = (struct slice){.manifest = s->m, .last = c->layers};
	s->whole.layer = must(calloc(c->layers, sizeof *s->whole.layer));
	for (uint32_t l = 0; l < c->layers; l++)
		for (uint32_t i = s->m->at[l]; i < s->m->at[l + 1]; i++) {
			struct manifest_tensor *t = &s->m->tensor[i];
			t->type = c->layer[t->role];
			t->bytes = t->rows * kern_row_bytes(t->type, t->n);
			tensor(&s->layer[l][t->role], c->layer[t->role], t->rows, t->n, t->rows == 1, &state);
			s->layer[l][t->role].record.parts = t->parts;
			s->whole.layer[l][t->role] = &s->layer[l][t->role];
		}
	tensor(&s->io[IO_EMBED], c->embed, c->vocab, c->dim, false, &state);
	tensor(&s->io[IO_NORM], KERN_F32, 1, c->dim, true, &state);
	tensor(&s->io[IO_HEAD], c->head, c->vocab, c->dim, false, &state);
	for (int r = 0; r < IO_ROLES; r++)
		s->whole.io[r] = &s->io[r];
	return s;
}

void synth_destroy(struct synth *s) {
	for (uint32_t l = 0; l < s->m->hp.layers; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			free(s->layer[l][r].map);
	for (int r = 0; r < IO_ROLES; r++)
		free(s->io[r].map);
	free(s->layer);
	free(s->whole.layer);
	manifest_destroy(s->m);
	free(s);
}

struct line *line_create(const struct slice *whole, enum kern_kv kv, unsigned threads, unsigned stages,
        const uint32_t *cuts, uint32_t max_rows, uint32_t blocks) {
	uint32_t windows = whole->manifest->hp.window ? blocks : 0;
	return line_create_sized(
	        whole, (struct kv_size){kv, blocks, windows, LINE_SLOTS}, threads, stages, cuts, max_rows);
}

struct line *line_create_sized(const struct slice *whole, struct kv_size size, unsigned threads,
        unsigned stages, const uint32_t *cuts, uint32_t max_rows) {
	struct line *l = must(calloc(1, sizeof *l));
	const struct hparams *hp = &whole->manifest->hp;
	size_t floats = (size_t)max_rows * hp->dim;
	l->whole = *whole;
	l->stages = stages;
	l->max_rows = max_rows;
	l->x = must(aligned_alloc(KERN_ALIGN, (floats * 4 + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN));
	check(team_create(&l->team, threads, NULL), "team_create");
	check(io_layers_create(&l->io, &l->whole, l->team, max_rows), "io_layers_create");
	for (unsigned i = 0; i < stages; i++) {
		struct slice *s = &l->slice[i];
		s->manifest = whole->manifest;
		s->first = i ? cuts[i - 1] : 0;
		s->last = i + 1 < stages ? cuts[i] : whole->last;
		s->layer = whole->layer + s->first;
		s->stream = stages == 1 ? whole->stream : NULL;
		s->experts = stages == 1 ? whole->experts : NULL;
		check(kv_create(&l->kv[i], hp, size, s->first, s->last), "kv_create");
		check(forward_create(&l->forward[i], s, l->kv[i], l->team, max_rows), "forward_create");
	}
	return l;
}

void line_destroy(struct line *l) {
	for (unsigned i = 0; i < l->stages; i++) {
		forward_destroy(l->forward[i]);
		kv_destroy(l->kv[i]);
	}
	io_layers_destroy(l->io);
	team_destroy(l->team);
	free(l->x);
	free(l);
}

int line_step(struct line *l, struct forward_seq *seqs, uint32_t nseqs, const uint32_t *tokens, float *logits,
        char *err, size_t errlen) {
	struct forward_step st = {.nseqs = nseqs, .seqs = seqs, .x = l->x};
	for (uint32_t i = 0; i < nseqs; i++)
		st.rows += seqs[i].rows;
	int rc = io_layers_embed(l->io, l->x, tokens, st.rows);
	for (unsigned i = 0; i < l->stages && !rc; i++) {
		rc = forward_check(l->forward[i], &st, err, errlen);
		if (!rc)
			rc = forward_run(l->forward[i], &st, err, errlen);
	}
	return rc ? rc : io_layers_logits(l->io, logits, l->x, st.rows);
}

void line_logits(struct line *l, const uint32_t *tokens, uint32_t n, uint32_t chunk, const uint32_t *blocks,
        float *logits) {
	char err[256] = "";
	for (uint32_t at = 0; at < n; at += chunk) {
		struct forward_seq q = {
		        .rows = n - at < chunk ? n - at : chunk, .position = at, .blocks = blocks};
		q.nblocks = (at + q.rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
		q.nwindows = q.nblocks;
		q.windows = blocks;
		if (line_step(l, &q, 1, tokens + at, logits + (size_t)at * l->whole.manifest->hp.vocab, err,
		            sizeof err)) {
			fprintf(stderr, "step at %u: %s\n", at, err);
			abort();
		}
	}
}
