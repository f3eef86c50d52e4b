/* bench_pipeline: what several stages reach together, as a table for people and, with BENCH_JSON=FILE, as one object for
 * programs.
 *
 *   bench_pipeline [-r ROUNDS] [stream|hop|streams|links|drafts|smaller|chat|server]...
 *
 * All sections when none is named.  Real daemons of this build, on this machine; what is compared is measured in turn
 * in every round, and figures are medians.  Bounds are computed from the processor time of the stages' compute
 * threads in the same run, from the processors that they share and from the measured delay of the links.
 * Two models with random weights: "wide" has the width of a 7B model, few layers and a small vocabulary, so that the
 * two ends, which are the first node's, weigh little and stages can be even.  "Narrow" is for stages behind links: four
 * of them share this machine's processors, so what they compute must be little beside the links. */
#include "tests/bench/bench.h"
#include "tests/bench/pipeline/cluster.h"
#include "tests/bench/pipeline/peer.h"
#include "tests/bench/pipeline/pipeline.h"
#include "tests/support/ggufgen.h"
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ROUNDS = 5,
	STREAMS = 8,
	STAGES = 4,
	PROMPT = 2048,
	HISTORY = 1500,
	QUOTES = 5,
	TOKENS = 128,
	HOP_BYTES = 16384
};
#define LINK_MS 5.0

static struct {
	struct bench b;
	unsigned processors;
	char wide[200], narrow[200];
} run;

/* ---- models and prompts -------------------------------------------------------------------------- */

static void model_write(char path[200], const char *name, const struct ggufgen_model *m) {
	const char *tmp = getenv("TMPDIR");
	if (*path)
		return;
	snprintf(path, 200, "%.100s/caravan-pipeline-%s-%ld.gguf", tmp ? tmp : "/tmp", name, (long)getpid());
	struct ggufgen *g = ggufgen_model(m);
	ggufgen_write_path(g, path);
	ggufgen_destroy(g);
}

static const char *wide(void) {
	model_write(run.wide, "wide",
	        &(struct ggufgen_model){.type = KERN_Q4_0,
	                .head = KERN_Q4_0,
	                .dim = 4096,
	                .layers = 4,
	                .heads = 32,
	                .ffn = 11008,
	                .vocab = 512,
	                .seed = 1});
	return run.wide;
}

static const char *narrow(void) {
	model_write(run.narrow, "narrow",
	        &(struct ggufgen_model){.type = KERN_Q4_0,
	                .head = KERN_Q4_0,
	                .dim = 128,
	                .layers = 4,
	                .heads = 2,
	                .ffn = 256,
	                .vocab = 512,
	                .seed = 1});
	return run.narrow;
}

/* A prompt of so many tokens: the one that begins a text, the three bytes of the first space, and one for each letter,
 * since none of them begins a word of the vocabulary.  Another `salt`, another prompt from its first letter on. */
static const char *prompt(char *out, unsigned tokens, unsigned salt) {
	uint64_t x = salt * 0x9e3779b97f4a7c15u + 1;
	for (unsigned i = 0; i + 4 < tokens; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		out[i] = (char)('a' + (x >> 33) % 20);
	}
	out[tokens > 4 ? tokens - 4 : 0] = 0;
	return out;
}

static double median(const double *v, unsigned n) {
	double copy[BENCH_ROUNDS_MAX];
	memcpy(copy, v, n * sizeof *copy);
	return bench_median(copy, n);
}

static unsigned salt(void) {
	static unsigned last;
	return ++last;
}

/* Seconds a token of one stream, greedily, after its first. */
static double one_stream(struct cluster *c, unsigned tokens) {
	char text[64];
	struct ask a = {.text = prompt(text, 8, salt()), .limit = tokens, .undrafted = true};
	cluster_ask(c, &a);
	free(a.answer);
	return a.generate_seconds / (a.generated - 1);
}

/* Tokens a second of `STREAMS` streams. */
static double many_streams(struct cluster *c, unsigned tokens) {
	static char text[STREAMS][64];
	struct ask a[STREAMS];
	for (unsigned i = 0; i < STREAMS; i++)
		a[i] = (struct ask){.text = prompt(text[i], 8, salt()), .limit = tokens, .undrafted = true};
	double took = cluster_ask_all(c, a, STREAMS);
	for (unsigned i = 0; i < STREAMS; i++)
		free(a[i].answer);
	return STREAMS * tokens / took;
}

