/* bench/tokens: whole tokens and prompts of models of Llama's shapes with random weights, in turn with reading only what a token
 * reads (bench/walk.c), and beside the peers whose programs the environment names (bench/peers.c). */
#include "tests/bench/bench.h"
#include "tests/bench/peers.h"
#include "tests/bench/walk.h"
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
	struct walk *walk[TOKENS]; /* of the tokens that are decoded */
	size_t walks;              /* one for all of them where all read the same */
};

/* Seconds of a step of so many rows of one sequence, with the logits of its last. */
static double step(struct run *r, const uint32_t *tokens, uint32_t rows, uint32_t position) {
	struct line *l = r->line;
	uint32_t blocks = (position + rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
	struct forward_seq q = {rows, position, blocks, r->blocks, blocks, r->blocks};
	struct forward_step st = {rows, 1, &q, l->x};
	char err[256] = "";
	double t0 = bench_now();
	int rc = io_layers_embed(l->io, l->x, tokens, rows);
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

/* ---- what a token reads ---- */

/* How often each expert of each layer has been chosen. */
static void take_use(const struct run *r, uint64_t *use) {
	const struct hparams *hp = &r->line->whole.manifest->hp;
	for (uint32_t l = 0; l < hp->layers; l++)
		for (uint32_t e = 0; e < hp->experts; e++)
			use[l * hp->experts + e] =
			        expert_use_rows(forward_expert_use(r->line->forward[0]), l, e);
}

/* The walk of a token at PROMPT that uses what a step of it chooses. */
static struct walk *walk_of(struct run *r, uint32_t token) {
	const struct hparams *hp = &r->line->whole.manifest->hp;
	size_t n = (size_t)hp->layers * hp->experts;
	uint64_t *before = bench_alloc(n * sizeof *before), *after = bench_alloc(n * sizeof *after);
	bool *chosen = bench_alloc(n);
	take_use(r, before);
	step(r, &token, 1, PROMPT);
	take_use(r, after);
	for (size_t i = 0; i < n; i++)
		chosen[i] = after[i] > before[i];
	struct walk *w = walk_create(r->line, PROMPT, chosen);
	free(before);
	free(after);
	free(chosen);
	return w;
}

static void take_walks(struct run *r) {
	r->walks = r->line->whole.manifest->hp.experts ? TOKENS : 1;
	for (size_t i = 0; i < r->walks; i++)
		r->walk[i] = walk_of(r, r->tokens[i]);
}

/* What is read at a time in a round, and where it lies. */
static void tell_memory(const struct run *r) {
	size_t bytes = walk_bytes(r->walk[0]), cache = walk_last_cache();
	printf("    reads %.2f GB, %.0f %% of the weights in huge pages", (double)bytes / 1e9,
	        100 * walk_huge(&r->line->whole));
	if (bytes < 2 * cache)
		printf("; the last cache of %zu MiB may keep some of it", cache >> 20);
	printf("\n");
}

/* ---- decode ---- */

/* Tokens at PROMPT, each in turn with reading alone. */
struct decoded {
	double seconds; /* of the median one */
	double share;   /* that reading alone would take of it, the median */
};
static struct decoded decode(struct run *r) {
	double t[TOKENS], reading[TOKENS + 1], share[TOKENS];
	unsigned way = walk_best_way(r->walk, r->walks);
	size_t turn = r->walks / 2; /* not what the token before has read */
	reading[0] = walk_read(r->walk[turn++ % r->walks], way);
	for (int i = 0; i < TOKENS; i++) {
		t[i] = step(r, r->tokens + i, 1, PROMPT);
		reading[i + 1] = walk_read(r->walk[turn++ % r->walks], way);
		share[i] = (reading[i] + reading[i + 1]) / 2 / t[i];
	}
	return (struct decoded){bench_median(t, TOKENS), bench_median(share, TOKENS)};
}

static double prompt(struct run *r, uint32_t length) {
	double sum = 0;
	for (uint32_t at = 0; at < length; at += PROMPT)
		sum += step(r, r->tokens, PROMPT, at);
	return sum;
}

/* What the positions from PROMPT to FAR add to a token, over what they add to reading alone: a token near and one far, and the
 * same of reading, in turn. */
static double added(struct run *r) {
	double token[TOKENS], reading[TOKENS];
	struct walk *near = r->walk[0], *far = walk_create(r->line, FAR - KERN_KV_BLOCK, NULL);
	unsigned way = walk_best_way(&near, 1);
	for (int i = 0; i < TOKENS; i++) {
		token[i] = -step(r, r->tokens, 1, PROMPT);
		reading[i] = -walk_read(near, way);
		token[i] += step(r, r->tokens, 1, FAR - KERN_KV_BLOCK);
		reading[i] += walk_read(far, way);
	}
	walk_destroy(far);
	return bench_median(token, TOKENS) / bench_median(reading, TOKENS);
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

static struct run run_create(const struct bench *b, const struct synth *s, enum kern_kv kv, uint32_t length) {
	struct run r = {.line = line_create(&s->whole, kv, b->threads, 1, NULL, PROMPT, LONG_BLOCKS),
	        .logits = bench_alloc(s->m->hp.vocab * sizeof(float))};
	for (uint32_t i = 0; i < PROMPT; i++)
		r.tokens[i] = (1 + 7919 * i) % s->m->hp.vocab;
	for (uint32_t i = 0; i < LONG_BLOCKS; i++)
		r.blocks[i] = i;
	prompt(&r, length); /* warms up, and fills the cache with what is no zero */
	take_walks(&r);
	return r;
}

static void run_destroy(struct run *r) {
	for (size_t i = 0; i < r->walks; i++)
		walk_destroy(r->walk[i]);
	line_destroy(r->line);
	free(r->logits);
}

/* The figures of a model's rounds. */
struct rounds {
	double decode[BENCH_ROUNDS_MAX], share[BENCH_ROUNDS_MAX], prompt[BENCH_ROUNDS_MAX],
	        far[KERN_KVS][BENCH_ROUNDS_MAX];
};

static void tell(struct bench *b, const struct model *m, const struct run *r, const struct rounds *f) {
	double share = rounds_row(b, "of only reading its bytes", f->share, 1, 0.9, "token.reading", m->name);
	const struct bench_row *row = &b->rows[b->nrows - 1];
	double low = row->low, high = row->high,
	       speed = rounds_row(b, "tokens a second", f->decode, NAN, NAN, "speed", m->name),
	       prompts = rounds_row(b, "tokens a second", f->prompt, NAN, NAN, "prompt", m->name);
	printf("%-18s %8.2f  %4.2f (%.2f to %.2f)  %16.1f\n", m->name, speed, share, low, high, prompts);
	tell_memory(r);
	for (enum kern_kv kv = 0; m->far && kv < KERN_KVS; kv++) {
		char name[32];
		snprintf(name, sizeof name, "context%d.%s", FAR, kern_kv_name(kv));
		double times = rounds_row(b, "times reading its bytes", f->far[kv], 1, 1.15, name, m->name);
		row = &b->rows[b->nrows - 1];
		b->rows[b->nrows - 1].less = true;
		printf("    positions %d to %d, %s: %.2f times reading them (%.2f to %.2f)\n", PROMPT,
		        FAR - KERN_KV_BLOCK, kern_kv_name(kv), times, row->low, row->high);
	}
	peer_rows(b, m, f->decode, f->prompt);
}

static void one(struct bench *b, const struct model *m) {
	struct rounds f;
	struct synth *s = synth_create(&m->spec);
	struct run r[KERN_KVS];
	int runs = m->far ? KERN_KVS : 1; /* KERN_KV_F16 is the first */
	for (int kv = 0; kv < runs; kv++)
		r[kv] = run_create(b, s, (enum kern_kv)kv, m->far ? FAR : PROMPT);
	peers_begin(&m->spec, b->threads);
	for (unsigned i = 0; i < b->rounds; i++) {
		f.prompt[i] = PROMPT / prompt(&r[0], PROMPT);
		struct decoded d = decode(&r[0]);
		f.decode[i] = 1 / d.seconds;
		f.share[i] = d.share;
		for (int kv = 0; m->far && kv < runs; kv++)
			f.far[kv][i] = added(&r[kv]);
		peers_round(PROMPT);
	}
	tell(b, m, &r[0], &f);
	if (m->far && getenv("PEER_LLAMA_BENCH"))
		far_prompt(b, m, &r[0]);
	peers_end();
	for (int kv = 0; kv < runs; kv++)
		run_destroy(&r[kv]);
	synth_destroy(s);
}

void bench_tokens(struct bench *b) {
	char cpu[256];
	bench_cpu_name(cpu, sizeof cpu);
	printf("\nWhole tokens and prompts: %s, level %s, %u threads\n", cpu, b->ops->name, b->threads);
	printf("model              tokens/s  of only reading      prompt tokens/s\n");
	const char *only = getenv("BENCH_MODEL");
	for (size_t i = 0; i < sizeof models / sizeof *models; i++)
		if (!only || strstr(models[i].name, only))
			one(b, &models[i]);
}
