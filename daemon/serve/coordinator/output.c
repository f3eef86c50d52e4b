/* output: see output.h.  Rows pass through the output product a few at a time, so that the buffer of logits
 * stays small compared with the weights that it reads. */
#include "daemon/serve/coordinator/output.h"
#include "daemon/serve/coordinator/constraint.h"
#include "proto/wire.h"
#include "shard/forward/forward.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_ROWS 16 /* rows per output product */

struct output {
	struct io_layers *io;
	struct sampler *sampler;
	const struct hparams *hp;
	uint32_t tokens;         /* how many of the hp->vocab logits may be sampled */
	float *x, *logits, *raw; /* raw: of one row, before the sampler changes them */
};

static void *output_alloc_aligned(size_t bytes) {
	return aligned_alloc(KERN_ALIGN, (bytes + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN);
}

int output_create(
        struct output **out, const struct slice *io, struct team *t, uint32_t max_rows, uint32_t tokens) {
	struct output *h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->hp = &io->manifest->hp;
	h->tokens = tokens < h->hp->vocab ? tokens : h->hp->vocab;
	h->x = output_alloc_aligned((size_t)OUTPUT_ROWS * h->hp->dim * sizeof(float));
	h->logits = output_alloc_aligned((size_t)OUTPUT_ROWS * h->hp->vocab * sizeof(float));
	h->raw = output_alloc_aligned(h->tokens * sizeof(float));
	int rc = h->x && h->logits && h->raw ? 0 : -ENOMEM;
	if (rc == 0)
		rc = io_layers_create(&h->io, io, t, max_rows > OUTPUT_ROWS ? max_rows : OUTPUT_ROWS);
	if (rc == 0)
		rc = sampler_create(&h->sampler, h->tokens);
	if (rc != 0) {
		output_destroy(h);
		return rc;
	}
	*out = h;
	return 0;
}

void output_destroy(struct output *o) {
	if (!o)
		return;
	sampler_destroy(o->sampler);
	io_layers_destroy(o->io);
	free(o->x);
	free(o->logits);
	free(o->raw);
	free(o);
}

int output_embed(struct output *o, float *x, const uint32_t *tokens, uint32_t rows) {
	return io_layers_embed(o->io, x, tokens, rows);
}

/* The sum of all probabilities, with the greatest counted as 1; those far below it are negligible. */
static float output_sum_probability(const float *logits, size_t n, float max) {
	float sum = 0;
	for (size_t i = 0; i < n; i++)
		if (logits[i] - max > -16)
			sum += expf(logits[i] - max);
	return sum;
}

/* Samples the next token of a row from its logits. */
static void output_sample_row(struct output *o, struct output_row *r, float *logits) {
	uint32_t n = o->tokens;
	float max = 0, sum = 1;
	const uint64_t *allowed = NULL;
	if (r->constraint)
		r->rc = constraint_mask(r->constraint, r->log, r->tokens, &allowed, &r->ends);
	if (r->rc != 0 || r->ends)
		return;
	if (r->weighed) {
		max = logits[0];
		for (size_t i = 1; i < n; i++)
			max = logits[i] > max ? logits[i] : max;
		sum = output_sum_probability(logits, n, max);
	}
	if (r->logprobs)
		memcpy(o->raw, logits, n * sizeof *logits);
	r->rc = sampler_pick_allowed(
	        o->sampler, r->params, logits, n, allowed, r->log, r->tokens, r->tokens, &r->id);
	if (r->weighed && r->rc == 0)
		r->probability = fminf(expf(logits[r->id] - max) / sum, 1);
	if (r->logprobs && r->rc == 0)
		logprobs_compute(r->logprobs, o->raw, n, r->id, r->top_logprobs);
}

void output_sample(struct output *o, struct output_row *row, uint32_t rows) {
	size_t dim = o->hp->dim, vocab = o->hp->vocab;
	for (uint32_t at = 0; at < rows;) {
		uint32_t n = rows - at < OUTPUT_ROWS ? rows - at : OUTPUT_ROWS;
		for (uint32_t i = 0; i < n; i++)
			memcpy(o->x + i * dim, row[at + i].x, dim * sizeof(float));
		int rc = io_layers_logits(o->io, o->logits, o->x, n);
		for (uint32_t i = 0; i < n; i++) {
			struct output_row *r = &row[at + i];
			r->rc = rc;
			/* a row that is not finite must not fail the others */
			if (rc == -EDOM && n > 1)
				r->rc = io_layers_logits(o->io, o->logits + i * vocab, o->x + i * dim, 1);
			if (r->rc == 0)
				output_sample_row(o, r, o->logits + i * vocab);
		}
		at += n;
	}
}

uint32_t output_logit_rows(const struct output *o) {
	uint32_t fit = WIRE_PAYLOAD_MAX / (uint32_t)(o->hp->vocab * sizeof(float));
	return fit < 1 ? 1 : fit > OUTPUT_ROWS ? OUTPUT_ROWS : fit;
}

int output_logits(struct output *o, const float *x, uint32_t rows, struct payload **out) {
	struct payload *p = payload_create((size_t)rows * o->hp->vocab * sizeof(float));
	if (!p)
		return -ENOMEM;
	memcpy(o->x, x, (size_t)rows * o->hp->dim * sizeof(float));
	int rc = io_layers_logits(o->io, payload_data(p), o->x, rows);
	if (rc != 0) {
		payload_unref(p);
		return rc;
	}
	*out = p;
	return 0;
}

int output_pool(struct output *o, double *sum, const float *x, uint32_t rows) {
	size_t dim = o->hp->dim;
	int rc = 0;
	for (uint32_t at = 0, n; rc == 0 && at < rows; at += n) {
		n = rows - at < OUTPUT_ROWS ? rows - at : OUTPUT_ROWS;
		memcpy(o->x, x + at * dim, n * dim * sizeof(float));
		rc = io_layers_pool(o->io, sum, o->x, n);
	}
	return rc;
}

int output_embedding(const struct output *o, const double *sum, uint32_t rows, struct payload **out) {
	size_t dim = o->hp->dim;
	double square = 0;
	for (size_t i = 0; i < dim; i++) {
		double mean = sum[i] / rows;
		square += mean * mean;
	}
	if (!(square > 0 && square < INFINITY))
		return -EDOM;
	struct payload *p = payload_create(dim * sizeof(float));
	if (!p)
		return -ENOMEM;
	double length = sqrt(square);
	for (size_t i = 0; i < dim; i++)
		((float *)payload_data(p))[i] = (float)(sum[i] / rows / length);
	*out = p;
	return 0;
}
