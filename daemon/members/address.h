/* address: the addresses at which other machines reach our socket, and notification when they change.
 *
 * The kernel notifies of every change (netlink); several at once, as when a cable is plugged in, are reported once.
 * Where it does not (a sandbox), the addresses are read again every few seconds, and a change is reported.
 * Threads: the list: any; the watch: the loop. */
#ifndef DAEMON_MEMBERS_ADDRESS_H
#define DAEMON_MEMBERS_ADDRESS_H
#include "daemon/core/loop.h"
#include "proto/wire.h"

#define ADDRESS_MAX (WIRE_ENDPOINT_MAX + 1)
#define ADDRESS_CHECK_MS \
	5000 /* between checks, if the kernel does not notify or the addresses could not be read */

struct sockaddr;

/* Whether a bound endpoint stands for all addresses of this machine. */
bool address_is_any(const char *bound);

/* The endpoints (tcp://host:port) of a bound one: the endpoint itself or, if it is a wildcard, the addresses
 * of the machine's interfaces, best first, without the loopback, which is of no use to other machines.
 * Returns their number, or a negative errno if they cannot be read now, which does not mean that there are
 * none. */
int address_list(const char *bound, char out[][ADDRESS_MAX], size_t max);

/* How likely other machines are to reach this address of an interface: 0 is best, -1 is useless.  bridge: it
 * connects only virtual interfaces.  v6_flags: of an IPv6 address, as in /proc/net/if_inet6. */
int address_rank(const char *name, bool bridge, const struct sockaddr *a, unsigned v6_flags);

/* Whether this machine has an address, given as numbers. */
bool address_have(const char *address);

struct address_watch;
/* Calls changed whenever an address was added or removed, or may have been. */
int address_watch_create(struct address_watch **out, struct loop *l, loop_fn *changed, void *arg);
void address_watch_destroy(struct address_watch *w); /* NULL allowed */

#endif
