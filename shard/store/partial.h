/* partial: a tensor that is not complete yet: what has been written of it outlives its writer.
 *
 * Owns: tensors/.part-NAME, as long as a tensor's file, under the exclusive lock of the one who writes it; with the
 * head of a tensor's file but for the magic, so that it is none.  Nothing in it says which chunks are there: whoever
 * goes on with it hashes them all, so that neither a torn write nor a wrong bit can be taken over.
 * Tensors of one chunk have none: there would be nothing to go on with.
 * Threads: as the store's; store_part_read on any thread, while another writes. */
#ifndef SHARD_STORE_PARTIAL_H
#define SHARD_STORE_PARTIAL_H
#include "shard/store/store_internal.h"

#define STORE_PART_NAME (6 + CONTENT_HEX)
#define STORE_PART_DAYS 7 /* nobody has gone on with it for so long: it is removed when the store is opened */

/* Takes what there is of a tensor, or begins it: a descriptor under an exclusive lock.  *old: chunks may be there.
 * -EWOULDBLOCK while another has it. */
int store_part_take(struct store *s, const struct content_tensor *t, const struct store_head *h,
        const uint8_t *record, char name[STORE_PART_NAME], bool *old);
/* Which chunks are there, each checked against the record; how many into *count.  buf: room for one, packed. */
int store_part_look(int fd, const struct content_tensor *t, const struct store_head *h, uint8_t *buf,
        bool *have, uint32_t *count);

void store_part_name(const struct content_id *id, char name[STORE_PART_NAME]);
void store_part_sweep(int tensors);

#endif
