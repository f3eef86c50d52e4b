/* peers: encrypted links to the other nodes; every message between nodes passes here.
 *
 * Owns: the ZeroMQ context, the ROUTER (CURVE server), the authenticator, which is bound first, and two DEALERs to each
 * connected node: one for control and steps, one for bulk.  Each link does a handshake and counts its messages (a gap is a
 * loss); a link that is refused or lost is opened again with backoff.
 * A message to ourselves takes the same path without the network, so that callers need not know which node is local.
 * Requests and steps are sent on our DEALERs to the ROUTER of the other node; a ROUTER only sends answers.
 * Invariant: the sender of a message is the key that CURVE proved, checked against the roster at every message.
 * Threads: the loop. */
#ifndef DAEMON_NET_PEERS_H
#define DAEMON_NET_PEERS_H
#include "daemon/core/loop.h"
#include "daemon/net/curve_keys.h"
#include "daemon/net/payload.h"
#include "proto/wire.h"

struct peers;

enum peers_channel { PEERS_CONTROL, PEERS_BULK };

/* The sender of a request, for answering now or later.  A plain value that may be copied and kept; an answer to a link that
 * is gone returns -EHOSTUNREACH. */
struct peers_from {
	struct node_id node;
	bool local;    /* ourselves */
	bool invited;  /* a guest with an invitation, not yet in the roster */
	uint64_t ref;  /* of the request */
	uint64_t link; /* private: which connection */
	enum peers_channel channel;
};

/* The standing of a key in the roster; checked at the handshake and at every message. */
enum peers_verdict { PEERS_REFUSE, PEERS_MEMBER, PEERS_INVITED };

/* A message arrived.  env and payload are borrowed for the call (payload_ref keeps the payload).
 * At our ROUTER `from` can be answered; at a DEALER it holds the node and the ref of our request. */
typedef void peers_fn(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload);

struct peers_config {
	const char *listen;      /* tcp://addr:port or NULL: no network at all */
	const struct keys *keys; /* borrowed */
	enum peers_verdict (*admit)(
	        void *arg, const struct node_id *key, const char **why); /* why: for the log */
	/* A link to a node came up (both DEALERs were welcomed) or was lost.  Both channels are lost together: after a loss no
	 * answer of that node arrives on either.  Never called from within a call of this module, nor after peers_disconnect. */
	void (*link)(void *arg, const struct node_id *node, bool up, const char *why);
	/* fills the roster of an outgoing Hello or Welcome; the entries are valid until the next call */
	void (*roster)(void *arg, Caravan__Entry ***entries, size_t *count);
	/* a Hello or Welcome arrived, with the roster of the node, its minor protocol version and its arithmetic revision */
	void (*roster_received)(void *arg, const struct node_id *from, uint32_t minor, uint32_t arithmetic,
	        Caravan__Entry *const *entries, size_t count);
	/* two machines use the key of one node, from the addresses first and second: writes the sentence that both get */
	void (*duplicate_key)(void *arg, const struct node_id *node, const char *first, const char *second,
	        char *text, size_t len);
	/* the name of the node with this address (numeric, without a port), for messages; NULL: none */
	const char *(*name_at)(void *arg, const char *address);
	/* a message of any kind arrived from a node of the roster */
	void (*message_arrived)(void *arg, const struct node_id *from);
	uint32_t arithmetic; /* our revision, for Hello and Welcome */
	void *arg;           /* all of these functions but admit may be NULL */
};

int peers_create(struct peers **out, struct loop *l, const struct peers_config *c, char *err, size_t errlen);
void peers_destroy(struct peers *p); /* NULL allowed; not within a callback */
const struct node_id *peers_self(const struct peers *p);
const char *peers_endpoint(const struct peers *p); /* what we are bound to, with its port */

/* Keeps a link to this node, at one of these endpoints (none: not known yet), until peers_disconnect.  Called again, it
 * replaces the endpoints. */
int peers_connect(struct peers *p, const struct node_id *node, const char *const *endpoints, size_t n);
void peers_disconnect(struct peers *p, const struct node_id *node);
/* Drops a link that is silent or broken; it is opened again. */
void peers_drop(struct peers *p, const struct node_id *node, const char *why);
bool peers_linked(const struct peers *p, const struct node_id *node); /* ourselves: always */
/* A message of the node came from this address: tried too. */
void peers_hint(struct peers *p, const struct node_id *node, const char *endpoint);
/* The node has connected to us: it is tried at once, unless its link is up. */
void peers_awake(struct peers *p, const struct node_id *node);
/* This machine's addresses changed: links from an address that is gone are lost, and all that are not up are tried at
 * once. */
void peers_readdress(struct peers *p, bool (*have)(void *arg, const char *address), void *arg);
/* Why the last round of attempts to reach a node failed, with the address; empty: it did not, or is not over. */
const char *peers_failure(const struct peers *p, const struct node_id *node);

/* One connection for a Join: with the invitation's key pair to the inviter's endpoints, tried in turn.
 * done is called once, with Joined's entries and the endpoint that answered, or with an error sentence. */
typedef void peers_join_fn(
        void *arg, Caravan__Entry *const *entries, size_t count, const char *endpoint, const char *error);
int peers_join(struct peers *p, const struct keys *invitation, const struct node_id *server,
        const char *const *endpoints, size_t nendpoints, const Caravan__Join *ask, peers_join_fn *done,
        void *arg);

/* The share of what was lately sent to a node that got lost on the way; 0: none, or too little is known. */
double peers_lost(const struct peers *p, const struct node_id *node);

/* Calls fn for every message of this kind (Caravan__Envelope body case) on any socket.  Several functions may be registered
 * for one kind; each checks whether the ref of an answer is its own. */
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
/* The same, because too much is waiting: the sender may try again after `seconds`. */
int peers_refuse_busy(struct peers *p, const struct peers_from *from, uint32_t seconds, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));

#endif
