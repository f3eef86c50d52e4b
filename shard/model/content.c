/* content: names of weights and other immutable bytes (doc/protocol.md, "Content"). */
#include "shard/model/content.h"
#include "common/bytes.h"
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAGIC "CVTR"
#define RECORD_PLAIN 1u   /* version of tensors with one part */
#define RECORD_VERSION 2u /* and of all others, which have the number of parts after the rows */
#define RECORD_HEAD 32u   /* magic, version, type, chunks, n, rows */

struct content_hasher {
	EVP_MD_CTX *ctx;
	EVP_MD *md;
};

/* OpenSSL digests fail only when the library itself is broken; aborting is better than a wrong name. */
static void content_must(int ok) {
	if (ok != 1)
		abort();
}

struct content_id content_hash(const void *data, size_t len) {
	struct content_id id;
	content_must(EVP_Digest(data, len, id.b, NULL, EVP_sha256(), NULL));
	return id;
}

int content_hasher_create(struct content_hasher **out) {
	struct content_hasher *h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->ctx = EVP_MD_CTX_new();
	h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!h->ctx || !h->md || EVP_DigestInit_ex2(h->ctx, h->md, NULL) != 1) {
		content_hasher_destroy(h);
		return -ENOMEM;
	}
	*out = h;
	return 0;
}

void content_hasher_destroy(struct content_hasher *h) {
	int saved = errno;
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	EVP_MD_free(h->md);
	free(h);
	errno = saved;
}

void content_hasher_add(struct content_hasher *h, const void *data, size_t len) {
	content_must(EVP_DigestUpdate(h->ctx, data, len));
}

struct content_id content_hasher_finish(struct content_hasher *h) {
	struct content_id id;
	content_must(EVP_DigestFinal_ex(h->ctx, id.b, NULL));
	content_must(EVP_DigestInit_ex2(h->ctx, h->md, NULL));
	return id;
}

int content_compare(const void *a, const void *b) {
	return memcmp(a, b, sizeof(struct content_id));
}

bool content_equal(const struct content_id *a, const struct content_id *b) {
	return memcmp(a->b, b->b, sizeof a->b) == 0;
}

char *content_hex(const struct content_id *id, char out[CONTENT_HEX]) {
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < sizeof id->b; i++) {
		out[2 * i] = digits[id->b[i] >> 4];
		out[2 * i + 1] = digits[id->b[i] & 15];
	}
	out[CONTENT_HEX - 1] = '\0';
	return out;
}

/* Accepts only what content_hex writes, so that a name has one spelling. */
int content_from_hex(const char *hex, struct content_id *out) {
	if (strlen(hex) != CONTENT_HEX - 1)
		return -EINVAL;
	for (size_t i = 0; i < CONTENT_HEX - 1; i++) {
		uint8_t digit;
		if (hex[i] >= '0' && hex[i] <= '9')
			digit = (uint8_t)(hex[i] - '0');
		else if (hex[i] >= 'a' && hex[i] <= 'f')
			digit = (uint8_t)(hex[i] - 'a' + 10);
		else
			return -EINVAL;
		out->b[i / 2] = (uint8_t)(i % 2 ? out->b[i / 2] | digit : digit << 4);
	}
	return 0;
}

uint32_t content_chunk_rows(size_t row_bytes) {
	size_t rows = CONTENT_CHUNK_BYTES / row_bytes / CONTENT_CHUNK_ROWS * CONTENT_CHUNK_ROWS;
	return rows < CONTENT_CHUNK_ROWS ? CONTENT_CHUNK_ROWS : (uint32_t)rows;
}

uint64_t content_tensor_bytes(const struct content_tensor *t) {
	return t->rows * kern_row_bytes(t->type, t->n);
}

void content_chunk_extent(
        const struct content_tensor *t, uint32_t i, uint64_t *first_row, uint64_t *rows, uint64_t *bytes) {
	assert(i < t->chunks);
	uint32_t each = t->chunks / t->parts;
	uint64_t part = t->rows / t->parts, from = (uint64_t)(i % each) * t->chunk_rows;
	uint64_t count = part - from < t->chunk_rows ? part - from : t->chunk_rows;
	*first_row = i / each * part + from;
	*rows = count;
	*bytes = count * kern_row_bytes(t->type, t->n);
}

