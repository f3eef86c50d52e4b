/* import: a model file as a source of content: hashes it and hands out its chunks and blobs by name.
 *
 * Owns: an open model file, its manifest, tensor records and vocabulary.  Names found once are remembered in
 * `cache` (a folder) by device, inode, size and time of each part, so that a file is hashed once.
 * A file that is changed under it, by whoever, fails the import or the chunk that is asked for, with a sentence.
 * Threads: import_open runs on the loader (it reads the whole file when nothing is remembered);
 * the rest is immutable and safe on any thread, and import_chunk waits for the disk. */
#ifndef SHARD_IMPORT_IMPORT_H
#define SHARD_IMPORT_IMPORT_H
#include "shard/model/manifest.h"
#include "shard/model/vocab.h"

struct import;

/* Called before the first byte is hashed and after every chunk, not at all when names were remembered.
 * A return other than 0 stops the import with -ECANCELED. */
typedef int import_progress_fn(void *arg, uint64_t done, uint64_t total);

/* How a file is taken. */
struct import_options {
	struct vocab_reading text; /* its pre-tokenizer, and what was made of its vocabulary (out) */
	/* What those who will use the vocabulary have against it, so that it is refused before a weight is read; NULL: nothing. */
	int (*check)(const struct vocab *v, char *err, size_t errlen);
};

/* fds: borrowed.  o: NULL: as it is, without a check of its vocabulary.  cache: folder, or NULL for none.  Tensors that the model does not use are refused by name
 * when they would change its results (biases, experts), as are shapes that do not fit and scales that are not
 * finite. 0, or a negative errno with a sentence in err that names file and tensor. */
int import_open(struct import **out, const int *fds, size_t nfds, const char *name, struct import_options *o,
        const char *cache, import_progress_fn *progress, void *arg, char *err, size_t errlen);
void import_close(struct import *im); /* NULL allowed */

/* What a file is made of, refused as import_open refuses it, from its header alone: no weight is read.  The manifest
 * (the caller's) has its names when they are remembered; otherwise its own is all zero, its tensors' are of no content,
 * and the vocabulary's is all zero. */
int import_shape(struct manifest **out, const int *fds, size_t nfds, const char *name,
        struct import_options *o, const char *cache, char *err, size_t errlen);

const struct manifest *import_manifest(const struct import *im);
const struct vocab *import_vocab(const struct import *im);

/* A blob by name (manifest, tensor record, vocabulary): borrowed, NULL when it has none such. */
const uint8_t *import_blob(const struct import *im, const struct content_id *id, size_t *len);

/* A tensor's record, NULL when it has none such. */
const struct content_tensor *import_tensor(const struct import *im, const struct content_id *id);
/* Canonical bytes of one of its chunks, read from the file: malloc'd.  0; -ENOENT; -ESTALE: the file has changed since it was
 * hashed; or another negative errno; with a sentence in err. */
int import_chunk(const struct import *im, const struct content_id *tensor, uint32_t chunk, uint8_t **data,
        size_t *len, char *err, size_t errlen);

#endif
