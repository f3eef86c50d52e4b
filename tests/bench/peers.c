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

static const struct {
	const char *name, *variable;
} programs[PEERS] = {
        [PEER_LLAMA] = {"llama.cpp", "PEER_LLAMA_BENCH"},
        [PEER_IK] = {"ik_llama.cpp", "PEER_IK_BENCH"},
};

/* The modes in which a peer is run; of several the better one counts, for prompts and for decode. */
static const struct {
	enum peer peer;
	const char *options;
} modes[] = {
        {PEER_LLAMA, "-fa off"},
        {PEER_LLAMA, "-fa on"},
        {PEER_IK, "-rtr 0"},
        {PEER_IK, "-rtr 1"}, /* rows interleaved at load */
        {PEER_IK, "-rtr 1 -fa 0"},
};
enum { MODES = sizeof modes / sizeof *modes };

static struct {
	char path[512];
	unsigned threads, rounds, length;
	double decode[MODES][BENCH_ROUNDS_MAX], prompt[MODES][BENCH_ROUNDS_MAX];
} peers;

const char *peers_name(enum peer p) {
	return programs[p].name;
}

static const char *program(enum peer p) {
	return getenv(programs[p].variable);
}

static bool any(void) {
	return program(PEER_LLAMA) || program(PEER_IK);
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
		bool sinks = c->roles & LAYER_BIT(LAYER_SINKS);
		m.family = sinks ? "gpt-oss" : "qwen3moe";
		m.head_norms = !sinks;
		m.expert = c->layer[LAYER_EXPERT_GATE];
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
	snprintf(command, sizeof command, "'%s' -m '%s' -t %u -p %u -n %d -r 1 -o json %s 2>/dev/null",
	        program(modes[mode].peer), peers.path, peers.threads, prompt, DECODE, modes[mode].options);
	FILE *f = popen(command, "r");
	json_t *all = f ? json_loadf(f, 0, NULL) : NULL, *test;
	size_t i;
	if (f)
		pclose(f);
	if (!all) {
		fprintf(stderr, "bench: %s gives no figures\n", program(modes[mode].peer));
		return;
	}
	json_array_foreach(all, i, test) {
		double speed = json_number_value(json_object_get(test, "avg_ts"));
		bool decoded = json_integer_value(json_object_get(test, "n_gen")) > 0;
		(decoded ? peers.decode : peers.prompt)[mode][peers.rounds] = speed;
	}
	json_decref(all);
}

void peers_round(unsigned prompt) {
	if (prompt != peers.length)
		peers.rounds = 0;
	peers.length = prompt;
	for (size_t i = 0; i < MODES; i++)
		if (program(modes[i].peer))
			measure(i, prompt);
	peers.rounds++;
}

/* The median of the rounds of a mode; *best, *of: raised to it, and to the mode's rounds, if it is more. */
static void take_better(const double *rounds, double *best, const double **of) {
	double copy[BENCH_ROUNDS_MAX];
	memcpy(copy, rounds, sizeof copy);
	double median = bench_median(copy, peers.rounds);
	if (*of && median <= *best)
		return;
	*best = median;
	*of = rounds;
}

bool peers_speed(enum peer p, struct peer_speed *out) {
	*out = (struct peer_speed){0};
	for (size_t i = 0; i < MODES && program(p); i++)
		if (modes[i].peer == p) {
			take_better(peers.decode[i], &out->decode, &out->decodes);
			take_better(peers.prompt[i], &out->prompt, &out->prompts);
		}
	return out->decode > 0 && out->prompt > 0;
}

void peers_end(void) {
	if (peers.path[0])
		unlink(peers.path);
}
