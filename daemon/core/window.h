/* window: counts over the last while, such as a minute or an hour.
 *
 * A ring of slots of equal time, each with `width` counters, and the sum over all slots.  A slot leaves the sum as a whole, so
 * the sum covers between slots - 1 and `slots` slots, and less while the window is younger: window_seconds says how much.
 * rate.h counts a single thing over seconds, without memory of its own.
 * Owns: the counters: (slots + 1) * width * 4 bytes.
 * Threads: the owner's.  Pure: the time comes with each call, in nanoseconds of a monotonic clock. */
#ifndef DAEMON_CORE_WINDOW_H
#define DAEMON_CORE_WINDOW_H
#include <stdint.h>

struct window;

/* 0 or -ENOMEM.  now_ns: it covers nothing before that. */
int window_create(struct window **out, uint32_t slots, uint32_t width, uint64_t slot_ns, uint64_t now_ns);
void window_destroy(struct window *w); /* NULL allowed */

/* Adds n to counter i. */
void window_add(struct window *w, uint64_t now_ns, uint32_t i, uint32_t n);
/* The `width` sums; borrowed until the next call. */
const uint32_t *window_sums(struct window *w, uint64_t now_ns);
/* The time that the sums cover. */
double window_seconds(const struct window *w, uint64_t now_ns);

#endif
