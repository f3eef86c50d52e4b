/* A load under way: shared by load.c (its life), load_import.c (the file), load_plan.c (the plan) and inventory.c; nobody else. */
#ifndef DAEMON_DEPLOY_LOAD_H
#define DAEMON_DEPLOY_LOAD_H
#include "daemon/deploy/deploy_internal.h"
#include <stdatomic.h>

enum load_state {
	LOAD_READING, /* what the model is made of: the file's header, or a manifest that the cluster has on its disks */
	LOAD_IMPORTING, /* there is a plan for it: the file is being hashed; its manifest goes into the store */
	LOAD_SETTLING,  /* links and measurements that are under way are waited for */
	LOAD_INVENTORY, /* the nodes are asked what they have already */
	LOAD_PLANNING,
	/* a file is not hashed before a plan for what its header says; then it is planned again */
	LOAD_NUMBERING,  /* the epoch's counter goes to disk; a model that comes back begins here */
	LOAD_PREPARING,  /* the stages fetch and map, and so do we with embedding and output */
	LOAD_ANNOUNCING, /* it serves; the announcement is under way */
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
	EV_OPEN, /* all are, and the layer above has opened the model */
	EV_ANNOUNCED,
	EV_SERVES, /* the same model serves already: there is nothing to do */
	EV_FAILED, /* anything that ends it: error says what */
	LOAD_EVENTS
};

/* A stage that we wait for. */
struct part {
	struct node_id node;
	uint64_t ref;
	uint64_t heard_ns, done, total;
	bool ready;
};

/* A node that is asked what it has. */
struct asked {
	uint64_t ref; /* 0: answered, or not to be expected any more */
	bool answered;
	uint32_t io;    /* as in InventoryReply */
	uint32_t *held; /* what planner_node.held points to, and stored after it */
};

struct load {
	struct deploy *d;
	unsigned refs; /* the list's and those of work under way */
	enum load_state state;
	bool revival; /* of a model that went: there is no file, and when it fails the model waits on */
	bool replan;  /* such a one that takes another plan */
	bool advises; /* it ends with the plan, and nothing has been done */
	char name[WIRE_NAME_MAX + 1];
	char error[DEPLOY_ERROR];
	char at[33]; /* what is done now, and how much of that is done */
	uint32_t permille;
	void (*progress)(void *arg, const char *what, const char *node, uint64_t done, uint64_t total);
	void (*note)(void *arg, const char *text);
	void (*done)(void *arg, const char *error);
	void (*advise)(void *arg, const Caravan__CtlAdvice *advice);
	void (*planned)(void *arg, const Caravan__CtlAdvice *plan);
	void *arg;
	/* the beginning */
	char *file, *shape; /* one of them, */
	char *pre;          /* of the file, or empty */
	struct import_options how;
	char stored[WIRE_NAME_MAX + 1];        /* or a model on the cluster's disks, */
	struct content_id known[2];            /* whose manifest and vocabulary these are */
	struct vocab *words;                   /* of that one, where a draft is asked for */
	bool own_parallel, own_kv, own_copies; /* the user said so */
	bool maybe_here; /* something is on our disk that may be this very file's content, not hashed yet */
	int *fds;
	size_t nfds;
	char **names; /* of nodes, as the user named them */
	size_t nnames;
	bool all_nodes;
	bool drafts;       /* it is to make them for another */
	bool fit;          /* the context is as long as memory allows */
	uint64_t reserved; /* of this node's memory, for another model */
	uint32_t context, parallel, max_rows, copies;
	enum kern_kv kv;
	char draft[WIRE_NAME_MAX + 1]; /* its draft model, or empty */
	struct import *im;             /* offered to transfer, which owns it */
	struct manifest *own;          /* the manifest, where there is no import */
	const struct manifest *manifest;
	atomic_ullong hashed, size; /* the executor says how far it is */
	atomic_bool stop;
	struct loop_timer *timer;
	uint64_t since_ns;
	struct planner_node *node;            /* those that may take part */
	struct asked *asked;                  /* one each */
	char (*node_name)[WIRE_NAME_MAX + 1]; /* what their names point to: members may change meanwhile */
	size_t nnodes, self;
	struct planner_plan found;
	bool measured; /* of every node that may take part: predictions are none otherwise */
	struct advice *advice;
	Caravan__Plan *plan;
	/* the rest */
	struct model *m; /* a reference */
	struct part *part;
	size_t nparts;
	struct fetch *fetch;   /* of embedding and output */
	struct store_pin *pin; /* of them, until they are mapped */
	struct slice *io;
	struct slice *mapped;  /* the job's result until it becomes `io` */
	struct model *mapping; /* a reference of the job that maps embedding and output */
	/* of the job at the executor */
	int rc;
	char err[512];
	TAILQ_ENTRY(load) next;
};

struct load *load_create(struct deploy *d, const char *name); /* in the list; NULL: no memory */
void load_forget_nodes(struct load *l);                       /* what is known of those that may take part */
void load_hold(struct load *l);
void load_release(struct load *l);
void load_step(struct load *l, enum load_event ev);
void load_fail(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Records the progress, and reports it to whoever asked for the load. */
void load_report(struct load *l, const char *what, const char *node, uint64_t done, uint64_t total);

/* load_import.c */
void load_hash(struct load *l);
/* Begins with what can be read soon: a file's metadata, or what is known of a model.  0 or a negative errno. */
int load_begin(struct load *l);
/* A model of this name that we coordinate and that serves, so that it can draft.  NULL: none. */
const struct model *load_find_draft(const struct load *l, const char *name);

/* load_plan.c */
void load_settle(struct load *l);
/* The nodes that are up, with what they said of themselves. 0 or a negative errno with the load failed. */
int load_take_part(struct load *l);
void load_plan(struct load *l);
void load_number(struct load *l);
bool load_may_replace(struct load *l, const struct model *old); /* false: l has ended, saying why */

/* inventory.c */
void load_take_inventory(struct load *l);
void inventory_node_down(struct load *l, const struct node_id *id);
void inventory_describe_gaps(const struct load *l, char *why, size_t len);

#endif
