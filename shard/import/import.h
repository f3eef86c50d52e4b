/* import: a model file as a source of content: hashes it and hands out its chunks and blobs by name.
 *
 * Owns: an open model file, its manifest, tensor records and vocabulary.  Names that hashing gave are kept in `cache` (a
 * folder), by device, inode, size and time of each part, so that a file is hashed once.
 * A file that somebody changes meanwhile fails the import, or the chunk that is asked for, with a sentence.
 * Threads: import_open runs on the executor (it reads the whole file when no names are kept); everything else is immutable and
 * safe on any thread, and import_chunk waits for the disk. */
#ifndef SHARD_IMPORT_IMPORT_H
#define SHARD_IMPORT_IMPORT_H
#include "shard/model/manifest.h"
#include "shard/model/vocab.h"

struct import;

/* Called before the first byte is hashed and after every chunk, not at all when the names are in the cache.
 * A return other than 0 stops the import with -ECANCELED. */
typedef int import_progress_fn(void *arg, uint64_t done, uint64_t total);

/* How a file is imported. */
struct import_options {
	struct vocab_reading
	        text;     /* in: its pre-tokenizer and chat template; out: what differs from the file */
	uint32_t context; /* as in hparams_from_gguf */
	/* Refuses a vocabulary that its users cannot handle, before a weight is read; NULL: accepts all. */
	int (*check)(const struct vocab *v, char *err, size_t errlen);
};

/* fds: borrowed.  o: NULL for the defaults, without a check of the vocabulary.  cache: a folder, or NULL for none.
 * Tensors that the model does not use are refused by name when they would change its results (biases, experts), and so are
 * shapes that do not fit and scales that are not finite.  0, or a negative errno with a sentence that names file and tensor. */
int import_open(struct import **out, const int *fds, size_t nfds, const char *name, struct import_options *o,
        const char *cache, import_progress_fn *progress, void *arg, char *err, size_t errlen);
void import_close(struct import *im); /* NULL allowed */

/* The manifest of a file from its metadata only: no weight is read.  Refuses what import_open refuses from metadata.  The
 * manifest (the caller's) has its names if they are in the cache; otherwise its own name and that of the vocabulary are all
 * zero, and those of its tensors are names of no content. */
int import_metadata(struct manifest **out, const int *fds, size_t nfds, const char *name,
        struct import_options *o, const char *cache, char *err, size_t errlen);

const struct manifest *import_manifest(const struct import *im);
const struct vocab *import_vocab(const struct import *im);

/* A blob by name (manifest, tensor record, vocabulary): borrowed; NULL: it is not of this file. */
const uint8_t *import_blob(const struct import *im, const struct content_id *id, size_t *len);

/* The record of a tensor; NULL: it is not of this file. */
const struct content_tensor *import_tensor(const struct import *im, const struct content_id *id);
/* Canonical bytes of one of its chunks, read from the file: malloc'd.  0; -ENOENT; -ESTALE: the file has changed since it was
 * hashed; or another negative errno; with a sentence in err. */
int import_chunk(const struct import *im, const struct content_id *tensor, uint32_t chunk, uint8_t **data,
        size_t *len, char *err, size_t errlen);

#endif
