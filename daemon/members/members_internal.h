/* What the files of members share; nobody else includes it. */
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
	bool deaf;             /* it could not be made; with other addresses it may be */
	uint64_t called_ns,
	        missed_ns; /* the last call; since when, at the latest change, somebody has been missing */
	struct address_watch *watch; /* NULL: no network but the loopback */
	char preferred
	        [ADDRESS_MAX]; /* of our endpoints, the one at which a node that joined found us; empty: none did */
	struct loop_timer *tick;
	uint64_t started_ns, ticked_ns, pruned_ns;
	uint64_t
	        address_retry_ns; /* when our addresses are read again, after they could not be; 0: they could */
	bool roster_due;          /* a queue was full: send the roster again */
	struct api_keys *keys;
	bool keys_due;   /* the same */
	bool keys_saved; /* there is a file of them, or will be */
	struct {
		struct executor *executor;
		uint64_t version, written; /* of the roster: as it is, and as the disk has it */
		bool busy, ending;
		bool gone; /* the state directory has another key: the roster is nobody's */
		struct loop_timer *again;
		STAILQ_HEAD(, save_waiter) waiters;
	} save;
	struct {
		members_done_fn *done; /* NULL: we stay */
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
		struct loop_timer *back; /* we are in, and wait for word of the way back; NULL: not yet in */
		uint64_t until_ns;       /* for so long at most */
	} join;
};

/* members.c */
struct member *members_own(const struct members *m); /* our own entry */
void members_notify(
        struct members *m, const struct member *who, enum member_change change); /* the layers above */
/* roster_save.c: the roster is another: it goes to disk soon. */
void members_save(struct members *m);
typedef members_done_fn members_saved_fn;
/* Calls fn once the roster as it is now is on the disk, or that has failed (it is tried again); maybe at once. */
void members_saved(struct members *m, members_saved_fn *fn, void *arg);
int members_save_init(struct members *m, char *err, size_t errlen);
void members_save_end(struct members *m);

void members_connect(struct members *m, const struct member *who);
/* Sends the roster to one node, or to all (NULL). */
void members_send_roster(struct members *m, const struct member *to);
/* Takes a roster that we received (NULL: from an inviter); what is new goes to everybody, the file and the layers
 * above. */
void members_take_roster(
        struct members *m, const struct node_id *from, Caravan__Entry *const *entries, size_t count);

/* api_key_sync.c */
int members_keys_init(struct members *m, char *err, size_t errlen);
void members_listen_for_keys(struct members *m); /* when there are peers */
void members_keys_end(struct members *m);
/* Sends all keys to one node, or to all (NULL). */
void members_send_keys(struct members *m, const struct member *to);
void members_prune_keys(struct members *m, uint64_t now);

/* Asks a node for a sign of life now, out of turn. */
void members_ping(struct members *m, const struct member *who);

/* discovery.c */
/* Where we can be found now, the likeliest first; how many, or a negative errno: not known now, and looked at again in a
 * few seconds. */
int members_endpoints(struct members *m, char out[WIRE_ENDPOINTS_MAX][ADDRESS_MAX]);
bool member_is_at(const struct member *who, char (*endpoints)[ADDRESS_MAX], size_t n);
/* Our addresses may be others than our entry has: a new version of it, for everybody. */
void members_readdress(struct members *m);
void members_addresses_changed(void *arg); /* one came or went */
void members_call_beacon(struct members *m, uint64_t now);
const char *members_name_at(
        void *arg, const char *address); /* of peers_config, as members_describe_duplicate */

/* problems.c */
void member_conflicts(struct member *who, const char *text);
const char *member_conflict(const struct member *who); /* empty: nothing that was seen lately */
void members_describe_duplicate(
        void *arg, const struct node_id *node, const char *first, const char *second, char *text, size_t len);

/* join.c */
void members_join_init(struct members *m);
void members_join_end(struct members *m);

/* leave.c */
void members_leave_end(struct members *m);

#endif
