/* The forward pass: the bits of a result depend on the model and the tokens before it, and on nothing else. */
#include "config.h"

#include "tests/support/synth.h"
#include <check.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Types that want every form of activations, mixed within a layer as files do. */
static const struct synth_spec mixed = {.layers = 4,
        .dim = 256,
        .heads = 8,
        .kv_heads = 2,
        .head_size = 32,
        .ffn = 512,
        .vocab = 300,
        .context = 256,
        .layer = {KERN_F32, KERN_Q4_K, KERN_Q4_0, KERN_Q6_K, KERN_F16, KERN_BF16, KERN_Q8_0, KERN_Q5_K,
                KERN_Q4_1, [LAYER_EXPERT_GATE] = KERN_Q4_K, [LAYER_EXPERT_UP] = KERN_MXFP4,
                [LAYER_EXPERT_DOWN] = KERN_Q8_0, [LAYER_SHARED_GATE] = KERN_IQ4_XS,
                [LAYER_SHARED_DOWN] = KERN_Q4_0, [LAYER_Q_A] = KERN_Q4_0, [LAYER_Q_B] = KERN_Q8_0,
                [LAYER_KV_A] = KERN_Q6_K, [LAYER_K_B] = KERN_Q8_0, [LAYER_V_B] = KERN_F16},
        .dense = 1,
        .embed = KERN_Q4_0,
        .head = KERN_Q6_K,
        .seed = 1};

/* Little to multiply, many positions: attention over several spans. */
static const struct synth_spec lengthy = {.layers = 2,
        .dim = 32,
        .heads = 4,
        .kv_heads = 2,
        .head_size = 8,
        .ffn = 64,
        .vocab = 40,
        .context = 2048,
        .layer = {KERN_F16, KERN_F32, KERN_F16, KERN_Q8_0, KERN_F32, KERN_F32, KERN_F32, KERN_Q8_0, KERN_F16},
        .embed = KERN_F32,
        .head = KERN_F32,
        .seed = 2};

#define HEAD_NORMS (LAYER_BIT(LAYER_Q_NORM) | LAYER_BIT(LAYER_K_NORM))
#define OUT_BIAS LAYER_BIT(LAYER_OUT_BIAS)
#define BIASES \
	(LAYER_BIT(LAYER_Q_BIAS) | LAYER_BIT(LAYER_K_BIAS) | LAYER_BIT(LAYER_V_BIAS) | \
	        LAYER_BIT(LAYER_OUT_BIAS))
#define HALF_NORMS (LAYER_BIT(LAYER_POST_ATTN_NORM) | LAYER_BIT(LAYER_POST_FFN_NORM))
#define SINKS LAYER_BIT(LAYER_SINKS)

#define EXPERTS \
	(LAYER_BIT(LAYER_ROUTER) | LAYER_BIT(LAYER_EXPERT_GATE) | LAYER_BIT(LAYER_EXPERT_UP) | \
	        LAYER_BIT(LAYER_EXPERT_DOWN))
#define EXPERT_BIASES \
	(LAYER_BIT(LAYER_ROUTER_BIAS) | LAYER_BIT(LAYER_EXPERT_GATE_BIAS) | \
	        LAYER_BIT(LAYER_EXPERT_UP_BIAS) | LAYER_BIT(LAYER_EXPERT_DOWN_BIAS))
#define SHARED_EXPERT \
	(LAYER_BIT(LAYER_SHARED_GATE) | LAYER_BIT(LAYER_SHARED_UP) | LAYER_BIT(LAYER_SHARED_DOWN))

