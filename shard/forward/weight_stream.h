/* weight_stream: reads the weights of a slice that do not fit into memory from disk, ahead of the computation.  Those of a slice with
 * experts are read otherwise (expert_cache.h), but planned here.
 *
 * A slice that is larger than its memory limit keeps a fixed part mapped.  The rest is read from the store's files again in
 * every step, in the order in which the step uses it, into two buffers: while the team computes from one, the other is filled.
 * The unit of reading is a group: the tensors of a layer that one phase of a step uses.  After the last group of a step the
 * first one of the next step is read, so that a step finds it ready.  Reads bypass the page cache if the file system can do
 * that; otherwise the cached pages are dropped after use.
 *
 * Owns: the two buffers and the threads that fill them.  Borrows the tensors, whose shared locks keep the files.
 * Invariants: a group is complete before anybody computes from it, and its buffer is not written before it is released.  The
 * choice of groups depends only on the manifest, the layers and the memory limit.
 * Threads: weight_stream_plan and weight_stream_stats anywhere; weight_stream_begin on the member that leads the step;
 * weight_stream_wait and weight_stream_release on the team. */
#ifndef SHARD_FORWARD_WEIGHT_STREAM_H
#define SHARD_FORWARD_WEIGHT_STREAM_H
#include "shard/model/manifest.h"
#include "shard/store/store.h"

enum weight_group { WEIGHTS_QKV, WEIGHTS_OUT, WEIGHTS_UP, WEIGHTS_DOWN, WEIGHT_GROUPS }; /* UP: gate and up */

struct weight_stream_plan {
	uint8_t *
	        streamed; /* [layers]: bit g is set when group g is read from disk; owned, NULL: nothing is */
	uint64_t cache;   /* bytes for experts that are read on demand; 0: none are, or there are none */
	uint64_t resident; /* bytes of weights that stay */
	uint64_t buffer;   /* bytes of each of the two buffers; 0: there are none */
	uint64_t memory;   /* bytes of all that: weights that stay, buffers, cache */
	uint64_t
	        step; /* bytes that a step of one row reads; of experts, if each is as likely as the others */
	uint64_t step_most; /* bytes that a step of many rows reads at most */
};

/* Decides what of layers [first, last) stays in memory when weights and buffers together may take `memory_limit` bytes: everything if
 * it fits, otherwise as much as possible.  If there are experts, everything else stays.  0, -ENOSPC when not even the buffers, or
 * what stays and the experts of a row, fit; -ENOMEM. */
int weight_stream_plan(struct weight_stream_plan *out, const struct manifest *m, uint32_t first,
        uint32_t last, uint64_t memory_limit);
void weight_stream_plan_clear(struct weight_stream_plan *p);

/* Bytes of a tensor's packed matrix in whole pages: what it takes, mapped or in a buffer. */
uint64_t weight_stream_tensor_bytes(const struct manifest_tensor *t);
/* What a slice with experts needs at least: bytes of everything else, and of a cache. */
struct weight_stream_least {
	uint64_t rest, experts; /* bytes of layers, in whole pages */
	uint64_t count;         /* experts of all layers */
	uint64_t slot, cache;   /* of an expert; of the smallest cache */
};
struct weight_stream_least weight_stream_least(const struct manifest *m, uint32_t first, uint32_t last);
/* Bytes of a layer that are never read by steps: in a model with experts everything else, otherwise what is in no group. */
uint64_t weight_stream_stay_bytes(const struct manifest *m, uint32_t layer);
/* Bytes of the largest group of these layers: an upper bound of a buffer. */
uint64_t weight_stream_largest_group(const struct manifest *m, uint32_t first, uint32_t last);

struct weight_stream;
/* plan: of these layers.  layer: their tensors, opened.  direct: whether to bypass the page cache.  0 or a negative errno
 * with a sentence in err. */
int weight_stream_create(struct weight_stream **out, const struct weight_stream_plan *plan, uint32_t first,
        uint32_t layers, const struct store_tensor *const (*layer)[LAYER_ROLES], bool direct, char *err,
        size_t errlen);
void weight_stream_destroy(struct weight_stream *s); /* NULL allowed */

/* Begins a step; returns the number of its first group.  An earlier step may have been abandoned. */
uint64_t weight_stream_begin(struct weight_stream *s);
bool weight_stream_has(const struct weight_stream *s, uint32_t layer,
        enum weight_group g); /* layer: counted from the first */
/* Waits until group n has been read and puts its tensors into w.  The groups of a step have consecutive numbers.  Every member
 * of a team gets the same result: 0, or -EIO when the group cannot be read. */
int weight_stream_wait(struct weight_stream *s, uint64_t n, const struct store_tensor *w[LAYER_ROLES]);
/* The team has finished with group n. */
void weight_stream_release(struct weight_stream *s, uint64_t n);
/* Why a step ended with -EIO. */
void weight_stream_error(struct weight_stream *s, char *err, size_t errlen);

struct weight_stream_stats {
	uint64_t step;       /* bytes that a step reads */
	uint64_t buffers;    /* bytes of both */
	uint64_t read;       /* bytes since the beginning */
	double read_seconds; /* while something was being read */
	double wait_seconds; /* while a step waited for that */
	bool direct;         /* past the page cache */
};
void weight_stream_stats(struct weight_stream *s, struct weight_stream_stats *out);

#endif
