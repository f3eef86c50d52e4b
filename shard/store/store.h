/* store: the content that a node has on disk: blobs as they are, tensors packed for its kernels.
 *
 * Owns: a folder.  Files are immutable and appear by rename after fsync.  A process holds a shared lock on each file that it
 * uses, and files are removed only under an exclusive lock, so that several daemons of one user can share a store.
 *   blobs/<name>    the bytes
 *   tensors/<name>  a header (magic, layout revision, record), then the packed matrix at a page boundary
 *   names/          the names that hashing model files gave
 *   models/<name>   which manifest is the model of that name (daemon/deploy/catalog.h)
 * Threads: calls that write run on the executor; maps are immutable and safe on any thread. */
#ifndef SHARD_STORE_STORE_H
#define SHARD_STORE_STORE_H
#include "shard/model/content.h"
#include <stdatomic.h>

struct store;

int store_open(struct store **out, const char *dir, char *err, size_t errlen);
void store_close(struct store *s); /* NULL allowed */
/* From now on, content that this store lacks is read from another store if that has it.  Nothing is written or removed there, and
 * files in use are locked there as well.  Call it before other threads use the store.  0; -EEXIST: both are the same store; or
 * another negative errno. */
int store_borrow(struct store *s, const char *dir);
const char *store_lent_names(const struct store *s); /* names/ of the other store; NULL if none */
const char *store_dir(const struct store *s);
const char *store_names_dir(const struct store *s);
int store_models_dir(const struct store *s); /* a descriptor, the store's */

bool store_has_blob(struct store *s, const struct content_id *id);
/* data malloc'd; verified against its name (-EBADMSG when it does not match; the file is removed). */
int store_get_blob(struct store *s, const struct content_id *id, uint8_t **data, size_t *len);
/* -ENOSPC also when less than the reserve (STORE_RESERVE) would stay free. */
int store_put_blob(struct store *s, const uint8_t *data, size_t len, struct content_id *id);

bool store_has_tensor(struct store *s, const struct content_id *id);

/* Writes a tensor chunk by chunk, in any order; each chunk is verified against the record and packed.  The chunks of a writer
 * that was not committed are kept for the next one, even when its process was killed (tensors of one chunk excepted), but not
 * when the disk was full. */
/* Whether bytes are the blob of this name; the canonical bytes of this chunk: 0, or -EBADMSG. */
int store_verify_blob(const struct content_id *id, const void *data, size_t len);
int store_verify_chunk(
        const struct content_tensor *record, uint32_t chunk, const void *canonical, size_t len);
/* Whether these packed bytes are a part of the tensor: 0, -EBADMSG or -ENOMEM. */
int store_verify_part(const struct content_tensor *record, uint32_t part, const void *packed);

struct store_writer;
int store_writer_create(struct store_writer **out, struct store *s, const struct content_tensor *record,
        char *err, size_t errlen);
/* 0, -EBADMSG when the bytes are not that chunk's (store_verify_chunk), another negative errno when the disk fails. */
int store_writer_chunk(struct store_writer *w, uint32_t chunk, const void *bytes, size_t len);
bool store_writer_has(const struct store_writer *w, uint32_t chunk); /* no need to write it */
int store_writer_commit(struct store_writer *w);                     /* -EAGAIN while chunks are missing */
void store_writer_destroy(struct store_writer *w);                   /* NULL allowed */

/* Whether store_part_read can read its chunks meanwhile. */
bool store_writer_readable(const struct store_writer *w);

/* Reads from a tensor whose writer is readable: its record (chunk -1) or a chunk that was written; malloc'd, not verified.
 * -ENOENT: the tensor is not being written (any more). */
int store_part_read(struct store *s, const struct content_id *id, int64_t chunk, uint8_t **data, size_t *len);

/* Identifies a file: another one may get the same name while this one is in use. */
struct store_file {
	uint64_t device, inode;
};

/* A tensor in use, read only: mapped, or only opened, to be read from its file. */
struct store_tensor {
	struct content_tensor record;
	const void *packed; /* kern_packed_bytes of it, aligned to KERN_ALIGN and more; NULL: not mapped */
	size_t packed_bytes;
	int fd;             /* of its file, under a shared lock; -1 once store_close_descriptor was called */
	uint64_t packed_at; /* offset of the matrix, a multiple of 4096 */
	/* private */
	void *map, *hold;
	size_t map_bytes;
	struct store_file file; /* which one it is */
	bool streamed;          /* by a slice: it keeps its descriptor */
	struct store_use *use;
};
int store_open_tensor(
        struct store *s, const struct content_id *id, struct store_tensor **out, char *err, size_t errlen);
int store_map_opened(struct store_tensor *t); /* a mapped one stays as it is.  0 or a negative errno */
/* A mapped tensor needs no descriptor: its map keeps the file and the lock on it.  A model has nine tensors per layer, and a
 * process by default a thousand descriptors. */
void store_close_descriptor(struct store_tensor *t);
int store_open_descriptor(struct store *s, struct store_tensor *t); /* to read it from its file again */
int store_map_tensor(                                               /* both */
        struct store *s, const struct content_id *id, struct store_tensor **out, char *err, size_t errlen);
void store_unmap_tensor(struct store_tensor *t); /* closes it as well; NULL allowed */

/* ---- in huge pages (copy.c) ---- */

#define STORE_HUGE_PAGE (2ul << 20) /* on x86, and on ARM with 4 KiB pages */
#define STORE_COPY_PIECE \
	(8 * STORE_HUGE_PAGE) /* so much is there twice, in memory and in the page cache, while it is copied */

