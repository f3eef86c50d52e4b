/* convert: brings a store that an older version has written to the packed layout of this one. */
#ifndef SHARD_STORE_CONVERT_H
#define SHARD_STORE_CONVERT_H
#include "shard/store/store.h"

struct store_convert {
	size_t count,
	        done; /* tensors of an older layout; those of them that are finished, converted or not */
	uint64_t bytes, bytes_done;      /* canonical bytes */
	const struct content_id *tensor; /* that is being converted; NULL before the first */
	int error;                       /* why this tensor is not converted: a negative errno; 0: no error */
};

/* Reports progress: before the first tensor and after every chunk.  Not called for a store that needs no conversion. */
typedef void store_convert_fn(void *arg, const struct store_convert *progress);

/* Converts every tensor that is packed in an older layout; fn: NULL allowed.  Call it before other threads use the store and
 * before it has a limit.  0, or the first error: -EBADMSG for a tensor whose bytes do not match its name (it is removed); -ENOSPC for one that the
 * disk has no room for twice, -EBUSY for one that another process uses (both stay as they are until the next call); or another
 * negative errno. */
int store_convert(struct store *s, store_convert_fn *fn, void *arg);

#endif
