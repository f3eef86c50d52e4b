/* bench/walk: reads the very bytes that a token of a model reads, and nothing else: matrix by matrix and the keys and values of its
 * positions, in the order in which the token meets them, each split over the team that computes the tokens.  Nobody waits between
 * matrices, and each member reads its share in the way that suits the machine best: no token can be faster unless caches help it.
 * Threads: one caller; reading runs on the team of the line. */
#ifndef TESTS_BENCH_WALK_H
#define TESTS_BENCH_WALK_H
#include "tests/support/synth.h"

struct walk;

/* Of a token at `position` (a multiple of a block's positions) of a line of one stage whose sequence has the blocks 0, 1, ...
 * chosen: [layers][experts], the experts that the token uses, NULL for models without. */
struct walk *walk_create(const struct line *l, uint32_t position, const bool *chosen);
void walk_destroy(struct walk *w);
size_t walk_bytes(const struct walk *w);
/* Seconds that the team takes to read all of it in one of bench.h's ways of reading. */
double walk_read(struct walk *w, unsigned way);
/* The way in which these walks, which are read in turn, take the least time. */
unsigned walk_best_way(struct walk *const *w, size_t count);

/* How much of a slice's weights lies in huge pages, of what is in memory. */
double walk_huge(const struct slice *s);
/* Bytes of the largest cache of the first processor; 0: unknown. */
size_t walk_last_cache(void);

#endif
