/* weight_copy: moves a slice's weights from maps of the store's files into anonymous huge pages, while the slice is in use.
 *
 * Owns: a thread, which copies every large tensor, and again one whose file has been renewed.  Borrows the tensors, whose addresses stay the same.
 * Threads: any, but weight_copy_start only before anybody uses the tensors. */
#ifndef SHARD_FORWARD_WEIGHT_COPY_H
#define SHARD_FORWARD_WEIGHT_COPY_H
#include "shard/store/store.h"

struct weight_copy;
/* tensors: those to copy, as far as they are large enough; the array is borrowed too.  0 or a negative errno. */
int weight_copy_start(
        struct weight_copy **out, struct store *s, struct store_tensor *const *tensors, size_t count);
void weight_copy_stop(
        struct weight_copy *c); /* in the middle as well; what has been copied stays.  NULL allowed */

struct weight_copied {
	uint64_t bytes, copied; /* to copy in all; of these, those that have been */
};
struct weight_copied weight_copy_progress(const struct weight_copy *c); /* NULL: zeroes */

#endif