/* What families have that Llama has not: one by one, then together; without experts, and with them. */
static const struct {
	layer_roles roles;
	struct hparams traits;
} unlike[] = {
        {0, {0}},
        {BIASES, {0}},
        {HEAD_NORMS, {0}},
        {0, {.halves = 1}},
        {0, {.plain_every = 2}},
        {0, {.rope_magnitude = 1.25f}},
        {0, {.attention_scale = 0.5f}},
        {HEAD_NORMS, {.gated = 1}},
        {0, {.embed_scale = 6, .residual_scale = 0.25f, .logit_scale = 0.125f}},
        {OUT_BIAS, {.unlike = 1, .shape = {{4, 1, 32}, {2, 2, 64}}}},
        {BIASES, {.unlike = 1, .shape = {{2, 2, 64}, {4, 0, 32}}}},
        {0, {.unlike = 1, .shape = {{4, 0, 64}, {4, 2, 0}}}},
        {0, {.unlike = 1, .shape = {{0, 0, 64}, {4, 1, 64}}}},
        {0, {.residual_scale = 0.5f, .unlike = 1, .shape = {{4, 2, 0}, {0, 0, 64}}}},
        {0, {.unlike = 1, .shape = {{4, 2, 64}, {0, 0, 0}}}},
        {0, {.unlike = 1, .shape = {{0, 0, 0}, {4, 2, 0}}}},
        {EXPERTS, {.experts = 8, .experts_used = 2, .expert_ffn = 64}},
        {EXPERTS | EXPERT_BIASES, {.experts = 12, .experts_used = 3, .expert_ffn = 32, .router = ROUTER_ALL}},
        {EXPERTS | SHARED_EXPERT | LAYER_BIT(LAYER_CHOICE_BIAS), {.experts = 5,
                                                                         .experts_used = 2,
                                                                         .expert_ffn = 32,
                                                                         .shared_ffn = 96,
                                                                         .router = ROUTER_SIGMOID,
                                                                         .expert_scale = 2.5f}},
        {EXPERTS | LAYER_BIT(LAYER_CHOICE_BIAS), {.experts = 12,
                                                         .experts_used = 3,
                                                         .expert_ffn = 32,
                                                         .router = ROUTER_SIGMOID,
                                                         .expert_groups = 4,
                                                         .groups_used = 2}},
        {EXPERTS, {.experts = 9,
                          .experts_used = 2,
                          .expert_ffn = 32,
                          .router = ROUTER_ALL,
                          .expert_groups = 3,
                          .groups_used = 1}},
        {EXPERTS, {.experts = 4, .experts_used = 1, .expert_ffn = 32, .router = ROUTER_SIGMOID_ONLY}},
        {0, {.latent = 24, .query_head = 16, .value_head = 8}},
        {OUT_BIAS | HALF_NORMS, {.latent = 24,
                                        .query_head = 24,
                                        .value_head = 16,
                                        .query_rank = 40,
                                        .attention_scale = 0.3f}},
        {HALF_NORMS, {0}},
        {SINKS, {0}},
        {0, {.glu = KERN_GEGLU}},
        {0, {.glu = KERN_SWIGLU_BOUNDED}},
        {0, {.window = 50}},
        {0, {.window = 600, .full_every = 2, .window_base = 50}},
        {BIASES | HEAD_NORMS | HALF_NORMS | SINKS,
                {.halves = 1,
                        .plain_every = 4,
                        .rope_magnitude = 1.125f,
                        .attention_scale = 0.25f,
                        .embed_scale = 3,
                        .residual_scale = 0.5f,
                        .logit_scale = 0.5f,
                        .window = 90,
                        .full_every = 2,
                        .window_base = 30,
                        .glu = KERN_GEGLU,
                        .unlike = 1,
                        .shape = {{4, 1, 64}, {2, 2, 32}, {0, 0, 64}, {4, 2, 0}}}},
        {BIASES | HEAD_NORMS | HALF_NORMS | SINKS | EXPERTS | EXPERT_BIASES | SHARED_EXPERT |
                        LAYER_BIT(LAYER_CHOICE_BIAS),
                {.halves = 1,
                        .plain_every = 4,
                        .rope_magnitude = 1.125f,
                        .attention_scale = 0.25f,
                        .embed_scale = 3,
                        .residual_scale = 0.5f,
                        .logit_scale = 0.5f,
                        .window = 90,
                        .full_every = 2,
                        .window_base = 30,
                        .glu = KERN_SWIGLU_BOUNDED,
                        .experts = 12,
                        .experts_used = 4,
                        .expert_ffn = 64,
                        .shared_ffn = 32,
                        .expert_scale = 0.5f,
                        .expert_groups = 3,
                        .groups_used = 2}},
        {OUT_BIAS | HALF_NORMS | EXPERTS | SHARED_EXPERT | LAYER_BIT(LAYER_CHOICE_BIAS),
                {.rope_magnitude = 1.125f,
                        .attention_scale = 0.25f,
                        .window = 90,
                        .full_every = 2,
                        .experts = 12,
                        .experts_used = 4,
                        .expert_ffn = 64,
                        .shared_ffn = 32,
                        .router = ROUTER_SIGMOID,
                        .expert_scale = 2.5f,
                        .expert_groups = 4,
                        .groups_used = 2,
                        .latent = 24,
                        .query_head = 40,
                        .value_head = 16,
                        .query_rank = 32}},
};
#define UNLIKE ((int)(sizeof unlike / sizeof *unlike))

#define MOST 1100
static uint32_t tokens[MOST], ascending[64], scattered[64];
static struct synth *model;
static enum kern_kv cache_type; /* of every line, and so of the whole test */

/* A test runs for each type of cache, first with Llama's layers, then with everything that others have. */
#define LAYERS_AND_CACHES (4 * KERN_KVS)
#ifdef CARAVAN_SANITIZED /* slow: only those with everything, which take every path */
#define FIRST_LAYERS (2 * KERN_KVS)
#define FIRST_UNLIKE (UNLIKE - 3)
#define FIRST_OVER_SPANS KERN_KVS
#else
#define FIRST_LAYERS 0
#define FIRST_OVER_SPANS 0
#define FIRST_UNLIKE 0
#endif

/* A model, with heads that fit the cache. */
static struct synth *fitting(const struct synth_spec *spec, int variant) {
	struct synth_spec s = *spec;
	cache_type = (enum kern_kv)(variant % KERN_KVS);
	if (variant >= KERN_KVS) {
		int last = UNLIKE - 4 + variant / KERN_KVS;
		s.roles = unlike[last].roles;
		s.traits = unlike[last].traits;
	}
	s.head_size = kern_kv_fits(cache_type, s.head_size) ? s.head_size : 32;
	return synth_create(&s);
}

