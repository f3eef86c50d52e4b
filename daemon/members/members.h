/* members: the nodes of this cluster: who belongs to it, who is up, how they are.
 *
 * Owns: the roster (STATE/roster, rewritten atomically on change), open invitations, heartbeats with their
 * deadlines, and the last state that each node reported.  Keeps links (peers) to every node of the roster that is
 * not expelled.
 * Threads: the loop. */
#ifndef DAEMON_MEMBERS_MEMBERS_H
#define DAEMON_MEMBERS_MEMBERS_H
#include "daemon/members/api_keys.h"
#include "daemon/net/peers.h"

#define MEMBERS_PING_MS 500
#define MEMBERS_UNPROVEN_MAX \
	32 /* nodes, dead or alive, that one member may report and that no other node has met */
/* A node whose connection closes is down at once, and so is one whose machine does not acknowledge what we send
 * (SOCKET_DEAD_MS).  One whose machine does, and which says nothing all the same, is busy or stopped: it is given longer. */
#define MEMBERS_SILENT_MS 10000

struct members;

struct members_config {
	struct loop *loop;     /* borrowed, as all here */
	const char *state_dir; /* NULL: the roster is kept nowhere */
	const struct keys *keys;
	const char *name;   /* of this node, NULL: as the roster has it, or the host's name */
	const char *listen; /* NULL: no network */
	const char *
	        advertise; /* tcp://host:port; NULL: what we are bound to (for a wildcard: this machine's addresses) */
	uint32_t silent_ms; /* 0: MEMBERS_SILENT_MS */
	/* fills the state that pings carry; pointers valid until the next call; its peers are filled in here */
	void (*state)(void *arg, Caravan__NodeState *out);
	void *arg;
};

struct member {
	struct node_id id;
	char name[WIRE_NAME_MAX + 1];
	char endpoints[WIRE_ENDPOINTS_MAX][WIRE_ENDPOINT_MAX + 1]; /* the first is the likeliest */
	size_t nendpoints;
	uint64_t version;
	bool expelled, self;
	bool up;              /* we reach it, and it does not say that it cannot reach us */
	bool linked, reached; /* private: we reach it; it reaches us, as it said last */
	double round_trip;    /* seconds, 0: not measured yet */
	double rate;          /* bytes a second from there, 0: not measured yet */
	double rate_best;     /* the most that it was */
	unsigned rate_slow;   /* how often in a row it was MEMBERS_SLOW_TIMES less than that, or still less */
	uint64_t heard_ns;    /* loop_now_ns of its last word, 0: never */
	uint64_t left_ns;     /* private: when we heard of its expulsion */
	uint64_t left;        /* of a tombstone: when it was made, seconds of the Unix epoch */
	uint64_t agreed;    /* private: when it last sent a roster in which none of our tombstones is alive */
	uint64_t since_ns;  /* private: since when it has been up, or down */
	char lost[240];     /* private: why the last link to it was lost */
	char conflict[300]; /* private: two machines have its key: where */
	uint64_t conflict_ns; /* private: when that was seen last */
	char blind
	        [400]; /* private: it cannot reach us: at which address, and why; empty: not that it said so */
	struct node_id teller; /* private: who reported it first */
	bool proven;           /* private: it was linked to us once, and so has its key */
	uint64_t
	        keys_agreed; /* private: when it last sent API keys among which none that we know as revoked is valid */
	struct member *next_pruned;      /* private */
	uint32_t minor;                  /* version of the protocol that it speaks, 0: not known yet */
	uint32_t arithmetic;             /* the revision it computes with, 0: not known yet */
	const Caravan__NodeState *state; /* its last, NULL: none yet; borrowed until its next ping */
};

static inline const char *member_endpoint(const struct member *m) {
	return m->nendpoints ? m->endpoints[0] : "";
}

int members_create(struct members **out, const struct members_config *c, char *err, size_t errlen);
void members_destroy(struct members *m); /* NULL allowed */
struct peers *members_peers(struct members *m);

