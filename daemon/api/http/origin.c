/* origin: checks of a request's Host and Origin.
 *
 * A page in a browser can reach every address that the browser's machine can reach, including this node's,
 * even on loopback.  Two headers stop it: Origin says which page a request comes from, and Host by which name
 * the browser found the node.  A page under an attacker's own name, whose address changes to this node's
 * after it was loaded (DNS rebinding), has a matching Origin for its own requests, but its name is in Host.
 * So unknown names are refused; an address cannot be rebound.
 * Pure functions.  Threads: any. */
#include "config.h"

#include "daemon/api/http/http_internal.h"
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_LEN 255

bool http_host_split(const char *host, char *name, size_t len, char *port, size_t portlen) {
	const char *end = *host == '[' ? strchr(host, ']') : NULL;
	size_t n = *host == '[' ? (end ? (size_t)(end + 1 - host) : 0) : strcspn(host, ":");
	const char *rest = host + n;
	*port = '\0';
	if (n == 0 || n >= len || (*rest && *rest != ':'))
		return false;
	memcpy(name, host, n);
	name[n] = '\0';
	if (*rest) {
		size_t digits = strspn(rest + 1, "0123456789");
		if (digits == 0 || digits >= portlen || rest[1 + digits])
			return false;
		memcpy(port, rest + 1, digits + 1);
	}
	return true;
}

static bool host_is_address(const char *name) {
	struct in6_addr a;
	char inside[INET6_ADDRSTRLEN];
	size_t n = strlen(name);
	if (*name != '[')
		return inet_pton(AF_INET, name, &a) == 1;
	if (n < 3 || n - 2 >= sizeof inside)
		return false;
	memcpy(inside, name + 1, n - 2);
	inside[n - 2] = '\0';
	return inet_pton(AF_INET6, inside, &a) == 1;
}

/* A trailing dot does not make it another name. */
static bool same_name(const char *a, const char *b) {
	size_t n = strlen(a);
	if (n > 1 && a[n - 1] == '.')
		n--;
	return strlen(b) == n && strncasecmp(a, b, n) == 0;
}

bool http_host_ok(const char *host, char *const *names, size_t count) {
	char name[NAME_MAX_LEN + 1], port[8];
	if (!http_host_split(host, name, sizeof name, port, sizeof port))
		return false;
	if (host_is_address(name) || same_name(name, "localhost"))
		return true;
	for (size_t i = 0; i < count; i++)
		if (same_name(name, names[i]))
			return true;
	return false;
}

bool http_origin_own(const char *origin, const char *scheme, const char *host) {
	char a[NAME_MAX_LEN + 1], a_port[8], b[NAME_MAX_LEN + 1], b_port[8];
	const char *usual = strcmp(scheme, "https") == 0 ? "443" : "80";
	size_t n = strlen(scheme);
	if (strncasecmp(origin, scheme, n) != 0 || strncmp(origin + n, "://", 3) != 0 ||
	        !http_host_split(origin + n + 3, a, sizeof a, a_port, sizeof a_port) ||
	        !http_host_split(host, b, sizeof b, b_port, sizeof b_port))
		return false;
	return strcasecmp(a, b) == 0 && strcmp(*a_port ? a_port : usual, *b_port ? b_port : usual) == 0;
}

bool http_origin_named(const char *origin, char *const *names, size_t count) {
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(origin, names[i]) == 0)
			return true;
	return false;
}

bool http_address_is_loopback(const char *address) {
	char name[NAME_MAX_LEN + 1], port[8];
	struct in_addr four;
	if (!http_host_split(address, name, sizeof name, port, sizeof port))
		return false;
	return strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
	       (inet_pton(AF_INET, name, &four) == 1 && ntohl(four.s_addr) >> 24 == 127);
}
