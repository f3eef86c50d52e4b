/* beacon: see beacon.h. */
#include "config.h"

#include "daemon/members/beacon.h"
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAGIC "CRVHERE1"
#define MAGIC_LEN 8
#define DATAGRAM (MAGIC_LEN + BEACON_TAG + 2)
#define SHARE 16 /* datagrams handled before other events get their turn */

struct beacon {
	int fd;
	struct event *event;
	uint8_t own[DATAGRAM];
	beacon_fn *received;
	void *arg;
};

void beacon_tag(const struct node_id *id, uint8_t tag[BEACON_TAG]) {
	static const char salt[] = "caravan here";
	uint8_t text[sizeof salt - 1 + sizeof id->b], hash[SHA256_DIGEST_LENGTH];
	memcpy(text, salt, sizeof salt - 1);
	memcpy(text + sizeof salt - 1, id->b, sizeof id->b);
	SHA256(text, sizeof text, hash);
	memcpy(tag, hash, BEACON_TAG);
}

static void beacon_readable(evutil_socket_t fd, short what, void *arg) {
	struct beacon *b = arg;
	(void)what;
	for (int i = 0; i < SHARE; i++) {
		uint8_t d[DATAGRAM + 1];
		struct sockaddr_in from;
		socklen_t len = sizeof from;
		char host[INET_ADDRSTRLEN], endpoint[WIRE_ENDPOINT_MAX + 1];
		ssize_t n = recvfrom(fd, d, sizeof d, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
		if (n < 0)
			return;
		uint16_t port = n == DATAGRAM ? (uint16_t)(d[DATAGRAM - 2] | d[DATAGRAM - 1] << 8) : 0;
		if (!port || memcmp(d, MAGIC, MAGIC_LEN) != 0 || memcmp(d, b->own, DATAGRAM) == 0 ||
		        from.sin_family != AF_INET || !inet_ntop(AF_INET, &from.sin_addr, host, sizeof host))
			continue;
		snprintf(endpoint, sizeof endpoint, "tcp://%s:%u", host, port);
		b->received(b->arg, d + MAGIC_LEN, endpoint);
	}
}

/* Calls fn for every interface that supports multicast and has an IPv4 address. */
static void beacon_each_interface(struct beacon *b, void (*fn)(struct beacon *b, const struct ip_mreqn *on)) {
	struct ifaddrs *all = NULL;
	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *a = all; a; a = a->ifa_next) {
		if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET || !(a->ifa_flags & IFF_UP) ||
		        !(a->ifa_flags & IFF_MULTICAST) || (a->ifa_flags & IFF_LOOPBACK))
			continue;
		struct ip_mreqn on = {.imr_address = ((const struct sockaddr_in *)a->ifa_addr)->sin_addr,
		        .imr_ifindex = (int)if_nametoindex(a->ifa_name)};
		inet_pton(AF_INET, BEACON_GROUP, &on.imr_multiaddr);
		fn(b, &on);
	}
	freeifaddrs(all);
}

static void beacon_listen_on(struct beacon *b, const struct ip_mreqn *on) {
	/* fails if the interface is a member already, which is as good */
	(void)!setsockopt(b->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, on, sizeof *on);
}

static void beacon_call_on(struct beacon *b, const struct ip_mreqn *on) {
	const struct sockaddr_in to = {
	        .sin_family = AF_INET, .sin_port = htons(BEACON_PORT), .sin_addr = on->imr_multiaddr};
	beacon_listen_on(b, on);
	if (setsockopt(b->fd, IPPROTO_IP, IP_MULTICAST_IF, on, sizeof *on) == 0)
		(void)!sendto(
		        b->fd, b->own, sizeof b->own, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof to);
}

void beacon_call(struct beacon *b) {
	beacon_each_interface(b, beacon_call_on);
}

int beacon_create(struct beacon **out, struct loop *l, const struct node_id *self, uint16_t port,
        beacon_fn *received, void *arg) {
	struct sockaddr_in group = {.sin_family = AF_INET, .sin_port = htons(BEACON_PORT)};
	int yes = 1, rc = -ENOMEM;
	struct beacon *b = calloc(1, sizeof *b);
	if (!b)
		return rc;
	*b = (struct beacon){.received = received, .arg = arg};
	memcpy(b->own, MAGIC, MAGIC_LEN);
	beacon_tag(self, b->own + MAGIC_LEN);
	b->own[DATAGRAM - 2] = (uint8_t)port;
	b->own[DATAGRAM - 1] = (uint8_t)(port >> 8);
	/* bound to the group's address, the socket does not receive unicast datagrams to this machine */
	inet_pton(AF_INET, BEACON_GROUP, &group.sin_addr);
	b->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* every daemon of a machine receives what is sent to the group */
	if (b->fd < 0 || setsockopt(b->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
	        bind(b->fd, (const struct sockaddr *)&group, sizeof group) != 0) {
		rc = -errno;
		goto error;
	}
	b->event = event_new(loop_base(l), b->fd, EV_READ | EV_PERSIST, beacon_readable, b);
	if (!b->event || event_add(b->event, NULL) != 0)
		goto error;
	beacon_each_interface(b, beacon_listen_on);
	*out = b;
	return 0;
error:
	beacon_destroy(b);
	return rc;
}

void beacon_destroy(struct beacon *b) {
	if (!b)
		return;
	if (b->event)
		event_free(b->event);
	if (b->fd >= 0)
		close(b->fd);
	free(b);
}