static void start(const struct synth_spec *spec, int variant) {
	char err[256];
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	for (uint32_t i = 0; i < MOST; i++)
		tokens[i] = i * 7919 % 1009 % spec->vocab;
	for (uint32_t i = 0; i < 64; i++) {
		ascending[i] = i;
		scattered[i] = i * 37 % 64;
	}
	model = fitting(spec, variant);
}

static size_t logits_bytes(uint32_t n) {
	return (size_t)n * model->m->hp.vocab * sizeof(float);
}

/* The logits of `n` tokens, computed so. */
static float *compute(unsigned threads, unsigned stages, const uint32_t *cuts, uint32_t n, uint32_t chunk,
        const uint32_t *blocks) {
	float *logits = malloc(logits_bytes(n));
	struct line *l = line_create(&model->whole, cache_type, threads, stages, cuts, chunk, 64);
	line_logits(l, tokens, n, chunk, blocks, logits);
	line_destroy(l);
	return logits;
}

/* Compared in one go: Check notes every assertion, which takes longer than the computing. */
static void ck_same(const float *a, const float *b, uint32_t n) {
	size_t vocab = model->m->hp.vocab, i = 0;
	if (!memcmp(a, b, logits_bytes(n)))
		return;
	while (!memcmp(a + i, b + i, sizeof *a))
		i++;
	ck_abort_msg("row %zu, token %zu: %a, not %a", i / vocab, i % vocab, (double)b[i], (double)a[i]);
}

/* Computes the same otherwise, and compares. */
static void ck_otherwise(const float *want, unsigned threads, unsigned stages, const uint32_t *cuts,
        uint32_t n, uint32_t chunk, const uint32_t *blocks) {
	float *have = compute(threads, stages, cuts, n, chunk, blocks);
	ck_same(want, have, n);
	free(have);
}

START_TEST(any_team) {
	start(&mixed, _i);
	float *want = compute(1, 1, NULL, 90, 90, ascending);
	for (unsigned threads = 2; threads <= 3; threads++)
		for (uint32_t chunk = 1; chunk <= 90; chunk += 89)
			ck_otherwise(want, threads, 1, NULL, 90, chunk, ascending);
	free(want);
	synth_destroy(model);
}
END_TEST

START_TEST(any_chunk) {
	start(&mixed, _i);
	float *want = compute(2, 1, NULL, 90, 90, ascending);
	for (size_t i = 0; i < 2; i++)
		ck_otherwise(want, 2, 1, NULL, 90, (uint32_t[]){7, 64}[i], ascending);
	free(want);
	synth_destroy(model);
}
END_TEST

START_TEST(any_chunk_over_spans) {
	start(&lengthy, _i);
	float *want = compute(1, 1, NULL, MOST, MOST, ascending);
	ck_otherwise(want, 1, 1, NULL, MOST, 1, ascending); /* any_team has single rows of several threads */
	for (size_t i = 0; i < 3; i++)
		ck_otherwise(want, 2, 1, NULL, MOST, (uint32_t[]){7, 64, 700}[i], ascending);
	free(want);
	synth_destroy(model);
}
END_TEST

START_TEST(any_block_table) {
	start(&lengthy, _i);
	float *want = compute(1, 1, NULL, 700, 300, ascending);
	ck_otherwise(want, 1, 1, NULL, 700, 300, scattered);
	ck_otherwise(want, 2, 1, NULL, 700, 11, scattered);
	free(want);
	synth_destroy(model);
}
END_TEST

/* What no longer counts: bytes that are no numbers in any type of cache. */
static void spoil(const struct line *l, uint32_t window) {
	for (unsigned i = 0; i < l->stages; i++)
		for (uint32_t n = 0; n < l->kv[i]->layers; n++)
			for (uint32_t h = 0; h < l->kv[i]->layer[n].heads; h++) {
				size_t bytes = kern_kv_bytes(cache_type, model->m->hp.head_size);
				if (!hparams_has_window(&model->m->hp, l->slice[i].first + n))
					continue;
				memset(kv_keys(l->kv[i], window, n, h), 0xff, bytes);
				if (!model->m->hp.latent)
					memset(kv_values(l->kv[i], window, n, h), 0xff, bytes);
			}
}

/* In as few window blocks as hold what the rows of a step see.  What they no longer see is spoilt, and used again. */
static void in_few_windows(const float *want, uint32_t n, uint32_t chunk, uint32_t few) {
	struct line *l = line_create_sized(&model->whole, (struct kv_size){cache_type, 64, few, LINE_SLOTS},
	        2, 2, (uint32_t[]){1}, chunk);
	uint32_t windows[64], spare[64], nspare = 0, first = 0, end = 0;
	float *have = malloc(logits_bytes(n));
	for (; nspare < few; nspare++) {
		spoil(l, nspare);
		spare[nspare] = nspare;
	}
	for (uint32_t at = 0, rows; at < n; at += rows) {
		char err[256] = "";
		rows = n - at < chunk ? n - at : chunk;
		for (; first < hparams_first_seen(at, model->m->hp.window) / 64; first++) {
			spoil(l, windows[first]);
			spare[nspare++] = windows[first];
		}
		for (; end * 64 < at + rows; end++) {
			ck_assert_uint_gt(nspare, 0);
			windows[end] = spare[--nspare];
		}
		struct forward_seq q = {rows, at, end, scattered, end - first, windows + first};
		ck_assert_msg(!line_step(l, &q, 1, tokens + at, have + (size_t)at * model->m->hp.vocab, err,
		                      sizeof err),
		        "%s", err);
	}
	ck_same(want, have, n);
	line_destroy(l);
	free(have);
}

