/* store: a node's content on disk: blobs as they are, tensors packed for its kernels.
 *
 * Owns: a folder.  Files are immutable and appear by rename after fsync; a file in use holds a shared lock, and
 * is removed only under an exclusive one, so that several daemons of one user share a store.
 *   blobs/<name>    the bytes
 *   tensors/<name>  a header (magic, layout revision, record), then the packed matrix at a page boundary
 *   names/          what import remembers of files
 *   models/<name>   which manifest is the model of that name (daemon/deploy/catalog.h)
 * Threads: calls that write run on the loader; maps are immutable and safe on any thread. */
#ifndef SHARD_STORE_STORE_H
#define SHARD_STORE_STORE_H
#include "shard/model/content.h"

struct store;

int store_open(struct store **out, const char *dir, char *err, size_t errlen);
void store_close(struct store *s); /* NULL allowed */
/* From now on what this store has not is read from another one, where that has it: nothing is ever written or removed there,
 * and what is in use is locked there as well.  Before other threads use it.  0, -EEXIST: it is the same; or why it cannot be read. */
int store_borrow(struct store *s, const char *dir);
const char *store_lent_names(const struct store *s); /* the other's names; NULL: there is none */
const char *store_dir(const struct store *s);
const char *store_names_dir(const struct store *s);
int store_models_dir(const struct store *s); /* a descriptor, the store's */

bool store_has_blob(struct store *s, const struct content_id *id);
/* data malloc'd; verified against its name (-EBADMSG when it does not match; the file is removed). */
int store_get_blob(struct store *s, const struct content_id *id, uint8_t **data, size_t *len);
/* -ENOSPC also when less than the reserve would stay free (STORE_RESERVE). */
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

/* What tells two files apart that had the same name one after the other, while both are in use. */
struct store_file {
	uint64_t device, inode;
};

/* A tensor in use, read only: mapped, or opened alone, to be read from its file. */
struct store_tensor {
	struct content_tensor record;
	const void *packed; /* kern_packed_bytes of it, aligned to KERN_ALIGN and more; NULL: not mapped */
	size_t packed_bytes;
	int fd;             /* of its file, under a shared lock; -1 once store_close_descriptor was called */
	uint64_t packed_at; /* where the matrix lies in it, at a whole 4096 bytes */
	/* private */
	void *map, *hold;
	size_t map_bytes;
	struct store_file file; /* which one it is */
	bool streamed;          /* by a slice: it keeps its descriptor */
	struct store_use *use;
};
int store_open_tensor(
        struct store *s, const struct content_id *id, struct store_tensor **out, char *err, size_t errlen);
int store_map_opened(
        struct store_tensor *t); /* one that is mapped already stays so.  0 or a negative errno */
/* A mapped tensor needs no descriptor: its map keeps the file, and the lock on it.  A model has nine tensors a layer, and a
 * process by default a thousand descriptors. */
void store_close_descriptor(struct store_tensor *t);
int store_open_descriptor(
        struct store *s, struct store_tensor *t); /* it is to be read from its file after all */
int store_map_tensor(                             /* both */
        struct store *s, const struct content_id *id, struct store_tensor **out, char *err, size_t errlen);
void store_unmap_tensor(struct store_tensor *t); /* closes it as well; NULL allowed */

/* It is needed now: it goes last when room is made. */
void store_touch_tensor(const struct store_tensor *t);
/* Whether it is there; if so it counts as needed now. */
bool store_keep_tensor(struct store *s, const struct content_id *id);

/* Its bytes are not those that its name promises, or cannot be read: nothing may be computed from it until it has been
 * renewed.  A page of a map that cannot be read ends no process: it is zero from then on, and the tensor damaged. */
void store_tensor_damage(const struct store_tensor *t);
bool store_tensor_damaged(const struct store_tensor *t);
uint64_t store_tensor_renewed(const struct store_tensor *t); /* how often it was made good again */

/* Canonical bytes of one chunk of a mapped tensor (for serving to others): buf holds the chunk's bytes. */
void store_tensor_chunk(const struct store_tensor *t, uint32_t chunk, void *buf);