/* What each node's compute thread needed of a processor for a step between two counts; the steps. */
static double steps_between(
        const struct counts *a, const struct counts *b, unsigned nodes, double computed[STAGES]) {
	double steps = (double)(b->steps - a->steps);
	for (unsigned i = 0; i < nodes; i++)
		computed[i] = cluster_computed(a, b, i) / steps;
	return steps;
}

static double sum(const double *v, unsigned n) {
	double s = 0;
	for (unsigned i = 0; i < n; i++)
		s += v[i];
	return s;
}

static double largest(const double *v, unsigned n) {
	double s = 0;
	for (unsigned i = 0; i < n; i++)
		s = fmax(s, v[i]);
	return s;
}

/* What every step costs when no stage behind links is ever idle: the slowest one, or all of them, and the proxies that are
 * their links, over the processors that they share. */
static double slowest(const double *computed, double proxied) {
	return fmax(
	        largest(computed, STAGES), (sum(computed, STAGES) + proxied) / fmin(run.processors, STAGES));
}

/* ---- sections ------------------------------------------------------------------------------------ */

static void stream_section(void) {
	double alone[BENCH_ROUNDS_MAX], two[BENCH_ROUNDS_MAX], ratio[BENCH_ROUNDS_MAX];
	struct cluster *one = cluster_create(1, 1, true, 0), *line = cluster_create(2, 1, true, 0);
	cluster_load(one, wide(), 4, 512, NULL);
	cluster_load(line, wide(), 4, 512, NULL);
	one_stream(one, 8);
	one_stream(line, 8);
	for (unsigned i = 0; i < run.b.rounds; i++) {
		alone[i] = one_stream(one, 32);
		two[i] = one_stream(line, 32);
		ratio[i] = two[i] / alone[i];
	}
	unsigned n = run.b.rounds;
	double times = bench_median(ratio, n); /* which sorts them */
	printf("\nOne stream, 7B-wide Q4_0, 4 layers, one thread a process: %.2f ms a token in one process, %.2f over two stages: %.3f times (%.3f to %.3f)\n",
	        median(alone, n) * 1e3, median(two, n) * 1e3, times, ratio[0], ratio[n - 1]);
	bench_row(&run.b, "times one process", times, 1, 1.02, true, "stream.stages2");
	cluster_destroy(one);
	cluster_destroy(line);
}

static void hop_section(void) {
	double t[BENCH_ROUNDS_MAX];
	for (unsigned i = 0; i < run.b.rounds; i++)
		t[i] = hop_seconds(HOP_BYTES, 1000) * 1e6;
	double m = bench_median(t, run.b.rounds);
	printf("\nA hop of 16 KiB over loopback, encrypted, from loop to loop: %.1f us (%.1f to %.1f)\n", m,
	        t[0], t[run.b.rounds - 1]);
	bench_row(&run.b, "us", m, 70, 100, true, "hop.16KiB");
}

static void streams_section(void) {
	double alone[BENCH_ROUNDS_MAX], two[BENCH_ROUNDS_MAX], ratio[BENCH_ROUNDS_MAX];
	struct cluster *one = cluster_create(1, 2, false, 0), *line = cluster_create(2, 1, true, 0);
	/* four places: eight streams are two batches of four */
	cluster_load(one, wide(), STREAMS / 2, 512, NULL);
	cluster_load(line, wide(), STREAMS, 512, NULL);
	many_streams(one, 4);
	many_streams(line, 4);
	double bound[BENCH_ROUNDS_MAX];
	for (unsigned i = 0; i < run.b.rounds; i++) {
		double computed[STAGES];
		alone[i] = many_streams(one, 32);
		struct counts a = cluster_counts(line);
		two[i] = many_streams(line, 32);
		struct counts b = cluster_counts(line);
		double steps = steps_between(&a, &b, 2, computed);
		/* the slowest stage is never idle */
		bound[i] = STREAMS * 32 / steps / largest(computed, 2) / alone[i];
		ratio[i] = two[i] / alone[i];
	}
	unsigned n = run.b.rounds;
	double most = bench_median(bound, n), times = bench_median(ratio, n); /* which sorts them */
	printf("\n%d streams, 7B-wide Q4_0, 4 layers: %.1f tokens/s in one process of two threads, in two batches of four; %.1f through two stages of one thread: %.3f times (%.3f to %.3f), bound %.3f\n",
	        STREAMS, median(alone, n), median(two, n), times, ratio[0], ratio[n - 1], most);
	bench_row(&run.b, "times one process", times, most, 0.97, false, "streams8.stages2");
	cluster_destroy(one);
	cluster_destroy(line);
}

