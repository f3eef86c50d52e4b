/* members: the nodes of this cluster: which belong to it, which are up, and their state.
 *
 * Owns: the roster (STATE/roster, rewritten atomically on change), open invitations, heartbeats with their
 * deadlines, and the last state that each node reported.  Keeps links (peers) to every node of the roster
 * that is not expelled.
 * Threads: the loop. */
#ifndef DAEMON_MEMBERS_MEMBERS_H
#define DAEMON_MEMBERS_MEMBERS_H
#include "daemon/core/journal.h"
#include "daemon/members/api_keys.h"
#include "daemon/net/peers.h"

#define MEMBERS_PING_MS 500
#define MEMBERS_UNPROVEN_MAX \
	32 /* nodes, expelled or not, that one member may report and that were never linked to us */
/* A node whose connection closes is down at once, and so is one whose machine does not acknowledge what we
 * send (SOCKET_DEAD_MS).  A node that is silent while its machine acknowledges is busy or stopped: it is
 * given longer. */
#define MEMBERS_SILENT_MS 10000

struct members;

struct members_config {
	struct loop *loop;     /* borrowed, like all pointers here */
	const char *state_dir; /* NULL: the roster is not stored */
	const struct keys *keys;
	const char *name;   /* of this node; NULL: the one in the roster, or the host's name */
	const char *listen; /* NULL: no network */
	const char *
	        advertise; /* tcp://host:port; NULL: what we are bound to (for a wildcard: this machine's addresses) */
	uint32_t silent_ms;      /* 0: MEMBERS_SILENT_MS */
	struct journal *journal; /* NULL: events are only logged */
	/* fills in the state for pings; pointers valid until the next call; its peers are filled in here */
	void (*state)(void *arg, Caravan__NodeState *out);
	void *arg;
};

struct member {
	struct node_id id;
	char name[WIRE_NAME_MAX + 1];
	char endpoints[WIRE_ENDPOINTS_MAX][WIRE_ENDPOINT_MAX + 1]; /* best first */
	size_t nendpoints;
	uint64_t version;
	bool expelled, self;
	bool up;              /* we reach it, and it does not say that it cannot reach us */
	bool linked, reached; /* private: we reach it; it reaches us, by its last report */
	double round_trip;    /* seconds; 0: not measured yet */
	double rate;          /* bytes per second from there; 0: not measured yet */
	double rate_best;     /* the highest rate so far */
	unsigned rate_slow;   /* measurements in a row that were MEMBERS_SLOW_TIMES below rate_best */
	uint64_t heard_ns;    /* loop_now_ns of its last message; 0: never */
	uint64_t left_ns;     /* private: when we learnt of its expulsion */
	uint64_t left;        /* of a tombstone: when it was made, Unix time */
	uint64_t agreed;      /* private: when it last sent a roster that agrees with our tombstones */
	uint64_t since_ns;    /* private: since when it has been up, or down */
	double silent;        /* private: for how many seconds it had sent nothing when it was lost */
	double away;          /* private: for how many seconds it was down before it came up */
	bool met;             /* private: it was up before, since our start */
	char lost[240];       /* private: why the last link to it was lost */
	char conflict[300];   /* private: two machines have its key: where */
	uint64_t conflict_ns; /* private: when that was last seen */
	char blind
	        [400]; /* private: it cannot reach us: at which address, and why; empty: it has not said so */
	struct node_id teller;      /* private: who reported it first */
	bool proven;                /* private: it was linked to us once, so it has its key */
	uint64_t keys_agreed;       /* private: when it last sent API keys that agree with our revocations */
	struct member *next_pruned; /* private */
	uint32_t minor;             /* protocol version of the node; 0: not known yet */
	uint32_t arithmetic;        /* revision of its arithmetic; 0: not known yet */
	double ahead;               /* by which its clock is ahead of ours; seconds; 0 when not known */
	const Caravan__NodeState *state; /* its last state; NULL: none yet; borrowed until its next ping */
};

static inline const char *member_endpoint(const struct member *m) {
	return m->nendpoints ? m->endpoints[0] : "";
}

int members_create(struct members **out, const struct members_config *c, char *err, size_t errlen);
void members_destroy(struct members *m); /* NULL allowed */
struct peers *members_peers(struct members *m);
/* Where this node says its events; NULL: they are only logged (journal_say). */
struct journal *members_journal(const struct members *m);

