/* store: a node's content on disk: blobs as they are, tensors packed for its kernels.
 *
 * Owns: a folder.  Files are immutable and appear by rename after fsync; a file in use holds a shared lock, and
 * is removed only under an exclusive one, so that several daemons of one user share a store.
 *   blobs/<name>    the bytes
 *   tensors/<name>  a header (magic, layout revision, record), then the packed matrix at a page boundary
 *   names/          what import remembers of files
 * Threads: calls that write run on the loader; maps are immutable and safe on any thread. */
#ifndef SHARD_STORE_H
#define SHARD_STORE_H
#include "shard/content.h"

struct store;

int store_open(struct store **out, const char *dir, char *err, size_t errlen);
void store_close(struct store *s); /* NULL allowed */
const char *store_names_dir(const struct store *s);

bool store_has_blob(struct store *s, const struct content_id *id);
/* data malloc'd; verified against its name (-EBADMSG when it does not match; the file is removed). */
int store_get_blob(struct store *s, const struct content_id *id, uint8_t **data, size_t *len);
int store_put_blob(struct store *s, const uint8_t *data, size_t len, struct content_id *id);

bool store_has_tensor(struct store *s, const struct content_id *id);

/* Writes a tensor chunk by chunk, in any order, each verified against the record, packed in place.  What a writer that
 * was not committed had of a tensor of several chunks is there for the next one: also when its process was killed. */
struct store_writer;
int store_writer_create(struct store_writer **out, struct store *s, const struct content_tensor *record,
        char *err, size_t errlen);
/* 0, -EBADMSG when the bytes are not that chunk's, another negative errno when the disk fails. */
int store_writer_chunk(struct store_writer *w, uint32_t chunk, const void *bytes, size_t len);
bool store_writer_has(const struct store_writer *w, uint32_t chunk); /* it is there already */
int store_writer_commit(struct store_writer *w);                     /* -EAGAIN while chunks are missing */
void store_writer_destroy(struct store_writer *w);                   /* NULL allowed */

/* Whether what it has been given can be read meanwhile, by store_part_read. */
bool store_writer_readable(const struct store_writer *w);

/* Of a tensor whose writer is readable: its record (chunk -1), or a chunk that the writer has been given; malloc'd, and
 * whoever gets it checks it.  -ENOENT: it is not being written (any more). */
int store_part_read(struct store *s, const struct content_id *id, int64_t chunk, uint8_t **data, size_t *len);

/* A mapped tensor, read only. */
struct store_tensor {
	struct content_tensor record;
	const void *packed; /* kern_packed_bytes of it, aligned to KERN_ALIGN and more */
	size_t packed_bytes;
	/* private */
	void *map;
	size_t map_bytes;
	int fd;
};
int store_map_tensor(
        struct store *s, const struct content_id *id, struct store_tensor **out, char *err, size_t errlen);
void store_unmap_tensor(struct store_tensor *t); /* NULL allowed */

/* Canonical bytes of one chunk of a mapped tensor (for serving to others): buf holds the chunk's bytes. */
void store_tensor_chunk(const struct store_tensor *t, uint32_t chunk, void *buf);

#endif
