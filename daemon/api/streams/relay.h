/* relay: a stream that another node keeps, for a client that asks this one.
 *
 * Owns: what was asked of other nodes.  The node that keeps a stream is named at the end of its id.  This node has checked the
 * client's key, and says which one it is; that node decides whose the stream is.
 * Flow control: that node sends STREAM_WINDOW bytes, and more when stream_relay_took says that the client has read some.
 * Threads: see each function; between them it is a crossing (crossing.h). */
#ifndef DAEMON_API_STREAMS_RELAY_H
#define DAEMON_API_STREAMS_RELAY_H
#include "daemon/api/completion.h"
#include "daemon/api/streams/kept.h"

#define STREAM_WINDOW (64u << 10)
#define STREAM_NODE 12 /* hexadecimal digits of a node's id at the end of a stream's */

struct stream_relays;
struct stream_relay;

struct stream_ask {
	const char *id;
	uint64_t key;  /* of its client; 0: no key counts */
	uint32_t from; /* the first event; 0: cancel the stream */
	/* Called on the HTTP thread, not within stream_relay_start. */
	void (*begin)(void *arg, const char *type); /* its content type; then come bytes */
	void (*bytes)(void *arg, const void *data, size_t len);
	/* Once.  error NULL: it is complete, or has been cancelled. */
	void (*end)(void *arg, const struct completion_error *error);
	void *arg;
};

/* Loop.  0 or -ENOMEM. */
int stream_relays_create(struct stream_relays **out, struct loop *loop, struct members *m);
/* The HTTP server has started; what its thread asked for before is begun after this. */
int stream_relays_attach(struct stream_relays *rs, struct loop *http);
void stream_relays_destroy(struct stream_relays *rs); /* NULL allowed; when the HTTP thread has ended */

/* HTTP thread.  NULL: out of memory. */
struct stream_relay *stream_relay_start(struct stream_relays *rs, const struct stream_ask *ask);
void stream_relay_took(struct stream_relay *r, uint64_t bytes); /* so many since the first */
void stream_relay_release(struct stream_relay *r);              /* once; before the end: to cancel */

/* Any thread.  Whether the id is of the form that every node gives, and of another node than this one. */
bool stream_is_elsewhere(const char *id, const char *own_node);

#endif
