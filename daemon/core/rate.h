/* rate: events per second, over the last ten seconds.
 * Owns nothing; a plain value.  Threads: the owner's. */
#ifndef DAEMON_CORE_RATE_H
#define DAEMON_CORE_RATE_H
#include <stdint.h>

#define RATE_SECONDS 10

struct rate {
	uint64_t count[RATE_SECONDS];
	uint64_t second; /* the second of the last bucket in use */
	uint64_t since;  /* second of the first count; 0: none yet */
};

void rate_add(struct rate *r, uint64_t now_ns, uint64_t n);
double rate_per_second(const struct rate *r, uint64_t now_ns);

#endif
