/* bench/tokens: whole tokens and prompts of models of Llama's shapes with random weights, beside the probe that only
 * reads memory and beside the peers whose programs the environment names (bench/peers.c). */
#include "tests/bench/bench.h"
#include "tests/bench/peers.h"
#include "tests/support/synth.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 512, TOKENS = 12, FAR = 4096, LONG = 8192, LONG_BLOCKS = LONG / KERN_KV_BLOCK };

static const struct model {
	const char *name;
	struct synth_spec spec;
	struct {
		double decode, prompt;
	} times[PEERS]; /* what the peers reach, as a target; 0: none */
	bool far;       /* also with a long context */
} models[] = {
#define WIDE(t, h) \
	{ \
		.layers = 4, .dim = 4096, .heads = 32, .kv_heads = 32, .head_size = 128, .ffn = 11008, \
		.vocab = 32000, .context = LONG, .layer = {KERN_F32, t, t, t, t, KERN_F32, t, t, t}, \
		.embed = t, .head = h, .seed = 1 \
	}
        {"7B-wide Q4_0", WIDE(KERN_Q4_0, KERN_Q4_0), {[PEER_IK] = {0, 1.3}}, true},
        {"7B-wide Q4_K", WIDE(KERN_Q4_K, KERN_Q6_K), {[PEER_IK] = {0, 1.3}}, false},
        {"7B-wide Q6_K", WIDE(KERN_Q6_K, KERN_Q6_K), {[PEER_IK] = {0, 1.3}}, false},
        {"7B-wide Q8_0", WIDE(KERN_Q8_0, KERN_Q8_0), {[PEER_IK] = {0, 1.1}}, false},
        {"small Q4_0",
                {.layers = 22,
                        .dim = 2048,
                        .heads = 32,
                        .kv_heads = 4,
                        .head_size = 64,
                        .ffn = 5632,
                        .vocab = 32000,
                        .context = LONG,
                        .layer = {KERN_F32, KERN_Q4_0, KERN_Q4_0, KERN_Q4_0, KERN_Q4_0, KERN_F32, KERN_Q4_0,
                                KERN_Q4_0, KERN_Q4_0},
                        .embed = KERN_Q4_0,
                        .head = KERN_Q4_0,
                        .seed = 1},
                {[PEER_LLAMA] = {1.2, 0}}, false},
#define MIXTURE(t, down) \
	{ \
		.layers = 4, .dim = 2048, .heads = 32, .kv_heads = 4, .head_size = 128, .ffn = 6144, \
		.vocab = 32000, .context = LONG, \
		.layer = {KERN_F32, t, t, down, \
		        t, [LAYER_EXPERT_GATE] = t, [LAYER_EXPERT_UP] = t, [LAYER_EXPERT_DOWN] = down}, \
		.embed = t, .head = KERN_Q6_K, .seed = 1, \
		.roles = LAYER_BIT(LAYER_Q_NORM) | LAYER_BIT(LAYER_K_NORM) | LAYER_BIT(LAYER_ROUTER) | \
		         LAYER_BIT(LAYER_EXPERT_GATE) | LAYER_BIT(LAYER_EXPERT_UP) | \
		         LAYER_BIT(LAYER_EXPERT_DOWN), \
		.traits = { \
			.halves = 1, \
			.experts = 128, \
			.experts_used = 8, \
			.expert_ffn = 768 \
		} \
	}
#define BETTER \
	{ \
		{1, 1.2}, { \
			1, 1.2 \
		} \
	}
        {"30B-A3B-wide Q4_K", MIXTURE(KERN_Q4_K, KERN_Q4_K), BETTER, false},
        {"OSS-20B-wide MXFP4",
                {.layers = 4,
                        .dim = 2880,
                        .heads = 64,
                        .kv_heads = 8,
                        .head_size = 64,
                        .ffn = 2880,
                        .vocab = 32000,
                        .context = LONG,
                        .layer = {KERN_F32, KERN_Q8_0, KERN_Q8_0, KERN_Q8_0,
                                KERN_Q8_0, [LAYER_EXPERT_GATE] = KERN_MXFP4, [LAYER_EXPERT_UP] = KERN_MXFP4,
                                [LAYER_EXPERT_DOWN] = KERN_MXFP4},
                        .embed = KERN_Q8_0,
                        .head = KERN_Q8_0,
                        .seed = 1,
                        .roles = LAYER_BIT(LAYER_Q_BIAS) | LAYER_BIT(LAYER_K_BIAS) | LAYER_BIT(LAYER_V_BIAS) |
                                 LAYER_BIT(LAYER_OUT_BIAS) | LAYER_BIT(LAYER_SINKS) |
                                 LAYER_BIT(LAYER_ROUTER) | LAYER_BIT(LAYER_EXPERT_GATE) |
                                 LAYER_BIT(LAYER_EXPERT_UP) | LAYER_BIT(LAYER_EXPERT_DOWN) |
                                 LAYER_BIT(LAYER_ROUTER_BIAS) | LAYER_BIT(LAYER_EXPERT_GATE_BIAS) |
                                 LAYER_BIT(LAYER_EXPERT_UP_BIAS) | LAYER_BIT(LAYER_EXPERT_DOWN_BIAS),
                        .traits = {.halves = 1,
                                .experts = 32,
                                .experts_used = 4,
                                .expert_ffn = 2880,
                                .glu = KERN_SWIGLU_BOUNDED,
                                .window = 128,
                                .full_every = 2}},
                BETTER, false},
};

