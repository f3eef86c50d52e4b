/* bench/peers: other programs on a model of the same shape, in the same rounds.
 *
 * PEER_LLAMA_BENCH and PEER_IK_BENCH name the llama-bench of llama.cpp and of ik_llama.cpp; without them nothing is
 * run and speeds stay 0.  The model is a file with random weights in TMPDIR.  One thread. */
#ifndef TESTS_BENCH_PEERS_H
#define TESTS_BENCH_PEERS_H
#include "tests/support/synth.h"

/* Tokens a second, the medians of the rounds; 0 where there is no such peer. */
struct peer_speed {
	double llama_decode, llama_prompt, ik_decode, ik_prompt;
};

void peers_begin(const struct synth_spec *shape, unsigned threads);
/* Measures each peer once with a prompt of so many tokens; whether llama.cpp is there.  Another length than before
 * begins anew. */
bool peers_round(unsigned prompt);
const struct peer_speed *peers_speed(void);
void peers_end(void);

#endif
