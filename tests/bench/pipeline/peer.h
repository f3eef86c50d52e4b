/* bench_pipeline/peer: llama.cpp's server, or one that speaks as it does, beside our daemons.  PEER_LLAMA_SERVER names the
 * program; PEER_LLAMA_SERVER_ARGS has more options for it.
 * Threads: one caller; peer_tokens makes one for each stream. */
#ifndef TESTS_BENCH_PIPELINE_PEER_H
#define TESTS_BENCH_PIPELINE_PEER_H

struct peer;

/* Starts it with a model on this machine's loopback and waits until it serves; NULL where the environment names none.  What
 * goes wrong ends the program with a sentence. */
struct peer *peer_create(const char *model, unsigned threads, unsigned streams, unsigned context);
/* Tokens a second of so many prompts at once, each greedily completed with `limit` tokens. */
double peer_tokens(struct peer *p, const char *const *prompt, unsigned streams, unsigned limit);
void peer_destroy(struct peer *p); /* NULL allowed */

#endif