/* ---- what keeps a store sound (daemon/scrub/scrub.h) ---- */

/* Names of all tensors in it, malloc'd. */
int store_list_tensors(struct store *s, struct content_id **ids, size_t *count);
int store_list_blobs(struct store *s, struct content_id **ids, size_t *count);

/* Looks at head, record and length of a file: 0, -EBADMSG or -ESTALE (of another layout), and then it is removed unless it can be converted, or another
 * negative errno. */
int store_check_head(struct store *s, const struct content_id *id);
/* Reads a chunk from the file and checks it against the record; buf: of 2 x the chunk's packed bytes at least.
 * 0, -EBADMSG, or a negative errno when it cannot be read. */
int store_check_chunk(const struct store_tensor *t, uint32_t chunk, void *buf);
size_t store_check_room(const struct store_tensor *t);
/* Takes a file that is no good out of the store, whoever uses it, unless another bears the name by now. */
void store_drop_tensor(struct store *s, const struct store_tensor *bad);

/* The tensors in use by this process that are damaged, at most `max` of them: marked as such, shorter than they were, or gone
 * from the store (another process has dropped them).  They are damaged from now on, and the store does not have them any
 * more.  Those whose place a good file has taken already are renewed on the way. */
size_t store_find_damaged(struct store *s, struct content_id *ids, size_t max);
/* Whoever uses the tensor uses the file that the store has now, at the same addresses.  0, -ENOENT, or another. */
int store_renew_tensor(struct store *s, const struct content_id *id);

/* Bounds the store: before a tensor is written, those needed least recently go until there is room for it; one in use or
 * pinned never does, those that `wanted` (NULL allowed) says yes to go last.  `evicted` hears of each, on the thread that writes. */
struct store_limit {
	uint64_t bytes; /* 0: no bound */
	bool (*wanted)(void *arg, const struct content_id *id);
	void (*evicted)(void *arg, const struct content_id *id, uint64_t bytes, bool wanted);
	void *arg;
};
void store_set_limit(
        struct store *s, const struct store_limit *limit); /* before the store is used by other threads */
/* Names that somebody is collecting, and will use together: from now on none of them is evicted, whether the store has it
 * already or gets it meanwhile.  Any thread.  0 or -ENOMEM. */
struct store_pin;
int store_pin(struct store_pin **out, struct store *s, const struct content_id *ids, size_t count);
void store_unpin(struct store_pin *p); /* NULL allowed; before the store is closed */
/* Makes room for `need` bytes: 0, or -EDQUOT with a sentence. */
int store_make_room(struct store *s, uint64_t need, char *err, size_t errlen);
/* Bytes of all its files. */
uint64_t store_bytes(struct store *s);

/* What a store leaves free on its file system, whatever it is asked to hold: a full disk stops more than Caravan.  On small
 * ones it is a twentieth of them. */
#define STORE_RESERVE ((uint64_t)1 << 30)
uint64_t store_reserve(uint64_t filesystem);

struct store_room {
	uint64_t filesystem; /* bytes of it */
	uint64_t bytes;      /* that the store takes */
	uint64_t free;       /* that it can take more: with a bound, by evicting what no model needs */
};
/* keep: names, ascending, that count as needed.  Looks at every file: not on the loop.  0 or a negative errno. */
int store_room(struct store *s, const struct content_id *keep, size_t count, struct store_room *out);

/* Takes a tensor out of the store, with what there is of it that is not complete.  *bytes: its file's length, also when it
 * stays.  0, -ENOENT, or -EBUSY: somebody uses it, or will. */
int store_remove_tensor(struct store *s, const struct content_id *id, uint64_t *bytes);
int store_remove_blob(struct store *s, const struct content_id *id, uint64_t *bytes);
uint64_t store_tensor_bytes(struct store *s, const struct content_id *id); /* of its file; 0: there is none */
/* Whether a blob begins so, before anybody reads it whole. */
bool store_blob_begins(struct store *s, const struct content_id *id, const void *magic, size_t len);

#endif
