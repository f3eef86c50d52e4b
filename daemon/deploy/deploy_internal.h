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
 *   compare.c         what our models that serve would gain by other nodes
 *   confirm.c         holds back an announced plan until the nodes of its stages confirm it
 *   announce.c        announces plans to the other nodes, receives their announcements
 *   unload.c          unloads a model, from any node
 *   catalog.c         the names of the models in a store, and what each of them needs
 *   catalog_gather.c  lists the models on the disks of all nodes
 *   remove.c          removes a model from the disks
 *   disk_space.c      how much disk space there is for models
 *   persist.c         what survives a restart: the counter of epochs and the plans that this node knows */
#ifndef DAEMON_DEPLOY_DEPLOY_INTERNAL_H
#define DAEMON_DEPLOY_DEPLOY_INTERNAL_H
#include "daemon/deploy/deploy.h"
#include "daemon/plan/advice.h"
#include "daemon/plan/alternatives.h"
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
/* The same after a restart of this node: after a power cut machines come up one by one. */
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
#define DEPLOY_MODELS_EACH 16 /* models of one coordinator; as many are reserved for our own */
#define DEPLOY_ERROR 1024

enum learnt { LEARN_NOT, LEARN_UNDER_WAY, LEARN_DONE };

/* An announcement that is acknowledged when the vocabulary is here, because only then this node can be a gateway. */
struct waiting {
	struct peers_from from;
	LIST_ENTRY(waiting) next;
};

/* A node that a plan would better have, or not have (compare.c). */
struct compare_node {
	struct node_id node;
	double now, then; /* seconds for a token; then 0: no node */
};
struct compare_found {
	struct compare_node last, said; /* by the last comparison; by it and the one before */
	Caravan__Alternative message;   /* of deploy_alternatives */
};

struct model {
	struct deploy_model pub; /* first member: the public part */
	struct deploy *d;
	unsigned refs; /* of the table, and of jobs and requests */
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
	struct load *load;               /* the load in progress; borrowed */
	bool open;                       /* model_open has been called */
	uint64_t io_charged;
	struct loop_timer *later; /* calls the hooks after a loss */
	struct loop_timer *deferred_free;
	struct replication *replication; /* of our own models; NULL: no inventory yet */
	struct replica *replica;         /* a copy in progress for its coordinator */
	uint64_t noted;                  /* when its use was last recorded; seconds since 1970 */
	struct node_id *doubter; /* nodes that do not accept our plan although it was announced to them */
	size_t doubters;
	bool returns; /* it replaces the same weights, which waited for nodes: kept even if its load fails */
	bool was_draft; /* it was a draft model when its coordinator was lost */
	/* while it does not serve; at its coordinator, and everywhere when that is gone: */
	char loss[WIRE_NAME_MAX + 200];    /* the first cause */
	uint64_t lost_ns;                  /* when it was lost; 0: it was not */
	char lost_node[WIRE_NAME_MAX + 1]; /* whose loss that was; empty: another cause */
	double noticed;                    /* seconds from the last sign of what was lost until then */
	uint64_t again_ns;                 /* no attempt before this, */
	uint64_t replan_ns;                /* and none without its missing nodes before this */
	bool restarted;                    /* has not served since this coordinator started */
	unsigned tries;                    /* failed attempts */
	uint64_t cut_ns;     /* since when two of its nodes cannot reach each other; 0: they can */
	uint64_t compare_ns; /* no comparison before this */
	struct compare_found without, with;
	uint64_t announced_ns; /* last repeated for a node that believed otherwise */
	LIST_ENTRY(model) next_dead;
};

struct deploy {
	struct deploy_config c;
	struct peers *peers;
	struct node_id self;
	struct transfer *transfer;
	struct model **model; /* sorted by name */
	size_t models;
	LIST_HEAD(, model) dead;  /* removed, freed later */
	TAILQ_HEAD(, load) loads; /* oldest first */
	LIST_HEAD(, announcement) announcements;
	LIST_HEAD(, inventory) inventories;
	LIST_HEAD(, unconfirmed) unconfirmed; /* confirm.c */
	struct reconcile *reconcile;
	bool unsaved;                  /* the plans must be written again */
	struct store_space disk_space; /* of the store, updated periodically */
	uint64_t disk_space_ns;
	bool disk_space_pending;
	bool disk_full;                    /* said as an event */
	bool comparing;                    /* compare.c: a search is under way, */
	uint64_t compare_ns;               /* and none begins before this */
	LIST_HEAD(, listing) listings;     /* catalog_gather.c */
	char (*stored)[WIRE_NAME_MAX + 1]; /* names of the models in our store */
	size_t nstored;
	LIST_HEAD(, gather) gathers;     /* the same */
	LIST_HEAD(, removing) removings; /* remove.c: on our disk, */
	LIST_HEAD(, removal) removals;   /* and on all */
	uint64_t counter;                /* highest counter of an epoch used or seen */
	uint64_t used;                   /* bytes of memory charged */
	uint64_t born_ns;
	struct loop_timer *tick;
	Caravan__WorkState work[WIRE_WORK_MAX], *work_at[WIRE_WORK_MAX]; /* deploy_work */
	void (*watch)(void *arg);                                        /* deploy_watch */
	void *watch_arg;
};

