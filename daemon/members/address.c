/* address: see address.h. */
#include "config.h"

#include "daemon/members/address.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <ifaddrs.h>
#include <limits.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTLE_MS 200 /* changes within this time are reported once */
#define SEEN_MAX 64   /* addresses considered */

/* ---- which is best ------------------------------------------------------------------------------------ */

static bool address_has_prefix(const char *name, const char *const *prefixes) {
	for (; *prefixes; prefixes++)
		if (strncmp(name, *prefixes, strlen(*prefixes)) == 0)
			return true;
	return false;
}

/* Interfaces for virtual machines and containers: other machines can seldom reach them. */
static bool address_is_virtual(const char *name) {
	static const char *const prefixes[] = {"docker", "br-", "veth", "virbr", "vnet", "tap", "lxc", "lxd",
	        "incus", "cni", "flannel", "cali", "podman", "vboxnet", "vmnet", NULL};
	return address_has_prefix(name, prefixes);
}

/* Interfaces of overlay networks: they lead to other machines, but seldom by the shortest path. */
static bool address_is_overlay(const char *name) {
	static const char *const prefixes[] = {"tun", "wg", "tailscale", "zt", "ppp", "nebula", "utun", NULL};
	return address_has_prefix(name, prefixes);
}

int address_rank(const char *name, bool bridge, const struct sockaddr *a, unsigned v6_flags) {
	enum { LAN4, LAN6, OVERLAY4, OVERLAY6, PASSING6, GUESTS4, GUESTS6, SELF_GIVEN };
	bool guests = bridge || address_is_virtual(name), over = address_is_overlay(name);
	if (a->sa_family == AF_INET) {
		uint32_t ip = ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr);
		if (ip >> 24 == 127 || ip == 0)
			return -1;
		if (ip >> 16 == 0xa9fe) /* 169.254/16: link-local */
			return SELF_GIVEN;
		over |= ip >> 22 == (100u << 24 | 64u << 16) >> 22; /* 100.64/10 */
		return guests ? GUESTS4 : over ? OVERLAY4 : LAN4;
	}
	if (a->sa_family == AF_INET6) {
		const struct in6_addr *ip = &((const struct sockaddr_in6 *)a)->sin6_addr;
		enum { TEMPORARY = 0x01, DAD_FAILED = 0x08, DEPRECATED = 0x20, TENTATIVE = 0x40 };
		if (IN6_IS_ADDR_LINKLOCAL(ip) || IN6_IS_ADDR_LOOPBACK(ip) || IN6_IS_ADDR_V4MAPPED(ip) ||
		        (v6_flags & (DAD_FAILED | TENTATIVE)))
			return -1;
		if (v6_flags & (TEMPORARY | DEPRECATED))
			return PASSING6;
		return guests ? GUESTS6 : over ? OVERLAY6 : LAN6;
	}
	return -1;
}

/* Whether a bridge connects nothing but guests: one with a physical interface is the machine's uplink. */
static bool address_is_guest_bridge(const char *name) {
	char path[PATH_MAX];
	bool guests = true;
	snprintf(path, sizeof path, "/sys/class/net/%s/brif", name);
	DIR *d = opendir(path);
	if (!d)
		return false;
	for (struct dirent *e; (e = readdir(d));)
		guests = guests && (e->d_name[0] == '.' || address_is_virtual(e->d_name));
	closedir(d);
	return guests;
}

/* The flags of an IPv6 address; 0 if they cannot be read. */
static unsigned address_v6_flags(const struct in6_addr *ip) {
	char hex[33], have[33], line[128];
	unsigned flags = 0, f;
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", ip->s6_addr[i]);
	FILE *file = fopen("/proc/net/if_inet6", "re");
	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "%32s %*x %*x %*x %x", have, &f) == 2 && strcmp(have, hex) == 0)
			flags = f;
	if (file)
		fclose(file);
	return flags;
}

/* ---- the list ------------------------------------------------------------------------------------------ */

bool address_is_any(const char *bound) {
	return strncmp(bound, "tcp://0.0.0.0:", 14) == 0 || strncmp(bound, "tcp://[::]:", 11) == 0;
}

/* An interface's address as text; an IPv4-mapped IPv6 address as IPv4. */
static const char *address_host_text(const struct sockaddr *a, char host[INET6_ADDRSTRLEN]) {
	if (a->sa_family == AF_INET)
		return inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, host, INET6_ADDRSTRLEN);
	if (a->sa_family == AF_INET6)
		return inet_ntop(
		        AF_INET6, &((const struct sockaddr_in6 *)a)->sin6_addr, host, INET6_ADDRSTRLEN);
	return NULL;
}

struct found {
	int rank;
	char endpoint[ADDRESS_MAX];
};

