/* rate: see rate.h. */
#include "daemon/core/rate.h"

void rate_add(struct rate *r, uint64_t now_ns, uint64_t n) {
	uint64_t s = now_ns / 1000000000u;
	if (r->since == 0)
		r->since = r->second = s;
	for (uint64_t k = 0; r->second < s && k < RATE_SECONDS; k++)
		r->count[++r->second % RATE_SECONDS] = 0;
	r->second = s;
	r->count[s % RATE_SECONDS] += n;
}

double rate_per_second(const struct rate *r, uint64_t now_ns) {
	uint64_t s = now_ns / 1000000000u, sum = 0;
	if (r->since == 0 || s >= r->second + RATE_SECONDS)
		return 0;
	/* buckets of seconds that passed since the last count are stale */
	for (uint64_t k = 0; k < RATE_SECONDS; k++) {
		uint64_t age = s - r->second + k;
		if (age >= RATE_SECONDS || k > r->second - r->since)
			break;
		sum += r->count[(r->second - k) % RATE_SECONDS];
	}
	uint64_t span = s - r->since + 1;
	return (double)sum / (double)(span < RATE_SECONDS ? span : RATE_SECONDS);
}
