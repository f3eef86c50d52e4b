/* deploy: makes plans real: loads a model file, makes a plan, has every stage fetch and map its slice, announces
 * the model.
 *
 * Owns: the plans that this node knows (its own and those of others), its open slices, and imports of files that
 * are being loaded.  It knows nothing about steps: the hooks decide what a mapped slice is used for.
 * Threads: the loop; disk work runs on the executor. */
#ifndef DAEMON_DEPLOY_DEPLOY_H
#define DAEMON_DEPLOY_DEPLOY_H
#include "daemon/core/executor.h"
#include "daemon/members/members.h"
#include "shard/forward/slice.h"
#include "shard/model/vocab.h"

struct deploy;
struct transfer;

#define DEPLOY_COPIES 2

/* A plan as this node knows it.  Immutable but for phase and reason; borrowed pointers, valid until
 * the hooks say that it has gone. */
struct deploy_model {
	const Caravan__Plan *plan;
	Caravan__ModelPhase phase;
	const char *reason;              /* empty, or why it is unavailable or failed */
	const struct vocab *vocab;       /* NULL until it has been fetched */
	const struct manifest *manifest; /* the same */
};

/* How the layer above takes part.  All on the loop.  The manifest and vocabulary of a model stay where they are
 * until after its stage_close and model_close. */
struct deploy_hooks {
	/* A slice of ours is mapped: make it ready for steps (KV, buffers).  stage: our index in the plan.
	 * 0, and the slice is the hook's own from then on (a job may still be using it when stage_close returns,
	 * so only the layer above knows when it can go); or a negative errno with a sentence in err. */
	int (*stage_open)(void *arg, const struct deploy_model *m, uint32_t stage, struct slice *slice,
	        char *err, size_t errlen);
	void (*stage_close)(
	        void *arg, const struct deploy_model *m, uint32_t stage); /* takes no step any more */
	/* NULL allowed.  Whether a stage of ours lost a step and could not say so to its coordinator, which waits for it. */
	bool (*stage_broken)(void *arg, const struct deploy_model *m, uint32_t stage);
	/* Every stage is ready and we coordinate.  io: embedding and output, mapped; owned as in stage_open. */
	int (*model_open)(
	        void *arg, const struct deploy_model *m, struct slice *io, char *err, size_t errlen);
	void (*model_close)(void *arg, const struct deploy_model *m, const char *why);
	/* Any model of the cluster changed phase, is new, or learnt its vocabulary; UNLOADED or FAILED: it has
	 * gone, m is valid for some seconds more and is not found any more. */
	void (*changed)(void *arg, const struct deploy_model *m);
	/* Whether this vocabulary can be used: a file whose own cannot is refused before it is hashed.  Any thread; NULL: all. */
	int (*check_vocab)(const struct vocab *v, char *err, size_t errlen);
	bool (*busy)(
	        void *arg); /* NULL allowed: steps are being computed, so what nobody waits for goes slowly */
	void *arg;
};

struct deploy_config {
	struct loop *loop; /* borrowed, as all here */
	struct members *members;
	struct executor *executor;
	struct store *store;
	uint64_t memory;       /* allowed to weights, KV and buffers together */
	uint64_t cache;        /* that the store may take on disk; 0: no bound */
	unsigned team;         /* threads, for the size of buffers */
	const char *models;    /* a folder of model files that are sources, NULL: none */
	uint32_t replan_ms;    /* a node that went has so long to come back; 0: DEPLOY_REPLAN_MS */
	const char *state_dir; /* epochs and what we served, for restarts; NULL: nothing is kept */
	struct deploy_hooks hooks;
};

int deploy_create(struct deploy **out, const struct deploy_config *c, char *err, size_t errlen);
/* Calls no hooks.  The executor is destroyed before, since its jobs refer to us; members, store and loop after. */
void deploy_destroy(struct deploy *d); /* NULL allowed */

