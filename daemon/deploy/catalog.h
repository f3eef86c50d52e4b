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
	uint32_t layers;
	uint64_t bytes, here; /* of all weights, and of them in this store */
	uint32_t *word;       /* owned: bit layer * LAYER_ROLES + role: it is here */
	size_t words;
	uint32_t io;   /* bit role: that end is here; bit END_ROLES: the vocabulary */
	bool named;    /* a record says so */
	bool file;     /* a model file of the node's own has all of it */
	uint64_t used; /* it served last: seconds since 1970; 0: not known */
	uint32_t context, parallel, kv, copies; /* of its last plan; 0: not known */
};

struct catalog {
	struct catalog_model *model; /* owned; those used last come first */
	size_t models;
	int unread; /* 0; or why a manifest that is here could not be read, as far as that may pass */
};
void catalog_clear(struct catalog *c);

/* What a manifest is called that has no name. */
void catalog_nameless(const struct content_id *manifest, char name[WIRE_NAME_MAX + 1]);

/* What a manifest says of its model; the rest of m stays as it is. */
void catalog_describe(struct catalog_model *m, const struct manifest *mf);

/* Keeps a model's record, in place of the one of that name.  0 or a negative errno. */
int catalog_record(struct store *s, const struct catalog_model *m);
/* The names alone, with what their records say: nothing is said of what is here.  0 or a negative errno. */
int catalog_names(struct catalog *out, struct store *s);
/* All models whose manifests are here, with what there is of each.  0 or a negative errno. */
int catalog_list(struct catalog *out, struct store *s);

/* Takes a name away, and with it what no other model of this store needs, unless another name means the same model.
 * needed: manifests that stay whatever their names are.  tensors_only: manifest and vocabulary stay, since a model file of the
 * node's own is known by them. */
struct catalog_removed {
	uint64_t freed, shared, in_use; /* bytes; see Removed in caravan.proto */
};
int catalog_remove(struct catalog_removed *out, struct store *s, const char *name,
        const struct content_id *manifest, const struct content_id *needed, size_t count, bool tensors_only);

/* Between a model of a catalog and its message, whose pointers lead into m. */
void catalog_message(Caravan__StoredModel *out, const struct catalog_model *m);
int catalog_from_message(struct catalog_model *out, const Caravan__StoredModel *m); /* 0 or -ENOMEM */

#endif