static void links_section(void) {
	static char text[PROMPT + 1];
	double rate[BENCH_ROUNDS_MAX], share[BENCH_ROUNDS_MAX], bound[BENCH_ROUNDS_MAX];
	double took[BENCH_ROUNDS_MAX], fill[BENCH_ROUNDS_MAX], least[BENCH_ROUNDS_MAX];
	/* the first stage is at the coordinator, but what the last one has to say goes back over a link */
	double computed[STAGES], link = cluster_link_seconds(LINK_MS), links = STAGES * link, chunks = 0,
	                         proxied = 0;
	struct cluster *c = cluster_create(STAGES, 1, true, LINK_MS);
	unsigned n = run.b.rounds;
	cluster_load(c, narrow(), STREAMS, 4096, NULL);
	many_streams(c, 8);
	for (unsigned i = 0; i < n; i++) {
		struct counts a = cluster_counts(c);
		proxied = cluster_proxied(c);
		rate[i] = many_streams(c, TOKENS);
		proxied = cluster_proxied(c) - proxied;
		struct counts b = cluster_counts(c);
		double steps = steps_between(&a, &b, STAGES, computed), a_step = STREAMS * TOKENS / steps;
		/* every stream goes round, through all stages and links, and no faster than the slowest stage, or
		 * than the processors that they share */
		bound[i] = fmin(STREAMS / (sum(computed, STAGES) + links),
		        a_step / slowest(computed, proxied / steps));
		share[i] = rate[i] / bound[i];

		struct ask p = {.text = prompt(text, PROMPT, salt()), .limit = 1};
		proxied = cluster_proxied(c);
		cluster_ask(c, &p);
		proxied = cluster_proxied(c) - proxied;
		free(p.answer);
		took[i] = p.prompt_seconds;
		a = cluster_counts(c);
		chunks = steps_between(&b, &a, STAGES, computed);
		/* the first chunk goes through everything; then one comes out at every turn of the slowest */
		least[i] = sum(computed, STAGES) + links + (chunks - 1) * slowest(computed, proxied / chunks);
		fill[i] = least[i] / took[i];
	}
	printf("\n%d stages behind links of %.0f ms (measured: %.2f); a narrow model (128 wide), so that links are most of it; %u processors\n",
	        STAGES, LINK_MS, link * 1e3, run.processors);
	printf("  %d streams: %.1f tokens/s, bound %.1f: %.3f of it\n", STREAMS, median(rate, n),
	        median(bound, n), median(share, n));
	printf("  a prompt of %d tokens, in %.0f chunks: %.1f ms, bound %.1f: %.3f of it; the proxies that are the links need %.1f ms of a processor meanwhile, which the bound counts\n",
	        PROMPT, chunks, median(took, n) * 1e3, median(least, n) * 1e3, median(fill, n),
	        proxied * 1e3);
	bench_row(&run.b, "of the bound", median(share, n), 1, 0.9, false, "streams8.stages4.links5ms");
	bench_row(&run.b, "of the bound", median(fill, n), 1, 0.9, false, "prompt2048.stages4.links5ms");
	cluster_destroy(c);
}

/* Beginnings of stories of the demo model's held-out text. */
static void beginnings(char text[QUOTES][2048]) {
	const char *top = getenv("top_srcdir");
	char path[512], line[4096];
	unsigned n = 0;
	snprintf(path, sizeof path, "%s/demo/heldout.txt", top ? top : ".");
	FILE *f = fopen(path, "r");
	while (f && n < QUOTES && fgets(line, sizeof line, f))
		snprintf(text[n++], sizeof text[0], "%.*s", (int)strcspn(line, "\n") / 3, line);
	if (f)
		fclose(f);
	if (n < QUOTES)
		cluster_fail("%s: no text to begin with", path);
}

/* Each with what the model makes of it and then once more: a text that quotes itself, as answers about a text do. */
static void quoting(struct cluster *c, char text[QUOTES][2048]) {
	char begin[600];
	for (unsigned i = 0; i < QUOTES; i++) {
		struct ask a = {.text = text[i], .limit = TOKENS, .may_end = true, .undrafted = true};
		cluster_ask(c, &a);
		snprintf(begin, sizeof begin, "%.500s", text[i]);
		snprintf(text[i], sizeof text[0], "%s%.800s %s", begin, a.answer, begin);
		free(a.answer);
	}
}

/* Seconds a token of one stream after the other, each greedily, after its first. */
static double quote(struct cluster *c, char text[QUOTES][2048], bool undrafted) {
	double took = 0, tokens = 0;
	for (unsigned i = 0; i < QUOTES; i++) {
		struct ask a = {.text = text[i], .limit = TOKENS, .may_end = true, .undrafted = undrafted};
		cluster_ask(c, &a);
		free(a.answer);
		took += a.generate_seconds;
		tokens += a.generated > 1 ? a.generated - 1 : 0;
	}
	return took / tokens;
}

