/* peers: encrypted links to the other nodes, and the way of every message between nodes.
 *
 * Owns: the ZeroMQ context, the ROUTER (CURVE server), the authenticator that is bound before anything else,
 * and two DEALERs to each connected node: one for control and steps, one for bulk.  Each link says hello,
 * counts its messages (a gap is a loss), and is made anew with backoff when it is refused or lost.
 * A message to ourselves goes the same way without the network, so that nobody needs to know who is local.
 * Requests and steps leave on our DEALERs and arrive at the other's ROUTER; the ROUTER only answers.
 * Invariant: the node that a message is from is the key that CURVE proved, and is checked against the roster
 * at every message.
 * Threads: the loop. */
#ifndef DAEMON_NET_PEERS_H
#define DAEMON_NET_PEERS_H
#include "daemon/core/loop.h"
#include "daemon/net/curve_keys.h"
#include "daemon/net/payload.h"
#include "proto/wire.h"

struct peers;

enum peers_channel { PEERS_CONTROL, PEERS_BULK };

/* Who asked, for answering now or later: a plain value, kept as long as wanted; answers to a link that has
 * gone return -EHOSTUNREACH. */
struct peers_from {
	struct node_id node;
	bool local;    /* ourselves */
	bool invited;  /* by an invitation, not yet in the roster */
	uint64_t ref;  /* of the question */
	uint64_t link; /* private: which connection */
	enum peers_channel channel;
};

/* What the roster says of a key; asked at handshake and again at every message. */
enum peers_verdict { PEERS_REFUSE, PEERS_MEMBER, PEERS_INVITED };

/* A message arrived.  env and payload are borrowed for the call (payload_ref keeps it).
 * At our ROUTER `from` can be answered; at a DEALER it tells the node and the ref that we chose. */
typedef void peers_fn(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload);

struct peers_config {
	const char *listen;      /* tcp://addr:port or NULL: no network at all */
	const struct keys *keys; /* borrowed */
	enum peers_verdict (*admit)(
	        void *arg, const struct node_id *key, const char **why); /* why: for the log */
	/* A link to a node (both its DEALERs said hello and were welcomed) came up or was lost.  The two are lost
	 * together: whoever waits for an answer of that node, by whatever channel, waits in vain after "lost".
	 * Never called from within a call of ours; not after peers_disconnect. */
	void (*link)(void *arg, const struct node_id *node, bool up, const char *why);
	/* fills the roster of an outgoing Hello or Welcome; entries point into memory valid until the next call */
	void (*roster)(void *arg, Caravan__Entry ***entries, size_t *count);
	/* a Hello or Welcome brought this roster, the minor version of the protocol that the node speaks, and the revision of
	 * its arithmetic */
	void (*heard)(void *arg, const struct node_id *from, uint32_t minor, uint32_t arithmetic,
	        Caravan__Entry *const *entries, size_t count);
	/* a second machine says Hello with the key of a node that goes on speaking from elsewhere: writes for both what is
	 * wrong */
	void (*twin)(void *arg, const struct node_id *node, const char *first, const char *second, char *text,
	        size_t len);
	/* the name of a node that is said to be at this address (numeric, without a port), for people; NULL: none is */
	const char *(*name_at)(void *arg, const char *address);
	/* any message of a node of the roster arrived */
	void (*word)(void *arg, const struct node_id *from);
	uint32_t arithmetic; /* of ours, for Hello and Welcome */
	void *arg;           /* each of these functions may be NULL, but for admit */
};

int peers_create(struct peers **out, struct loop *l, const struct peers_config *c, char *err, size_t errlen);
void peers_destroy(struct peers *p); /* NULL allowed; not within a callback */
const struct node_id *peers_self(const struct peers *p);
const char *peers_endpoint(const struct peers *p); /* what we are bound to, with its port */

/* Keep links to this node from now on, at one of these endpoints (again with others: moves), or none known yet; or no
 * more. */
int peers_connect(struct peers *p, const struct node_id *node, const char *const *endpoints, size_t n);
void peers_disconnect(struct peers *p, const struct node_id *node);
/* The link is of no use (silence, nonsense): lost now, made anew. */
void peers_drop(struct peers *p, const struct node_id *node, const char *why);
bool peers_linked(const struct peers *p, const struct node_id *node); /* ourselves: always */
/* The node was heard from there: one more address to try. */
void peers_hint(struct peers *p, const struct node_id *node, const char *endpoint);
/* The node called us: it is tried at once, unless there is a link. */
void peers_awake(struct peers *p, const struct node_id *node);
/* This machine's addresses changed: links from one that it does not have any more are lost, and all that are not up are
 * tried at once. */
void peers_readdress(struct peers *p, bool (*have)(void *arg, const char *address), void *arg);
/* Why the last round of attempts to reach a node was in vain, with the address; empty: it was not, or is not over. */
const char *peers_failure(const struct peers *p, const struct node_id *node);

/* One connection for a Join: with the invitation's key pair to the inviter's endpoints, tried in turn.
 * done is called once, with Joined's entries and the endpoint that answered, or with an error sentence. */
typedef void peers_join_fn(
        void *arg, Caravan__Entry *const *entries, size_t count, const char *endpoint, const char *error);
int peers_join(struct peers *p, const struct keys *invitation, const struct node_id *server,
        const char *const *endpoints, size_t nendpoints, const Caravan__Join *ask, peers_join_fn *done,
        void *arg);

/* Calls fn for every message of this kind (Caravan__Envelope body case), wherever it arrives; several
 * functions may listen to one kind (answers: each looks whether the ref is its own). */
int peers_on(struct peers *p, Caravan__Envelope__BodyCase kind, peers_fn *fn, void *arg);

/* Calls fn whenever a link comes up or is lost, after the config's own function. */
typedef void peers_link_fn(void *arg, const struct node_id *node, bool up, const char *why);
int peers_on_link(struct peers *p, peers_link_fn *fn, void *arg);

uint64_t peers_ref(struct peers *p); /* a new one, never 0 */

/* Sends env (boot and seq are filled in; env->ref is the caller's) with an optional payload (a reference is
 * taken).  0, -ENOTCONN without a link, -EAGAIN when the link's queue is full, -EMSGSIZE, -ENOMEM; -EINVAL: not
 * a message that a ROUTER takes (logged: it is our own mistake). */
int peers_send(struct peers *p, const struct node_id *to, enum peers_channel ch, Caravan__Envelope *env,
        struct payload *payload);
/* Answers; env->ref becomes from->ref.  As above; -EHOSTUNREACH: that link has gone. */
int peers_answer(
        struct peers *p, const struct peers_from *from, Caravan__Envelope *env, struct payload *payload);
/* Answers with Refused. */
int peers_refuse(struct peers *p, const struct peers_from *from, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* The same, since too much is waiting: to be tried again after so many seconds. */
int peers_refuse_busy(struct peers *p, const struct peers_from *from, uint32_t seconds, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));

#endif
