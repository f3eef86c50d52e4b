#include "config.h"

#include "daemon/cluster/address.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *port_of(const char *endpoint) {
	const char *colon = strrchr(endpoint, ':');
	return colon ? colon + 1 : "";
}

/* Interfaces that software makes for itself: other machines seldom get there. */
static bool made_up(const char *name) {
	static const char *const prefixes[] = {"docker", "br-", "veth", "virbr", "lxc", "cni", "podman"};
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

/* 0: best; -1: of no use. */
static int rank(const struct ifaddrs *a) {
	if (!a->ifa_addr || !(a->ifa_flags & IFF_UP) || (a->ifa_flags & IFF_LOOPBACK))
		return -1;
	int family = a->ifa_addr->sa_family;
	if (family == AF_INET6 &&
	        IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)a->ifa_addr)->sin6_addr))
		return -1;
	if (family != AF_INET && family != AF_INET6)
		return -1;
	return (made_up(a->ifa_name) ? 2 : 0) + (family == AF_INET6);
}

size_t address_list(const char *bound, char out[][ADDRESS_MAX], size_t max) {
	const char *port = port_of(bound);
	size_t n = 0;
	if (strncmp(bound, "tcp://0.0.0.0:", 14) != 0 && strncmp(bound, "tcp://[::]:", 11) != 0) {
		snprintf(out[0], ADDRESS_MAX, "%s", bound);
		return 1;
	}
	bool v6 = bound[6] == '[';
	struct ifaddrs *all = NULL;
	if (getifaddrs(&all) != 0)
		all = NULL;
	for (int r = 0; r < 4; r++)
		for (const struct ifaddrs *a = all; a && n < max; a = a->ifa_next) {
			char host[INET6_ADDRSTRLEN];
			if (rank(a) != r)
				continue;
			if (a->ifa_addr->sa_family == AF_INET) {
				inet_ntop(AF_INET, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, host,
				        sizeof host);
				snprintf(out[n++], ADDRESS_MAX, "tcp://%s:%s", host, port);
			} else if (v6) {
				inet_ntop(AF_INET6, &((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr, host,
				        sizeof host);
				snprintf(out[n++], ADDRESS_MAX, "tcp://[%s]:%s", host, port);
			}
		}
	if (all)
		freeifaddrs(all);
	if (n == 0)
		snprintf(out[n++], ADDRESS_MAX, "tcp://127.0.0.1:%s", port);
	return n;
}
