/* slice: the weights of layers [first, last) of a model, or of its two ends: mapped, or, where memory does not do for
 * all, mapped in part and read from disk on the way.
 *
 * Owns: maps of store tensors (a tensor that several layers share is mapped once), and the stream of what is not mapped.
 * Immutable once made, except for the stream; any thread. */
#ifndef SHARD_FORWARD_SLICE_H
#define SHARD_FORWARD_SLICE_H
#include "shard/forward/weight_stream.h"
#include "shard/model/manifest.h"
#include "shard/store/store.h"

struct slice {
	const struct manifest *manifest; /* borrowed */
	uint32_t first, last;
	const struct store_tensor *(
	        *layer)[LAYER_ROLES];              /* [last - first]; streamed tensors are not mapped */
	const struct store_tensor *end[END_ROLES]; /* NULL in a slice of layers */
	struct weight_stream *stream;              /* NULL: everything is mapped */
	/* private */
	struct store_tensor **maps;
	size_t nmaps;
};

/* Maps the layers (first < last; none when they are equal) and, with ends, the ends; every record is checked
 * against the manifest.  room: bytes that the layers may take, 0 for as many as they do (weight_stream_plan says what stays).
 * -ENOENT names the tensor that the store lacks. */
int slice_create(struct slice **out, struct store *s, const struct manifest *m, uint32_t first, uint32_t last,
        bool ends, uint64_t room, char *err, size_t errlen);
void slice_destroy(struct slice *s); /* NULL allowed */

/* 0, or -EIO with a sentence while a tensor of it is damaged: results would be others then.  Asked before and after
 * computing: the second time also when one was damaged in between and is good again, which `renewed` shows. */
#define SLICE_BEFORE UINT64_MAX /* in *renewed: it is set */
int slice_check(const struct slice *s, uint64_t *renewed, char *err, size_t errlen);

/* Bytes of weights, mapped or not, counted once for each layer that uses them. */
uint64_t slice_bytes(const struct slice *s);

#endif
