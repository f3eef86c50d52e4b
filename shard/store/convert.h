/* convert: brings a store that an older version has written to the packed layout of this one. */
#ifndef SHARD_STORE_CONVERT_H
#define SHARD_STORE_CONVERT_H
#include "shard/store/store.h"

struct store_convert {
	size_t count,
	        done; /* tensors of an older layout; those of them that are finished, converted or not */
	uint64_t bytes, bytes_done;      /* canonical bytes */
	const struct content_id *tensor; /* that was worked on; NULL when it begins */
	int error;                       /* why that one stays as it is: a negative errno; 0: it does not */
};

/* Hears of progress: before the first tensor, and after every chunk.  Not called for a store that needs no conversion. */
typedef void store_convert_fn(void *arg, const struct store_convert *progress);

/* Converts every tensor that is packed in an older layout; fn: NULL for nobody.  Before other threads use the store and before it
 * is given a limit.  0, or the first error: -EBADMSG for a tensor whose bytes are not those of its name, -ENOSPC for one that the
 * disk has no room beside (it stays, and is tried again the next time), another negative errno. */
int store_convert(struct store *s, store_convert_fn *fn, void *arg);

#endif
