/* bench/peers: other programs on a model of the same shape, in the same rounds.
 *
 * PEER_LLAMA_BENCH and PEER_IK_BENCH name the llama-bench of llama.cpp and of ik_llama.cpp; without them nothing is
 * run.  The model is a file with random weights in TMPDIR.  One thread. */
#ifndef TESTS_BENCH_PEERS_H
#define TESTS_BENCH_PEERS_H
#include "tests/support/synth.h"

enum peer { PEER_LLAMA, PEER_IK, PEERS };
/* "llama.cpp", "ik_llama.cpp". */
const char *peers_name(enum peer p);

/* Tokens a second of the rounds, and their medians, each of the mode that is best. */
struct peer_speed {
	double decode, prompt;
	const double *decodes, *prompts; /* [rounds], borrowed */
};

void peers_begin(const struct synth_spec *shape, unsigned threads);
/* Measures each peer once with a prompt of so many tokens.  Another length than before begins anew. */
void peers_round(unsigned prompt);
/* false: no such peer */
bool peers_speed(enum peer p, struct peer_speed *out);
void peers_end(void);

#endif
