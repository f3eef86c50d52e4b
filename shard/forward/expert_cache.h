/* expert_cache: the experts of a slice that do not fit into memory.  The ones used most stay; the others are read from disk when
 * the router has chosen them.
 *
 * A slot holds the matrices of one expert of one layer.  All layers share the slots.  An expert that has no slot replaces the one
 * that was used least often, of those the one that was used longest ago; uses long past count less and less.  While a layer
 * uses many experts, as a long prompt does, only a few slots at a time are replaced, so that it does not drive out the
 * others' experts: experts of the layer follow each other through them.
 *
 * Owns: the slots and the threads that fill them.  Borrows the tensors, whose shared locks keep the files.
 * Invariants: an expert is complete before anybody computes from it, and its slot is not written while it is in use.  What is
 * in memory never affects results.
 * Threads: expert_cache_begin, expert_cache_want and expert_cache_next on one member of the team at a time; expert_cache_stats
 * anywhere. */
#ifndef SHARD_FORWARD_EXPERT_CACHE_H
#define SHARD_FORWARD_EXPERT_CACHE_H
#include "shard/model/manifest.h"
#include "shard/store/store.h"

#define EXPERT_MATRICES 3 /* of an expert, at most: gate, up, down */

/* The experts of a layer: tensors of `parts` parts, opened; NULL: none. */
struct expert_layer {
	const struct store_tensor *w[EXPERT_MATRICES];
};

/* An expert in memory: the packed rows of its part of each tensor. */
struct expert_ready {
	uint32_t expert;
	const uint8_t *packed[EXPERT_MATRICES];
};

/* Bytes that a slot needs for an expert's part of a tensor: whole pages, wherever in a page it begins. */
uint64_t expert_cache_part_bytes(enum kern_type type, uint64_t n, uint64_t rows, uint32_t parts);

struct expert_cache;
/* As many slots as `memory` bytes hold.  layer: [layers].  direct: whether to bypass the page cache.  0, -ENOSPC when there is no
 * memory for a slot, or another negative errno, each with a sentence in err. */
int expert_cache_create(struct expert_cache **out, const struct expert_layer *layer, uint32_t layers,
        uint64_t memory, bool direct, char *err, size_t errlen);
void expert_cache_destroy(struct expert_cache *c); /* NULL allowed */

/* Begins a step.  An earlier step may have been abandoned. */
void expert_cache_begin(struct expert_cache *c);
/* The experts that a layer uses in this step, each once; reading begins.  Those of the layer before were all given. */
void expert_cache_want(struct expert_cache *c, uint32_t layer, const uint32_t *expert, size_t count);
/* Gives wanted experts that were not given yet, at most `max`: those in memory, or the next ones that are.  Those given before
 * are no longer in use.  Their number; 0: all were given; -EIO: one cannot be read. */
int expert_cache_next(struct expert_cache *c, struct expert_ready *out, size_t max);
/* Why expert_cache_next failed; layer: counted from the first of the model. */
void expert_cache_error(struct expert_cache *c, uint32_t first, char *err, size_t errlen);

struct expert_cache_stats {
	uint32_t slots, experts; /* how many experts can be in memory, of how many */
	uint64_t bytes;          /* of the slots */
	uint64_t hits, misses;   /* of the experts wanted: those in memory, those read */
	uint64_t read;           /* bytes */
	double read_seconds;     /* while something was being read */
	double wait_seconds;     /* while a step waited for that */
	bool direct;             /* past the page cache */
};
void expert_cache_stats(struct expert_cache *c, struct expert_cache_stats *out);
/* How many experts of each layer are in memory now. */
void expert_cache_in_memory(struct expert_cache *c, uint32_t *count);

#endif
