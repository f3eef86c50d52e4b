/* prompt: what a request says is to be completed, and how, whatever its dialect.
 *
 * Owns: the text or ids, the grammar, the biases, and the spans of the text where control tokens count.  Stop texts are borrowed
 * from the request's JSON.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_PROMPT_H
#define DAEMON_API_ROUTES_PROMPT_H
#include "daemon/api/routes/fields.h"
#include "daemon/api/routes/routes.h"
#include "daemon/text/reply.h"

struct prompt {
	struct completion_params p; /* for completion_start */
	struct reply_format reply;  /* what to look for in the answer */
	struct text_stop stops[WIRE_STOPS_MAX];
	char *text;
	struct token_span *spans;
	uint32_t *ids;
	char *grammar;             /* constrain.h; NULL: any text */
	const char *grammar_field; /* that it came from */
	struct sampler_bias *bias;
};

/* Sets the defaults of caravan run, and a random seed. */
void prompt_init(struct prompt *q, const struct model_entry *m, const struct http_exchange *x);
void prompt_clear(struct prompt *q);

/* temperature, top_k, top_p, min_p, repeat_penalty (or repetition_penalty), presence_penalty, frequency_penalty, seed,
 * ignore_eos; refuses the samplers that there are not. */
void prompt_read_sampling(struct prompt *q, struct fields *f, const json_t *o);
/* logit_bias: an object of token ids and numbers, as OpenAI has it, or an array of pairs, as llama.cpp has it, where
 * false stands for never. */
void prompt_read_bias(struct prompt *q, struct fields *f);
/* A string or an array of strings. */
void prompt_read_stops(struct prompt *q, struct fields *f, const json_t *o, const char *name);
/* At least 1 token; -1, and Ollama's -2: up to the context.  Absent: q's limit stays. */
void prompt_read_limit(struct prompt *q, struct fields *f, const json_t *o, const char *name);
/* logprobs and top_logprobs, as OpenAI's chat and Ollama have them. */
void prompt_read_logprobs(struct prompt *q, struct fields *f);
/* The number of most likely tokens, which asks for log-probabilities if it is at least `least`. */
void prompt_read_nprobs(struct prompt *q, struct fields *f, const char *name, int64_t least);
/* An answer that is kept to its end has a bounded number of log-probabilities: without a limit of its own it gets one, if the
 * context is larger.  After limit, choices and log-probabilities were read.  As JSON they take up to 30 MiB, and the HTTP thread a
 * quarter of a second. */
#define PROMPT_LOGPROBS_MAX (1u << 15)
void prompt_bound_logprobs(struct prompt *q, struct fields *f, const struct model_entry *m);
/* A raw prompt: a string, in which control tokens are recognised, or an array of token ids, or an array of
 * one of these. */
void prompt_read_raw(struct prompt *q, struct fields *f, const char *name);
/* Copies a text, in which no control tokens are recognised.  false: out of memory. */
bool prompt_set_text(struct prompt *q, const char *text, size_t len);

#endif