/* The i-th member by name, this node included; NULL past the end. */
const struct member *members_at(const struct members *m, size_t i);
const struct member *members_find(const struct members *m, const struct node_id *id);
/* Its name, or a description of an unknown node; valid until the roster changes. */
const char *members_name(const struct members *m, const struct node_id *id);
/* By name or by the beginning (at least 6 digits) of the id in hexadecimal; NULL: none or not unique. */
const struct member *members_named(const struct members *m, const char *name_or_id);
const struct member *members_self(const struct members *m);

/* Makes our own state anew, as the next heartbeat would: for who looks at it now. */
void members_refresh(struct members *m);
/* Sends our state to all nodes now: something has changed that others wait for. */
void members_heartbeat(struct members *m);

/* What is wrong with a node, as a sentence: why it is down, or a problem of a node that is up; empty:
 * nothing. */
const char *members_reason(const struct members *m, const struct member *who, char *text, size_t len);
/* How many seconds it has been up or down. */
double members_since(const struct members *m, const struct member *who);

/* A link is reported as slow after SLOW_PROBES measurements in a row that are SLOW_TIMES below its best. */
#define MEMBERS_SLOW_TIMES 10
#define MEMBERS_SLOW_PROBES 2

/* A preliminary rate from link_probe for a link without a known one; it does not count as slow or as best. */
void members_set_first_rate(struct members *m, const struct node_id *id, double bytes_per_second);
/* The final rate from link_probe. */
void members_set_rate(struct members *m, const struct node_id *id, double bytes_per_second);

enum member_change {
	MEMBER_JOINED,
	MEMBER_CHANGED,  /* its name or endpoints */
	MEMBER_EXPELLED, /* for this node itself too; its links are closed then */
	MEMBER_LEFT,
	MEMBER_UP,
	MEMBER_DOWN
};
/* For "node NAME ...". */
static inline const char *member_change_text(enum member_change change) {
	static const char *const text[] = {[MEMBER_JOINED] = "joined",
	        [MEMBER_CHANGED] = "changed",
	        [MEMBER_EXPELLED] = "was expelled",
	        [MEMBER_LEFT] = "left",
	        [MEMBER_UP] = "up",
	        [MEMBER_DOWN] = "down"};
	return text[change];
}
/* Called after every change.  `who` is valid as long as members is. */
typedef void members_change_fn(void *arg, const struct member *who, enum member_change change);
int members_on_change(struct members *m, members_change_fn *fn, void *arg);

typedef void members_done_fn(void *arg, const char *error); /* called once; error NULL: success */

/* A printable one-time invitation (the caller frees it), which expires after `seconds`.  -ENOTSUP without a
 * network. */
int members_invite(struct members *m, uint32_t seconds, char **token, char *err, size_t errlen);
/* Joins the cluster of the inviter; done is called once, with error NULL on success: then both sides have the
 * entry, and the way back was tried: members_reason of the inviter says whether it reaches us too. */
int members_join(
        struct members *m, const char *token, members_done_fn *done, void *arg, char *err, size_t errlen);
/* After a successful join: what is wrong nevertheless, as a sentence; empty: nothing. */
const char *members_join_note(const struct members *m, char *text, size_t len);
/* Sends the tombstone to all nodes and writes it to disk.  done (may be NULL) reports whether it could be
 * written; if not, the node is expelled until this daemon ends, and writing is retried.  -ENOENT, -EINVAL for
 * this node itself: done is not called. */
int members_expel(struct members *m, const char *name_or_id, members_done_fn *done, void *arg, char *err,
        size_t errlen);
/* Leaves the cluster like an expelled node: the others get a tombstone, and the state directory gets a new
 * key.  After done without an error this daemon must end: the next one with this directory is a different
 * node. */
int members_leave(struct members *m, members_done_fn *done, void *arg, char *err, size_t errlen);

/* ---- keys of the HTTP API, which every node of the cluster has ---- */

struct api_keys *members_api_keys(struct members *m);
/* Creates a key.  secret is filled in before done is called, which is when the key is on disk or could not be
 * written (then it is valid until this daemon ends).  seconds 0: it does not expire. */
int members_key_create(struct members *m, const char *name, uint64_t seconds, char secret[API_KEY_SECRET],
        members_done_fn *done, void *arg, char *err, size_t errlen);
/* Nodes that are up learn of it at once, the others when they come back.  done as with members_expel. */
int members_key_revoke(struct members *m, const char *name_or_id, members_done_fn *done, void *arg, char *err,
        size_t errlen);

#endif
