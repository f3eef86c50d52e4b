/* deploys: nodes (nodes.h) with a deploy each, and a layer above it that keeps what it is given, for tests of deploy. */
#ifndef TESTS_SUPPORT_DEPLOYS_H
#define TESTS_SUPPORT_DEPLOYS_H
#include "daemon/deploy/deploy.h"
#include "tests/support/nodes.h"

struct deploys_node {
	struct node *node;
	struct deploy *deploy;
	struct slice *stage, *io; /* owned, as the contract has it */
	unsigned opened, closed, models_opened, models_closed, gone;
	char why[300];
	bool refuse_stage, refuse_model, broken;
	uint64_t huge_most; /* weights of so many bytes at most are to be in huge pages */
};
extern struct deploys_node deploys[NODES_MAX];
extern uint32_t deploys_replan_ms; /* for nodes that are started from now on */

struct deploys_outcome {
	bool done;
	char error[1024];
	unsigned hashing, sending, packing;
	char sent_to[100];
};

struct deploys_phase {
	int node;
	Caravan__ModelPhase phase;
};

void deploys_start(int i);
void deploys_stop(struct node *n);
void deploys_cluster(int n);
void deploys_patient_cluster(int n);
void deploys_on_done(void *arg, const char *error);
bool deploys_is_done(void *arg);
void deploys_begin(int i, const char *path, struct deploy_load more, struct deploys_outcome *o);
const char *deploys_load(int i, const char *path, struct deploy_load more, struct deploys_outcome *o);
const char *deploys_unload(int i, const char *model);
const struct deploy_model *deploys_model(int i, const char *name);
bool deploys_tables_are_empty(void *arg);
void deploys_nothing_is_left(int n);
bool deploys_has_phase(void *arg);
bool deploys_text_begins(const char *text, const char *with);
Caravan__ModelState deploys_copies(int i, const char *name);
bool deploys_copied(void *arg);

#endif
