/* logprobs: log-probabilities of tokens, from raw logits: doc/numerics.md, "Log-probabilities", in code.
 *
 * They are those of the model's own distribution, before biases, penalties, temperature, truncation and grammars.
 * Pure; any thread. */
#ifndef DAEMON_TEXT_LOGPROBS_H
#define DAEMON_TEXT_LOGPROBS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGPROBS_TOP_MAX 20       /* most likely tokens that are listed */
#define LOGPROBS_LEAST (-9999.0f) /* stands for everything below it, as in OpenAI's API */

struct logprob {
	uint32_t id;
	float value; /* LOGPROBS_LEAST to 0 */
};

struct logprobs {
	float token;  /* of the token that was sampled */
	uint32_t top; /* the most likely tokens, in order: by logit, then the lowest id first */
	struct logprob list[LOGPROBS_TOP_MAX];
};

/* Of the token `id` < n, and of the `top` most likely ones, or of all if there are fewer.  n is at least 1, top at most
 * LOGPROBS_TOP_MAX.  Logits that are not finite give figures without meaning. */
void logprobs_compute(struct logprobs *out, const float *logits, uint32_t n, uint32_t id, uint32_t top);

/* A token, with its log-probability. */
struct token_logprob {
	uint32_t id;
	float logprob;
	const char *text; /* its bytes, which need not be whole characters; of a hidden token, its name */
	size_t len;
	bool hidden; /* a control token that the answer does not show */
};

/* A token of an answer, with the most likely ones at its position. */
struct token_logprobs {
	struct token_logprob token;
	size_t offset; /* bytes of the answer's text before it */
	uint32_t ntop;
	const struct token_logprob *top; /* in order */
};
/* A copy, with its texts, in one piece of memory; NULL: out of memory. */
struct token_logprobs *token_logprobs_copy(const struct token_logprobs *t);

#endif
