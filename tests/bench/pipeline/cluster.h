/* bench_pipeline/cluster: daemons of this build on this machine, each on processors of its own, joined into a cluster,
 * with links of a chosen delay between them; and clients that ask them over their control sockets.
 *
 * A cluster lives in a folder of its own and ends with cluster_destroy.  What goes wrong ends the program with a
 * sentence, after all daemons have been ended.
 * Threads: one caller; cluster_ask_all makes one for each stream. */
#ifndef TESTS_BENCH_PIPELINE_CLUSTER_H
#define TESTS_BENCH_PIPELINE_CLUSTER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CLUSTER_NODES_MAX = 4, CLUSTER_STREAMS_MAX = 16, CLUSTER_THREADS_MAX = 64 };

struct cluster {
	unsigned nodes;
	char dir[128];
	pid_t daemon[CLUSTER_NODES_MAX], proxy[CLUSTER_NODES_MAX];
	struct cluster *next;
};

/* nodes: how many; threads: of each; spread: node i has processor i (modulo those there are) to itself, else all nodes
 * have all; delay_ms: of every byte on its way to or from a node, 0: no proxy between. */
struct cluster *cluster_create(unsigned nodes, unsigned threads, bool spread, double delay_ms);
/* Loads a file over all nodes, as the model "m"; draft: the file of a smaller model that makes drafts for it, or NULL. */
void cluster_load(
        struct cluster *c, const char *file, unsigned parallel, unsigned context, const char *draft);
void cluster_destroy(struct cluster *c);
void cluster_destroy_all(void);

/* One prompt, completed. */
struct ask {
	const char *text;
	unsigned limit;
	bool may_end;      /* before that; else it is no measure */
	bool undrafted;    /* without guesses */
	float temperature; /* 0: greedily; else of all tokens */
	/* out */
	char *answer; /* freed by the caller; not terminated by anything but its 0 */
	unsigned generated;
	double prompt_seconds, generate_seconds;
};
void cluster_ask(struct cluster *c, struct ask *a);
/* All at once; seconds from the first question to the last answer. */
double cluster_ask_all(struct cluster *c, struct ask *a, unsigned n);

/* What was done until now, read when all of it has been told: the steps of the model, its guesses and those that were right, and the processor time of every
 * thread of every daemon. */
struct counts {
	uint64_t steps, drafted, accepted;
	struct {
		unsigned threads;
		long id[CLUSTER_THREADS_MAX];
		double seconds[CLUSTER_THREADS_MAX];
	} node[CLUSTER_NODES_MAX];
};
struct counts cluster_counts(struct cluster *c);
/* Processor seconds between two counts of a node's busiest thread, which computes. */
double cluster_computed(const struct counts *before, const struct counts *after, unsigned node);
/* Processor seconds of its proxies until now: of links, which on this machine alone need processors. */
double cluster_proxied(const struct cluster *c);

/* Seconds that a few bytes need one way through such a proxy alone, with nothing of ours on either side: half of the
 * median round trip. */
double cluster_link_seconds(double delay_ms);

/* A program of its own.  argv[0]: its path; cpu: the only processor that it may use, or negative; log: of what it says, NULL:
 * nothing is kept. */
pid_t cluster_spawn(char *const *argv, int cpu, const char *log);
void cluster_end(pid_t *pid);     /* ends it and waits; 0 is nobody, and what it is afterwards */
unsigned cluster_free_port(void); /* one of loopback that nobody has now */

/* Ends the program. */
void cluster_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