struct deploy_load {
	const char *file; /* for messages and the default name */
	const char *name; /* NULL or empty: the file's stem */
	const int *fds;   /* duplicated */
	size_t nfds;
	uint32_t context, parallel; /* 0: min(trained, 8192); 4 */
	bool fit;          /* without a context: the trained length, or as much of it as fits into memory */
	uint32_t kv;       /* 1 + the type of KV cache (enum kern_kv); 0: f16 */
	uint32_t max_rows; /* of a step at most; 0: PLANNER_ROWS, of drafts fewer, or what fits a message */
	uint32_t copies;   /* nodes whose disks are to have each part of it; 0: DEPLOY_COPIES */
	const char *const *nodes; /* names or ids; none: the planner chooses */
	size_t nnodes;
	bool all_nodes;
	/* It is to make drafts for another: on this node alone (no nodes are named), and with a context that is at most what it
	 * was trained for. */
	bool drafts;
	const char *
	        draft; /* NULL or empty, or a model of ours that serves and has the same words, to make drafts for this one */
	/* With advise nothing is loaded: it is called with what loading would do, then done.  A file's header is all that is
	 * read then, and instead of a file there may be a shape (daemon/plan/presets.h) in its place. */
	void (*advise)(void *arg, const Caravan__CtlAdvice *advice);
	const char *shape;
	uint64_t reserved; /* and so many bytes of this node's memory are another model's */
	/* Without a file: the name of a model that this node knows, loading or serving or not.  It comes from the disks that
	 * it is on; context, parallel, kv and copies are its own where they are 0. */
	const char *known;
	const char *pre; /* NULL or empty, or the pre-tokenizer of the file, whatever it says itself */
	/* NULL, or called with what was changed or ignored in the file. */
	void (*note)(void *arg, const char *text);
	void (*progress)(void *arg, const char *what, const char *node, uint64_t done, uint64_t total);
	/* The plan that a load goes on with, before anything moves; NULL allowed. */
	void (*planned)(void *arg, const Caravan__CtlAdvice *plan);
	/* Once.  error NULL: the model serves and every live node knows the plan. */
	void (*done)(void *arg, const char *error);
	void *arg;
};
int deploy_load(struct deploy *d, const struct deploy_load *load, char *err, size_t errlen);
/* Any node may ask; done once, before this returns where all there is to do is to stop a load of this node.  A model that makes drafts for this one and for no other goes too. */
int deploy_unload(struct deploy *d, const char *model, void (*done)(void *arg, const char *error), void *arg,
        char *err, size_t errlen);

const struct deploy_model *deploy_at(const struct deploy *d, size_t i); /* by name; NULL past the end */
/* name NULL or empty: the only one that serves and makes no drafts for another.  NULL with a sentence in err that lists what there is. */
const struct deploy_model *deploy_find(const struct deploy *d, const char *name, char *err, size_t errlen);

/* What is true of a model that does not serve: "is loading (hashing, 71%)", "is not available: node study is down". */
void deploy_describe(const struct deploy *d, const struct deploy_model *m, char *out, size_t len);
/* A model that the cluster has on its disks, as the nodes that are up said when they were asked. */
struct deploy_stored {
	const char *name, *type;
	struct content_id manifest, vocab;
	uint64_t bytes;                         /* of all weights */
	uint64_t used;                          /* it served last: seconds since 1970; 0: not known */
	uint32_t context, parallel, kv, copies; /* of its last plan; 0: not known */
	uint32_t disks;                         /* every part of it is on so many nodes' disks */
	double share;                           /* of its parts, those that some node has */
	const struct deploy_stored_on {
		struct node_id id;
		uint64_t bytes;
		bool file; /* all of it, in a model file of the node's own */
	} * on;
	size_t ons;
};
/* Asks all nodes; fn is called once, with the models by name, valid for the call.  0 or -ENOMEM. */
typedef void deploy_stored_fn(void *arg, const struct deploy_stored *model, size_t count);
int deploy_list_stored(struct deploy *d, deploy_stored_fn *fn, void *arg);
void deploy_stored_abandon(struct deploy *d, void *arg); /* no calls with this arg from now on */

/* Takes a model that is not loaded off the disks of all nodes that are up.  each: of every node, what became of it there; then
 * done, once.  Neither within the call. */
struct deploy_removal {
	const char *model;
	void (*each)(void *arg, const Caravan__CtlRemoved *one);
	void (*done)(void *arg, const char *error);
	void *arg;
};
int deploy_remove(struct deploy *d, const struct deploy_removal *r, char *err, size_t errlen);

/* Adds how far the copies of a model of ours are; its strings are valid until the loop goes on. */
void deploy_copies(const struct deploy *d, const char *model, Caravan__ModelState *out);

/* The coordinator noticed that the model cannot go on (a stage refuses its steps): it is brought back under a new epoch. */
void deploy_unavailable(struct deploy *d, const struct deploy_model *m, const char *reason);

/* Called when models or their manifests have changed, after the hooks.  One watcher; NULL: none. */
void deploy_watch(struct deploy *d, void (*changed)(void *arg), void *arg);

/* Tells what there is of disk for models. */
void deploy_disk(const struct deploy *d, Caravan__NodeState *out);
uint64_t deploy_memory_used(const struct deploy *d);
/* Bytes of content that came over the network since the start, and that went out. */
uint64_t deploy_moved(const struct deploy *d);
uint64_t deploy_served(const struct deploy *d);
struct store *deploy_store(struct deploy *d);
struct transfer *deploy_transfer(struct deploy *d);

#endif
