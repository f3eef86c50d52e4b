/* vocab_internal: shared by vocab.c and vocab_blob.c; private to this folder. */
#ifndef SHARD_MODEL_VOCAB_INTERNAL_H
#define SHARD_MODEL_VOCAB_INTERNAL_H
#include "shard/model/vocab.h"

/* What every vocabulary keeps to, wherever it came from.  0 or -EINVAL with a sentence. */
int vocab_check(const struct vocab *v, char *err, size_t errlen);

/* The FIM tokens that are known by their names. */
void vocab_find_fim(const struct vocab *v, uint32_t fim[VOCAB_FIMS]);

/* As vocab_decode, but takes the blob (malloc'd) over, in every case. */
int vocab_adopt(struct vocab **out, uint8_t *blob, size_t len, char *err, size_t errlen);

#endif
