/* answer_tokens: the tokens of an answer with their log-probabilities, as each dialect has them in JSON.
 *
 * A token comes directly before the text in which it begins, and leaves with the next thing that is sent of its choice: text, a
 * call of a tool, or the end.  Until then, and in an answer that is not streamed until its end, it is kept here.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_ANSWER_TOKENS_H
#define DAEMON_API_ROUTES_ANSWER_TOKENS_H
#include "daemon/text/logprobs.h"
#include <jansson.h>

struct answer_tokens {
	struct token_logprobs **token; /* owned */
	size_t n, room;
	size_t shown; /* of these, came before text that was passed on */
	size_t sent;  /* of these, are in an event already */
};

void answer_tokens_clear(struct answer_tokens *t); /* frees all */
/* A copy is kept; false: out of memory. */
bool answer_tokens_add(struct answer_tokens *t, const struct token_logprobs *token);
/* Drops those that came after the last text: they are of a call or of reasoning. */
void answer_tokens_drop_unshown(struct answer_tokens *t);

enum token_form {
	TOKEN_OPENAI, /* token, logprob, bytes, top_logprobs */
	TOKEN_LLAMA,  /* the same with the token's id */
	TOKEN_OLLAMA  /* the same; what is empty is left out */
};
/* An array of the tokens from `first` on. */
json_t *answer_tokens_json(const struct answer_tokens *t, size_t first, enum token_form form);
/* The same of all, which are then dropped. */
json_t *answer_tokens_take(struct answer_tokens *t, enum token_form form);

/* As OpenAI's completions have them: arrays of tokens, log-probabilities, most likely tokens, and offsets in characters.  text:
 * what they belong to, `bytes` and `chars` into the answer. */
struct text_place {
	size_t bytes, chars;
};
json_t *answer_tokens_arrays(
        const struct answer_tokens *t, const char *text, size_t len, struct text_place at);

/* How many characters a text has. */
size_t text_characters(const char *s, size_t len);

#endif
