/* metrics: a node's metrics in Prometheus' text format.
 *
 * Owns: the counters of completions and embeddings over HTTP.  The rest comes from the snapshot of the models.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_METRICS_H
#define DAEMON_API_METRICS_H
#include "daemon/api/model_list.h"

enum metrics_what { METRICS_COMPLETION, METRICS_EMBEDDINGS, METRICS_WHATS };
enum metrics_api { METRICS_OPENAI, METRICS_ANTHROPIC, METRICS_OLLAMA, METRICS_LLAMA, METRICS_APIS };

/* Of seconds, by wire_bounds. */
struct metrics_histogram {
	uint64_t bucket[WIRE_BOUNDS]; /* counts per bucket, not cumulative */
	uint64_t count;
	double sum;
};

#define METRICS_STATUSES 8

struct metrics {
	uint64_t requests[METRICS_WHATS][METRICS_APIS][METRICS_STATUSES]; /* by the status of their answer */
	uint64_t gone[METRICS_APIS];                  /* requests whose client went before the end */
	uint64_t prompt, cached, generated, embedded; /* tokens */
	unsigned kept;                                /* streams that can be resumed */
	struct metrics_histogram first, inter;        /* seconds until the first text, and between texts */
};

void metrics_answered(struct metrics *m, enum metrics_what what, enum metrics_api api, int status);
void metrics_observe(struct metrics_histogram *h, double seconds);

/* All metrics as text, malloc'd; NULL: out of memory.  l: NULL while the node starts. */
char *metrics_text(const struct metrics *m, const struct model_list *l, size_t *len);

#endif
