/* vocab_blob: what vocab.c and vocab_blob.c share; nobody else includes it. */
#ifndef SHARD_VOCAB_BLOB_H
#define SHARD_VOCAB_BLOB_H
#include "shard/vocab.h"

/* What every vocabulary keeps to, wherever it came from.  0 or -EINVAL with a sentence. */
int vocab_check(const struct vocab *v, char *err, size_t errlen);

/* As vocab_decode, but takes the blob (malloc'd) over, in every case. */
int vocab_adopt(struct vocab **out, uint8_t *blob, size_t len, char *err, size_t errlen);

#endif
