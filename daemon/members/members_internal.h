/* members_internal: shared by the files of members; not for others. */
#ifndef DAEMON_MEMBERS_MEMBERS_INTERNAL_H
#define DAEMON_MEMBERS_MEMBERS_INTERNAL_H
#include "daemon/core/executor.h"
#include "daemon/members/address.h"
#include "daemon/members/beacon.h"
#include "daemon/members/invitation.h"
#include "daemon/members/members.h"
#include "daemon/members/roster.h"
#include <sys/queue.h>

struct listener {
	members_change_fn *fn;
	void *arg;
	STAILQ_ENTRY(listener) next;
};

struct members {
	struct members_config config;
	char *state_dir, *advertise;
	struct roster roster;
	struct invites invites;
	struct peers *peers;
	struct beacon *beacon; /* NULL: nobody to find, or no local network */
	bool deaf;             /* it could not be created; it may be possible with other addresses */
	uint64_t called_ns,
	        missed_ns; /* the last call; since when, as of the latest change, a node has been missing */
	struct address_watch *watch; /* NULL: no network but the loopback */
	char preferred
	        [ADDRESS_MAX]; /* the endpoint of ours at which a joining node reached us; empty: none did */
	struct loop_timer *tick;
	uint64_t started_ns, ticked_ns, pruned_ns;
	uint64_t moved_ns,
	        still_ns; /* when this node went on after it had stood still, and for how long; 0: it never did */
	uint64_t address_retry_ns; /* when to read our addresses again after a failure; 0: they are known */
	bool roster_due;           /* a queue was full: send the roster again */
	struct api_keys *keys;
	bool keys_due;   /* the same */
	bool keys_saved; /* there is a file of them, or will be */
	struct {
		struct executor *executor;
		uint64_t version, written; /* of the roster: current, and on disk */
		bool busy, ending;
		bool gone; /* the state directory has a new key: the roster is not ours */
		struct loop_timer *again;
		STAILQ_HEAD(, save_waiter) waiters;
	} save;
	struct {
		members_done_fn *done; /* NULL: not leaving */
		void *arg;
		char err[256];
		int rc;
		struct loop_timer *farewell;
	} leave;
	STAILQ_HEAD(, listener) listeners;
	struct peer_list {
		Caravan__PeerState states[WIRE_NODES_MAX], *list[WIRE_NODES_MAX];
	} peer_list; /* for our own state */
	struct {
		members_done_fn *done; /* NULL: no join under way */
		void *arg;
		struct node_id inviter;
		struct loop_timer *back; /* joined, waiting for a report of the way back; NULL: not yet */
		uint64_t until_ns;       /* deadline of that */
	} join;
};

/* members.c */
struct member *members_own(const struct members *m); /* our own entry */
void members_notify(
        struct members *m, const struct member *who, enum member_change change); /* tells the layers above */
/* roster_save.c: the roster has changed: writes it to disk soon. */
void members_save(struct members *m);
typedef members_done_fn members_saved_fn;
/* Calls fn once the current roster is on disk, or writing has failed (it is retried); possibly at once. */
void members_saved(struct members *m, members_saved_fn *fn, void *arg);
int members_save_init(struct members *m, char *err, size_t errlen);
void members_save_end(struct members *m);

void members_connect(struct members *m, const struct member *who);
/* Sends the roster to one node, or to all (NULL). */
void members_send_roster(struct members *m, const struct member *to);
/* Takes a roster that we received (NULL: from an inviter); what is new goes to all nodes, the file and the
 * layers above. */
void members_take_roster(
        struct members *m, const struct node_id *from, Caravan__Entry *const *entries, size_t count);

/* api_key_sync.c */
int members_keys_init(struct members *m, char *err, size_t errlen);
void members_listen_for_keys(struct members *m); /* when there are peers */
void members_keys_end(struct members *m);
/* Sends all keys to one node, or to all (NULL). */
void members_send_keys(struct members *m, const struct member *to);
void members_prune_keys(struct members *m, uint64_t now);

/* Asks a node for a pong now, out of turn. */
void members_ping(struct members *m, const struct member *who);

/* discovery.c */
/* Our current endpoints, best first; how many, or a negative errno: unknown now, and read again in a few
 * seconds. */
int members_endpoints(struct members *m, char out[WIRE_ENDPOINTS_MAX][ADDRESS_MAX]);
bool member_is_at(const struct member *who, char (*endpoints)[ADDRESS_MAX], size_t n);
/* If our addresses differ from our entry, makes a new version of it and sends it to all nodes. */
void members_readdress(struct members *m);
void members_addresses_changed(void *arg); /* one was added or removed */
void members_call_beacon(struct members *m, uint64_t now);
const char *members_name_at(
        void *arg, const char *address); /* of peers_config, as members_describe_duplicate */

/* problems.c */
void member_conflicts(struct member *who, const char *text);
const char *member_conflict(const struct member *who); /* empty: none was seen recently */
void members_describe_duplicate(
        void *arg, const struct node_id *node, const char *first, const char *second, char *text, size_t len);

/* member_events.c: events. */
void member_say_change(struct members *m, const struct member *who, enum member_change change);
/* Seconds for which this node itself did nothing until just now: suspended, or very busy; 0: it did not. */
double members_stood_still(const struct members *m);
void member_say_joined(struct members *m, const struct member *who, const char *how);
void member_say_gone(struct members *m, const struct member *who, bool left); /* or it was expelled */

/* join.c */
void members_join_init(struct members *m);
void members_join_end(struct members *m);

/* leave.c */
void members_leave_end(struct members *m);

#endif
