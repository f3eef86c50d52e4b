/* merge: merges neighbouring symbols of a word, the pair with the lowest rank first (among equals the
 * leftmost), until no pair has a rank.  Shared by SPM and BPE.
 *
 * Owns: the symbols and the queue of candidates, reused from word to word.  O(n log n).
 * One thread at a time. */
#ifndef DAEMON_TEXT_MERGE_H
#define DAEMON_TEXT_MERGE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MERGE_END UINT32_MAX

struct merge_symbol {
	uint32_t at, len;    /* its bytes in the word; len 0: merged into the one before it */
	uint32_t id;         /* the vocabulary's id, or one of the caller's own */
	uint32_t prev, next; /* MERGE_END at the ends */
};

struct merge_candidate;

struct merge_work {
	struct merge_symbol *sym;
	size_t n, cap;
	struct merge_candidate *heap;
	size_t nheap, capheap;
};

/* Whether two neighbours may be merged; if so, the pair's rank (lower is earlier) and the id of the
 * result. */
typedef bool (*merge_find)(const void *ctx, const struct merge_symbol *left, const struct merge_symbol *right,
        uint32_t *rank, uint32_t *id);

void merge_release(struct merge_work *w);

/* Starts a new word: no symbols. */
void merge_begin(struct merge_work *w);

/* Appends a symbol directly after the last one.  0 or -ENOMEM. */
int merge_append(struct merge_work *w, uint32_t len, uint32_t id);

/* Applies all merges.  Symbol 0 is still the first; follow next.  0 or -ENOMEM. */
int merge_run(struct merge_work *w, merge_find find, const void *ctx);

#endif
