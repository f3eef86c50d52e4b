/* store_tensor: what store.c, store_write.c and store_map.c share; nobody else includes it. */
#ifndef SHARD_STORE_TENSOR_H
#define SHARD_STORE_TENSOR_H
#include "shard/store.h"

#define STORE_ALIGN 4096u /* where the packed matrix of a tensor file may start */
#define STORE_HEAD 64u    /* bytes of the header before the record */
#define STORE_VERSION 1u

struct store {
	char *dir, *names;
	int blobs, tensors; /* the folders */
};

struct store_head {
	uint64_t record_len, packed_at, packed_bytes;
};

/* The head of a tensor's file, from and to its STORE_HEAD bytes. */
void store_head_put(uint8_t out[STORE_HEAD], const struct store_head *h);
/* 0; -ESTALE for one that another layout or form of file has written; -EBADMSG for what is none. */
int store_head_get(const uint8_t in[STORE_HEAD], struct store_head *h);
/* Where things lie in the file of a tensor whose record has record_len bytes. */
struct store_head store_head_of(const struct content_tensor *t, size_t record_len);

#endif
