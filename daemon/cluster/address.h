/* address: under which addresses other machines find what we listen at.
 * Threads: any. */
#ifndef DAEMON_CLUSTER_ADDRESS_H
#define DAEMON_CLUSTER_ADDRESS_H
#include <stddef.h>

#define ADDRESS_MAX 128

/* The endpoints (tcp://host:port) of a bound one: itself, or, where it is bound to every address, those of the
 * machine's interfaces, the likeliest first; where there is no other, its loopback.  Returns how many. */
size_t address_list(const char *bound, char out[][ADDRESS_MAX], size_t max);

#endif
