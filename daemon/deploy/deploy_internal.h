/* What the files of deploy share; nobody else includes it.
 *   deploy.c          the public interface, the table of models, what follows when nodes come and go
 *   models.c          a model as this node knows it: its life, and learning its manifest and vocabulary
 *   participant.c     our slice of a model: from Prepare to Ready
 *   load.c            the coordinator's way from a file (or from nodes that are back) to a model that serves
 *   load_import.c     the beginning of a load: the file, or a model that the cluster has on its disks
 *   load_plan.c       the middle of a load: who may take part, the plan, the number of its epoch
 *   inventory.c       what nodes have of a model already: asked before a plan is made, and answered
 *   replicate.c       on how many disks the content of our models is, and who copies what is on too few
 *   replica.c         content that this node copies to its disk because a model's coordinator asks for it
 *   reconcile.c       compares what nodes believe of plans with what their coordinator does
 *   confirm.c         holds back an announced plan until the nodes of its stages confirm it
 *   announce.c        announces plans to the other nodes, receives their announcements; unloading
 *   catalog.c         the names of the models in a store, and what each of them needs
 *   catalog_gather.c  lists the models on the disks of all nodes
 *   remove.c          removes a model from the disks
 *   disk_space.c      how much disk space there is for models
 *   persist.c         what survives a restart: the counter of epochs and the plans that this node knows */
#ifndef DAEMON_DEPLOY_DEPLOY_INTERNAL_H
#define DAEMON_DEPLOY_DEPLOY_INTERNAL_H
#include "daemon/deploy/deploy.h"
#include "daemon/plan/advice.h"
#include "daemon/transfer/transfer.h"
#include "proto/plan.h"

#include <sys/queue.h>

#define DEPLOY_SETTLE_MS 5000    /* how long a load waits for link probes and calibrations under way */
#define DEPLOY_INVENTORY_MS 5000 /* how long nodes have to answer an inventory request */
#define DEPLOY_BEAT_MS 500       /* how often a stage reports its progress */
#define DEPLOY_SILENT_MS 15000   /* a stage without a progress report for so long is given up */
#define DEPLOY_ANNOUNCE_MS 30000 /* how long nodes have to answer an announcement */
#define DEPLOY_CONFIRM_MS 5000 /* how long the stages of an announced plan have to confirm that they serve */
#define DEPLOY_AGAIN_MS 10000  /* first interval between attempts to bring a model back */
#define DEPLOY_REPLAN_MS 5000  /* how long a lost node has to come back before a plan without it is made */
/* The same after our own start: after a power cut machines come up one by one. */
#define DEPLOY_REBOOT_MS 60000
/* A lost coordinator has so many times DEPLOY_REPLAN_MS to come back before another node takes over its models. */
#define DEPLOY_TAKEOVER 2
#define DEPLOY_CUT_MS \
	3000 /* a plan does not serve when two of its nodes cannot reach each other for so long */
/* When a stage closes, a step may still be in flight and read the manifest. */
#define DEPLOY_DEFERRED_FREE_MS 30000
#define DEPLOY_COUNTER_MAX \
	((uint64_t)1 << 52) /* largest counter of an epoch that we accept from other nodes */
#define DEPLOY_MODELS_MAX 256
#define DEPLOY_MODELS_EACH 16 /* of one coordinator; as many are reserved for our own */
#define DEPLOY_ERROR 1024

enum learnt { LEARN_NOT, LEARN_UNDER_WAY, LEARN_DONE };

/* News that is answered when we know the vocabulary, since it is then that we can be a gateway. */
struct waiting {
	struct peers_from from;
	LIST_ENTRY(waiting) next;
};

struct model {
	struct deploy_model pub; /* first: what the others are given */
	struct deploy *d;
	unsigned refs; /* the table's and those of work under way */
	bool listed;
	Caravan__Plan *plan; /* owned, as all below unless said otherwise */
	struct node_id coordinator;
	char reason[WIRE_TEXT_MAX + 1];
	struct manifest *manifest;
	struct vocab *vocab;
	enum learnt learnt;
	struct fetch *fetch;
	LIST_HEAD(, waiting) waiting;
	struct participant *participant; /* ours, NULL: none */
	struct load *load;               /* that is bringing it about; borrowed */
	bool open;                       /* model_open has been called */
	uint64_t io_charged;
	struct loop_timer *later; /* calls the hooks: it is unavailable */
	struct loop_timer *deferred_free;
	struct replication *replication; /* of ours, NULL: not asked yet */
	struct replica *replica;         /* what its coordinator wants us to keep, under way */
	uint64_t noted;                  /* seconds since 1970: when that was recorded last */
	struct node_id *doubter; /* nodes that do not believe our plan although it was announced to them */
	size_t doubters;
	bool returns; /* it was prepared in the place of the same weights, which waited: it is kept whatever happens */
	bool was_draft; /* when its coordinator went, it drafted for another model */
	/* while it does not serve, at its coordinator, and at all others when that has gone: */
	char loss[WIRE_NAME_MAX + 200]; /* what it lost, before anything was tried */
	uint64_t again_ns;              /* not brought back before this, */
	uint64_t replan_ns;             /* and not without its missing nodes before this */
	bool restarted;                 /* since this coordinator was started it has not served */
	unsigned tries;                 /* to do so that failed */
	uint64_t cut_ns;                /* since when two of its nodes cannot reach each other; 0: they can */
	uint64_t announced_ns;          /* because somebody believed something else */
	LIST_ENTRY(model) next_dead;
};