/* The demo model behind links, greedily, with guesses and without in turn: of texts that quote themselves, or of beginnings
 * with drafts by the model itself. */
static void guesses(bool itself, const char *what, double target, const char *row) {
	static char text[QUOTES][2048];
	const char *top = getenv("top_srcdir");
	char demo[512];
	double with[BENCH_ROUNDS_MAX], without[BENCH_ROUNDS_MAX], ratio[BENCH_ROUNDS_MAX];
	unsigned n = run.b.rounds;
	struct cluster *c = cluster_create(STAGES, 1, true, LINK_MS);
	snprintf(demo, sizeof demo, "%s/demo/stories.gguf", top ? top : ".");
	cluster_load(c, demo, 1, 512, itself ? demo : NULL);
	beginnings(text);
	if (!itself)
		quoting(c, text);
	struct counts a = cluster_counts(c);
	for (unsigned i = 0; i < n; i++) {
		without[i] = quote(c, text, true);
		with[i] = quote(c, text, false);
		ratio[i] = without[i] / with[i];
	}
	struct counts b = cluster_counts(c);
	double times = bench_median(ratio, n); /* which sorts them */
	double drafted = (double)(b.drafted - a.drafted), accepted = (double)(b.accepted - a.accepted);
	printf("\n%s (the demo model, greedily, %u held-out stories), %d stages behind links of %.0f ms: %.2f ms a token without, %.2f with: %.2f times (%.2f to %.2f); %.0f guesses, %.2f of them right\n",
	        what, QUOTES, STAGES, LINK_MS, median(without, n) * 1e3, median(with, n) * 1e3, times,
	        ratio[0], ratio[n - 1], drafted, accepted / drafted);
	bench_row(&run.b, "times without", times, NAN, target, false, "%s", row);
	cluster_destroy(c);
}

static void drafts_section(void) {
	guesses(false, "Guesses from a text that quotes itself", 2.5, "drafts.history");
}

/* What drafts by a smaller model bring where they are right, and cost where they never are: by the demo model itself; and by
 * one with random weights, as the larger has, which agrees with it on nothing. */
static void smaller_section(void) {
	double with[BENCH_ROUNDS_MAX], without[BENCH_ROUNDS_MAX], ratio[BENCH_ROUNDS_MAX];
	unsigned n = run.b.rounds;
	char word[64];
	guesses(true, "Drafts by the model itself", NAN, "drafts.itself");
	struct cluster *c = cluster_create(2, 1, true, 0);
	cluster_load(c, wide(), 1, 512, narrow());
	for (unsigned i = 0; i <= n; i++) { /* the first to warm up */
		struct ask q = {.text = prompt(word, 8, salt()), .limit = 64, .temperature = 2}, u = q;
		double took[2];
		u.undrafted = true;
		cluster_ask(c, &u);
		cluster_ask(c, &q);
		took[0] = u.generate_seconds / (u.generated - 1);
		took[1] = q.generate_seconds / (q.generated - 1);
		free(u.answer);
		free(q.answer);
		unsigned at = i ? i - 1 : 0;
		without[at] = took[0];
		with[at] = took[1];
		ratio[at] = took[0] / took[1];
	}
	double times = bench_median(ratio, n); /* which sorts them */
	printf("\nDrafts that are never right (models with random weights), 7B-wide Q4_0, 4 layers, 2 stages of one thread: %.2f ms a token without, %.2f with: %.2f times (%.2f to %.2f)\n",
	        median(without, n) * 1e3, median(with, n) * 1e3, times, ratio[0], ratio[n - 1]);
	bench_row(&run.b, "times without", times, 1, NAN, false, "drafts.never");
	cluster_destroy(c);
}

