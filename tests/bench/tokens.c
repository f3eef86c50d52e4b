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
	double ik, llama; /* times what the peer reaches: prompts, decode; NAN: no target */
	bool far;         /* also with a long context */
} models[] = {
#define WIDE(t, h) \
	{ \
		.layers = 4, .dim = 4096, .heads = 32, .kv_heads = 32, .head_size = 128, .ffn = 11008, \
		.vocab = 32000, .context = LONG, .layer = {KERN_F32, t, t, t, t, KERN_F32, t, t, t}, \
		.embed = t, .head = h, .seed = 1 \
	}
        {"7B-wide Q4_0", WIDE(KERN_Q4_0, KERN_Q4_0), 1.3, NAN, true},
        {"7B-wide Q4_K", WIDE(KERN_Q4_K, KERN_Q6_K), 1.3, NAN, false},
        {"7B-wide Q6_K", WIDE(KERN_Q6_K, KERN_Q6_K), 1.3, NAN, false},
        {"7B-wide Q8_0", WIDE(KERN_Q8_0, KERN_Q8_0), 1.1, NAN, false},
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
                NAN, 1.2, false},
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
        {"30B-A3B-wide Q4_K", MIXTURE(KERN_Q4_K, KERN_Q4_K), 1.2, 1, false},
};

struct run {
	struct line *line;
	float *logits;
	uint32_t tokens[PROMPT], blocks[LONG_BLOCKS];
};

/* Seconds of a step of so many rows of one sequence, with the logits of its last. */
static double step(struct run *r, uint32_t rows, uint32_t position) {
	struct line *l = r->line;
	struct forward_seq q = {
	        rows, position, (position + rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK, r->blocks};
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
	return (double)kv_block_bytes(&s->m->hp, kv, 0, s->m->hp.layers) / KERN_KV_BLOCK * position;
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

static void peer_rows(struct bench *b, const struct model *m, double speed, double prompts) {
	const struct peer_speed *p = peers_speed();
	if (p->llama_decode > 0) {
		printf("    llama.cpp   decode %7.2f  prompt %7.1f tokens a second\n", p->llama_decode,
		        p->llama_prompt);
		bench_row(b, "times llama.cpp", speed / p->llama_decode, NAN, m->llama, false,
		        "decode.llama.%s", m->name);
		bench_row(b, "times llama.cpp", prompts / p->llama_prompt, NAN, NAN, false, "prompt.llama.%s",
		        m->name);
	}
	if (p->ik_decode > 0) {
		printf("    ik_llama    decode %7.2f  prompt %7.1f tokens a second (the better mode of each)\n",
		        p->ik_decode, p->ik_prompt);
		bench_row(b, "times ik_llama.cpp", speed / p->ik_decode, NAN, NAN, false, "decode.ik.%s",
		        m->name);
		bench_row(b, "times ik_llama.cpp", prompts / p->ik_prompt, NAN, m->ik, false, "prompt.ik.%s",
		        m->name);
	}
}

static void one(struct bench *b, const struct model *m) {
	double token[BENCH_ROUNDS_MAX], share[BENCH_ROUNDS_MAX], far[KERN_KVS][BENCH_ROUNDS_MAX],
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
		token[i] = d.seconds;
		share[i] = (bytes + cache_bytes(s, KERN_KV_F16, PROMPT)) / d.taken;
		if (m->far) {
			far[KERN_KV_F16][i] = added(b, &r, s, KERN_KV_F16);
			far[KERN_KV_Q8_0][i] = added(b, &coarse, s, KERN_KV_Q8_0);
		}
		peers_round(PROMPT);
	}
	double speed = 1 / bench_median(token, b->rounds), prompts = bench_median(fill, b->rounds);
	printf("%-14s %6.2f GB  %8.2f  %6.2f  %16.1f", m->name, bytes / 1e9, speed,
	        bench_median(share, b->rounds), prompts);
	if (m->far)
		printf("  %10.2f, q8_0 %.2f", bench_median(far[KERN_KV_F16], b->rounds),
		        bench_median(far[KERN_KV_Q8_0], b->rounds));
	printf("\n");
	bench_row(b, "share of read bandwidth", bench_median(share, b->rounds), 1, 0.9, false, "token.%s",
	        m->name);
	bench_row(b, "tokens a second", speed, NAN, NAN, false, "speed.%s", m->name);
	bench_row(b, "tokens a second", prompts, NAN, NAN, false, "prompt.%s", m->name);
	for (enum kern_kv kv = 0; m->far && kv < KERN_KVS; kv++)
		bench_row(b, "times its bytes over read bandwidth", bench_median(far[kv], b->rounds), 1, 1.15,
		        true, "context%d.%s.%s", FAR, kern_kv_name(kv), m->name);
	peer_rows(b, m, speed, prompts);
	if (m->far && peers_round(LONG)) {
		double ours = LONG / prompt(&r, LONG), theirs = peers_speed()->llama_prompt;
		printf("    a prompt of %d tokens: %.1f, llama.cpp %.1f tokens a second\n", LONG, ours,
		        theirs);
		bench_row(b, "times llama.cpp", ours / theirs, NAN, 2, false, "prompt%d.llama.%s", LONG,
		        m->name);
	}
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
