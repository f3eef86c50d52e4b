/* bench/peers: see peers.h. */
#include "tests/bench/peers.h"
#include "tests/bench/bench.h"
#include "tests/support/ggufgen.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DECODE = 24 };

/* The modes in which a peer is run; of several the better one counts, for prompts and for decode. */
static const struct {
	const char *variable, *options;
	bool ik;
} modes[] = {
        {"PEER_LLAMA_BENCH", "", false}, {"PEER_IK_BENCH", "-rtr 0", true},
        {"PEER_IK_BENCH", "-rtr 1", true}, /* rows interleaved at load */
};
enum { MODES = sizeof modes / sizeof *modes };

static struct {
	char path[512];
	unsigned threads, rounds, length;
	double decode[MODES][BENCH_ROUNDS_MAX], prompt[MODES][BENCH_ROUNDS_MAX];
	struct peer_speed speed;
} peers;

static bool any(void) {
	return getenv("PEER_LLAMA_BENCH") || getenv("PEER_IK_BENCH");
}

void peers_begin(const struct synth_spec *c, unsigned threads) {
	const char *tmp = getenv("TMPDIR");
	memset(&peers, 0, sizeof peers);
	peers.threads = threads;
	if (!any())
		return;
	snprintf(peers.path, sizeof peers.path, "%s/caravan-bench-%ld.gguf", tmp ? tmp : "/tmp",
	        (long)getpid());
	struct ggufgen_model m = {.type = c->layer[LAYER_Q],
	        .head = c->head,
	        .dim = c->dim,
	        .layers = c->layers,
	        .heads = c->heads,
	        .kv_heads = c->kv_heads,
	        .ffn = c->ffn,
	        .vocab = c->vocab,
	        .context = c->context,
	        .seed = c->seed};
	if (c->traits.experts) {
		m.family = "qwen3moe";
		m.head_norms = true;
		m.head_size = c->head_size;
		m.experts = c->traits.experts;
		m.experts_used = c->traits.experts_used;
		m.expert_ffn = c->traits.expert_ffn;
	}
	struct ggufgen *g = ggufgen_model(&m);
	ggufgen_write_path(g, peers.path);
	ggufgen_destroy(g);
}

/* Reads llama-bench's JSON: an array of tests with n_prompt, n_gen, avg_ts. */
static void measure(size_t mode, unsigned prompt) {
	char command[2048];
	const char *program = getenv(modes[mode].variable);
	snprintf(command, sizeof command, "'%s' -m '%s' -t %u -p %u -n %d -r 1 -o json %s 2>/dev/null",
	        program, peers.path, peers.threads, prompt, DECODE, modes[mode].options);
	FILE *f = popen(command, "r");
	json_t *all = f ? json_loadf(f, 0, NULL) : NULL, *test;
	size_t i;
	if (f)
		pclose(f);
	if (!all) {
		fprintf(stderr, "bench: %s gives no figures\n", program);
		return;
	}
	json_array_foreach(all, i, test) {
		double speed = json_number_value(json_object_get(test, "avg_ts"));
		bool decoded = json_integer_value(json_object_get(test, "n_gen")) > 0;
		(decoded ? peers.decode : peers.prompt)[mode][peers.rounds] = speed;
	}
	json_decref(all);
}

bool peers_round(unsigned prompt) {
	if (!any())
		return false;
	if (prompt != peers.length)
		peers.rounds = 0;
	peers.length = prompt;
	for (size_t i = 0; i < MODES; i++)
		if (getenv(modes[i].variable))
			measure(i, prompt);
	peers.rounds++;
	memset(&peers.speed, 0, sizeof peers.speed);
	for (size_t i = 0; i < MODES; i++) {
		double d[BENCH_ROUNDS_MAX], p[BENCH_ROUNDS_MAX];
		memcpy(d, peers.decode[i], sizeof d);
		memcpy(p, peers.prompt[i], sizeof p);
		double *to = modes[i].ik ? &peers.speed.ik_decode : &peers.speed.llama_decode;
		to[0] = fmax(to[0], bench_median(d, peers.rounds));
		to[1] = fmax(to[1], bench_median(p, peers.rounds));
	}
	return getenv("PEER_LLAMA_BENCH");
}

const struct peer_speed *peers_speed(void) {
	return &peers.speed;
}

void peers_end(void) {
	if (peers.path[0])
		unlink(peers.path);
}