/* deploy.c */
struct model *deploy_model_named(const struct deploy *d, const char *name);
bool deploy_coordinator_gone(const struct model *m); /* away for long enough for a takeover */
bool deploy_is_draft(const struct model *m);         /* draft model of another model of its coordinator */
bool deploy_up(const struct deploy *d, const struct node_id *id);
bool deploy_speaks(
        const struct deploy *d, const struct node_id *id, uint32_t minor); /* at least this version */
/* Whether `from` can send to `to`, as it reports; true if unknown. */
bool deploy_reaches(const struct deploy *d, const struct node_id *from, const struct node_id *to);
const char *deploy_node_name(const struct deploy *d, const struct node_id *id);
/* The other nodes that are up, as sources of content; returns their number, at most WIRE_NODES_MAX. */
size_t deploy_others(const struct deploy *d, struct node_id *out);
/* Pins the tensors of a slice in the store until it is mapped (shard/store/store.h).  0 or -ENOMEM. */
int deploy_pin(struct deploy *d, const struct manifest_tensor *tensor, size_t count, struct store_pin **out);
bool deploy_charge(struct deploy *d, uint64_t bytes); /* false: above the memory limit */
uint64_t deploy_memory_free(const struct deploy *d);
/* Whether so many bytes of weights, which have been charged, are to be in huge pages (slice_copy), and not mapped. */
bool deploy_wants_huge(const struct deploy *d, uint64_t bytes);

/* load_plan.c */
/* A node for the planner: id, free memory, rates, link; the rest is left as it is. */
void deploy_describe_node(
        struct planner_node *n, const struct deploy *d, const struct member *m, uint32_t dim);
/* Whether it can take part with this type of KV cache. */
bool deploy_can_compute(const struct member *m, enum kern_kv kv);

/* compare.c: for a model of ours that serves */
void compare_tick(struct model *m, uint64_t now);

/* models.c */
/* Copies the plan, adds it to the table, and calls the hooks.  NULL with a sentence: the table is full. */
struct model *model_create(struct deploy *d, const Caravan__Plan *plan, Caravan__ModelPhase phase,
        const char *reason, char *err, size_t errlen);
struct model *model_ref(struct model *m);
void model_unref(struct model *m);
void model_changed(struct model *m); /* calls the hooks and the watcher */
void model_set(struct model *m, Caravan__ModelPhase phase, const char *reason); /* calls the hooks */
/* Removes it from the table and stops everything that belongs to it; phase UNLOADED or FAILED.  m may be freed. */
void model_remove(struct model *m, Caravan__ModelPhase phase, const char *reason);
/* Removes the draft model of m, whose coordinator is gone: another coordinator serves m without drafts. */
void model_drop_draft(const struct model *m);
/* Closes our coordinator of it; hooks get the reason. */
void model_shut(struct model *m, const char *why);
/* Fetches manifest and vocabulary; stage, load and waiting announcements continue when that has ended. */
void model_learn(struct model *m, const struct node_id *sources, size_t count);
void model_learn_from_cluster(struct model *m); /* from its coordinator, or any node that has them */
void model_free(struct model *m);               /* at once: deploy_destroy */
bool model_ours(const struct model *m);         /* we coordinate it */
int model_our_stage(const struct model *m);     /* index, -1: none */
bool model_has_stage(const struct model *m, const struct node_id *id);
/* The state of a model that does not serve: "is loading (hashing, 71%)", "is not available: ..." */
void model_describe(const struct model *m, char *out, size_t len);

/* participant.c */
int participant_init(struct deploy *d);
void participant_learnt(struct participant *st, const char *error);
bool participant_serves(const struct model *m);      /* our stage of it is open and not broken */
void participant_close(struct model *m);             /* in any state */
uint64_t participant_charged(const struct model *m); /* bytes of memory */
void participant_free(struct participant *st);
bool participant_work(
        const struct model *m, Caravan__WorkState *out); /* false: it is not being loaded here */

/* inventory.c */
int inventory_init(struct deploy *d);

/* replicate.c */
int replicate_init(struct deploy *d);
void replicate_tick(struct model *m);
void replicate_node_changed(struct deploy *d);
void replicate_free(struct replication *c); /* NULL allowed */

