/* page_rates: what weights gain in anonymous huge pages, which a map of the store's files may lack (shard/store/copy.c).
 * Owns: nothing.  Threads: one, not the loop's; takes less than a second. */
#ifndef DAEMON_CALIBRATION_PAGE_RATES_H
#define DAEMON_CALIBRATION_PAGE_RATES_H
#include <stdatomic.h>
#include <stddef.h>

/* A node whose figure is at least this reads its weights into huge pages. */
#define PAGE_RATES_WORTH 1.05
#define PAGE_RATES_MOST 10.0

/* How many times as fast products with one column are in anonymous huge pages as in a map of a file in this folder; both are
 * measured in turn, in `bytes` bytes of memory altogether.  1: the system gives no huge pages.  0: it cannot be measured. */
double page_rates(const char *dir, size_t bytes, unsigned threads, const int *cpus, const atomic_bool *stop);

#endif
