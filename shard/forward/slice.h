/* slice: the weights of layers [first, last) of a model, or of its embedding and output.  They are mapped; if they do not fit
 * into memory, a part is mapped and the rest is streamed from disk.
 *
 * Owns: maps of store tensors (a tensor that several layers share is mapped once), and the stream of what is not mapped.
 * Immutable once created, except for the stream; any thread. */
#ifndef SHARD_FORWARD_SLICE_H
#define SHARD_FORWARD_SLICE_H
#include "shard/forward/weight_stream.h"
#include "shard/model/manifest.h"
#include "shard/store/store.h"

struct slice {
	const struct manifest *manifest; /* borrowed */
	uint32_t first, last;
	const struct store_tensor *(
	        *layer)[LAYER_ROLES]; /* [last - first]; streamed tensors are not mapped; NULL: none */
	const struct store_tensor *io[IO_ROLES]; /* NULL in a slice of layers */
	struct weight_stream *stream;            /* NULL: everything is mapped */
	/* private */
	struct store_tensor **maps;
	size_t nmaps;
};

/* Maps the layers (first < last; none when they are equal) and, if io, embedding and output; every record is checked against
 * the manifest.  memory_limit: of the layers, in bytes, 0 for none (weight_stream_plan decides what stays in memory).
 * -ENOENT: err names the tensor that the store lacks. */
int slice_create(struct slice **out, struct store *s, const struct manifest *m, uint32_t first, uint32_t last,
        bool io, uint64_t memory_limit, char *err, size_t errlen);
void slice_destroy(struct slice *s); /* NULL allowed */

/* 0, or -EIO with a sentence while one of its tensors is damaged, which would make results wrong.  Call it before and after
 * computing: the second call also finds a tensor that was damaged and renewed in between, by `renewed`. */
#define SLICE_BEFORE UINT64_MAX /* in *renewed: the first call, which sets it */
int slice_check(const struct slice *s, uint64_t *renewed, char *err, size_t errlen);

/* Bytes of weights, mapped or not, counted once for each layer that uses them. */
uint64_t slice_bytes(const struct slice *s);

#endif
