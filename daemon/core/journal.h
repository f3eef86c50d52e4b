/* journal: what has happened on this node, in order: the one place that says an event.
 *
 * Owns: the latest JOURNAL_EVENTS events, and STATE/events, which has them over a restart.  An event is a line of the log
 * too.  Its record is a Caravan__Event that passes proto/schema.c, so that every node accepts it.  Never contains secrets or
 * prompts.
 * Invariants: serial numbers only rise, over restarts too.  A damaged part of the file costs the events in it, no others.
 * Threads: journal_say from any thread; everything else on the loop.  The file is written on an executor of its own. */
#ifndef DAEMON_CORE_JOURNAL_H
#define DAEMON_CORE_JOURNAL_H
#include "daemon/core/log.h"
#include "daemon/core/loop.h"
#include "proto/wire.h"

#define JOURNAL_EVENTS 512
#define JOURNAL_FILE "events"

/* Programs rely on their names (journal_kind_name): names are added, never changed. */
enum journal_kind {
	EVENT_CONTENT_DAMAGED,
	EVENT_CONTENT_EVICTED,
	EVENT_CONTENT_REPAIRED,
	EVENT_COPIES_COMPLETE,
	EVENT_DISK_FULL,
	EVENT_ERROR, /* of this node; no other kind fits */
	EVENT_LOAD_FAILED,
	EVENT_LOAD_STARTED,
	EVENT_MODEL_RECOVERED,
	EVENT_MODEL_REMOVED, /* from a node's disk */
	EVENT_MODEL_SERVING,
	EVENT_MODEL_TAKEN_OVER,
	EVENT_MODEL_UNAVAILABLE,
	EVENT_MODEL_UNLOADED,
	EVENT_NODE_BACK,
	EVENT_NODE_EXPELLED,
	EVENT_NODE_JOINED,
	EVENT_NODE_LEFT,
	EVENT_NODE_LOST,
	EVENT_NODE_STARTED,
	EVENT_NODE_STOPPED,
	EVENT_PLAN_CHANGED,
	EVENT_RECOVERY_FAILED,
	EVENT_RECOVERY_STARTED,
	EVENT_KINDS
};
const char *journal_kind_name(enum journal_kind kind);
/* EVENT_KINDS: an unknown one, such as a newer node's. */
enum journal_kind journal_kind_find(const char *name);
/* Whether several nodes note the same event of this kind, each for itself: "gamma was lost". */
bool journal_kind_is_shared(enum journal_kind kind);

/* Names of the parts of long events, in JSON too: as with kinds. */
#define EVENT_PART_NOTICED "noticed"     /* from the last sign of a node that was lost */
#define EVENT_PART_WAITED "waited"       /* for it to come back, for other nodes, and failed attempts */
#define EVENT_PART_READ "read"           /* the file's header, or a manifest from disk */
#define EVENT_PART_HASHED "hashed"       /* the file */
#define EVENT_PART_LINKS "links"         /* waited for link probes and calibration */
#define EVENT_PART_PLANNED "planned"     /* inventory and plan */
#define EVENT_PART_WEIGHTS "weights"     /* fetched, packed and mapped */
#define EVENT_PART_ANNOUNCED "announced" /* to all nodes */

struct journal;

struct journal_config {
	struct loop *loop;
	const char *state_dir; /* NULL: nothing is kept over a restart */
	double (*time)(void);  /* Unix time; NULL: that of the machine */
};

/* A file that cannot be read or written is reported in the log: the journal does without. */
int journal_create(struct journal **out, const struct journal_config *c, char *err, size_t errlen);
void journal_destroy(struct journal *j); /* NULL allowed; writes what is left */

/* What an event is, besides its sentence. */
struct journal_event {
	enum journal_kind kind;
	enum log_level level;
	bool others;       /* others can cause it as often as they like: it is limited, as log_others is */
	const char *model; /* its name; NULL: none.  This and the next are left out unless wire_name_ok */
	const char *node;  /* name of the node that it is about; NULL: the one that says it, or none */
	struct journal_part {
		const char *name;
		double seconds;
	} parts[WIRE_EVENT_PARTS_MAX]; /* up to the first without a name */
	double seconds;                /* in all */
	uint64_t moved;                /* bytes of weights */
};
/* Writes a line of the log and adds the event.  j NULL: only the line. */
void journal_say(struct journal *j, const struct journal_event *e, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

uint64_t journal_id(const struct journal *j);
/* The i-th of those that are kept, the oldest first; NULL past the end.  Valid until the next turn of the loop. */
const Caravan__Event *journal_at(const struct journal *j, size_t i);
/* Calls fn on the loop after every event.  One watcher; NULL: none. */
void journal_watch(struct journal *j, void (*fn)(void *arg, const Caravan__Event *e), void *arg);

#endif
