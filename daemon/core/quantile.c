/* quantile: see quantile.h. */
#include "daemon/core/quantile.h"
#include <math.h>

#define LEAST 1e-5 /* the end of bucket 0; bucket i ends at LEAST * GROWTH ^ i */
#define GROWTH 1.1

uint32_t quantile_bucket(double seconds) {
	if (!(seconds > LEAST))
		return 0;
	double i = ceil(log(seconds / LEAST) / log(GROWTH));
	return i < QUANTILE_BUCKETS - 1 ? (uint32_t)i : QUANTILE_BUCKETS - 1;
}

uint64_t quantile_count(const uint32_t *count) {
	uint64_t n = 0;
	for (uint32_t i = 0; i < QUANTILE_BUCKETS; i++)
		n += count[i];
	return n;
}

double quantile_seconds(const uint32_t *count, double q) {
	uint64_t all = quantile_count(count), rank = (uint64_t)ceil(q * (double)all), n = 0;
	for (uint32_t i = 0; i < QUANTILE_BUCKETS; i++) {
		n += count[i];
		if (n > 0 && n >= rank)
			return LEAST * pow(GROWTH, i == 0 ? 0 : i - 0.5);
	}
	return 0;
}