START_TEST(few_windows) {
	start(&lengthy, _i);
	ck_assert_uint_eq(model->m->hp.window, 90);
	float *want = compute(1, 1, NULL, 700, 300, ascending);
	in_few_windows(want, 700, 1, 3);
	in_few_windows(want, 700, 39, 3);
	in_few_windows(want, 700, 300, 8);
	free(want);
	synth_destroy(model);
}
END_TEST

START_TEST(any_split) {
	start(&mixed, _i);
	float *want = compute(2, 1, NULL, 70, 70, ascending);
	for (uint32_t a = 1; a < 4; a++) {
		ck_otherwise(want, 2, 2, &a, 70, 70, ascending);
		ck_otherwise(want, 1, 2, &a, 70, 1, scattered);
		for (uint32_t b = a + 1; b < 4; b++)
			ck_otherwise(want, 2, 3, (uint32_t[]){a, b}, 70, 32, ascending);
	}
	free(want);
	synth_destroy(model);
}
END_TEST

/* Steps that mix decode and prefill of four sequences; the first one's tokens are those of the others' tests. */
static void beside(const struct synth_spec *spec, int variant, uint32_t n, uint32_t max_rows) {
	start(spec, variant);
	float *want = compute(1, 1, NULL, n, n, ascending);
	float *have = malloc(logits_bytes(n)), *step = malloc(logits_bytes(max_rows));
	struct line *l = line_create(&model->whole, cache_type, 2, 1, NULL, max_rows, 128);
	uint32_t table[4][32], at[4] = {0}, vocab = spec->vocab, turn = 0, ids[256];
	for (uint32_t s = 0; s < 4; s++)
		for (uint32_t b = 0; b < 32; b++)
			table[s][b] = (s + 4 * b) * 37 % 128;
	while (at[0] < n) {
		struct forward_seq q[4];
		uint32_t rows = 0, nseqs = 0, mine = 0, first = 0;
		for (uint32_t s = 0; s < 4; s++) {
			/* now a token, now a piece of a prompt, now nothing; the first sequence last but one */
			uint32_t want_rows = (turn + s) % 3 == 0 ? 1 : (turn * 5 + s * 11) % (max_rows / 4);
			uint32_t who = (s + 2) % 4, left = n - at[who];
			if (who == 0 && !want_rows)
				want_rows = 1;
			want_rows = want_rows < left ? want_rows : left;
			if (!want_rows)
				continue;
			q[nseqs++] = (struct forward_seq){
			        want_rows, at[who], (n + 63) / 64, table[who], (n + 63) / 64, table[who]};
			for (uint32_t i = 0; i < want_rows; i++)
				ids[rows + i] =
				        who ? (tokens[at[who] + i] + who) % vocab : tokens[at[who] + i];
			if (who == 0) {
				first = rows;
				mine = want_rows;
			}
			rows += want_rows;
			at[who] += want_rows;
		}
		char err[256] = "";
		ck_assert_msg(!line_step(l, q, nseqs, ids, step, err, sizeof err), "%s", err);
		memcpy(have + (size_t)(at[0] - mine) * vocab, step + (size_t)first * vocab,
		        logits_bytes(mine));
		turn++;
	}
	ck_same(want, have, n);
	line_destroy(l);
	free(want);
	free(have);
	free(step);
	synth_destroy(model);
}

START_TEST(beside_others) {
	beside(&mixed, _i, 120, 40);
}
END_TEST
START_TEST(beside_others_over_spans) {
	beside(&lengthy, _i, MOST, 200);
}
END_TEST

/* Runs in a process of its own, since a process keeps its level; false where the level cannot be had. */
static void level_hash(
        const char *name, const struct synth_spec *spec, int variant, uint32_t n, uint8_t hash[32]) {
	int fd[2];
	ck_assert_int_eq(pipe(fd), 0);
	pid_t child = fork();
	if (child == 0) {
		char err[256];
		setenv("CARAVAN_CPU", name, 1);
		if (kern_init(err, sizeof err))
			_exit(1);
		model = fitting(spec, variant);
		for (uint32_t i = 0; i < MOST; i++)
			tokens[i] = i * 7919 % 1009 % spec->vocab;
		float *logits = compute(2, 1, NULL, n, 33, scattered);
		SHA256((const uint8_t *)logits, logits_bytes(n), hash);
		_exit(write(fd[1], hash, 32) != 32);
	}
	int status;
	close(fd[1]); /* so that a child that dies is noticed */
	ck_assert_int_eq(read(fd[0], hash, 32), 32);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	close(fd[0]);
}

