/* weight_stream: the weights of a slice that do not stay in memory: which they are, and bringing them past the computation.
 *
 * A slice that is larger than the memory it may have keeps a fixed part mapped.  The rest lies in the store's files and
 * is read again in every step, in the order in which a step comes to it, into two buffers: while the team computes from
 * one the other is filled.  What is read at a time is a group: the tensors of a layer that one phase of the computing
 * takes.  After the last group of a step comes the first one of the next, whenever that is, so that a step finds its
 * beginning read.  Reads go past the page cache where the file system can; otherwise what they leave there is let go.
 *
 * Owns: the two buffers and the threads that fill them.  Borrows the tensors, whose shared locks keep the files.
 * Invariants: a group is read whole before anybody computes from it, and its buffer is not touched before it has been
 * given back.  Which groups stay is a function of the manifest, the layers and the room alone.
 * Threads: weight_stream_plan anywhere; weight_stream_begin on who leads the step; weight_stream_wait and weight_stream_release on the team; weight_stream_stats
 * anywhere. */
#ifndef SHARD_FORWARD_WEIGHT_STREAM_H
#define SHARD_FORWARD_WEIGHT_STREAM_H
#include "shard/model/manifest.h"
#include "shard/store/store.h"

enum weight_group { WEIGHTS_QKV, WEIGHTS_OUT, WEIGHTS_UP, WEIGHTS_DOWN, WEIGHT_GROUPS }; /* UP: gate and up */

struct weight_stream_plan {
	uint8_t *
	        streamed; /* [layers]: bit g is set when group g is read from disk; owned, NULL: nothing is */
	uint64_t resident; /* bytes of weights that stay */
	uint64_t buffer;   /* bytes of each of the two buffers; 0: nothing is read */
	uint64_t step;     /* bytes that a step reads */
};

/* What of layers [first, last) stays when weights and buffers together may take `room` bytes: everything if it fits,
 * else as much as can be.  0, -ENOSPC when not even the buffers fit, -ENOMEM. */
int weight_stream_plan(struct weight_stream_plan *out, const struct manifest *m, uint32_t first,
        uint32_t last, uint64_t room);
void weight_stream_plan_clear(struct weight_stream_plan *p);

/* Bytes of a tensor's packed matrix in whole pages, which is what it takes mapped or in a buffer. */
uint64_t weight_stream_tensor_bytes(const struct manifest_tensor *t);
/* Of the largest group of these layers: what a buffer takes at most. */
uint64_t weight_stream_largest_group(const struct manifest *m, uint32_t first, uint32_t last);

struct weight_stream;
/* plan: of these layers.  layer: their tensors, opened.  direct: false keeps to the page cache.  0 or a negative errno
 * with a sentence in err. */
int weight_stream_create(struct weight_stream **out, const struct weight_stream_plan *plan, uint32_t first,
        uint32_t layers, const struct store_tensor *const (*layer)[LAYER_ROLES], bool direct, char *err,
        size_t errlen);
void weight_stream_destroy(struct weight_stream *f); /* NULL allowed */

/* A step begins: the number of its first group.  A step before it that was left in its middle is made good. */
uint64_t weight_stream_begin(struct weight_stream *f);
bool weight_stream_has(const struct weight_stream *f, uint32_t layer,
        enum weight_group g); /* layer: counted from the first */
/* Waits until group n, a step's groups counting on from its first, has been read; puts its tensors into w.  Every member
 * of a team gets the same answer: 0, or -EIO when it cannot be read. */
int weight_stream_wait(struct weight_stream *f, uint64_t n, const struct store_tensor *w[LAYER_ROLES]);
/* Nobody computes from group n any more. */
void weight_stream_release(struct weight_stream *f, uint64_t n);
/* Why a step ended with -EIO. */
void weight_stream_error(struct weight_stream *f, char *err, size_t errlen);

struct weight_stream_stats {
	uint64_t step;       /* bytes that a step reads */
	uint64_t buffers;    /* bytes of both */
	uint64_t read;       /* bytes since the beginning */
	double read_seconds; /* in which something was being read */
	double wait_seconds; /* in which a step waited for it */
	bool direct;         /* past the page cache */
};
void weight_stream_stats(struct weight_stream *f, struct weight_stream_stats *out);

#endif