uint32_t content_chunk_of(const struct content_tensor *t, uint64_t row) {
	assert(row < t->rows);
	uint64_t part = t->rows / t->parts;
	return (uint32_t)(row / part * (t->chunks / t->parts) + row % part / t->chunk_rows);
}

/* Sets everything but the names.  0 or -EINVAL. */
static int content_set_shape(
        struct content_tensor *t, uint32_t type, uint64_t n, uint64_t rows, uint32_t parts) {
	const struct kern_traits *traits = kern_traits(type);
	memset(t, 0, sizeof *t);
	if (!traits || n < 1 || n > CONTENT_MAX_WIDTH || n % traits->block || rows < 1 ||
	        rows > CONTENT_MAX_ROWS)
		return -EINVAL;
	if (parts < 1 || parts > CONTENT_MAX_PARTS || rows % parts ||
	        (parts > 1 && rows / parts % KERN_STRIP))
		return -EINVAL;
	uint64_t part = rows / parts, most = content_chunk_rows(kern_row_bytes((enum kern_type)type, n));
	uint64_t each = (part + most - 1) / most;
	if (each > CONTENT_MAX_CHUNKS / parts)
		return -EINVAL;
	t->type = (enum kern_type)type;
	t->n = n;
	t->rows = rows;
	t->parts = parts;
	t->chunk_rows = (uint32_t)(part < most ? part : most);
	t->chunks = (uint32_t)each * parts;
	return 0;
}

static int content_alloc_names(struct content_tensor *t) {
	t->chunk = calloc(t->chunks, sizeof *t->chunk);
	if (t->chunk)
		return 0;
	memset(t, 0, sizeof *t);
	return -ENOMEM;
}

int content_tensor_init(
        struct content_tensor *t, enum kern_type type, uint64_t n, uint64_t rows, uint32_t parts) {
	int rc = content_set_shape(t, (uint32_t)type, n, rows, parts);
	return rc < 0 ? rc : content_alloc_names(t);
}

void content_tensor_clear(struct content_tensor *t) {
	free(t->chunk);
	memset(t, 0, sizeof *t);
}

int content_tensor_encode(struct content_tensor *t, uint8_t **out, size_t *len) {
	bool plain = t->parts == 1;
	size_t size = RECORD_HEAD + (plain ? 0 : 4) + (size_t)t->chunks * sizeof *t->chunk;
	uint8_t *data = malloc(size);
	if (!data)
		return -ENOMEM;
	struct bytes_out o = {data, data + size};
	bytes_put(&o, RECORD_MAGIC, 4);
	bytes_put_u32(&o, plain ? RECORD_PLAIN : RECORD_VERSION);
	bytes_put_u32(&o, (uint32_t)t->type);
	bytes_put_u32(&o, t->chunks);
	bytes_put_u64(&o, t->n);
	bytes_put_u64(&o, t->rows);
	if (!plain)
		bytes_put_u32(&o, t->parts);
	bytes_put(&o, t->chunk, (size_t)t->chunks * sizeof *t->chunk);
	t->id = content_hash(data, size);
	*out = data;
	*len = size;
	return 0;
}

int content_tensor_decode(struct content_tensor *t, const uint8_t *data, size_t len) {
	struct bytes_in in = {data, len, false};
	memset(t, 0, sizeof *t);
	const uint8_t *magic = bytes_get(&in, 4);
	uint32_t version = bytes_get_u32(&in), type = bytes_get_u32(&in), chunks = bytes_get_u32(&in);
	uint64_t n = bytes_get_u64(&in), rows = bytes_get_u64(&in);
	uint32_t parts = version == RECORD_VERSION ? bytes_get_u32(&in) : 1;
	if (in.short_of || memcmp(magic, RECORD_MAGIC, 4) != 0 ||
	        version != (parts == 1 ? RECORD_PLAIN : RECORD_VERSION))
		return -EINVAL;
	/* The number of chunks follows from the shape.  It is stored all the same, so that a record with the
	 * wrong length is refused before anything is allocated for its shape. */
	int rc = content_set_shape(t, type, n, rows, parts);
	if (rc == 0 && (t->chunks != chunks || in.left != (size_t)chunks * sizeof *t->chunk))
		rc = -EINVAL;
	if (rc == 0)
		rc = content_alloc_names(t);
	if (rc < 0) {
		content_tensor_clear(t);
		return rc;
	}
	bytes_get_into(&in, t->chunk, (size_t)chunks * sizeof *t->chunk);
	t->id = content_hash(data, len);
	return 0;
}