/* Walks the roster, ourselves included; NULL past the end.  Order: by name. */
const struct member *members_at(const struct members *m, size_t i);
const struct member *members_find(const struct members *m, const struct node_id *id);
/* Its name, or words for a node that is none of ours; valid until the roster changes. */
const char *members_name(const struct members *m, const struct node_id *id);
/* By name or by the beginning (at least 6 digits) of the id in hexadecimal; NULL: none or not unique. */
const struct member *members_named(const struct members *m, const char *name_or_id);
const struct member *members_self(const struct members *m);

/* Tells everybody our state now: something has changed that others wait for. */
void members_heartbeat(struct members *m);

/* What is wrong with a node, as a sentence: why it is down, or what ails it though it is up; empty: nothing. */
const char *members_reason(const struct members *m, const struct member *who, char *text, size_t len);
/* For how many seconds it has been up or down. */
double members_since(const struct members *m, const struct member *who);

/* A link whose rate was so often so much less than the best that it had is said to be slow. */
#define MEMBERS_SLOW_TIMES 10
#define MEMBERS_SLOW_PROBES 2

/* What link_probe found of a link about which nothing was known, in a hurry: nothing is held against it. */
void members_set_first_rate(struct members *m, const struct node_id *id, double bytes_per_second);
/* What it found in the end. */
void members_set_rate(struct members *m, const struct node_id *id, double bytes_per_second);

enum member_change {
	MEMBER_JOINED,
	MEMBER_CHANGED,  /* its name or endpoints */
	MEMBER_EXPELLED, /* for this node itself too; its links are gone then */
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
/* Called after every change.  `who` is valid as long as members. */
typedef void members_change_fn(void *arg, const struct member *who, enum member_change change);
int members_on_change(struct members *m, members_change_fn *fn, void *arg);

typedef void members_done_fn(void *arg, const char *error); /* once; error NULL: it went well */

/* A printable one-time invitation (caller frees), which expires after `seconds`. -ENOTSUP without a network. */
int members_invite(struct members *m, uint32_t seconds, char **token, char *err, size_t errlen);
/* Joins the cluster of the inviter; done once, error NULL on success: both sides hold the entry then, and the way back
 * was tried: whether the inviter reaches us too is what members_reason of it says. */
/* After a join that went well: what is wrong all the same, as a sentence; empty: nothing. */
const char *members_join_note(const struct members *m, char *text, size_t len);
int members_join(
        struct members *m, const char *token, members_done_fn *done, void *arg, char *err, size_t errlen);
/* The tombstone goes to everybody and to the disk.  done (NULL: nobody asks) says whether that could be written; if not,
 * the node is expelled until this daemon ends, and writing is tried again.  -ENOENT, -EINVAL for ourselves: done is not
 * called then. */
int members_expel(struct members *m, const char *name_or_id, members_done_fn *done, void *arg, char *err,
        size_t errlen);
/* Leaves the cluster, as a node does that was expelled: the others get a tombstone, and the state directory gets another key.
 * After done, without an error, this daemon has to end: the next one with this directory is a different node. */
int members_leave(struct members *m, members_done_fn *done, void *arg, char *err, size_t errlen);

/* ---- keys of the HTTP API, which every node of the cluster has ---- */

struct api_keys *members_api_keys(struct members *m);
/* The secret is in done's hands first: it is called when the key is on the disk, or could not be written (it is valid then
 * until this daemon ends).  seconds 0: it does not expire. */
int members_key_create(struct members *m, const char *name, uint64_t seconds, char secret[API_KEY_SECRET],
        members_done_fn *done, void *arg, char *err, size_t errlen);
/* Nodes that are up hear of it at once, the others when they come back.  done as with members_expel. */
int members_key_revoke(struct members *m, const char *name_or_id, members_done_fn *done, void *arg, char *err,
        size_t errlen);

#endif