struct deploy {
	struct deploy_config c;
	struct peers *peers;
	struct node_id self;
	struct transfer *transfer;
	struct model **model; /* by name */
	size_t models;
	LIST_HEAD(, model) dead;  /* gone, lingering */
	TAILQ_HEAD(, load) loads; /* in the order in which they began */
	LIST_HEAD(, announcement) announcements;
	LIST_HEAD(, inventory) inventories;
	LIST_HEAD(, unconfirmed) unconfirmed; /* confirm.c */
	struct reconcile *reconcile;
	bool unsaved;                  /* the table has changed since the plans were last written */
	struct store_space disk_space; /* of the store, as it was lately */
	uint64_t disk_space_ns;
	bool disk_space_pending;
	LIST_HEAD(, listing) listings;     /* catalog_gather.c */
	char (*stored)[WIRE_NAME_MAX + 1]; /* names of the models that our store has, as far as we know */
	size_t nstored;
	LIST_HEAD(, gather) gathers;     /* the same */
	LIST_HEAD(, removing) removings; /* remove.c: on our disk, */
	LIST_HEAD(, removal) removals;   /* and on all */
	uint64_t counter;                /* of epochs: the highest that we used or saw */
	uint64_t used;                   /* bytes of memory charged */
	uint64_t born_ns;
	struct loop_timer *tick;
	void (*watch)(void *arg); /* deploy_watch */
	void *watch_arg;
};

/* deploy.c */
struct model *deploy_model_named(const struct deploy *d, const char *name);
bool deploy_coordinator_gone(const struct model *m); /* it has stayed away for long enough */
bool deploy_is_draft(const struct model *m);         /* it drafts for another model of its coordinator */
bool deploy_up(const struct deploy *d, const struct node_id *id);
bool deploy_speaks(
        const struct deploy *d, const struct node_id *id, uint32_t minor); /* at least this version */
/* Whether `from` can send to `to`, by what it says itself; also when nobody knows. */
bool deploy_reaches(const struct deploy *d, const struct node_id *from, const struct node_id *to);
const char *deploy_node_name(const struct deploy *d, const struct node_id *id);
/* The nodes that are up, but for ourselves, which may have content: how many, at most WIRE_NODES_MAX. */
size_t deploy_others(const struct deploy *d, struct node_id *out);
/* What is collected for a slice stays in the store until the slice holds it (shard/store/store.h).  0 or -ENOMEM. */
int deploy_pin(struct deploy *d, const struct manifest_tensor *tensor, size_t count, struct store_pin **out);
bool deploy_charge(struct deploy *d, uint64_t bytes); /* false: that is more than is allowed */
uint64_t deploy_memory_free(const struct deploy *d);

/* models.c */
/* Copies the plan, enters it into the table, and calls the hooks.  NULL with a sentence: the table is full. */
struct model *model_create(struct deploy *d, const Caravan__Plan *plan, Caravan__ModelPhase phase,
        const char *reason, char *err, size_t errlen);
struct model *model_ref(struct model *m);
void model_unref(struct model *m);
void model_changed(struct model *m); /* calls the hooks and the watcher */
void model_set(struct model *m, Caravan__ModelPhase phase, const char *reason); /* calls the hooks */
/* Out of the table with everything that hangs on it; phase UNLOADED or FAILED. m may be freed. */
void model_remove(struct model *m, Caravan__ModelPhase phase, const char *reason);
/* The smaller model of a coordinator that is gone goes with the larger one m, which makes do without under another. */
void model_drop_draft(const struct model *m);
/* Closes what we have of it as its coordinator; hooks get the reason. */
void model_shut(struct model *m, const char *why);
/* Fetches manifest and vocabulary; stage, load and waiting announcements continue when that has ended. */
void model_learn(struct model *m, const struct node_id *sources, size_t count);
void model_learn_from_cluster(struct model *m); /* from its coordinator, or whoever has them */
void model_free(struct model *m);               /* at once: deploy_destroy */
bool model_ours(const struct model *m);         /* we coordinate it */
int model_our_stage(const struct model *m);     /* index, -1: none */
bool model_has_stage(const struct model *m, const struct node_id *id);
/* What is true of a model that does not serve: "is loading (hashing, 71%)", "is not available: ..." */
void model_describe(const struct model *m, char *out, size_t len);

