/* listen: the sockets of an address such as 127.0.0.1:8080, [::1]:8080, localhost:8080 or *:8080.
 * Threads: any. */
#include "config.h"

#include "common/fail.h"
#include "daemon/api/http/http_internal.h"
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 1024

static int listen_on(const struct sockaddr *addr, socklen_t len) {
	int one = 1, zero = 0;
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (addr->sa_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY,
		        IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)addr)->sin6_addr) ? &zero
		                                                                                 : &one,
		        sizeof one);
	if (bind(fd, addr, len) != 0 || listen(fd, BACKLOG) != 0) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

static uint16_t listen_port(int fd) {
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	if (getsockname(fd, (struct sockaddr *)&a, &len) != 0)
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
	                                     : ((struct sockaddr_in *)&a)->sin_port);
}

/* All interfaces: the IPv6 socket accepts IPv4 too, if IPv6 is available. */
static int listen_everywhere(uint16_t port) {
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = listen_on((struct sockaddr *)&six, sizeof six);
	return fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL ? listen_on((struct sockaddr *)&four, sizeof four)
	                                                   : fd;
}

int http_listen(const char *address, int fds[HTTP_LISTENERS_MAX], uint16_t *port, char *err, size_t errlen) {
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
	                *all = NULL;
	char host[256], service[8];
	int n = 0, rc = 0;
	if (!http_host_split(address, host, sizeof host, service, sizeof service) || !*service ||
	        strtoul(service, NULL, 10) > 65535)
		return fail_with(-EINVAL, err, errlen, "'%s' is not of the form ADDR:PORT", address);
	if (strcmp(host, "*") == 0) {
		rc = fds[0] = listen_everywhere((uint16_t)strtoul(service, NULL, 10));
		n = rc >= 0;
	} else {
		char *name = host;
		if (*host == '[') {
			host[strlen(host) - 1] = '\0';
			name++;
		}
		int found = getaddrinfo(name, service, &hints, &all);
		if (found != 0)
			return fail_with(-EINVAL, err, errlen, "cannot listen on http://%s: %s", address,
			        gai_strerror(found));
		for (struct addrinfo *a = all; a && n < HTTP_LISTENERS_MAX; a = a->ai_next) {
			if ((a->ai_family != AF_INET && a->ai_family != AF_INET6))
				continue;
			int fd = listen_on(a->ai_addr, a->ai_addrlen);
			if (fd >= 0)
				fds[n++] = fd;
			else if (rc == 0 || fd == -EADDRINUSE)
				rc = fd;
		}
		freeaddrinfo(all);
	}
	/* one address of a name is enough, unless another program has the port on the other */
	if (n == 0 || rc == -EADDRINUSE) {
		while (n > 0)
			close(fds[--n]);
		rc = rc < 0 ? rc : -EADDRNOTAVAIL;
		return fail_with(rc, err, errlen, "cannot listen on http://%s: %s", address,
		        rc == -EADDRINUSE
		                ? "another program, perhaps another caravand, already listens there: choose another port with --http"
		                : strerror(-rc));
	}
	*port = listen_port(fds[0]);
	return n;
}
