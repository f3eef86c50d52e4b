/* tokenizers: one tokenizer for each vocabulary in use.
 *
 * Owns: a reference to each tokenizer, which has one to its vocabulary; drop it when the vocabulary goes.
 * Threads: the loop. */
#ifndef DAEMON_TEXT_TOKENIZERS_H
#define DAEMON_TEXT_TOKENIZERS_H
#include <stddef.h>

struct tokenizer;
struct tokenizers;
struct vocab;

int tokenizers_create(struct tokenizers **out); /* 0 or -ENOMEM */
void tokenizers_destroy(struct tokenizers *ts); /* NULL allowed */

/* The tokenizer of a vocabulary, created on the first call; NULL with a sentence in err. */
const struct tokenizer *tokenizers_get(
        struct tokenizers *ts, const struct vocab *v, char *err, size_t errlen);
void tokenizers_drop(struct tokenizers *ts, const struct vocab *v); /* no effect when there is none */

#endif
