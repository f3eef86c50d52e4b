/* nodes: several nodes in one process for tests: members on one loop over real sockets, each with its own state
 * folder, store and executor; models to load.  What a test puts on top (transfer, deploy) hangs at `more`.
 * Everything ends the test on failure. */
#ifndef TESTS_SUPPORT_NODES_H
#define TESTS_SUPPORT_NODES_H
#include "daemon/core/executor.h"
#include "daemon/members/members.h"
#include "shard/model/manifest.h"
#include "shard/store/store.h"
#include "tests/support/nodes_wait.h"
#include <check.h>

#define NODES_MAX 4

struct node {
	char name[16];
	char dir[160]; /* state, with the store in it */
	struct keys keys;
	struct members *members; /* NULL: it does not run */
	struct journal *journal;
	struct executor *executor;
	struct store *store;
	void *more;            /* the test's */
	uint64_t memory, used; /* what it tells of itself */
	uint64_t disk_free, disk_size;
	uint32_t kv_types;
	Caravan__StageState *stages[4]; /* that it says it serves: nodes_serves */
	size_t n_stages;
};

extern struct node nodes[NODES_MAX];
extern char nodes_root[96];

/* A case of the suite whose tests begin with nodes_setup and end with nodes_teardown; seconds: bound on hanging. */
TCase *nodes_group(Suite *s, const char *name, double seconds);
void nodes_setup(void);    /* a loop and a folder */
void nodes_teardown(void); /* stops what runs, removes the folder */
void nodes_start(int i);   /* again with the same state, when it ran before */
void nodes_stop(int i);    /* what hangs at `more` has been taken down but for what loader_gone does */
extern void (*nodes_loader_gone)(struct node *n); /* called when the node's executor has been destroyed */
void nodes_cluster(int n);                        /* starts n nodes and joins them; all are up */

/* It serves this stage from now on, or no longer, and says so in its state. */
void nodes_serves(struct node *n, const Caravan__Plan *plan, uint32_t stage);
void nodes_serves_no_more(struct node *n, const Caravan__Plan *plan);

bool nodes_all_up(void *arg); /* every running node sees all the running others up and no other */

/* A model file in the folder; its path is returned, valid until the next call. */
const char *nodes_model(const char *file, enum kern_type type, uint32_t layers, uint64_t seed);

#endif