static void chat_section(void) {
	static char first[HISTORY + 1], second[2 * HISTORY];
	double share[BENCH_ROUNDS_MAX], a_turn[BENCH_ROUNDS_MAX], next[BENCH_ROUNDS_MAX];
	unsigned n = run.b.rounds;
	struct cluster *c = cluster_create(1, run.processors, false, 0);
	cluster_load(c, wide(), 2, 4096, NULL);
	one_stream(c, 4);
	for (unsigned i = 0; i < n; i++) {
		struct ask a = {.text = prompt(first, HISTORY, salt()), .limit = 16}, b = {.limit = 1};
		cluster_ask(c, &a);
		snprintf(second, sizeof second, "%s%.300s and what then", first, a.answer);
		b.text = second;
		cluster_ask(c, &b);
		a_turn[i] = a.prompt_seconds;
		next[i] = b.prompt_seconds;
		share[i] = b.prompt_seconds / a.prompt_seconds;
		free(a.answer);
		free(b.answer);
	}
	printf("\nA chat with a history of %d tokens, 7B-wide Q4_0, 4 layers: first token after %.2f s; of the next turn after %.3f s: %.3f of it\n",
	        HISTORY, median(a_turn, n), median(next, n), bench_median(share, n));
	bench_row(&run.b, "of the first turn", bench_median(share, n), NAN, 0.1, true, "chat.turn2");
	cluster_destroy(c);
}

static void server_section(void) {
	static char text[STREAMS][64];
	const char *prompts[STREAMS];
	double ours[BENCH_ROUNDS_MAX], theirs[BENCH_ROUNDS_MAX], ratio[BENCH_ROUNDS_MAX];
	struct peer *p = peer_create(wide(), run.processors, STREAMS, 512);
	if (!p) {
		printf("\nPEER_LLAMA_SERVER names no server to be measured beside\n");
		return;
	}
	struct cluster *one = cluster_create(1, run.processors, false, 0);
	cluster_load(one, wide(), STREAMS, 512, NULL);
	many_streams(one, 4);
	unsigned n = run.b.rounds;
	for (unsigned i = 0; i <= n; i++) { /* the first to warm up */
		for (unsigned k = 0; k < STREAMS; k++)
			prompts[k] = prompt(text[k], 8, salt());
		theirs[i ? i - 1 : 0] = peer_tokens(p, prompts, STREAMS, 32);
		ours[i ? i - 1 : 0] = many_streams(one, 32);
	}
	for (unsigned i = 0; i < n; i++)
		ratio[i] = ours[i] / theirs[i];
	double times = bench_median(ratio, n); /* which sorts them */
	printf("\n%d streams in one process, 7B-wide Q4_0, 4 layers: %.1f tokens/s, %.1f of the server beside it: %.3f times (%.3f to %.3f)\n",
	        STREAMS, median(ours, n), median(theirs, n), times, ratio[0], ratio[n - 1]);
	bench_row(&run.b, "times the server", times, NAN, 1.3, false, "server.streams8");
	cluster_destroy(one);
	peer_destroy(p);
}

/* ---- the program --------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(void);
} sections[] = {{"stream", stream_section}, {"hop", hop_section}, {"streams", streams_section},
        {"links", links_section}, {"drafts", drafts_section}, {"smaller", smaller_section},
        {"chat", chat_section}, {"server", server_section}};

static void interrupted(int sig) {
	(void)sig;
	cluster_fail("interrupted");
}

static void clean_up(void) {
	cluster_destroy_all();
	if (*run.wide)
		unlink(run.wide);
	if (*run.narrow)
		unlink(run.narrow);
}

int main(int argc, char **argv) {
	char cpu[256], err[256];
	const char *json = getenv("BENCH_JSON");
	cpu_set_t set;
	run.b.rounds = ROUNDS;
	run.processors = sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
	for (int option; (option = getopt(argc, argv, "r:")) != -1;) {
		unsigned long n = optarg ? strtoul(optarg, NULL, 10) : 0;
		if (option != 'r' || n < 1 || n > BENCH_ROUNDS_MAX) {
			fprintf(stderr,
			        "usage: bench_pipeline [-r ROUNDS] [stream|hop|streams|links|drafts|smaller|chat|server]...\n");
			return 2;
		}
		run.b.rounds = (unsigned)n;
	}
	if (kern_init(err, sizeof err)) {
		fprintf(stderr, "bench_pipeline: %s\n", err);
		return 1;
	}
	run.b.ops = kern_ops();
	atexit(clean_up);
	signal(SIGINT, interrupted);
	signal(SIGTERM, interrupted);
	setvbuf(stdout, NULL, _IOLBF, 0);
	bench_cpu_name(cpu, sizeof cpu);
	printf("%s, %u processors; %u rounds\n", cpu, run.processors, run.b.rounds);
	for (size_t k = 0; k < sizeof sections / sizeof *sections; k++) {
		bool wanted = optind == argc;
		for (int i = optind; i < argc; i++)
			wanted |= !strcmp(argv[i], sections[k].name);
		if (wanted)
			sections[k].run();
	}
	bench_summary(&run.b);
	return json && *json ? bench_write_json(&run.b, "pipeline", json, cpu) : 0;
}