/* replica.c */
int replica_init(struct deploy *d);
bool replica_work(const struct model *m, Caravan__WorkState *out); /* false: nothing of it is being copied */
void replica_stop(struct model *m);                                /* if one is in progress */
void replica_free_all(struct model *m);                            /* at once: deploy_destroy */

/* reconcile.c */
int reconcile_init(struct deploy *d);
void reconcile_free(struct deploy *d);
void reconcile_tick(struct deploy *d);
void reconcile_node_up(struct deploy *d, const struct member *who);
/* Drops the reported progress of a load, since its coordinator has announced the result. */
void reconcile_forget_load(struct deploy *d, const char *name);
/* Whether a model of that name is being loaded here or elsewhere, with its progress. */
bool reconcile_loading(const struct deploy *d, const char *name, char *out, size_t len);
/* Of the other nodes that are up, but for one, how many believe our plan, and how many something else. */
void reconcile_count(const struct model *m, const struct node_id *but, size_t *believe, size_t *doubt);
const char *reconcile_load_at(
        const struct deploy *d, size_t i); /* names of models loaded elsewhere; NULL past the end */

/* deploy_events.c: an event of a model (NULL: of none). */
void deploy_say(const struct deploy *d, enum journal_kind kind, enum log_level level, const char *model,
        const char *fmt, ...) __attribute__((format(printf, 5, 6)));

void deploy_say_unavailable(const struct model *m, const char *why);

/* load.c */
int load_init(struct deploy *d);
void load_learnt(struct load *l, const char *error);
void load_node_down(struct deploy *d, const struct node_id *id);
void load_tick(struct deploy *d);
/* A load of this name without a model yet: its file is being hashed, or its plan made.  NULL: none. */
struct load *load_early(struct deploy *d, const char *name);
void load_stop(struct load *l, const char *why); /* fails it, because the model is being unloaded */
int load_revive(struct model *m);                /* the same plan again, under a new epoch */
int load_replan(struct model *m); /* another plan, with the nodes that are up, under a new epoch */
void load_free(struct load *l);   /* at once: deploy_destroy */

/* confirm.c */
int confirm_init(struct deploy *d);
/* Whether an announcement that this plan serves must wait, or was refused.  If it waits, announce_receive is called again when its
 * stages have confirmed it. */
bool confirm_wait(struct deploy *d, const struct peers_from *from, const Caravan__Plan *plan);
/* Drops a waiting announcement, because its coordinator sent another one (NULL: it is gone). */
void confirm_forget(struct deploy *d, const struct node_id *coordinator, const char *model);
void confirm_tick(struct deploy *d);
void confirm_clear(struct deploy *d);

/* announce.c */
int announce_init(struct deploy *d);
/* Announces the model's phase to every node that is up, or to one.  done (NULL allowed) is called once, and may free arg: from the
 * loop, when all have answered or are gone; or cancelled, from announce_clear.  0, or -ENOMEM and done is not called. */
int announce_send(
        struct model *m, const struct node_id *only, void (*done)(void *arg, bool cancelled), void *arg);
void announce_acknowledge(struct deploy *d, const struct peers_from *from);
/* Processes an announcement of a plan's coordinator. */
void announce_receive(struct deploy *d, const struct peers_from *from, const Caravan__PlanAnnounce *msg);
void announce_learnt(struct model *m, const char *error); /* answers those that wait */
void announce_node_down(struct deploy *d, const struct node_id *id);
void announce_tick(struct deploy *d);
void announce_clear(struct deploy *d);
/* Asks the coordinator of m to unload it; done is called once, from the loop.  0, -EHOSTUNREACH, -ENOMEM or as peers_send, with a
 * sentence, and done is not called. */
int announce_ask_unload(
        struct model *m, void (*done)(void *arg, const char *error), void *arg, char *err, size_t errlen);

/* unload.c */
int unload_init(struct deploy *d);

/* catalog_gather.c */
int catalog_init(struct deploy *d);
void catalog_note(struct model *m); /* records its name and last use on disk, if its manifest is known */
void catalog_tick(struct model *m);
bool catalog_has(const struct deploy *d, const char *name); /* a model of this name is on our disk */
void catalog_drop(struct deploy *d, const char *name);
void catalog_node_down(struct deploy *d, const struct node_id *id);
void catalog_clear_all(struct deploy *d);

/* Writes that no model of this name is on disk, and which ones are. */
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
/* Executor.  Saves the counter, so that it is never used again. */
int persist_write_epoch(const char *dir, uint64_t counter);
void persist_save_plans(struct deploy *d); /* all plans except of models being loaded */

#endif
