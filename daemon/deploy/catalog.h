/* catalog: the models that a store has content of, and their names.
 *
 * Owns: STORE/models.  It has one file per name, which says which manifest the model has and how it was served
 * last.  The file is an envelope with a ModelList of one model, and is validated like a message when it is read.
 * Other nodes choose names too, so there are at most CATALOG_NAMES_MAX: unreadable files are removed first, then
 * the least recently used.  A manifest without a name (its record was lost, or another model took the name) is
 * listed under a name that is made from its hash.
 * Threads: any but the loop, since all calls wait for the disk. */
#ifndef DAEMON_DEPLOY_CATALOG_H
#define DAEMON_DEPLOY_CATALOG_H
#include "proto/wire.h"
#include "shard/model/manifest.h"
#include "shard/store/store.h"

#define CATALOG_NAMES_MAX 1000

struct catalog_model {
	char name[WIRE_NAME_MAX + 1];
	char type[WIRE_TYPE_MAX + 1]; /* of most of its weights */
	struct content_id manifest, vocab;
	uint32_t layers, tensors; /* tensors: of the layers */
	uint64_t bytes, here;     /* bytes of all weights, and of those in this store */
	uint32_t *word;           /* owned: a bit for each of these tensors: in this store */
	size_t words;
	uint32_t io;   /* bit per io_role: in this store; bit IO_ROLES: the vocabulary */
	bool named;    /* a record says so */
	bool file;     /* a model file of the node's own has all of it */
	uint64_t used; /* last served, seconds since 1970; 0: unknown */
	uint32_t context, parallel, kv, copies; /* of its last plan; 0: unknown */
};

struct catalog {
	struct catalog_model *model; /* owned; most recently used first */
	size_t models;
	int unread; /* 0; or the errno of a manifest that could not be read, if that may be temporary */
};
void catalog_clear(struct catalog *c);

/* The name of a manifest without a record. */
void catalog_nameless(const struct content_id *manifest, char name[WIRE_NAME_MAX + 1]);

/* Fills in what follows from the manifest; the rest of m is unchanged. */
void catalog_describe(struct catalog_model *m, const struct manifest *mf);

/* Writes a model's record, replacing one of the same name.  0 or a negative errno. */
int catalog_record(struct store *s, const struct catalog_model *m);
/* Only names and records, without what is in the store.  0 or a negative errno. */
int catalog_names(struct catalog *out, struct store *s);
/* All models with a manifest in the store, with what the store has of each.  0 or a negative errno. */
int catalog_list(struct catalog *out, struct store *s);

/* Removes a name, and the content that no other model of this store needs, unless another name has the same manifest.
 * needed: manifests to keep.  tensors_only: keeps manifest and vocabulary, because they identify a model file of this node. */
struct catalog_removed {
	uint64_t freed, shared, in_use; /* bytes; see Removed in caravan.proto */
};
int catalog_remove(struct catalog_removed *out, struct store *s, const char *name,
        const struct content_id *manifest, const struct content_id *needed, size_t count, bool tensors_only);

/* Conversions between a catalog's model and its message, which points into m. */
void catalog_message(Caravan__StoredModel *out, const struct catalog_model *m);
int catalog_from_message(struct catalog_model *out, const Caravan__StoredModel *m); /* 0 or -ENOMEM */

#endif