int address_list(const char *bound, char out[][ADDRESS_MAX], size_t max) {
	struct found found[SEEN_MAX];
	size_t n = 0, taken = 0;
	if (!address_is_any(bound)) {
		snprintf(out[0], ADDRESS_MAX, "%.*s", ADDRESS_MAX - 1, bound);
		return 1;
	}
	const char *port = strrchr(bound, ':') + 1;
	struct ifaddrs *all = NULL;
	if (getifaddrs(&all) != 0)
		return errno ? -errno : -EIO;
	for (const struct ifaddrs *a = all; a && n < sizeof found / sizeof *found; a = a->ifa_next) {
		char host[INET6_ADDRSTRLEN];
		if (!a->ifa_addr || !(a->ifa_flags & IFF_UP) || (a->ifa_flags & IFF_LOOPBACK) ||
		        !address_host_text(a->ifa_addr, host))
			continue;
		bool v6 = a->ifa_addr->sa_family == AF_INET6;
		if (v6 && bound[6] != '[')
			continue;
		found[n].rank = address_rank(a->ifa_name, address_is_guest_bridge(a->ifa_name), a->ifa_addr,
		        v6 ? address_v6_flags(&((const struct sockaddr_in6 *)a->ifa_addr)->sin6_addr) : 0);
		if (found[n].rank < 0)
			continue;
		snprintf(found[n++].endpoint, ADDRESS_MAX, v6 ? "tcp://[%s]:%s" : "tcp://%s:%s", host, port);
	}
	freeifaddrs(all);
	for (int rank = 0; rank < 16; rank++)
		for (size_t i = 0; i < n && taken < max; i++)
			if (found[i].rank == rank)
				memcpy(out[taken++], found[i].endpoint, ADDRESS_MAX);
	return (int)taken;
}

bool address_have(const char *address) {
	struct ifaddrs *all = NULL;
	bool have = false;
	if (getifaddrs(&all) != 0)
		return true; /* unknown: assume it has, which does no harm */
	for (const struct ifaddrs *a = all; a && !have; a = a->ifa_next) {
		char host[INET6_ADDRSTRLEN];
		size_t len = strcspn(address, "%");
		have = a->ifa_addr && address_host_text(a->ifa_addr, host) && strlen(host) == len &&
		       strncmp(host, address, len) == 0;
	}
	freeifaddrs(all);
	return have;
}

/* ---- the watch ---------------------------------------------------------------------------------------- */

struct address_watch {
	struct loop *loop;
	int fd; /* -1: no notification by the kernel */
	struct event *event;
	struct loop_timer *timer; /* settling, or the next check */
	loop_fn *changed;
	void *arg;
	struct seen {
		int n; /* negative: they could not be read */
		char at[SEEN_MAX][ADDRESS_MAX];
	} seen; /* as of the last check, without notification by the kernel */
};

static void watch_read_addresses(struct seen *s) {
	s->n = address_list("tcp://[::]:1", s->at, SEEN_MAX); /* of both families */
}

static bool watch_same_addresses(const struct seen *a, const struct seen *b) {
	bool same = a->n == b->n;
	for (int i = 0; i < a->n && same; i++)
		same = strcmp(a->at[i], b->at[i]) == 0;
	return same;
}

static void watch_settled(void *arg) {
	struct address_watch *w = arg;
	w->timer = NULL;
	w->changed(w->arg);
}

static void watch_check(void *arg) {
	struct address_watch *w = arg;
	struct seen now;
	watch_read_addresses(&now);
	if (now.n < 0 || watch_same_addresses(&w->seen, &now))
		return;
	w->seen = now;
	w->changed(w->arg);
}

static void watch_readable(evutil_socket_t fd, short what, void *arg) {
	struct address_watch *w = arg;
	char buf[8192];
	bool any = false;
	(void)what;
	/* the content does not matter: any message is a change, and so is a lost one (ENOBUFS) */
	for (ssize_t n; (n = recv(fd, buf, sizeof buf, MSG_DONTWAIT)) > 0 || (n < 0 && errno == ENOBUFS);)
		any = true;
	if (any && !w->timer)
		w->timer = loop_timer_start(w->loop, SETTLE_MS, false, watch_settled, w);
}

int address_watch_create(struct address_watch **out, struct loop *l, loop_fn *changed, void *arg) {
	const struct sockaddr_nl events = {
	        .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_LINK};
	struct address_watch *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	*w = (struct address_watch){.loop = l, .changed = changed, .arg = arg};
	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (w->fd >= 0 && bind(w->fd, (const struct sockaddr *)&events, sizeof events) == 0) {
		w->event = event_new(loop_base(l), w->fd, EV_READ | EV_PERSIST, watch_readable, w);
		if (!w->event || event_add(w->event, NULL) != 0)
			goto error;
	} else {
		watch_read_addresses(&w->seen);
		w->timer = loop_timer_start(l, ADDRESS_CHECK_MS, true, watch_check, w);
		if (!w->timer)
			goto error;
	}
	*out = w;
	return 0;
error:
	address_watch_destroy(w);
	return -ENOMEM;
}

void address_watch_destroy(struct address_watch *w) {
	if (!w)
		return;
	if (w->event)
		event_free(w->event);
	if (w->fd >= 0)
		close(w->fd);
	loop_timer_stop(w->timer);
	free(w);
}
