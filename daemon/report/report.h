/* report: the state of the whole cluster, put together from the messages of a daemon's report; also as JSON.
 * Owns: those messages.  Threads: any; pure. */
#ifndef DAEMON_REPORT_REPORT_H
#define DAEMON_REPORT_REPORT_H
#include "proto/wire.h"
#include <jansson.h>
#include <string.h>

struct report {
	Caravan__Envelope **env; /* owned: what the pointers below point into */
	size_t envs;
	const Caravan__ReportNode **node; /* by name */
	size_t nodes;
	const Caravan__ReportModel **model;
	size_t models;
	const Caravan__Problem **problem;
	size_t problems;
	bool healthy;
};

/* Takes a CtlReport.  0 or -ENOMEM. */
int report_add(struct report *r, Caravan__Envelope *env);
void report_clear(struct report *r);

static inline bool report_same_node(ProtobufCBinaryData a, ProtobufCBinaryData b) {
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}
const Caravan__ReportNode *report_find_node(
        const struct report *r, ProtobufCBinaryData id); /* NULL: unknown */
/* The name of a node, or the beginning of its id. */
const char *report_node_name(const struct report *r, ProtobufCBinaryData id);
const char *report_phase(Caravan__ModelPhase p);
const char *report_stream_phase(Caravan__StreamPhase p);

/* The first sentence about a cluster: whether it is healthy, and how much of it works. */
#define REPORT_VERDICT 160
void report_verdict(const struct report *r, char out[REPORT_VERDICT]);

/* A problem as people are told it.  Most are told as they are; what several nodes have in the same way is told once, of all of them. */
#define REPORT_TOLD 1024
struct report_told {
	char what[REPORT_TOLD], advice[REPORT_TOLD];
};
/* False: problem i is told with an earlier one. */
bool report_tell(const struct report *r, size_t i, struct report_told *out);

/* The model of this name; NULL if none. */
const Caravan__ReportModel *report_model(const struct report *r, const char *name);
/* The seconds of all steps of a model, at all of its stages and for embedding and output; 0: not reported. */
double report_step_seconds(const Caravan__ReportModel *m);

/* The reported state of a stage of this model, or NULL. */
const Caravan__StageState *report_stage(const struct report *r, const Caravan__ReportModel *m, size_t stage);

/* Which experts of a mixture its routers choose: the share of a layer's experts, 0 to 1, that gets half of the layer's choices,
 * averaged over the layers; 0: too little was computed to say. */
#define REPORT_EXPERT_USES 8 /* of an expert, on average, are enough */
double report_expert_half(const struct report *r, const Caravan__ReportModel *m);
/* The share of a stage's experts that are in memory; 0: none is, or it does not say. */
double report_experts_in_memory(const Caravan__StageState *st);

/* As caravan status --json prints it; NULL: out of memory. */
json_t *report_json(const struct report *r);
/* Whether two reports say the same but for what changes all the time: ages, clocks, temperatures, round trips, free memory. */
bool report_json_same(const json_t *a, const json_t *b);

#endif