struct run {
	struct line *line;
	float *logits;
	uint32_t tokens[PROMPT], blocks[LONG_BLOCKS];
};

/* Seconds of a step of so many rows of one sequence, with the logits of its last. */
static double step(struct run *r, uint32_t rows, uint32_t position) {
	struct line *l = r->line;
	uint32_t blocks = (position + rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
	struct forward_seq q = {rows, position, blocks, r->blocks, blocks, r->blocks};
	struct forward_step st = {rows, 1, &q, l->x};
	char err[256] = "";
	double t0 = bench_now();
	int rc = io_layers_embed(l->io, l->x, r->tokens, rows);
	rc = rc ? rc : forward_check(l->forward[0], &st, err, sizeof err);
	rc = rc ? rc : forward_run(l->forward[0], &st, err, sizeof err);
	if (!rc)
		rc = io_layers_logits(
		        l->io, r->logits, l->x + (size_t)(rows - 1) * l->whole.manifest->hp.dim, 1);
	if (rc) {
		fprintf(stderr, "bench: a step failed: %s\n", err);
		exit(1);
	}
	return bench_now() - t0;
}

/* Tokens at a position, each in turn with reading alone. */
struct decoded {
	double seconds; /* of the median one */
	double taken;   /* bytes that could have been read in that time, the median */
};
static struct decoded decode(struct bench *b, struct run *r, uint32_t position) {
	double t[TOKENS], rate[TOKENS + 1], taken[TOKENS];
	rate[0] = bench_read_once(b);
	for (int i = 0; i < TOKENS; i++) {
		t[i] = step(r, 1, position);
		rate[i + 1] = bench_read_once(b);
		taken[i] = t[i] * (rate[i] + rate[i + 1]) / 2;
	}
	return (struct decoded){bench_median(t, TOKENS), bench_median(taken, TOKENS)};
}

static double prompt(struct run *r, uint32_t length) {
	double sum = 0;
	for (uint32_t at = 0; at < length; at += PROMPT)
		sum += step(r, PROMPT, at);
	return sum;
}

/* Bytes that a token reads: of weights; of keys and values at a position. */
static double weights(const struct synth *s) {
	const struct hparams *hp = &s->m->hp;
	double bytes = (double)slice_bytes(&s->whole) - (double)s->io[IO_EMBED].packed_bytes;
	for (size_t i = 0; i < manifest_layer_tensors(s->m); i++)
		if (s->m->tensor[i].parts > 1)
			bytes -= (double)s->m->tensor[i].bytes * (1 - (double)hp->experts_used / hp->experts);
	return bytes;
}
static double cache_bytes(const struct synth *s, enum kern_kv kv, uint32_t position) {
	return (double)kv_bytes(&s->m->hp, (struct kv_size){kv, 1, 1}, 0, s->m->hp.layers) / KERN_KV_BLOCK *
	       position;
}

/* What the positions from PROMPT to FAR add to a token, over what their bytes take to read: a token near, one far and reading
 * alone, in turn. */
static double added(struct bench *b, struct run *r, const struct synth *s, enum kern_kv kv) {
	double bytes[TOKENS];
	for (int i = 0; i < TOKENS; i++) {
		step(r, 1, PROMPT); /* the team of the probe goes to sleep */
		double near = step(r, 1, PROMPT), far = step(r, 1, FAR - 1);
		bytes[i] = (far - near) * bench_read_once(b);
	}
	return bench_median(bytes, TOKENS) / cache_bytes(s, kv, FAR - 1 - PROMPT);
}

/* Remembers a row of rounds: their median, which it returns, and their spread. */
static double rounds_row(struct bench *b, const char *unit, const double *rounds, double bound, double target,
        const char *what, const char *name) {
	double copy[BENCH_ROUNDS_MAX];
	memcpy(copy, rounds, b->rounds * sizeof *copy);
	double median = bench_median(copy, b->rounds); /* which sorts them */
	bench_row(b, unit, median, bound, target, false, "%s.%s", what, name);
	bench_row_spread(b, copy[0], copy[b->rounds - 1]);
	return median;
}

/* Our speed in each round over a peer's in the same one. */
static void peer_row(struct bench *b, const char *what, const struct model *m, enum peer p,
        const double *ours, const double *theirs, double target) {
	double times[BENCH_ROUNDS_MAX];
	char unit[32], name[32];
	for (unsigned i = 0; i < b->rounds; i++)
		times[i] = ours[i] / theirs[i];
	snprintf(unit, sizeof unit, "times %s", peers_name(p));
	snprintf(name, sizeof name, "%s.%s", what, p == PEER_IK ? "ik" : "llama");
	double median = rounds_row(b, unit, times, NAN, target > 0 ? target : NAN, name, m->name);
	const struct bench_row *row = &b->rows[b->nrows - 1];
	printf("  %s %.2f times (%.2f to %.2f)", what, median, row->low, row->high);
}

/* decodes, prompts: tokens a second of our rounds. */
static void peer_rows(struct bench *b, const struct model *m, const double *decodes, const double *prompts) {
	struct peer_speed s;
	for (enum peer p = 0; p < PEERS; p++) {
		if (!peers_speed(p, &s))
			continue;
		printf("    %-12s  decode %7.2f  prompt %7.1f tokens a second;", peers_name(p), s.decode,
		        s.prompt);
		peer_row(b, "decode", m, p, decodes, s.decodes, m->times[p].decode);
		peer_row(b, "prompt", m, p, prompts, s.prompts, m->times[p].prompt);
		printf("\n");
	}
}

/* A long prompt beside llama.cpp's. */
static void far_prompt(struct bench *b, const struct model *m, struct run *r) {
	struct peer_speed s;
	peers_round(LONG);
	double ours = LONG / prompt(r, LONG);
	if (!peers_speed(PEER_LLAMA, &s))
		return;
	printf("    a prompt of %d tokens: %.1f, llama.cpp %.1f tokens a second\n", LONG, ours, s.prompt);
	bench_row(b, "times llama.cpp", ours / s.prompt, NAN, 2, false, "prompt%d.llama.%s", LONG, m->name);
}

static void one(struct bench *b, const struct model *m) {
	double decodes[BENCH_ROUNDS_MAX], share[BENCH_ROUNDS_MAX], far[KERN_KVS][BENCH_ROUNDS_MAX],
	        fill[BENCH_ROUNDS_MAX];
	struct synth *s = synth_create(&m->spec);
	struct run r = {.line = line_create(
	                        &s->whole, KERN_KV_F16, b->threads, 1, NULL, PROMPT, LONG_BLOCKS)},
	           coarse = {0};
	double bytes = weights(s);
	r.logits = bench_alloc(m->spec.vocab * sizeof(float));
	for (uint32_t i = 0; i < PROMPT; i++)
		r.tokens[i] = (1 + 7919 * i) % m->spec.vocab;
	for (uint32_t i = 0; i < LONG_BLOCKS; i++)
		r.blocks[i] = i;
	peers_begin(&m->spec, b->threads);
	prompt(&r, m->far ? FAR : PROMPT); /* warms up, and fills the cache with what is no zero */
	if (m->far) {
		coarse = r;
		coarse.line = line_create(&s->whole, KERN_KV_Q8_0, b->threads, 1, NULL, PROMPT, LONG_BLOCKS);
		prompt(&coarse, FAR);
	}
	for (unsigned i = 0; i < b->rounds; i++) {
		fill[i] = PROMPT / prompt(&r, PROMPT);
		bench_read(b); /* which way is best */
		struct decoded d = decode(b, &r, PROMPT);
		decodes[i] = 1 / d.seconds;
		share[i] = (bytes + cache_bytes(s, KERN_KV_F16, PROMPT)) / d.taken;
		if (m->far) {
			far[KERN_KV_F16][i] = added(b, &r, s, KERN_KV_F16);
			far[KERN_KV_Q8_0][i] = added(b, &coarse, s, KERN_KV_Q8_0);
		}
		peers_round(PROMPT);
	}
	double shares = rounds_row(b, "share of read bandwidth", share, 1, 0.9, "token", m->name),
	       speed = rounds_row(b, "tokens a second", decodes, NAN, NAN, "speed", m->name),
	       prompts = rounds_row(b, "tokens a second", fill, NAN, NAN, "prompt", m->name);
	printf("%-14s %6.2f GB  %8.2f  %6.2f  %16.1f", m->name, bytes / 1e9, speed, shares, prompts);
	if (m->far)
		printf("  %10.2f, q8_0 %.2f", bench_median(far[KERN_KV_F16], b->rounds),
		        bench_median(far[KERN_KV_Q8_0], b->rounds));
	printf("\n");
	peer_rows(b, m, decodes, fill);
	for (enum kern_kv kv = 0; m->far && kv < KERN_KVS; kv++)
		bench_row(b, "times its bytes over read bandwidth", bench_median(far[kv], b->rounds), 1, 1.15,
		        true, "context%d.%s.%s", FAR, kern_kv_name(kv), m->name);
	if (m->far && getenv("PEER_LLAMA_BENCH"))
		far_prompt(b, m, &r);
	peers_end();
	free(r.logits);
	line_destroy(r.line);
	if (coarse.line)
		line_destroy(coarse.line);
	synth_destroy(s);
}

void bench_tokens(struct bench *b) {
	printf("\nWhole tokens and prompts: %u threads\n", b->threads);
	printf("model          a token    tokens/s  of reading  prompt tokens/s  %d positions, times their bytes\n",
	        FAR);
	const char *only = getenv("BENCH_MODEL");
	for (size_t i = 0; i < sizeof models / sizeof *models; i++)
		if (!only || strstr(models[i].name, only))
			one(b, &models[i]);
}
