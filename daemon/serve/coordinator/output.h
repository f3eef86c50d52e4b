/* output: the coordinator's own computing: embedding at the beginning of a step; norm, output product and
 * sampling at its end.
 *
 * Owns: the buffers of embedding and output, and the sampler's scratch.
 * Threads: the compute thread, but for output_create and output_destroy. */
#ifndef DAEMON_SERVE_COORDINATOR_OUTPUT_H
#define DAEMON_SERVE_COORDINATOR_OUTPUT_H
#include "daemon/net/payload.h"
#include "daemon/text/logprobs.h"
#include "daemon/text/sampler.h"
#include "kernels/team.h"
#include "shard/forward/slice.h"
#include <stdbool.h>

struct output;

/* A row that came back from the last stage, and what is needed to sample it. */
struct output_row {
	const float *x;                      /* dim floats */
	const struct sampler_params *params; /* of the sequence; borrowed */
	const uint32_t *log;                 /* borrowed: as it was when the row was made */
	uint32_t tokens;
	struct constraint *constraint; /* of the sequence; NULL: none.  Borrowed */
	bool weighed;                  /* `probability` is wanted */
	struct logprobs *logprobs;     /* out: of the token; NULL: not wanted.  Borrowed */
	uint32_t top_logprobs;         /* and of so many of the most likely tokens */
	uint32_t id;                   /* out: the sampled token */
	float probability;             /* out: its probability, before temperature and truncation */
	bool ends;                     /* out: nothing may follow, and no token is sampled */
	int rc;                        /* out: 0 or a negative errno */
};

/* tokens: how many may be sampled; rows of the output product beyond them are padding. */
int output_create(
        struct output **out, const struct slice *io, struct team *t, uint32_t max_rows, uint32_t tokens);
void output_destroy(struct output *o); /* NULL allowed */

int output_embed(struct output *o, float *x, const uint32_t *tokens, uint32_t rows);

/* Samples the next token of each row. */
void output_sample(struct output *o, struct output_row *row, uint32_t rows);

/* Makes the logits of up to output_logit_rows() rows, as a payload of rows x vocab floats; x contiguous. */
int output_logits(struct output *o, const float *x, uint32_t rows, struct payload **out);
uint32_t output_logit_rows(const struct output *o);

/* An embedding is the mean of the final norm of a text's rows, as a vector of length 1 (doc/numerics.md, "Embeddings").  Adds
 * rows, in order of position, to sum[dim]; x contiguous. */
int output_pool(struct output *o, double *sum, const float *x, uint32_t rows);
/* Makes the embedding of the sum of so many rows, as a payload of dim floats; -EDOM: it has none. */
int output_embedding(const struct output *o, const double *sum, uint32_t rows, struct payload **out);

#endif
