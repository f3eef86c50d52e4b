/* forward: runs a step through a slice: the layers of a model in the order of doc/numerics.md.
 *
 * Owns: the buffers of activations between operations.  Borrows the slice, the KV blocks and the team.
 * Invariant: the result of a row depends only on the earlier rows of its sequence: not on the other rows of the step, on how
 * rows were split into steps, or on the size of the team.
 * Threads: one step at a time, on the caller and the team. */
#ifndef SHARD_FORWARD_FORWARD_H
#define SHARD_FORWARD_FORWARD_H
#include "kernels/team.h"
#include "shard/forward/expert_use.h"
#include "shard/forward/group.h"
#include "shard/forward/kv.h"
#include "shard/forward/slice.h"

/* A recurrent state that is kept: the one before a position, and where. */
struct forward_keep {
	uint32_t position, place;
};

/* The rows of one sequence in a step: consecutive positions, consecutive rows of x. */
struct forward_seq {
	uint32_t rows;
	uint32_t position;      /* of its first row */
	uint32_t nblocks;       /* covers position + rows */
	const uint32_t *blocks; /* numbers of KV blocks, in order of position; borrowed */
	/* of models with windows: numbers of the window blocks beside the last so many blocks, as far back as the first row sees */
	uint32_t nwindows;
	const uint32_t *windows;
	/* of models with recurrent layers (state.h): */
	uint32_t slot;
	uint32_t begin;  /* 1 + the place of the kept state that it begins with; 0: none */
	uint32_t open;   /* this many of its positions, up to its last row, may be computed again */
	uint32_t nkeeps; /* of its states, at positions after its first row */
	const struct forward_keep *keep; /* borrowed */
	bool lost; /* in and out: a state that it goes on from is not here; its rows mean nothing */
};

struct forward_step {
	uint32_t rows;
	uint32_t nseqs;
	struct forward_seq *seqs;
	float *x; /* [rows][dim], in and out, aligned to KERN_ALIGN */
};

struct forward;
/* max_rows: rows of the largest step. */
int forward_create(
        struct forward **out, const struct slice *s, struct kv *kv, struct team *t, uint32_t max_rows);
void forward_destroy(struct forward *f); /* NULL allowed */
/* Before the first step: it is one node of a group, and computes its share of every layer's rows.  g is copied.  0, or -ENOTSUP with a
 * sentence in err when the model or what is read from disk does not allow it. */
int forward_join_group(struct forward *f, const struct group *g, char *err, size_t errlen);
size_t forward_bytes(
        const struct manifest *m, uint32_t max_rows, unsigned team); /* of its buffers, for planning */

/* Checks a step against the slice's KV: rows add up, tables cover the positions (of windows: those seen) and are in bounds, a block
 * that the step writes occurs in it once (blocks that are only read may be shared), positions are below the
 * context.  0 or -EINVAL with a sentence in err.  One thread at a time; may overlap a forward_run. */
int forward_check(const struct forward *f, const struct forward_step *st, char *err, size_t errlen);

/* Runs a checked step.  0, -EDOM when an activation was not finite (err names layer and operation), or -EIO when streamed
 * weights could not be read, a tensor is damaged, or another node of the group cannot go on.  All nodes of a group run the same step. */
int forward_run(struct forward *f, const struct forward_step *st, char *err, size_t errlen);

/* How often its layers' experts were chosen; NULL: they have none.  Any thread. */
const struct expert_use *forward_expert_use(const struct forward *f);

/* Embedding and output of a model. */
struct io_layers;
int io_layers_create(struct io_layers **out, const struct slice *s, struct team *t, uint32_t max_rows);
void io_layers_destroy(struct io_layers *e); /* NULL allowed */
/* x[i] = the embedding of tokens[i], i < rows.  -EINVAL for a token outside the vocabulary, -EIO as
 * forward_run. */
int io_layers_embed(struct io_layers *e, float *x, const uint32_t *tokens, uint32_t rows);
/* logits[i][vocab] of rows x[i][dim]; -EDOM, -EIO as forward_run. */
int io_layers_logits(struct io_layers *e, float *logits, const float *x, uint32_t rows);
/* sum[dim] += the final norm of each row x[i][dim], one after the other.  0, or -EDOM: one is not finite. */
int io_layers_pool(struct io_layers *e, double *sum, const float *x, uint32_t rows);

#endif
