/* zmq_socket: see zmq_socket.h. */
#include "config.h"

#include "daemon/net/zmq_socket.h"
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

static int zmq_socket_set(void *s, int option, int value) {
	return zmq_setsockopt(s, option, &value, sizeof value);
}

/* Limits common to both kinds. */
static int zmq_socket_set_bounds(void *s) {
	int64_t largest = WIRE_PAYLOAD_MAX + 1024;
	if (zmq_socket_set(s, ZMQ_LINGER, 0) || zmq_socket_set(s, ZMQ_SNDHWM, SOCKET_QUEUE) ||
	        zmq_socket_set(s, ZMQ_RCVHWM, SOCKET_TAKEN) ||
	        zmq_socket_set(s, ZMQ_HANDSHAKE_IVL, SOCKET_CONNECT_MS) ||
	        /* these end connections to a machine that lost power or network: with unacknowledged data, and without */
	        zmq_socket_set(s, ZMQ_TCP_MAXRT, SOCKET_DEAD_MS) || zmq_socket_set(s, ZMQ_TCP_KEEPALIVE, 1) ||
	        zmq_socket_set(s, ZMQ_TCP_KEEPALIVE_IDLE, 30) ||
	        zmq_socket_set(s, ZMQ_TCP_KEEPALIVE_CNT, 3) || zmq_socket_set(s, ZMQ_TCP_KEEPALIVE_INTVL, 10))
		return -1;
	return zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &largest, sizeof largest);
}

static void *zmq_socket_fail(void *s) {
	int saved = errno;
	if (s)
		zmq_close(s);
	errno = saved;
	return NULL;
}

/* Whether the kernel supports IPv6, so that a socket may be bound to all addresses. */
static bool zmq_socket_ipv6_works(void) {
	const struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool works = fd >= 0 && bind(fd, (const struct sockaddr *)&any, sizeof any) == 0;
	if (fd >= 0)
		close(fd);
	return works;
}

/* What to bind to: an address or an interface's name as given; a host name is resolved here, which libzmq does not do. */
static void zmq_socket_resolve_listen(const char *listen, char out[256]) {
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *found = NULL;
	const char *port = strrchr(listen, ':');
	char host[256];
	snprintf(out, 256, "%s", listen);
	if (strncmp(listen, "tcp://", 6) != 0 || !port || listen[6] == '[' || listen[6] == '*')
		return;
	snprintf(host, sizeof host, "%.*s", (int)(port - listen - 6), listen + 6);
	if (if_nametoindex(host) || strspn(host, "0123456789.") == strlen(host) ||
	        getaddrinfo(host, NULL, &hints, &found) != 0)
		return;
	if (getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0)
		snprintf(out, 256, found->ai_family == AF_INET6 ? "tcp://[%.200s]%s" : "tcp://%.200s%s", host,
		        port);
	freeaddrinfo(found);
}

const char *socket_bind_strerror(int error) {
	switch (error) {
	case ENODEV:
	case EADDRNOTAVAIL:
		return "this machine has no such address: tcp://*:PORT means all addresses that it has";
	case EADDRINUSE:
		return "another program, perhaps another caravand, already listens there: choose another port with --listen";
	default:
		return zmq_strerror(error);
	}
}

bool socket_listen(const char *listen, char out[256]) {
	zmq_socket_resolve_listen(listen, out);
	return strchr(out, '[') || (strncmp(out, "tcp://*:", 8) == 0 && zmq_socket_ipv6_works());
}

void *socket_router(void *ctx, const struct keys *keys, bool v6) {
	void *s = zmq_socket(ctx, ZMQ_ROUTER);
	if (!s || zmq_socket_set_bounds(s) || zmq_socket_set(s, ZMQ_IPV6, v6) ||
	        zmq_socket_set(s, ZMQ_ROUTER_MANDATORY, 1) || zmq_socket_set(s, ZMQ_ROUTER_HANDOVER, 0) ||
	        zmq_socket_set(s, ZMQ_BACKLOG, 64) || zmq_socket_set(s, ZMQ_CURVE_SERVER, 1) ||
	        zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, keys->secret, sizeof keys->secret) ||
	        zmq_setsockopt(s, ZMQ_ZAP_DOMAIN, SOCKET_DOMAIN, strlen(SOCKET_DOMAIN)))
		return zmq_socket_fail(s);
	return s;
}

