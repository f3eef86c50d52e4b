/* quantile: percentiles of times from counts, with a known relative error.
 *
 * A time counts in one of QUANTILE_BUCKETS buckets, each of which ends a tenth later than the one before: memory does not grow
 * with the number of times, and a percentile, taken as the geometric middle of its bucket, is within 5% of the exact one.  This
 * holds between 10 us and two hours; a time beyond counts as the nearest of these.  The method is that of DDSketch (Masson, Rim,
 * Lee: DDSketch, VLDB 2019) with a fixed number of buckets.
 * Owns: nothing.  Threads: pure; any thread. */
#ifndef DAEMON_CORE_QUANTILE_H
#define DAEMON_CORE_QUANTILE_H
#include <stdint.h>

#define QUANTILE_BUCKETS 216
#define QUANTILE_ERROR 0.05

uint32_t quantile_bucket(double seconds);

/* The smallest time that at least a share q of all times do not exceed (the nearest rank), 0 < q <= 1; 0: there are none.
 * count: QUANTILE_BUCKETS counts. */
double quantile_seconds(const uint32_t *count, double q);

/* How many times were counted. */
uint64_t quantile_count(const uint32_t *count);

#endif
