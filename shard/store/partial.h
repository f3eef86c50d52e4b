/* partial: a tensor that is not complete yet; what has been written of it survives its writer.
 *
 * Owns: tensors/.part-NAME.  The file is as long as the tensor's file and has the same head but for the magic, so that nobody
 * takes it for one; its writer holds an exclusive lock.  The file does not say which chunks it has: the next writer hashes all
 * of them, so that torn writes and wrong bits are found.
 * A tensor of one chunk has no such file: there would be nothing to continue with.
 * Threads: as the store's; store_part_read on any thread, while another writes. */
#ifndef SHARD_STORE_PARTIAL_H
#define SHARD_STORE_PARTIAL_H
#include "shard/store/store_internal.h"

#define STORE_PART_NAME (6 + CONTENT_HEX)
#define STORE_PART_DAYS \
	7 /* a part that nobody has written to for so long is removed when the store is opened */

/* Opens the part of a tensor, or creates it: a descriptor under an exclusive lock.  *old: it may have chunks.
 * -EWOULDBLOCK while another writer has it. */
int store_part_take(struct store *s, const struct content_tensor *t, const struct store_head *h,
        const uint8_t *record, char name[STORE_PART_NAME], bool *old);
/* Finds the chunks that it has, each checked against the record; *count: how many.  buf: space for one packed chunk. */
int store_part_look(int fd, const struct content_tensor *t, const struct store_head *h, uint8_t *buf,
        bool *have, uint32_t *count);

void store_part_name(const struct content_id *id, char name[STORE_PART_NAME]);
void store_part_sweep(int tensors);

#endif
