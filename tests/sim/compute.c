/* sim/compute: see compute.h. */
#include "tests/sim/compute.h"

#include "shard/forward/forward_internal.h"
#include "tests/sim/clock.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DIM = COMPUTE_DIM,
	HEAD_SIZE = 32
}; /* a row's token and hash need 5 floats, a cell the 8 bytes of one position */

struct io_layers {
	const struct slice *slice;
};

static struct {
	uint64_t alone, row, rows;
	uint32_t ends_one_in, end;
	unsigned fails, open;
	int rc;
} now;

/* ---- the model ----------------------------------------------------------------------------------- */

struct row_state {
	uint32_t token;
	uint64_t hash;
};

static uint64_t mixed(uint64_t x) {
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t number_of(const struct manifest *m) {
	uint64_t n;
	memcpy(&n, m->id.b, sizeof n);
	return n;
}

static struct row_state embedded(const struct manifest *m, uint32_t token) {
	return (struct row_state){token, mixed(number_of(m) ^ ((uint64_t)token << 20))};
}

/* What a layer writes for a row; and the row behind it, which has taken in the cells of all positions. */
static uint64_t cell_of(const struct row_state *s, uint32_t layer) {
	return mixed(s->hash + layer + 1);
}

static uint64_t taken_in(uint64_t sum, uint64_t cell) {
	return (sum ^ cell) * 0x9e3779b97f4a7c15u + 1;
}

/* The first position that a row of a layer sees. */
static uint32_t first_seen(const struct hparams *hp, uint32_t layer, uint32_t position) {
	return hparams_has_window(hp, layer) ? hparams_first_seen(position, hp->window) : 0;
}

static void logits_of(const struct row_state *s, uint32_t vocab, float *logits) {
	uint64_t h = mixed(s->hash);
	uint32_t in_round = s->token >= COMPUTE_FIRST && s->token < COMPUTE_FIRST + COMPUTE_ROUND
	                            ? s->token - COMPUTE_FIRST
	                            : s->token;
	uint32_t next = h % 7 == 0 ? (uint32_t)(h >> 8) % COMPUTE_ROUND : (in_round * 5 + 3) % COMPUTE_ROUND;
	for (uint32_t i = 0; i < vocab; i++)
		logits[i] = -20 + (float)(mixed(h + i) >> 60) / 16;
	for (uint32_t i = 0; i < COMPUTE_ROUND; i++)
		logits[COMPUTE_FIRST + i] = (float)(mixed(h ^ i) >> 60) / 8;
	logits[COMPUTE_FIRST + next] = 4;
	if (now.ends_one_in && (h >> 40) % now.ends_one_in == 0)
		logits[now.end] = 8;
}

/* ---- rows as floats ------------------------------------------------------------------------------ */

static void write_row(const struct row_state *s, float *x) {
	memset(x, 0, DIM * sizeof *x);
	x[0] = (float)s->token;
	for (int i = 0; i < 4; i++)
		x[1 + i] = (float)(s->hash >> 16 * i & 0xffff);
}

static bool read_row(struct row_state *s, const float *x) {
	*s = (struct row_state){0};
	for (int i = 0; i < 5; i++)
		if (!(x[i] >= 0 && x[i] < (1 << 24)))
			return false;
	s->token = (uint32_t)x[0];
	for (int i = 0; i < 4; i++)
		s->hash |= (uint64_t)x[1 + i] << 16 * i;
	return true;
}

/* What stands for the final norm. */
static double normed(float x) {
	return 1 / (1 + (double)x);
}

/* ---- manifests and slices ------------------------------------------------------------------------ */

int compute_manifest(struct manifest **out, uint32_t number, uint32_t layers, uint32_t vocab,
        uint32_t context, uint32_t window) {
	const struct hparams hp = {.layers = layers,
	        .dim = DIM,
	        .heads = 1,
	        .kv_heads = 1,
	        .head_size = HEAD_SIZE,
	        .ffn = DIM,
	        .vocab = vocab,
	        .context = context,
	        .window = window,
	        .full_every = window ? 2 : 0,
	        .pairs = HEAD_SIZE / 2,
	        .eps = 1e-5f};
	int rc = manifest_create(out, &hp, NULL);
	if (rc == 0)
		memcpy((*out)->id.b, &number, sizeof number);
	return rc;
}

struct slice *compute_slice(const struct manifest *m, uint32_t first, uint32_t last) {
	static const struct store_tensor none;
	struct slice *s = calloc(1, sizeof *s);
	if (!s || !(s->layer = calloc(last - first + 1, sizeof *s->layer)))
		abort();
	s->manifest = m;
	s->first = first;
	s->last = last;
	for (uint32_t l = 0; l < last - first; l++)
		for (int r = 0; r < LAYER_PLAIN; r++)
			s->layer[l][r] = &none;
	return s;
}

/* ---- the test's hand ----------------------------------------------------------------------------- */

void compute_cost(uint64_t alone_ns, uint64_t row_ns) {
	now.alone = alone_ns;
	now.row = row_ns;
}

void compute_ends(uint32_t one_in, uint32_t token) {
	now.ends_one_in = one_in;
	now.end = token;
}

void compute_fail(unsigned runs, int rc) {
	now.fails = runs;
	now.rc = rc;
}

uint64_t compute_rows(void) {
	return now.rows;
}

unsigned compute_open(void) {
	return now.open;
}

/* ---- straight from the definition ---------------------------------------------------------------- */

struct text {
	const struct manifest *m;
	uint64_t (*cell)[COMPUTE_CONTEXT]; /* [layers] */
	uint32_t n;
};

static struct text text_begin(const struct manifest *m) {
	struct text t = {.m = m, .cell = calloc(m->hp.layers, sizeof *t.cell)};
	if (!t.cell)
		abort();
	return t;
}

static struct row_state text_push(struct text *t, uint32_t token) {
	struct row_state s = embedded(t->m, token);
	for (uint32_t l = 0; l < t->m->hp.layers; l++) {
		uint64_t sum = 0;
		t->cell[l][t->n] = cell_of(&s, l);
		for (uint32_t p = first_seen(&t->m->hp, l, t->n); p <= t->n; p++)
			sum = taken_in(sum, t->cell[l][p]);
		s.hash = mixed(sum);
	}
	t->n++;
	return s;
}

uint32_t compute_answer(const struct manifest *m, const uint32_t *prompt, uint32_t tokens,
        const struct sampler_params *sampling, uint32_t *out, uint32_t n) {
	uint32_t vocab = m->hp.vocab, made = 0;
	struct text t = text_begin(m);
	struct row_state s = {0};
	struct sampler *sampler;
	float *logits = malloc(vocab * sizeof *logits);
	uint32_t *log = malloc((tokens + n) * sizeof *log);
	if (!logits || !log || sampler_create(&sampler, vocab) != 0)
		abort();
	memcpy(log, prompt, tokens * sizeof *log);
	for (uint32_t i = 0; i < tokens; i++)
		s = text_push(&t, log[i]);
	for (uint32_t id; made < n; made++) {
		logits_of(&s, vocab, logits);
		if (sampler_pick(sampler, sampling, logits, vocab, log, t.n, t.n, &id) != 0)
			abort();
		if (now.ends_one_in && id == now.end)
			break;
		out[made] = log[tokens + made] = id;
		s = text_push(&t, id);
	}
	sampler_destroy(sampler);
	free(t.cell);
	free(logits);
	free(log);
	return made;
}

void compute_logits(const struct manifest *m, const uint32_t *text, uint32_t tokens, float *logits) {
	struct text t = text_begin(m);
	for (uint32_t i = 0; i < tokens; i++) {
		struct row_state s = text_push(&t, text[i]);
		logits_of(&s, m->hp.vocab, logits + (size_t)i * m->hp.vocab);
	}
	free(t.cell);
}

void compute_embedding(const struct manifest *m, const uint32_t *text, uint32_t tokens, float *out) {
	struct text t = text_begin(m);
	double mean[DIM] = {0}, square = 0;
	for (uint32_t i = 0; i < tokens; i++) {
		struct row_state s = text_push(&t, text[i]);
		float x[DIM];
		write_row(&s, x);
		for (int k = 0; k < DIM; k++)
			mean[k] += normed(x[k]);
	}
	for (int k = 0; k < DIM; k++) {
		mean[k] /= tokens;
		square += mean[k] * mean[k];
	}
	for (int k = 0; k < DIM; k++)
		out[k] = (float)(mean[k] / sqrt(square));
	free(t.cell);
}

/* ---- shard/forward/forward.h ----------------------------------------------------------------------------- */

size_t forward_bytes(const struct manifest *m, uint32_t max_rows, unsigned team) {
	return (size_t)m->hp.dim * max_rows * sizeof(float) + team;
}

int forward_create(
        struct forward **out, const struct slice *s, struct kv *kv, struct team *t, uint32_t max_rows) {
	struct forward *f = calloc(1, sizeof *f);
	if (!f || !(f->written[0] = calloc(kv->size.blocks, 1)) ||
	        !(f->written[1] = calloc(kv->size.window_blocks + (size_t)1, 1))) {
		if (f)
			free(f->written[0]);
		free(f);
		return -ENOMEM;
	}
	f->slice = s;
	f->kv = kv;
	f->team = t;
	f->hp = &s->manifest->hp;
	f->max_rows = max_rows;
	now.open++;
	*out = f;
	return 0;
}

/* Its models are no mixtures. */
const struct expert_use *forward_expert_use(const struct forward *f) {
	(void)f;
	return NULL;
}

void forward_destroy(struct forward *f) {
	if (!f)
		return;
	now.open--;
	free(f->written[0]);
	free(f->written[1]);
	free(f);
}

static uint64_t *cell_at(
        const struct forward *f, const struct forward_seq *q, uint32_t layer, uint32_t position) {
	uint32_t b = position / KERN_KV_BLOCK;
	uint32_t block = hparams_has_window(f->hp, f->slice->first + layer)
	                         ? q->windows[b - (q->nblocks - q->nwindows)]
	                         : q->blocks[b];
	return (uint64_t *)kv_keys(f->kv, block, layer, 0) + position % KERN_KV_BLOCK;
}

/* Writes a row's cell at a position, and takes in all that it sees up to it. */
static uint64_t through_blocks(
        const struct forward *f, const struct forward_seq *q, uint32_t layer, uint32_t at, uint64_t cell) {
	uint64_t sum = 0;
	*cell_at(f, q, layer, at) = cell;
	for (uint32_t p = first_seen(f->hp, f->slice->first + layer, at); p <= at; p++)
		sum = taken_in(sum, *cell_at(f, q, layer, p));
	return mixed(sum);
}

int forward_run(struct forward *f, const struct forward_step *st, char *err, size_t errlen) {
	uint32_t layers = f->slice->last - f->slice->first;
	float *x = st->x;
	if ((uintptr_t)x % KERN_ALIGN != 0) {
		fprintf(stderr, "sim: rows that no kernel takes: they are not aligned\n");
		abort();
	}
	sim_spend(layers * (now.alone + now.row * st->rows));
	now.rows += (uint64_t)layers * st->rows;
	if (now.fails) {
		now.fails--;
		snprintf(err, errlen, "layer %u: the test wants it so", f->slice->first);
		return now.rc;
	}
	for (uint32_t i = 0; i < st->nseqs; i++) {
		const struct forward_seq *q = &st->seqs[i];
		for (uint32_t r = 0; r < q->rows; r++, x += DIM) {
			struct row_state s;
			if (!read_row(&s, x)) {
				snprintf(err, errlen, "layer %u: a value is not finite", f->slice->first);
				return -EDOM;
			}
			for (uint32_t l = 0; l < layers; l++)
				s.hash = through_blocks(
				        f, q, l, q->position + r, cell_of(&s, f->slice->first + l));
			write_row(&s, x);
		}
	}
	return 0;
}

int io_layers_create(struct io_layers **out, const struct slice *s, struct team *t, uint32_t max_rows) {
	struct io_layers *e = malloc(sizeof *e);
	(void)t;
	(void)max_rows;
	if (!e)
		return -ENOMEM;
	e->slice = s;
	now.open++;
	*out = e;
	return 0;
}

void io_layers_destroy(struct io_layers *e) {
	now.open -= e != NULL;
	free(e);
}

int io_layers_embed(struct io_layers *e, float *x, const uint32_t *tokens, uint32_t rows) {
	const struct manifest *m = e->slice->manifest;
	sim_spend(now.row * rows / 8);
	for (uint32_t i = 0; i < rows; i++) {
		if (tokens[i] >= m->hp.vocab)
			return -EINVAL;
		struct row_state s = embedded(m, tokens[i]);
		write_row(&s, x + (size_t)i * DIM);
	}
	return 0;
}

int io_layers_logits(struct io_layers *e, float *logits, const float *x, uint32_t rows) {
	uint32_t vocab = e->slice->manifest->hp.vocab;
	sim_spend(now.row * rows / 8);
	for (uint32_t i = 0; i < rows; i++) {
		struct row_state s;
		if (!read_row(&s, x + (size_t)i * DIM))
			return -EDOM;
		logits_of(&s, vocab, logits + (size_t)i * vocab);
	}
	return 0;
}

int io_layers_pool(struct io_layers *e, double *sum, const float *x, uint32_t rows) {
	(void)e;
	sim_spend(now.row * rows / 8);
	for (uint32_t i = 0; i < rows; i++, x += DIM) {
		struct row_state s;
		if (!read_row(&s, x))
			return -EDOM;
		for (int k = 0; k < DIM; k++)
			sum[k] += normed(x[k]);
	}
	return 0;
}
