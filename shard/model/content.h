/* content: the names of weights and other immutable bytes.
 *
 * Owns: the preimages of all names (normative text: doc/protocol.md).
 *   chunk          SHA-256 of its canonical bytes: whole strips of rows, CONTENT_CHUNK_ROWS at a time, the largest multiple
 *                  that fits CONTENT_CHUNK_BYTES (at least CONTENT_CHUNK_ROWS); the last chunk of a part may be shorter
 *   blob           SHA-256 of its bytes (a manifest, a tensor record, a vocabulary)
 *   tensor         the name of its record, which contains type, shape and the names of its chunks
 * A tensor has one part, except for the experts of a layer: each of them is a part, with chunks of its own, so that it can be
 * read, checked and fetched alone.
 * Pure; any thread. */
#ifndef SHARD_MODEL_CONTENT_H
#define SHARD_MODEL_CONTENT_H
#include "kernels/kernels.h"

#define CONTENT_CHUNK_ROWS 32
#define CONTENT_CHUNK_BYTES (4u << 20)
#define CONTENT_BLOB_MAX (256u << 20)
#define CONTENT_MAX_WIDTH (1u << 20) /* elements in a row */
#define CONTENT_MAX_ROWS ((uint64_t)1 << 32)
#define CONTENT_MAX_PARTS 1024u
#define CONTENT_MAX_CHUNKS (1u << 22) /* so that a record is a blob */

struct content_id {
	uint8_t b[32];
};

/* A tensor record: a matrix of `rows` rows of `n` elements (a vector has one row) in `parts` parts of equally many rows.  Several
 * parts have whole strips each, so that the packed bytes of a part are contiguous. */
struct content_tensor {
	struct content_id id; /* its name */
	enum kern_type type;
	uint64_t n, rows;
	uint32_t parts;
	uint32_t chunk_rows;      /* rows in every chunk but the last of a part; at most those of a part */
	uint32_t chunks;          /* of all parts, part after part, equally many each */
	struct content_id *chunk; /* owned, chunks of them */
};

struct content_id content_hash(const void *data, size_t len);

/* The same in several parts; a hasher can be used for one name after the other, on one thread at a time. */
struct content_hasher;
int content_hasher_create(struct content_hasher **out);
void content_hasher_destroy(struct content_hasher *h); /* NULL allowed */
void content_hasher_add(struct content_hasher *h, const void *data, size_t len);
struct content_id content_hasher_finish(struct content_hasher *h); /* ready for the next name */

bool content_equal(const struct content_id *a, const struct content_id *b);
int content_compare(const void *a, const void *b); /* of two content_id, for qsort and bsearch */
#define CONTENT_HEX 65                             /* characters of a name in hexadecimal, its NUL included */
char *content_hex(const struct content_id *id, char out[CONTENT_HEX]);
int content_from_hex(const char *hex, struct content_id *out); /* 0 or -EINVAL */

/* Rows in a chunk of a matrix whose canonical rows have row_bytes bytes. */
uint32_t content_chunk_rows(size_t row_bytes);

/* Canonical bytes of the whole matrix. */
uint64_t content_tensor_bytes(const struct content_tensor *t);

/* Rows and canonical bytes of chunk i, and where its rows start. */
void content_chunk_extent(
        const struct content_tensor *t, uint32_t i, uint64_t *first_row, uint64_t *rows, uint64_t *bytes);
/* The chunk that a row is in. */
uint32_t content_chunk_of(const struct content_tensor *t, uint64_t row);

/* Allocates chunk names (zeroed) for a shape.  0, -EINVAL for a shape that no tensor has, -ENOMEM. */
int content_tensor_init(
        struct content_tensor *t, enum kern_type type, uint64_t n, uint64_t rows, uint32_t parts);
void content_tensor_clear(struct content_tensor *t);

/* The record as bytes (malloc'd), sets t->id; and back, with everything checked (-EINVAL). */
int content_tensor_encode(struct content_tensor *t, uint8_t **out, size_t *len);
int content_tensor_decode(struct content_tensor *t, const uint8_t *data, size_t len);

#endif
