/* slice: the weights of layers [first, last) of a model, or of its embedding and output.  They are mapped; if they do not fit
 * into memory, a part is mapped and the rest is read from disk: experts when they are chosen, other weights as a stream.
 *
 * Owns: maps of store tensors (a tensor that several layers share is mapped once), and the stream or cache of what is not mapped.
 * Immutable once created, except for stream and cache; any thread. */
#ifndef SHARD_FORWARD_SLICE_H
#define SHARD_FORWARD_SLICE_H
#include "shard/forward/expert_cache.h"
#include "shard/forward/weight_copy.h"
#include "shard/forward/weight_stream.h"
#include "shard/model/manifest.h"
#include "shard/store/store.h"

struct slice {
	const struct manifest *manifest; /* borrowed */
	uint32_t first, last;
	const struct store_tensor *(
	        *layer)[LAYER_ROLES]; /* [last - first]; what is read from disk is not mapped; NULL: none */
	const struct store_tensor *io[IO_ROLES]; /* NULL in a slice of layers */
	struct weight_stream *stream;            /* NULL: nothing is streamed */
	struct expert_cache *experts;            /* NULL: experts are mapped, or there are none */
	struct weight_copy *copy;                /* NULL: maps stay as they are */
	/* private */
	uint64_t step; /* bytes that a step of one row is expected to read */
	struct store_tensor **maps;
	size_t nmaps;
};

/* Maps the layers (first < last; none when they are equal) and, if io, embedding and output; every record is checked against
 * the manifest.  memory_limit: of the layers, in bytes, 0 for none (weight_stream_plan decides what stays in memory).
 * -ENOENT: err names the tensor that the store lacks. */
int slice_create(struct slice **out, struct store *s, const struct manifest *m, uint32_t first, uint32_t last,
        bool io, uint64_t memory_limit, char *err, size_t errlen);
void slice_destroy(struct slice *s); /* NULL allowed */

/* Replaces its maps by anonymous huge pages in the background; before anybody uses the slice, of which nothing is read from disk.
 * 0, or a negative errno: it stays mapped. */
int slice_copy(struct slice *sl, struct store *s);

/* 0, or -EIO with a sentence while one of its tensors is damaged, which would make results wrong.  Call it before and after
 * computing: the second call also finds a tensor that was damaged and renewed in between, by `renewed`. */
#define SLICE_BEFORE UINT64_MAX /* in *renewed: the first call, which sets it */
int slice_check(const struct slice *s, uint64_t *renewed, char *err, size_t errlen);

/* Whether one of its tensors is damaged; name: which one, for messages. */
#define SLICE_NAME 64
bool slice_is_damaged(const struct slice *s, char name[SLICE_NAME]);

/* Bytes of weights, mapped or not, counted once for each layer that uses them. */
uint64_t slice_bytes(const struct slice *s);

/* What is read from disk. */
struct slice_reading {
	uint64_t resident;     /* bytes of weights that stay, and of buffers or cache */
	uint64_t step;         /* bytes that a step of one row reads */
	uint64_t read;         /* bytes since the beginning */
	double read_seconds;   /* while something was being read */
	double wait_seconds;   /* while a step waited for that */
	bool direct;           /* past the page cache */
	uint32_t slots;        /* experts that can be in memory; 0: none are read */
	uint64_t hits, misses; /* of the experts that steps chose: those in memory, those read */
};
bool slice_reading(const struct slice *s, struct slice_reading *out); /* false: nothing is */

#endif
