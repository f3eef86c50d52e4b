/* A load, shared by load.c (its states), load_import.c (the file), load_plan.c (the plan) and inventory.c. */
#ifndef DAEMON_DEPLOY_LOAD_H
#define DAEMON_DEPLOY_LOAD_H
#include "daemon/deploy/deploy_internal.h"
#include <stdatomic.h>

enum load_state {
	LOAD_READING,    /* reads the file's header, or a manifest from the cluster's disks */
	LOAD_IMPORTING,  /* hashes the file and stores its manifest; a plan for its header exists */
	LOAD_SETTLING,   /* waits for link probes and calibrations */
	LOAD_INVENTORY,  /* asks nodes what they have */
	LOAD_PLANNING,   /* twice for a file: from its header, and again after it is hashed */
	LOAD_NUMBERING,  /* saves the epoch's counter; a model that is brought back begins here */
	LOAD_PREPARING,  /* stages fetch and map, and so does this node with embedding and output */
	LOAD_ANNOUNCING, /* it serves; announces it */
	LOAD_ENDED,
	LOAD_STATES
};

enum load_event {
	EV_READ,
	EV_IMPORTED,
	EV_SETTLED,
	EV_INVENTORY,
	EV_PLANNED,
	EV_NUMBERED,
	EV_PART, /* a stage is ready, or embedding and output are */
	EV_OPEN, /* all parts are ready, and the layer above has opened the model */
	EV_ANNOUNCED,
	EV_SERVES, /* the same model already serves */
	EV_FAILED, /* any failure; with `error` */
	LOAD_EVENTS
};

/* A stage that has to become ready. */
struct part {
	struct node_id node;
	uint64_t ref;
	uint64_t heard_ns, done, total;
	bool ready;
};

/* An inventory request to a node. */
struct asked {
	uint64_t ref; /* 0: answered, or no answer is expected */
	bool answered;
	uint32_t io;    /* as in InventoryReply */
	uint32_t *held; /* buffer of planner_node.held, then of .stored */
};

struct load {
	struct deploy *d;
	unsigned refs; /* of the list, and of jobs */
	enum load_state state;
	bool revival; /* brings a model back: without a file, and the model goes on waiting if it fails */
	bool replan;  /* the same with a new plan */
	bool advises; /* ends with the plan, without loading */
	char name[WIRE_NAME_MAX + 1];
	char error[DEPLOY_ERROR];
	char at[33]; /* the current activity and its progress */
	uint32_t permille;
	uint64_t began_ns, entered_ns;  /* when it began, and entered its state */
	uint64_t spent_ns[LOAD_STATES]; /* in each state before */
	uint64_t moved;                 /* bytes of weights over the network */
	bool opened;                    /* the layer above has opened the model */
	void (*progress)(void *arg, const char *what, const char *node, uint64_t done, uint64_t total);
	void (*note)(void *arg, const char *text);
	void (*done)(void *arg, const char *error);
	void (*advise)(void *arg, const Caravan__CtlAdvice *advice);
	void (*planned)(void *arg, const Caravan__CtlAdvice *plan);
	void *arg;
	/* the source */
	char *file, *shape;  /* one of them, */
	char *pre;           /* of the file, or empty */
	char *chat_template; /* instead of the file's, or empty */
	struct import_options how;
	char stored[WIRE_NAME_MAX + 1];        /* name of a model on the cluster's disks, */
	struct content_id known[2];            /* and its manifest and vocabulary */
	struct vocab *words;                   /* its vocabulary, if a draft is requested */
	bool own_parallel, own_kv, own_copies; /* set by the user */
	bool maybe_here; /* our disk may already have the content of the file, which is not hashed yet */
	int *fds;
	size_t nfds;
	char **names; /* nodes, as the user named them */
	size_t nnames;
	bool all_nodes;
	bool drafts;       /* it is a draft model */
	bool fit;          /* the context is as long as memory allows */
	uint64_t reserved; /* bytes of this node's memory reserved for another model */
	uint32_t context, parallel, max_rows, copies;
	enum kern_kv kv;
	char draft[WIRE_NAME_MAX + 1]; /* its draft model, or empty */
	struct import *im;             /* owned by transfer once offered */
	struct manifest *own;          /* the manifest, without an import */
	const struct manifest *manifest;
	atomic_ullong hashed, size; /* progress, set by the executor */
	atomic_bool stop;
	struct loop_timer *timer;
	uint64_t since_ns;
	struct planner_node *node;            /* nodes that may take part */
	struct asked *asked;                  /* one each */
	char (*node_name)[WIRE_NAME_MAX + 1]; /* their names, copied because members may change */
	size_t nnodes, self;
	struct planner_plan found;
	bool measured; /* all nodes that may take part have rates; otherwise no times are predicted */
	struct advice *advice;
	Caravan__Plan *plan;
	/* preparing */
	struct model *m; /* a reference */
	struct part *part;
	size_t nparts;
	struct fetch *fetch;   /* of embedding and output */
	struct store_pin *pin; /* of embedding and output, until they are mapped */
	struct slice *io;
	bool huge;             /* it shall be in huge pages */
	struct slice *mapped;  /* the job's result until it becomes `io` */
	struct model *mapping; /* a reference of the job that maps embedding and output */
	/* of the job at the executor */
	int rc;
	char err[1024]; /* lists of names are long */
	TAILQ_ENTRY(load) next;
};

struct load *load_create(struct deploy *d, const char *name); /* in the list; NULL: no memory */
void load_forget_nodes(struct load *l);                       /* frees the nodes that may take part */
void load_hold(struct load *l);
void load_release(struct load *l);
void load_step(struct load *l, enum load_event ev);
void load_fail(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Records and reports the progress. */
void load_report(struct load *l, const char *what, const char *node, uint64_t done, uint64_t total);

/* deploy_events.c: events. */
void load_say_started(const struct load *l);
void load_say_recovery(const struct load *l, const struct model *m, const char *how);
void load_say_plan(const struct load *l);
void load_say_served(const struct load *l);
void load_say_failed(const struct load *l);

/* load_import.c */
void load_hash(struct load *l);
/* Starts reading the metadata of a file or the manifest of a known model.  0 or a negative errno. */
int load_begin(struct load *l);
/* A model of this name that we coordinate and that serves, so that it can draft.  NULL: none. */
const struct model *load_find_draft(const struct load *l, const char *name);

/* load_plan.c */
void load_settle(struct load *l);
/* Collects the nodes that are up, with their reported state.  0 or a negative errno with the load failed. */
int load_take_part(struct load *l);
void load_plan(struct load *l);
void load_number(struct load *l);
bool load_may_replace(struct load *l, const struct model *old); /* false: l has failed with a reason */

/* inventory.c */
void load_take_inventory(struct load *l);
void inventory_node_down(struct load *l, const struct node_id *id);
void inventory_describe_gaps(const struct load *l, char *why, size_t len);

#endif