/* Whether it is mapped, and large enough to gain by it. */
bool store_can_copy(const struct store_tensor *t);
/* Moves the map of such a tensor to where huge pages can replace it.  Before anybody uses it: packed changes.  0 or -errno. */
int store_align_map(struct store_tensor *t);
/* Replaces the map by anonymous memory with the same bytes, in huge pages if the system gives them, while others may read the
 * tensor.  One call for a tensor at a time.  0; -ECANCELED: *stop was set; -EAGAIN: the file is damaged or has just been replaced,
 * try again; another negative errno.  After any failure every byte of the tensor is either of the copy or of the map. */
int store_copy_tensor(struct store *s, const struct store_tensor *t, const atomic_bool *stop);
bool store_tensor_copied(const struct store_tensor *t); /* all of it, and of the file that it has now */

/* Marks a tensor as just used: least recently used ones are evicted first. */
void store_touch_tensor(const struct store_tensor *t);
/* Whether the store has it; if so, marks it as just used. */
bool store_keep_tensor(struct store *s, const struct content_id *id);

/* Marks a tensor as damaged: its bytes do not match its name, or cannot be read.  Nothing may be computed from it until it has
 * been renewed.  A page of a map that cannot be read does not end the process: it becomes zero, and the tensor damaged. */
void store_tensor_damage(const struct store_tensor *t);
bool store_tensor_damaged(const struct store_tensor *t);
uint64_t store_tensor_renewed(const struct store_tensor *t); /* how often it has been renewed */

/* Canonical bytes of one chunk of a mapped tensor (for serving to others): buf holds the chunk's bytes. */
void store_tensor_chunk(const struct store_tensor *t, uint32_t chunk, void *buf);

/* ---- scrub, repair, evict (daemon/scrub/scrub.h) ---- */

/* The names of all tensors or blobs, malloc'd. */
int store_list_tensors(struct store *s, struct content_id **ids, size_t *count);
int store_list_blobs(struct store *s, struct content_id **ids, size_t *count);

/* Checks head, record and length of a tensor's file.  0, STORE_OLDER, -EBADMSG, -ESTALE (an unknown layout), or another negative
 * errno.  A file with one of the two last is removed. */
#define STORE_OLDER \
	1 /* it is sound, of a layout that store_convert knows: it counts as absent, and is kept */
int store_check_head(struct store *s, const struct content_id *id);
/* Reads a chunk from the file and checks it against the record; buf: store_check_room() bytes.
 * 0, -EBADMSG, or a negative errno when it cannot be read. */
int store_check_chunk(const struct store_tensor *t, uint32_t chunk, void *buf);
size_t store_check_buffer_bytes(const struct store_tensor *t);
/* Removes a damaged file from the store, even while it is used, unless another file has its name by now. */
void store_drop_tensor(struct store *s, const struct store_tensor *bad);

/* Finds damaged tensors that this process uses, at most `max`: marked as damaged, shorter than they were, or missing from the
 * store because another process has dropped them.  They are marked and dropped.  Tensors that already have a good file are
 * renewed instead. */
size_t store_find_damaged(struct store *s, struct content_id *ids, size_t max);
/* All users of the tensor get the file that the store has now, at the same addresses.  0, -ENOENT, or another negative errno. */
int store_renew_tensor(struct store *s, const struct content_id *id);

/* Limits the store: before a tensor is written, least recently used ones are evicted until it fits.  Tensors in use and pinned
 * ones are never evicted; tensors for which `wanted` (NULL allowed) returns true are evicted last.  `evicted` is called for each,
 * on the thread that writes. */
struct store_limit {
	uint64_t bytes; /* 0: no limit */
	bool (*wanted)(void *arg, const struct content_id *id);
	void (*evicted)(void *arg, const struct content_id *id, uint64_t bytes, bool wanted);
	void *arg;
};
void store_set_limit(
        struct store *s, const struct store_limit *limit); /* before other threads use the store */
/* Pins names that will be used together: none of them is evicted from now on, whether the store has it already or gets it later.
 * Any thread.  0 or -ENOMEM. */
struct store_pin;
int store_pin(struct store_pin **out, struct store *s, const struct content_id *ids, size_t count);
void store_unpin(struct store_pin *p); /* NULL allowed; before the store is closed */
/* Evicts until `need` bytes fit the limit: 0, or -EDQUOT with a sentence. */
int store_make_space(struct store *s, uint64_t need, char *err, size_t errlen);
/* Bytes of all files of the store. */
uint64_t store_bytes(struct store *s);

/* What a store leaves free on its file system, because a full disk stops more than Caravan: this much, but at most a twentieth
 * of the file system. */
#define STORE_RESERVE ((uint64_t)1 << 30)
uint64_t store_reserve(uint64_t filesystem);

struct store_space {
	uint64_t filesystem; /* bytes of it */
	uint64_t bytes;      /* of the store */
	uint64_t free;       /* that it can still take; with a limit, also by evicting what no model needs */
};
/* keep: names, ascending, that count as needed.  Reads the folder: not on the loop.  0 or a negative errno. */
int store_space(struct store *s, const struct content_id *keep, size_t count, struct store_space *out);

/* Removes a tensor, and what is there of it that is not complete.  *bytes: the length of its files, also when they stay.
 * 0, -ENOENT, or -EBUSY: it is in use or pinned. */
int store_remove_tensor(struct store *s, const struct content_id *id, uint64_t *bytes);
int store_remove_blob(struct store *s, const struct content_id *id, uint64_t *bytes);
uint64_t store_tensor_bytes(struct store *s, const struct content_id *id); /* of its file; 0 if none */
/* Whether a blob begins with these bytes, without reading all of it. */
bool store_blob_begins(struct store *s, const struct content_id *id, const void *magic, size_t len);

#endif
