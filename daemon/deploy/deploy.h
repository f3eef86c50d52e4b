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
#define DEPLOY_DISK_LOW (64u << 20) /* bytes free for weights: less is practically full */

/* A plan as this node knows it.  Immutable except phase and reason; pointers are valid until a hook reports that it is gone. */
struct deploy_model {
	const Caravan__Plan *plan;
	Caravan__ModelPhase phase;
	const char *reason;              /* empty, or why it is unavailable or failed */
	const struct vocab *vocab;       /* NULL until it has been fetched */
	const struct manifest *manifest; /* the same */
};

/* Callbacks to the layer above, all on the loop.  Manifest and vocabulary of a model stay valid until after its stage_close and
 * model_close. */
struct deploy_hooks {
	/* A slice of ours is mapped: prepares it for steps (KV cache, buffers).  stage: our index in the plan.  0, and the hook
	 * owns the slice (a job may still use it when stage_close returns); or a negative errno with a sentence in err. */
	int (*stage_open)(void *arg, const struct deploy_model *m, uint32_t stage, struct slice *slice,
	        char *err, size_t errlen);
	void (*stage_close)(
	        void *arg, const struct deploy_model *m, uint32_t stage); /* accepts no more steps */
	/* NULL allowed.  Whether a stage of ours lost a step and could not report it to its coordinator, which waits for it. */
	bool (*stage_broken)(void *arg, const struct deploy_model *m, uint32_t stage);
	/* Every stage is ready and we coordinate.  io: embedding and output, mapped; owned as in stage_open. */
	int (*model_open)(
	        void *arg, const struct deploy_model *m, struct slice *io, char *err, size_t errlen);
	void (*model_close)(void *arg, const struct deploy_model *m, const char *why);
	/* A model of the cluster is new, changed its phase, or got its vocabulary.  After UNLOADED or FAILED it is not found any
	 * more, and m is valid for some seconds. */
	void (*changed)(void *arg, const struct deploy_model *m);
	/* Whether this vocabulary is supported; a file is refused before it is hashed if not.  Any thread.  NULL: all are. */
	int (*check_vocab)(const struct vocab *v, char *err, size_t errlen);
	bool (*busy)(void *arg); /* NULL allowed.  Steps are being computed: background work slows down */
	void *arg;
};

struct deploy_config {
	struct loop *loop; /* borrowed, as all here */
	struct members *members;
	struct executor *executor;
	struct store *store;
	uint64_t memory;       /* limit for weights, KV cache and buffers together */
	uint64_t cache;        /* limit of the store on disk; 0: none */
	unsigned team;         /* threads, for the size of buffers */
	const char *models;    /* the model directory; NULL: none */
	uint32_t replan_ms;    /* how long a lost node has to come back; 0: DEPLOY_REPLAN_MS */
	const char *state_dir; /* for persist.c; NULL: nothing is saved */
	/* Whether so many bytes of weights are worth reading into huge pages here, as far as is known, and the machine has them
	 * free: the system can drop pages of a map, and not these.  NULL: they are not. */
	bool (*huge_pages)(void *arg, uint64_t bytes);
	void *huge_pages_arg;
	struct deploy_hooks hooks;
};

int deploy_create(struct deploy **out, const struct deploy_config *c, char *err, size_t errlen);
/* Calls no hooks.  The executor is destroyed before it, because jobs refer to it; members, store and loop after it. */
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
	uint32_t copies;   /* number of disks that each part should be on; 0: DEPLOY_COPIES */
	const char *const *nodes; /* names or ids; none: the planner chooses */
	size_t nnodes;
	bool all_nodes;
	/* It is a draft model: on this node only (no nodes are named), with at most the context that it was trained for. */
	bool drafts;
	const char *
	        draft; /* a draft model: coordinated here, serving, with the same tokenizer; NULL or empty: none */
	/* With advise nothing is loaded: it is called with what loading would do, then done.  Only the header of a file is read,
	 * and a preset (daemon/plan/presets.h) may take its place. */
	void (*advise)(void *arg, const Caravan__CtlAdvice *advice);
	const char *shape;
	uint64_t reserved; /* bytes of this node's memory reserved for another model */
	/* Without a file: the name of a model that this node knows, loaded or not.  It is loaded from the cluster's disks; context,
	 * parallel, kv and copies default to its last plan. */
	const char *known;
	const char *pre; /* overrides the pre-tokenizer of the file; NULL or empty: as the file says */
	const char *chat_template; /* its text, instead of the file's; NULL or empty: the file's */
	/* NULL, or called with what was changed or ignored in the file. */
	void (*note)(void *arg, const char *text);
	void (*progress)(void *arg, const char *what, const char *node, uint64_t done, uint64_t total);
	/* The plan of the load, before anything is sent; NULL allowed. */
	void (*planned)(void *arg, const Caravan__CtlAdvice *plan);
	/* Once.  error NULL: the model serves and every live node knows the plan. */
	void (*done)(void *arg, const char *error);
	void *arg;
};
int deploy_load(struct deploy *d, const struct deploy_load *load, char *err, size_t errlen);
/* Unloads a model, from any node.  done is called once, possibly before this returns (when it only stops a load of this node).
 * A draft model that no other model uses is unloaded too. */
