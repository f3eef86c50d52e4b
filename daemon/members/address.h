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
	5000 /* between checks, where the kernel does not notify, or the addresses could not be read */

struct sockaddr;

/* Whether an endpoint that we are bound to means every address of this machine. */
bool address_is_any(const char *bound);

/* The endpoints (tcp://host:port) of a bound one: itself, or, where it is bound to every address, those of the
 * machine's interfaces, the likeliest first, without the loopback, which is another machine for everybody else.
 * Returns how many, or a negative errno: they cannot be read now, which is not to have none. */
int address_list(const char *bound, char out[][ADDRESS_MAX], size_t max);

/* How likely others reach a machine at this address of an interface: 0 is best, -1 of no use.  bridge: it joins nothing
 * but interfaces that software made.  v6_flags: of an IPv6 address, as /proc/net/if_inet6 has them. */
int address_rank(const char *name, bool bridge, const struct sockaddr *a, unsigned v6_flags);

/* Whether this machine has an address, given as numbers. */
bool address_have(const char *address);

struct address_watch;
/* Calls changed whenever an address came, went, or may have. */
int address_watch_create(struct address_watch **out, struct loop *l, loop_fn *changed, void *arg);
void address_watch_destroy(struct address_watch *w); /* NULL allowed */

#endif
