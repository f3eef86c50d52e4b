/* roster: the nodes of the cluster as a list of versioned entries, and the file that keeps it.
 *
 * Owns: the members, sorted by name; they keep their addresses for as long as the roster lives, since nothing
 * is ever taken off it: a node that was expelled stays as a tombstone.
 * Invariants: of two versions of an entry the higher one stays; a tombstone stays whatever comes; only we make
 * new versions of our own entry; the whole fits one envelope.
 * Threads: the loop. */
#ifndef DAEMON_CLUSTER_ROSTER_H
#define DAEMON_CLUSTER_ROSTER_H
#include "daemon/cluster/members.h"

struct roster {
	struct node_id self;
	struct member *at[WIRE_NODES_MAX];
	size_t n;
	/* the same as entries for the wire, made by roster_entries */
	Caravan__Entry entries[WIRE_NODES_MAX], *list[WIRE_NODES_MAX];
};

enum roster_change {
	ROSTER_SAME,
	ROSTER_NEW,
	ROSTER_CHANGED,
	ROSTER_EXPELLED,
	ROSTER_AHEAD, /* somebody has a later version of our own entry than we: roster_edit makes ours later still */
	ROSTER_FULL
};

void roster_init(struct roster *r, const struct node_id *self);
void roster_clear(struct roster *r); /* without the members' states, which are members.c's to free */

/* STATE/roster. No file: an empty roster. 0 or a negative errno with a sentence. */
int roster_load(struct roster *r, const char *state_dir, char *err, size_t errlen);
int roster_save(struct roster *r, const char *state_dir, char *err, size_t errlen);

/* Takes an entry that somebody told us, and says what it changed and in which member (NULL for ROSTER_FULL). */
enum roster_change roster_take(struct roster *r, const Caravan__Entry *e, struct member **which);
/* The same for an entry that the node itself told us, over a link that proved its key: what it says of itself
 * stands against every hearsay, however high a version that claims. */
enum roster_change roster_take_own(struct roster *r, const Caravan__Entry *e, struct member **which);

/* Makes a new version (later than `above`) of an entry: ours, or the one that is being expelled, or a new one.
 * -ENOSPC: the roster is full. */
int roster_edit(struct roster *r, const struct node_id *id, const char *name, const char *endpoint,
        bool expelled, uint64_t above);

struct member *roster_find(const struct roster *r, const struct node_id *id);
/* A node of this name that was not expelled, and is not `but`. */
struct member *roster_named(const struct roster *r, const char *name, const struct node_id *but);
size_t roster_others(const struct roster *r); /* not expelled, not we */

/* Valid until the next call. */
void roster_entries(struct roster *r, Caravan__Entry ***entries, size_t *count);

#endif