START_TEST(any_level) {
	const struct synth_spec *specs[] = {&mixed, &lengthy};
	for (size_t i = 0; i < 2; i++) {
		uint8_t want[32], have[32];
		uint32_t n = i ? 600 : 90;
		for (uint32_t b = 0; b < 64; b++)
			scattered[b] = b * 37 % 64;
		level_hash(kern_level(0)->name, specs[i], _i, n, want);
		for (size_t r = 1; kern_level(r); r++) {
			level_hash(kern_level(r)->name, specs[i], _i, n, have);
			ck_assert_msg(!memcmp(want, have, 32), "level %s", kern_level(r)->name);
		}
	}
}
END_TEST

/* Doubles, one position at a time, nothing shared with the code under test but the dequantised weights. */
struct naive {
	double *x, *k, *v; /* [dim]; [layers][positions][kv_heads * head_size] */
};

/* Rows from `first` on. */
static void naive_mul_rows(
        double *y, const struct store_tensor *w, const double *x, size_t first, size_t rows) {
	size_t n = w->record.n;
	float *row = malloc(n * sizeof *row);
	for (size_t r = 0; r < rows; r++) {
		kern_dequant_packed(w->record.type, row, w->packed, first + r, n);
		y[r] = 0;
		for (size_t i = 0; i < n; i++)
			y[r] += (double)row[i] * x[i];
	}
	free(row);
}

static void naive_mul(double *y, const struct store_tensor *w, const double *x) {
	naive_mul_rows(y, w, x, 0, w->record.rows);
}

/* A trait that is a scale. */
static double naive_scale(float trait) {
	return trait != 0 ? (double)trait : 1;
}

static void naive_norm(double *y, const struct store_tensor *w, const double *x) {
	size_t n = w->record.n;
	float *row = malloc(n * sizeof *row);
	double sum = 0;
	kern_dequant_packed(w->record.type, row, w->packed, 0, n);
	for (size_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	for (size_t i = 0; i < n; i++)
		y[i] = x[i] / sqrt(sum / (double)n + 1e-5) * (double)row[i];
	free(row);
}

static void naive_rope(double *x, uint32_t layer, uint32_t position) {
	const struct hparams *hp = &model->m->hp;
	bool window = hparams_has_window(hp, layer) && hp->window_base != 0;
	double size = window ? 1 : naive_scale(hp->rope_magnitude),
	       base = window ? (double)hp->window_base : 10000;
	if (hp->plain_every && layer % hp->plain_every == hp->plain_every - 1)
		return;
	for (uint32_t i = 0; i < hp->pairs; i++) {
		double angle = position * pow(base, -2.0 * i / (2 * hp->pairs));
		double *a = x + (hp->halves ? i : 2 * i), *b = a + (hp->halves ? hp->pairs : 1), p = *a,
		       q = *b;
		*a = size * (p * cos(angle) - q * sin(angle));
		*b = size * (q * cos(angle) + p * sin(angle));
	}
}

/* Where the layer has a bias; row: an expert's. */
static void naive_bias_row(double *y, const struct store_tensor *w, size_t row) {
	float bias[64];
	if (!w || !w->packed)
		return;
	kern_dequant_packed(w->record.type, bias, w->packed, row, w->record.n);
	for (uint32_t i = 0; i < w->record.n; i++)
		y[i] += (double)bias[i];
}

static void naive_bias(double *y, const struct store_tensor *w) {
	naive_bias_row(y, w, 0);
}

/* Where the layer has a norm of heads. */
static void naive_norm_heads(double *x, const struct store_tensor *w, uint32_t heads) {
	for (uint32_t h = 0; w->packed && h < heads; h++)
		naive_norm(x + h * w->record.n, w, x + h * w->record.n);
}

static double naive_sigmoid(double v) {
	return 1 / (1 + exp(-v));
}

/* A gated unit. */
static double naive_glu(uint32_t kind, double g, double u) {
	if (kind == KERN_GEGLU)
		return g / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (g + 0.044715 * g * g * g))) * u;
	if (kind == KERN_SWIGLU_BOUNDED) {
		g = fmin(g, 7);
		return g * naive_sigmoid(1.702 * g) * (fmax(fmin(u, 7), -7) + 1);
	}
	return g * naive_sigmoid(g) * u;
}

/* y += weight times expert e of these three matrices, or what is no expert. */
static void naive_feed(double *y, const struct store_tensor *w, const enum layer_role role[6],
        const double *x, uint32_t width, uint32_t e, double weight) {
	double g[96], u[96], out[64];
	uint32_t dim = model->m->hp.dim;
	naive_mul_rows(g, &w[role[0]], x, (size_t)e * width, width);
	naive_mul_rows(u, &w[role[1]], x, (size_t)e * width, width);
	naive_bias_row(g, role[3] < LAYER_ROLES ? &w[role[3]] : NULL, e);
	naive_bias_row(u, role[4] < LAYER_ROLES ? &w[role[4]] : NULL, e);
	for (uint32_t i = 0; i < width; i++)
		g[i] = naive_glu(model->m->hp.glu, g[i], u[i]);
	naive_mul_rows(out, &w[role[2]], g, (size_t)e * dim, dim);
	naive_bias_row(out, role[5] < LAYER_ROLES ? &w[role[5]] : NULL, e);
	for (uint32_t i = 0; i < dim; i++)
		y[i] += weight * out[i];
}