void *socket_dealer(void *ctx, const struct keys *keys, const struct node_id *server) {
	void *s = zmq_socket(ctx, ZMQ_DEALER);
	/* never reconnects by itself: a new connection is a new link, which begins with Hello */
	if (!s || zmq_socket_set_bounds(s) || zmq_socket_set(s, ZMQ_IPV6, 1) ||
	        zmq_socket_set(s, ZMQ_IMMEDIATE, 1) || zmq_socket_set(s, ZMQ_RECONNECT_IVL, -1) ||
	        zmq_socket_set(s, ZMQ_CONNECT_TIMEOUT, SOCKET_CONNECT_MS) ||
	        zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, keys->public.b, sizeof keys->public.b) ||
	        zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, keys->secret, sizeof keys->secret) ||
	        zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, server->b, sizeof server->b))
		return zmq_socket_fail(s);
	return s;
}

void *socket_monitor(void *ctx, void *of, int events) {
	static unsigned long count;
	char name[64];
	snprintf(name, sizeof name, "inproc://monitor-%lu", ++count);
	if (zmq_socket_monitor(of, name, events) != 0)
		return NULL;
	void *m = zmq_socket(ctx, ZMQ_PAIR);
	if (!m || zmq_socket_set(m, ZMQ_LINGER, 0) || zmq_connect(m, name) != 0) {
		socket_monitor_stop(of);
		return zmq_socket_fail(m);
	}
	return m;
}

void socket_monitor_stop(void *of) {
	zmq_socket_monitor(of, NULL, 0);
}

/* The numeric local address of a connection; IPv4 not as mapped IPv6. */
static void zmq_socket_local_address(int fd, char *text, size_t len) {
	struct sockaddr_storage a;
	socklen_t alen = sizeof a;
	char host[NI_MAXHOST];
	text[0] = 0;
	if (getsockname(fd, (struct sockaddr *)&a, &alen) != 0 ||
	        getnameinfo((struct sockaddr *)&a, alen, host, sizeof host, NULL, 0, NI_NUMERICHOST) != 0)
		return;
	snprintf(text, len, "%s", strncmp(host, "::ffff:", 7) == 0 ? host + 7 : host);
}

int socket_monitor_next(void *monitor, int *event, int *fd, char *text, size_t len) {
	uint8_t head[6];
	char where[128] = "";
	int n = zmq_recv(monitor, head, sizeof head, ZMQ_DONTWAIT);
	if (n < 0)
		return 0;
	int more = 0;
	size_t more_len = sizeof more;
	zmq_getsockopt(monitor, ZMQ_RCVMORE, &more, &more_len);
	if (more)
		zmq_recv(monitor, where, sizeof where - 1, ZMQ_DONTWAIT);
	uint16_t kind;
	uint32_t value;
	memcpy(&kind, head, sizeof kind);
	memcpy(&value, head + 2, sizeof value);
	*event = kind;
	if (fd)
		*fd = kind == ZMQ_EVENT_CONNECTED || kind == ZMQ_EVENT_ACCEPTED ||
		                      kind == ZMQ_EVENT_DISCONNECTED
		              ? (int)value
		              : -1;
	switch (kind) {
	case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
		snprintf(text, len, "the key was refused");
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
		if (value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)
			snprintf(text, len, SOCKET_OTHER_KEY);
		else
			snprintf(text, len, "the handshake failed: not a node (protocol error %08x)", value);
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
		if (value == EAGAIN) /* it took longer than SOCKET_CONNECT_MS */
			snprintf(text, len, SOCKET_SILENT);
		else
			snprintf(text, len, "the connection ended during the handshake%s%s",
			        value ? ": " : "", value ? zmq_strerror((int)value) : "");
		break;
	case ZMQ_EVENT_CONNECTED:
		zmq_socket_local_address((int)value, text, len);
		break;
	case ZMQ_EVENT_CLOSED:
		snprintf(text, len, SOCKET_NOT_CONNECTED);
		break;
	case ZMQ_EVENT_DISCONNECTED:
		snprintf(text, len, SOCKET_CLOSED);
		break;
	default:
		snprintf(text, len, "event %u", kind);
	}
	return 1;
}
