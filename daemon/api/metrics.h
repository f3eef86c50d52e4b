/* metrics: what a node can say of itself in Prometheus' text format.
 *
 * Owns: the counters of what came over HTTP.  The rest is in the snapshot of the models.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_METRICS_H
#define DAEMON_API_METRICS_H
#include "daemon/api/model_list.h"

enum metrics_api { METRICS_OPENAI, METRICS_ANTHROPIC, METRICS_OLLAMA, METRICS_LLAMA, METRICS_APIS };

#define METRICS_BUCKETS 14

struct metrics_histogram {
	uint64_t bucket[METRICS_BUCKETS]; /* of its own, not summed up */
	uint64_t count;
	double sum;
};

#define METRICS_STATUSES 8

struct metrics {
	uint64_t requests
	        [METRICS_APIS]
	        [METRICS_STATUSES];  /* completions that were asked for, by the status of their answer */
	uint64_t gone[METRICS_APIS]; /* whose client went before the end */
	uint64_t prompt, cached, generated;    /* tokens */
	struct metrics_histogram first, inter; /* seconds until the first text, and between two of them */
};

void metrics_answered(struct metrics *m, enum metrics_api api, int status);
void metrics_observe(struct metrics_histogram *h, double seconds);

/* All of it, malloc'd; NULL: no memory.  l: NULL while the node starts. */
char *metrics_text(const struct metrics *m, const struct model_list *l, size_t *len);

#endif