/* Roles of a feed-forward's matrices and biases; LAYER_ROLES: none. */
static const enum layer_role dense[] = {LAYER_GATE, LAYER_UP, LAYER_DOWN, LAYER_ROLES, LAYER_ROLES,
        LAYER_ROLES},
                             shared[] = {LAYER_SHARED_GATE, LAYER_SHARED_UP, LAYER_SHARED_DOWN, LAYER_ROLES,
                                     LAYER_ROLES, LAYER_ROLES},
                             experts[] = {LAYER_EXPERT_GATE, LAYER_EXPERT_UP, LAYER_EXPERT_DOWN,
                                     LAYER_EXPERT_GATE_BIAS, LAYER_EXPERT_UP_BIAS, LAYER_EXPERT_DOWN_BIAS};

/* Marks the experts of groups that may not be chosen. */
static void naive_leave_groups(const double *score, bool *left_out, bool sigmoid) {
	const struct hparams *hp = &model->m->hp;
	uint32_t size = hp->expert_groups ? hp->experts / hp->expert_groups : 0;
	for (uint32_t out = hp->groups_used; out < hp->expert_groups; out++) {
		uint32_t worst = hp->expert_groups;
		double least = INFINITY;
		for (uint32_t g = 0; g < hp->expert_groups; g++) {
			double best = -INFINITY, pair = -INFINITY;
			for (uint32_t a = g * size; a < (g + 1) * size; a++) {
				best = fmax(best, score[a]);
				for (uint32_t b = a + 1; b < (g + 1) * size; b++)
					pair = fmax(pair, score[a] + score[b]);
			}
			double much = sigmoid ? pair : best;
			if (!left_out[g * size] && much <= least) {
				least = much;
				worst = g;
			}
		}
		for (uint32_t e = worst * size; e < (worst + 1) * size; e++)
			left_out[e] = true;
	}
}

static void naive_mixture(double *y, const struct store_tensor *w, const double *x) {
	const struct hparams *hp = &model->m->hp;
	double score[64], weight[64], all = 0, chosen = 0;
	bool used[64] = {false}, left_out[64] = {false}, sigmoid = hp->router >= ROUTER_SIGMOID;
	naive_mul(score, &w[LAYER_ROUTER], x);
	naive_bias(score, &w[LAYER_ROUTER_BIAS]);
	for (uint32_t e = 0; e < hp->experts; e++) {
		weight[e] = sigmoid ? naive_sigmoid(score[e]) : exp(score[e]);
		score[e] = sigmoid ? weight[e] : score[e];
		all += weight[e];
	}
	naive_bias(score, &w[LAYER_CHOICE_BIAS]);
	naive_leave_groups(score, left_out, sigmoid);
	for (uint32_t i = 0; i < hp->experts_used; i++) {
		uint32_t best = hp->experts;
		for (uint32_t e = 0; e < hp->experts; e++)
			if (!used[e] && !left_out[e] && (best == hp->experts || score[e] > score[best]))
				best = e;
		used[best] = true;
		chosen += weight[best];
	}
	double norm = hp->router == ROUTER_ALL ? all : hp->router == ROUTER_SIGMOID_ONLY ? 1 : chosen;
	for (uint32_t e = 0; e < hp->experts; e++)
		if (used[e])
			naive_feed(y, w, experts, x, hp->expert_ffn, e,
			        weight[e] / norm * naive_scale(hp->expert_scale));
	double much = 1;
	if (w[LAYER_SHARED_ROUTER].packed) {
		naive_mul(&much, &w[LAYER_SHARED_ROUTER], x);
		much = naive_sigmoid(much);
	}
	if (w[LAYER_SHARED_GATE].packed)
		naive_feed(y, w, shared, x, hp->shared_ffn, 0, much);
}

/* x += what a half of a layer gives, normalised where the layer has a norm for it. */
static void naive_add(double *x, double *y, const struct store_tensor *norm) {
	if (norm->packed)
		naive_norm(y, norm, y);
	for (uint32_t i = 0; i < model->m->hp.dim; i++)
		x[i] += y[i] * naive_scale(model->m->hp.residual_scale);
}

