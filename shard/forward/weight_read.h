/* weight_read: reads parts of tensor files into memory, past the page cache where the file system can do that.
 * Private to this folder.  Any thread. */
#ifndef SHARD_FORWARD_WEIGHT_READ_H
#define SHARD_FORWARD_WEIGHT_READ_H
#include "shard/store/store.h"

#define WEIGHT_READ_ALIGN 4096u      /* of file offsets, lengths and memory for direct reads */
#define WEIGHT_READ_BLOCK (1u << 20) /* bytes that are read at once */

/* Switches a file to direct reads, and tries one into `page`; false: not supported. */
bool weight_read_make_direct(const struct store_tensor *t, void *page);
void weight_read_make_cached(const struct store_tensor *t);

/* Reads `bytes` bytes at an offset.  A direct read has an aligned offset, and a length in whole pages, beyond the end of the file
 * if need be: buf has room for them.  Without direct reads the cached pages are dropped.  0 or a negative errno; -ENODATA: the
 * file has become shorter. */
int weight_read(int fd, uint8_t *buf, uint64_t bytes, uint64_t at, bool direct);

/* A sum over bytes that changes with any word of them, and costs little beside reading them: it shows that they are what they
 * were, if nobody means harm.  seed: tells apart the same bytes at different places. */
uint64_t weight_read_sum(const uint8_t *buf, uint64_t bytes, uint64_t seed);

#endif