int deploy_unload(struct deploy *d, const char *model, void (*done)(void *arg, const char *error), void *arg,
        char *err, size_t errlen);

const struct deploy_model *deploy_at(const struct deploy *d, size_t i); /* by name; NULL past the end */
/* name NULL or empty: the only model that serves and is not a draft model.  NULL with a sentence in err that lists the models. */
const struct deploy_model *deploy_find(const struct deploy *d, const char *name, char *err, size_t errlen);

/* The state of a model that does not serve: "is loading (hashing, 71%)", "is not available: node study is down". */
void deploy_describe(const struct deploy *d, const struct deploy_model *m, char *out, size_t len);
/* A model on the disks of the cluster, as reported by the nodes that are up. */
struct deploy_stored {
	const char *name, *type;
	struct content_id manifest, vocab;
	uint64_t bytes;                         /* of all weights */
	uint64_t used;                          /* last served, seconds since 1970; 0: unknown */
	uint32_t context, parallel, kv, copies; /* of its last plan; 0: unknown */
	uint32_t disks;                         /* each part is on at least so many disks */
	double share;                           /* share of its parts that some node has */
	const struct deploy_stored_on {
		struct node_id id;
		uint64_t bytes;
		bool file; /* all of it is in a model file of the node */
	} * on;
	size_t ons;
};
/* Asks all nodes; fn is called once, with the models by name, valid for the call.  0 or -ENOMEM. */
typedef void deploy_stored_fn(void *arg, const struct deploy_stored *model, size_t count);
int deploy_list_stored(struct deploy *d, deploy_stored_fn *fn, void *arg);
void deploy_stored_abandon(struct deploy *d, void *arg); /* cancels the calls with this arg */

/* Removes a model that is not loaded from the disks of all nodes that are up.  each: the result of every node; then done, once.
 * Neither is called within deploy_remove itself. */
struct deploy_removal {
	const char *model;
	void (*each)(void *arg, const Caravan__CtlRemoved *one);
	void (*done)(void *arg, const char *error);
	void *arg;
};
int deploy_remove(struct deploy *d, const struct deploy_removal *r, char *err, size_t errlen);

/* Adds the progress of the copies of a model of ours; strings are valid until the next turn of the loop. */
void deploy_copies(const struct deploy *d, const char *model, Caravan__ModelState *out);

/* Adds the nodes without which, or with which, a model of ours would be quicker; valid until the next turn of the loop. */
void deploy_alternatives(const struct deploy *d, const char *model, Caravan__ModelState *out);

/* The coordinator found that the model cannot continue (a stage refuses its steps): brings it back under a new epoch. */
void deploy_unavailable(struct deploy *d, const struct deploy_model *m, const char *reason);

/* Called when models or their manifests have changed, after the hooks.  One watcher; NULL: none. */
void deploy_watch(struct deploy *d, void (*changed)(void *arg), void *arg);

/* Adds the disk space for models. */
void deploy_disk(const struct deploy *d, Caravan__NodeState *out);
/* Adds the loads and copies that this node is at work on; pointers are valid until the next call. */
void deploy_work(struct deploy *d, Caravan__NodeState *out);
uint64_t deploy_memory_used(const struct deploy *d);
/* Bytes of content received over the network since the start, and sent. */
uint64_t deploy_moved(const struct deploy *d);
uint64_t deploy_served(const struct deploy *d);
struct store *deploy_store(struct deploy *d);
struct transfer *deploy_transfer(struct deploy *d);

#endif
