/* slice: the mapped weights of layers [first, last) of a model, or of its two ends.
 *
 * Owns: maps of store tensors (a tensor that several layers share is mapped once).
 * Immutable once made; any thread. */
#ifndef SHARD_SLICE_H
#define SHARD_SLICE_H
#include "shard/manifest.h"
#include "shard/store.h"

struct slice {
	const struct manifest *manifest; /* borrowed */
	uint32_t first, last;
	const struct store_tensor *(*layer)[LAYER_ROLES]; /* [last - first] */
	const struct store_tensor *end[END_ROLES];        /* NULL in a slice of layers */
	/* private */
	struct store_tensor **maps;
	size_t nmaps;
};

/* Maps the layers (first < last; none when they are equal) and, with ends, the ends; every record is checked
 * against the manifest. -ENOENT names the tensor that the store lacks. */
int slice_create(struct slice **out, struct store *s, const struct manifest *m, uint32_t first, uint32_t last,
        bool ends, char *err, size_t errlen);
void slice_destroy(struct slice *s); /* NULL allowed */

/* Bytes of mapped weights, counted once for each layer that uses them: what --memory bounds. */
uint64_t slice_bytes(const struct slice *s);

#endif