/* Attention over the positions up to pos, into o; y: the normalised row. */
static void naive_attention(
        struct naive *s, uint32_t l, uint32_t pos, uint32_t positions, const double *y, double *o) {
	const struct hparams *hp = &model->m->hp;
	const struct layer_shape shape = hparams_layer(hp, l);
	const struct store_tensor *w = model->layer[l];
	uint32_t hs = hp->head_size, narrow = shape.kv_heads * hs, most = hp->kv_heads * hs;
	double q[64], product[128], *z = malloc(positions * sizeof *z);
	uint32_t stride = hp->gated ? 2 * hs : hs; /* a head's query, and its gate if it has one */
	double *keys = s->k + (size_t)l * positions * most, *values = s->v + (size_t)l * positions * most;
	naive_mul(product, &w[LAYER_Q], y);
	for (uint32_t i = 0; i < shape.heads * hs; i++)
		q[i] = product[i / hs * stride + i % hs];
	naive_mul(keys + pos * narrow, &w[LAYER_K], y);
	naive_mul(values + pos * narrow, &w[LAYER_V], y);
	naive_bias(q, &w[LAYER_Q_BIAS]);
	naive_bias(keys + pos * narrow, &w[LAYER_K_BIAS]);
	naive_bias(values + pos * narrow, &w[LAYER_V_BIAS]);
	naive_norm_heads(q, &w[LAYER_Q_NORM], shape.heads);
	naive_norm_heads(keys + pos * narrow, &w[LAYER_K_NORM], shape.kv_heads);
	for (uint32_t h = 0; h < shape.kv_heads; h++)
		naive_rope(keys + pos * narrow + h * hs, l, pos);
	for (uint32_t h = 0; h < shape.heads; h++) {
		uint32_t kv = h / (shape.heads / shape.kv_heads) * hs;
		double sum = 0;
		uint32_t from = hparams_has_window(hp, l) && pos >= hp->window ? pos + 1 - hp->window : 0;
		float sinks[64];
		if (w[LAYER_SINKS].packed) {
			kern_dequant_packed(
			        w[LAYER_SINKS].record.type, sinks, w[LAYER_SINKS].packed, 0, shape.heads);
			sum = exp((double)sinks[h]);
		}
		naive_rope(q + h * hs, l, pos);
		for (uint32_t p = from; p <= pos; p++) {
			z[p] = 0;
			for (uint32_t d = 0; d < hs; d++)
				z[p] += q[h * hs + d] * keys[p * narrow + kv + d];
			z[p] = exp(hp->attention_scale != 0 ? z[p] * (double)hp->attention_scale
			                                    : z[p] / sqrt(hs));
			sum += z[p];
		}
		for (uint32_t d = 0; d < hs; d++)
			o[h * hs + d] = 0;
		for (uint32_t p = from; p <= pos; p++)
			for (uint32_t d = 0; d < hs; d++)
				o[h * hs + d] += z[p] / sum * values[p * narrow + kv + d];
		for (uint32_t d = 0; hp->gated && d < hs; d++)
			o[h * hs + d] /= 1 + exp(-product[h * stride + hs + d]);
	}
	free(z);
}

/* The same by latents: the keys and values of each head are made of the latents of all positions, as if they were not absorbed. */
static void naive_latent(
        struct naive *s, uint32_t l, uint32_t pos, uint32_t positions, const double *y, double *o) {
	const struct hparams *hp = &model->m->hp;
	const struct store_tensor *w = model->layer[l];
	uint32_t hs = hp->head_size, low = hp->latent, plain = hp->query_head - 2 * hp->pairs;
	double q[256], rank[64], *z = malloc(positions * sizeof *z),
	                         *cache = s->k + (size_t)l * positions * hs;
	double *own = cache + (size_t)pos * hs;
	if (hp->query_rank) {
		naive_mul(rank, &w[LAYER_Q_A], y);
		naive_norm(rank, &w[LAYER_Q_A_NORM], rank);
		naive_mul(q, &w[LAYER_Q_B], rank);
	} else {
		naive_mul(q, &w[LAYER_Q], y);
	}
	naive_mul(own, &w[LAYER_KV_A], y);
	naive_norm(own, &w[LAYER_KV_A_NORM], own);
	naive_rope(own + low, l, pos);
	float *to_keys = malloc((size_t)low * plain * sizeof *to_keys);
	for (uint32_t h = 0; h < hp->heads; h++) {
		double sum = 0, value[64], *query = q + h * hp->query_head;
		uint32_t from = hparams_has_window(hp, l) && pos >= hp->window ? pos + 1 - hp->window : 0;
		for (uint32_t i = 0; i < low; i++)
			kern_dequant_packed(w[LAYER_K_B].record.type, to_keys + i * plain,
			        w[LAYER_K_B].packed, h * low + i, plain);
		naive_rope(query + plain, l, pos);
		for (uint32_t p = from; p <= pos; p++) {
			z[p] = 0;
			for (uint32_t d = 0; d < plain; d++) {
				double key = 0;
				for (uint32_t i = 0; i < low; i++)
					key += cache[p * hs + i] * (double)to_keys[i * plain + d];
				z[p] += query[d] * key;
			}
			for (uint32_t d = 0; d < 2 * hp->pairs; d++)
				z[p] += query[plain + d] * cache[p * hs + low + d];
			z[p] = exp(hp->attention_scale != 0 ? z[p] * (double)hp->attention_scale
			                                    : z[p] / sqrt(hs));
			sum += z[p];
		}
		memset(o + h * hp->value_head, 0, hp->value_head * sizeof *o);
		for (uint32_t p = from; p <= pos; p++) {
			naive_mul_rows(value, &w[LAYER_V_B], cache + p * hs, (size_t)h * hp->value_head,
			        hp->value_head);
			for (uint32_t d = 0; d < hp->value_head; d++)
				o[h * hp->value_head + d] += z[p] / sum * value[d];
		}
	}
	free(to_keys);
	free(z);
}

