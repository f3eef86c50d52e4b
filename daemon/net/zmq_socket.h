/* zmq_socket: ZeroMQ sockets with CURVE, and limits on queues, sizes and waits.
 *
 * Owns: their options, and the monitors that report events of connections.
 * Threads: the loop. */
#ifndef DAEMON_NET_ZMQ_SOCKET_H
#define DAEMON_NET_ZMQ_SOCKET_H
#include "daemon/net/curve_keys.h"

#define SOCKET_DOMAIN "caravan" /* of the authenticator */
#define SOCKET_QUEUE 1000       /* queued messages to a peer */
#define SOCKET_TAKEN 64         /* queued messages from a peer */
#define SOCKET_CONNECT_MS 3000  /* for connecting and the CURVE handshake */
#define SOCKET_DEAD_MS 5000     /* without acknowledgement of sent data: the connection is dead */
#define SOCKET_NOT_CONNECTED "cannot connect" /* text of a monitor for ZMQ_EVENT_CLOSED */
/* Connected, but no handshake. */
#define SOCKET_SILENT \
	"its machine accepts connections, but caravand there does not answer: stopped, or very busy"
#define SOCKET_CLOSED "the connection was closed"
#define SOCKET_OTHER_KEY "the handshake failed: it was made for another key"

/* What to bind to for --listen: an address, an interface's name and * as they are, another name as the address that it has
 * here.  Whether it takes a socket for IPv6.  Asks a name server where there is such a name. */
bool socket_listen(const char *listen, char out[256]);
/* Why binding failed, for people. */
const char *socket_bind_strerror(int error);

/* A ROUTER that serves CURVE with these keys; the authenticator must be bound in ctx already.  v6: it will be
 * bound to an IPv6 address.  NULL: errno. */
void *socket_router(void *ctx, const struct keys *keys, bool v6);
/* A DEALER with these keys, to a server with this key. */
void *socket_dealer(void *ctx, const struct keys *keys, const struct node_id *server);

/* A socket that delivers the events of `of` (as zmq_socket_monitor).  NULL: errno. */
void *socket_monitor(void *ctx, void *of, int events);

/* Stops the monitor.  Call it before either socket is closed, otherwise libzmq's thread blocks forever. */
void socket_monitor_stop(void *of);

/* Receives one event: 1 with the event and a sentence, 0 if there is none.  For ZMQ_EVENT_CONNECTED the text is the local address,
 * or empty if unknown.  fd (NULL allowed): the descriptor of a new connection, owned by libzmq; -1 for other events. */
int socket_monitor_next(void *monitor, int *event, int *fd, char *text, size_t len);

#endif
