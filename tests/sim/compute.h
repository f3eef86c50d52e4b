/* sim/compute: a model that costs nothing to compute.  It stands in for shard/forward/forward.c, attention.c and io_layers.c; the checks of
 * a step (shard/forward/check.c) and the memory of KV blocks (shard/forward/kv.c) are the product's.
 *
 * The model: a row is its token and a hash.  A layer mixes the hash, writes it to its position's cell of the KV block, and
 * takes in the cells of all positions up to its own.  The hash after the last layer decides the next token: mostly the one
 * that follows the last in a short round of letters, so that drafts from the text are often right, and now and then another.
 * So a token depends on every token before it and on every KV cell that its row read: a wrong block, a cell that was not
 * written, a row at a wrong position give another text.
 * Threads: one. */
#ifndef TESTS_SIM_COMPUTE_H
#define TESTS_SIM_COMPUTE_H
#include "daemon/text/sampler.h"
#include "shard/forward/forward.h"

#define COMPUTE_FIRST (3 + 'a') /* the round of letters, as tokens of a SentencePiece vocabulary */
#define COMPUTE_ROUND 16
#define COMPUTE_CONTEXT 4096
#define COMPUTE_DIM 32

/* A manifest of that shape; its number stands for its weights. */
int compute_manifest(struct manifest **out, uint32_t number, uint32_t layers, uint32_t vocab,
        uint32_t context, uint32_t window);
/* Layers [first, last) of it, or, with first = last, its ends; slice_destroy frees it. */
struct slice *compute_slice(const struct manifest *m, uint32_t first, uint32_t last);

/* Virtual time of a step's layers, of one layer: alone + row x rows. */
void compute_cost(uint64_t alone_ns, uint64_t row_ns);
/* One in so many texts goes on where a token ends it; 0: none ever ends. */
void compute_ends(uint32_t one_in, uint32_t token);
/* The next runs of layers fail with this. */
void compute_fail(unsigned runs, int rc);

uint64_t compute_rows(void); /* times layers, ever */
unsigned compute_open(void); /* forwards and ends that there are */

/* What the model says after a prompt, straight from its definition: up to n tokens, fewer where it ends the text.  How many. */
uint32_t compute_answer(const struct manifest *m, const uint32_t *prompt, uint32_t tokens,
        const struct sampler_params *sampling, uint32_t *out, uint32_t n);
/* Logits of every position of a text: [tokens][vocab]. */
void compute_logits(const struct manifest *m, const uint32_t *text, uint32_t tokens, float *logits);
/* The embedding of a text, of COMPUTE_DIM floats. */
void compute_embedding(const struct manifest *m, const uint32_t *text, uint32_t tokens, float *out);

#endif