/* participant.c */
int participant_init(struct deploy *d);
void participant_learnt(struct participant *st, const char *error);
bool participant_serves(const struct model *m);      /* our stage of it is open, and has lost nothing */
void participant_close(struct model *m);             /* whatever it was at */
uint64_t participant_charged(const struct model *m); /* bytes of memory */
void participant_free(struct participant *st);

/* inventory.c */
int inventory_init(struct deploy *d);

/* replicate.c */
int replicate_init(struct deploy *d);
void replicate_tick(struct model *m);
void replicate_node_changed(struct deploy *d);
void replicate_free(struct replication *c); /* NULL allowed */

/* replica.c */
int replica_init(struct deploy *d);
void replica_stop(struct model *m);     /* if there is something under way */
void replica_free_all(struct model *m); /* at once: deploy_destroy */

/* reconcile.c */
int reconcile_init(struct deploy *d);
void reconcile_free(struct deploy *d);
void reconcile_tick(struct deploy *d);
void reconcile_node_up(struct deploy *d, const struct member *who);
/* Its coordinator has announced the result: what it reported of the load no longer counts. */
void reconcile_forget_load(struct deploy *d, const char *name);
/* Whether a model of that name is being loaded here or elsewhere, and how far that is. */
bool reconcile_loading(const struct deploy *d, const char *name, char *out, size_t len);
/* Of the other nodes that are up, but for one, how many believe our plan, and how many something else. */
void reconcile_count(const struct model *m, const struct node_id *but, size_t *believe, size_t *doubt);
const char *reconcile_load_at(const struct deploy *d, size_t i); /* names of such models; NULL past the end */

/* load.c */
int load_init(struct deploy *d);
void load_learnt(struct load *l, const char *error);
void load_node_down(struct deploy *d, const struct node_id *id);
void load_tick(struct deploy *d);
/* A load of this name without a model yet: its file is being hashed, or its plan made.  NULL: none. */
struct load *load_early(struct deploy *d, const char *name);
void load_stop(struct load *l, const char *why); /* fails it: the model is being unloaded */
int load_revive(struct model *m);                /* the same plan again, under a new epoch */
int load_replan(struct model *m); /* another plan, with the nodes that are up, under a new epoch */
void load_free(struct load *l);   /* at once: deploy_destroy */

/* confirm.c */
int confirm_init(struct deploy *d);
/* Whether an announcement that this plan serves must wait, or has been refused.  If it waits, announce_receive is called again when its
 * stages have confirmed it. */
bool confirm_wait(struct deploy *d, const struct peers_from *from, const Caravan__Plan *plan);
/* The coordinator speaks of this model again (NULL: it is gone): what waits is out of date. */
void confirm_forget(struct deploy *d, const struct node_id *coordinator, const char *model);
void confirm_tick(struct deploy *d);
void confirm_clear(struct deploy *d);

/* announce.c */
int announce_init(struct deploy *d);
/* Tells every live node (or one) the model's phase.  done (NULL allowed) is called once, which is where arg may be freed: when all
 * have answered or gone, from the loop and never inside; or by announce_clear, cancelled.  0, or -ENOMEM without a call. */
int announce_send(
        struct model *m, const struct node_id *only, void (*done)(void *arg, bool cancelled), void *arg);
void announce_acknowledge(struct deploy *d, const struct peers_from *from);
/* Takes up what a plan's coordinator says of it. */
void announce_receive(struct deploy *d, const struct peers_from *from, const Caravan__PlanAnnounce *msg);
void announce_learnt(struct model *m, const char *error); /* answers those that wait */
void announce_node_down(struct deploy *d, const struct node_id *id);
void announce_tick(struct deploy *d);
void announce_clear(struct deploy *d);

/* catalog_gather.c */
int catalog_init(struct deploy *d);
void catalog_note(struct model *m); /* its name and its last use go to disk, once its manifest is known */
void catalog_tick(struct model *m);
bool catalog_has(const struct deploy *d, const char *name); /* a model of this name is on our disk */
void catalog_drop(struct deploy *d, const char *name);
void catalog_node_down(struct deploy *d, const struct node_id *id);
void catalog_clear_all(struct deploy *d);

/* Says that no model of this name is on disk, and which are. */
void deploy_name_stored(
        const struct deploy_stored *model, size_t count, const char *name, char *err, size_t errlen);

/* remove.c */
int remove_init(struct deploy *d);
void remove_node_down(struct deploy *d, const struct node_id *id);
void remove_clear(struct deploy *d);

/* disk_space.c */
int disk_space_init(struct deploy *d);
void disk_space_tick(struct deploy *d);

/* persist.c */
int persist_read(struct deploy *d, char *err, size_t errlen);
/* Executor: makes sure that this counter is never used again, whatever happens. */
int persist_write_epoch(const char *dir, uint64_t counter);
void persist_save_plans(struct deploy *d); /* of all models but those being loaded */

#endif
