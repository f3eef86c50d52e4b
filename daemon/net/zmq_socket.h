/* zmq_socket: ZeroMQ sockets as Caravan makes them: CURVE on, every queue, size and wait bounded.
 *
 * Owns: the options, and the monitors that tell what became of a connection.
 * Threads: the loop. */
#ifndef DAEMON_NET_ZMQ_SOCKET_H
#define DAEMON_NET_ZMQ_SOCKET_H
#include "daemon/net/curve_keys.h"

#define SOCKET_DOMAIN "caravan" /* of the authenticator */
#define SOCKET_QUEUE 1000       /* messages to one peer that wait in libzmq */
#define SOCKET_TAKEN 64         /* messages from one peer that wait for us */
#define SOCKET_CONNECT_MS 3000  /* to connect and shake hands */
#define SOCKET_DEAD_MS 5000     /* what was sent goes unacknowledged for so long: the connection is dead */
#define SOCKET_NOT_CONNECTED "cannot connect" /* what a monitor says of ZMQ_EVENT_CLOSED */
#define SOCKET_OTHER_KEY "the handshake failed: it was made for another key"

/* What to bind to for --listen: an address, an interface's name and * as they are, another name as the address that it has
 * here.  Whether it takes a socket for IPv6.  Asks a name server where there is such a name. */
bool socket_listen(const char *listen, char out[256]);
/* Why that failed, for people. */
const char *socket_bind_strerror(int error);

/* A ROUTER that serves CURVE with these keys; the authenticator must be bound in ctx already.  v6: it will be
 * bound to an IPv6 address.  NULL: errno. */
void *socket_router(void *ctx, const struct keys *keys, bool v6);
/* A DEALER with these keys, to a server that has this one. */
void *socket_dealer(void *ctx, const struct keys *keys, const struct node_id *server);

/* A socket that gives the events of `of` (as zmq_socket_monitor has them). NULL: errno. */
void *socket_monitor(void *ctx, void *of, int events);

/* Ends it; call before either end is closed: libzmq's thread would wait for ever to tell an event to nobody. */
void socket_monitor_stop(void *of);

/* Receives one event: 1 with a sentence about it and the event, 0 when there is none.  For ZMQ_EVENT_CONNECTED the text
 * is the address at this end, or empty where that cannot be told any more.  fd (NULL allowed): libzmq's own, of a connection
 * that was made or accepted; -1 for other events. */
int socket_monitor_next(void *monitor, int *event, int *fd, char *text, size_t len);

#endif