/* Without keys and values, the normalised row takes the place of attention. */
static void naive_layer(struct naive *s, uint32_t l, uint32_t pos, uint32_t positions) {
	const struct hparams *hp = &model->m->hp;
	const struct layer_shape shape = hparams_layer(hp, l);
	const struct store_tensor *w = model->layer[l];
	double y[64], o[64], added[64] = {0};
	if (shape.heads) {
		naive_norm(y, &w[LAYER_ATTN_NORM], s->x);
		if (shape.kv_heads)
			(hp->latent ? naive_latent : naive_attention)(s, l, pos, positions, y, o);
		naive_mul(added, &w[LAYER_OUT], shape.kv_heads ? o : y);
		naive_bias(added, &w[LAYER_OUT_BIAS]);
		naive_add(s->x, added, &w[LAYER_POST_ATTN_NORM]);
	}
	if (!shape.ffn)
		return;
	memset(added, 0, sizeof added);
	naive_norm(y, &w[LAYER_FFN_NORM], s->x);
	if (w[LAYER_ROUTER].packed)
		naive_mixture(added, w, y);
	else
		naive_feed(added, w, dense, y, shape.ffn, 0, 1);
	naive_add(s->x, added, &w[LAYER_POST_FFN_NORM]);
}

START_TEST(close_to_doubles) {
	const uint32_t N = _i == 0 || unlike[_i].traits.window > 100 ? 1100 : 130;
	struct synth_spec floats = lengthy; /* so that only keys and values are rounded, to half precision */
	floats.layer[LAYER_V] = floats.layer[LAYER_UP] = KERN_F32;
	floats.roles = unlike[_i].roles;
	floats.traits = unlike[_i].traits;
	start(&floats, KERN_KV_F16);
	const struct hparams *hp = &model->m->hp;
	float *logits = compute(2, 1, NULL, N, 64, scattered), row[64];
	double x[64], y[64], out[64];
	size_t cache = (size_t)hp->layers * N * hp->kv_heads * hp->head_size;
	struct naive s = {x, calloc(cache, sizeof(double)), calloc(cache, sizeof(double))};
	for (uint32_t pos = 0; pos < N; pos++) {
		double off = 0, size = 0;
		kern_dequant_packed(KERN_F32, row, model->io[IO_EMBED].packed, tokens[pos], hp->dim);
		for (uint32_t i = 0; i < hp->dim; i++)
			x[i] = (double)row[i] * naive_scale(hp->embed_scale);
		for (uint32_t l = 0; l < hp->layers; l++)
			naive_layer(&s, l, pos, N);
		naive_norm(y, &model->io[IO_NORM], x);
		naive_mul(out, &model->io[IO_HEAD], y);
		for (uint32_t i = 0; i < hp->vocab; i++) {
			double have = (double)logits[(size_t)pos * hp->vocab + i];
			out[i] *= naive_scale(hp->logit_scale);
			off += (have - out[i]) * (have - out[i]);
			size += out[i] * out[i];
		}
		ck_assert_msg(off < 0.004 * 0.004 * size, "position %u: off by %g", pos, sqrt(off / size));
	}
	free(logits);
	free(s.k);
	free(s.v);
	synth_destroy(model);
}
END_TEST

/* Row by row, each by all of a team, layers of every kind give what they give as one step of one thread. */
START_TEST(row_by_row) {
	const uint32_t N = 80;
	struct synth_spec spec = lengthy;
	spec.roles = unlike[_i].roles;
	spec.traits = unlike[_i].traits;
	start(&spec, KERN_KV_F16);
	float *want = compute(1, 1, NULL, N, N, ascending);
	for (unsigned threads = 2; threads <= 4; threads++) {
		float *have = compute(threads, 1, NULL, N, 1, ascending);
		ck_same(want, have, N);
		free(have);
	}
	free(want);
	synth_destroy(model);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("forward");
	TCase *t = tcase_create("bits");
	tcase_set_timeout(t, 600);
	tcase_add_loop_test(t, any_team, FIRST_LAYERS, LAYERS_AND_CACHES);
	tcase_add_loop_test(t, any_chunk, FIRST_LAYERS, LAYERS_AND_CACHES);
	tcase_add_loop_test(t, any_chunk_over_spans, FIRST_OVER_SPANS, KERN_KVS + 1);
	tcase_add_loop_test(t, any_block_table, 0, KERN_KVS);
	tcase_add_loop_test(t, few_windows, KERN_KVS, LAYERS_AND_CACHES);
	tcase_add_loop_test(t, any_split, FIRST_LAYERS, LAYERS_AND_CACHES);
	tcase_add_loop_test(t, beside_others, FIRST_LAYERS, LAYERS_AND_CACHES);
	tcase_add_loop_test(t, beside_others_over_spans, 0, KERN_KVS);
	tcase_add_loop_test(t, any_level, FIRST_LAYERS, LAYERS_AND_CACHES);
	tcase_add_loop_test(t, close_to_doubles, FIRST_UNLIKE, UNLIKE);
	suite_add_tcase(s, t);
	t = tcase_create("rows");
	tcase_set_timeout(t, 600);
	tcase_add_loop_test(t, row_by_row, 0, UNLIKE);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
