/* synth: models of any shape and mix of types, made in memory from a seed, for tests of the forward pass;
 * and lines of stages that run them. */
#ifndef TESTS_SUPPORT_SYNTH_H
#define TESTS_SUPPORT_SYNTH_H
#include "shard/forward/forward.h"

struct synth_spec {
	uint32_t layers, dim, heads, kv_heads, head_size, ffn, vocab, context;
	enum kern_type layer[LAYER_ROLES]; /* types of a layer's tensors; its norms' as well */
	enum kern_type embed, head;
	layer_roles
	        roles; /* of each layer, besides a Llama's; with a router it has experts in place of gate, up and down, */
	uint32_t dense;        /* except in so many layers at the beginning */
	struct hparams traits; /* only its traits count; with a latent, heads are of its size and 8 */
	uint64_t seed;
};

struct synth {
	struct manifest *m;
	struct store_tensor (*layer)[LAYER_ROLES]; /* [layers] */
	struct store_tensor io[IO_ROLES];
	struct slice whole; /* layers, embedding and output */
};

struct synth *synth_create(const struct synth_spec *spec);
void synth_destroy(struct synth *s);

/* A model cut into stages, each with its own KV blocks, on one team. */
#define LINE_STAGES 8
#define LINE_SLOTS 3 /* of recurrent states */
struct line {
	struct slice whole; /* a copy; its tables are borrowed */
	struct team *team;
	struct io_layers *io;
	unsigned stages;
	struct slice slice[LINE_STAGES];
	struct kv *kv[LINE_STAGES];
	struct forward *forward[LINE_STAGES];
	uint32_t max_rows;
	float *x;
};

/* cuts: layers where a stage begins, after the first; `stages` - 1 of them. A slice with a weight stream is one stage. */
struct line *line_create(const struct slice *whole, enum kern_kv kv, unsigned threads, unsigned stages,
        const uint32_t *cuts, uint32_t max_rows, uint32_t blocks);
/* The same with so many blocks of either kind. */
struct line *line_create_sized(const struct slice *whole, struct kv_size size, unsigned threads,
        unsigned stages, const uint32_t *cuts, uint32_t max_rows);
void line_destroy(struct line *l);

/* Runs a step of tokens through all stages: logits[rows][vocab]. 0 or what forward_check, forward_run say. */
int line_step(struct line *l, struct forward_seq *seqs, uint32_t nseqs, const uint32_t *tokens, float *logits,
        char *err, size_t errlen);

/* Logits of one sequence, alone, in steps of at most `chunk` rows, with this block table. */
void line_logits(struct line *l, const uint32_t *tokens, uint32_t n, uint32_t chunk, const uint32_t *blocks,
        float *logits);

#endif
