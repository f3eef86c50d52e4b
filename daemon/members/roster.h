/* roster: the nodes of the cluster as a list of versioned entries, and the file that stores it.
 *
 * Owns: the members, sorted by name; their addresses in memory never change.  A node that was expelled stays
 * as a tombstone until it is pruned.
 * Invariants: of two versions of an entry the higher one wins, and a tombstone always wins.  Only we make new
 * versions of our own entry.  The whole roster fits into one envelope, if need be with only the first
 * endpoint of each entry.
 * Threads: the loop. */
#ifndef DAEMON_MEMBERS_ROSTER_H
#define DAEMON_MEMBERS_ROSTER_H
#include "daemon/members/address.h"
#include "daemon/members/members.h"

struct roster {
	struct node_id self;
	struct member *at[WIRE_NODES_MAX];
	size_t n;
	struct member *pruned; /* removed from the list, kept for pointers to them */
	/* the roster as entries for the wire, made by roster_entries */
	Caravan__Entry entries[WIRE_NODES_MAX], *list[WIRE_NODES_MAX];
	char *further[WIRE_NODES_MAX][WIRE_ENDPOINTS_MAX];
};

enum roster_change {
	ROSTER_SAME,
	ROSTER_NEW,
	ROSTER_CHANGED,
	ROSTER_EXPELLED,
	ROSTER_AHEAD, /* another node has a later version of our own entry: use roster_edit */
	ROSTER_FULL
};

void roster_init(struct roster *r, const struct node_id *self);
void roster_clear(struct roster *r); /* without the members' states, which members.c frees */

/* Loads STATE/roster.  Without a file, or with one that has others but not us, the roster is empty (we have a
 * new key, which is in no cluster yet).  0 or a negative errno with a sentence. */
int roster_load(struct roster *r, const char *state_dir, char *err, size_t errlen);
/* The content for the file, malloc'd. */
int roster_pack(struct roster *r, uint8_t **frame, size_t *len);
int roster_save(struct roster *r, const char *state_dir, char *err, size_t errlen); /* blocks on the disk */

/* Takes an entry that we received; returns what it changed, and the member (NULL for ROSTER_FULL). */
enum roster_change roster_take(struct roster *r, const Caravan__Entry *e, struct member **which);
/* The same for an entry that the node itself sent, over a link that proved its key: it overrides what others
 * say, however high their version. */
enum roster_change roster_take_own(struct roster *r, const Caravan__Entry *e, struct member **which);

/* Makes a new version (later than `above`) of an entry: ours, one that is being expelled, or a new one.
 * -ENOSPC: the roster is full. */
int roster_edit(struct roster *r, const struct node_id *id, const char *name, char (*endpoints)[ADDRESS_MAX],
        size_t n, bool expelled, uint64_t above);

/* Removes tombstones that are older than ROSTER_TOMBSTONE_SECONDS and that, as far as we know
 * (member.agreed), every other node of the cluster has received.  Returns how many. */
#define ROSTER_TOMBSTONE_SECONDS (7 * 86400)
size_t roster_prune(struct roster *r, uint64_t now);
/* Whether this is a tombstone that we may have pruned. */
bool roster_tombstone_is_old(const Caravan__Entry *e, uint64_t now);

struct member *roster_find(const struct roster *r, const struct node_id *id);
/* A node with this name that is not expelled and is not `but`. */
struct member *roster_named(const struct roster *r, const char *name, const struct node_id *but);
size_t roster_others(const struct roster *r); /* not expelled, not this node */

/* Valid until the next call. */
void roster_entries(struct roster *r, Caravan__Entry ***entries, size_t *count);

#endif
