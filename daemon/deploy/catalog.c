/* catalog: see catalog.h. */
#include "daemon/deploy/catalog.h"

#include "common/durable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD_BITS 32

static void catalog_model_clear(struct catalog_model *m) {
	free(m->word);
	m->word = NULL;
}

void catalog_clear(struct catalog *c) {
	for (size_t i = 0; i < c->models; i++)
		catalog_model_clear(&c->model[i]);
	free(c->model);
	*c = (struct catalog){0};
}

static struct catalog_model *catalog_add(struct catalog *c, const struct catalog_model *m) {
	struct catalog_model *grown = realloc(c->model, (c->models + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	c->model = grown;
	grown[c->models] = *m;
	return &grown[c->models++];
}

/* ---- messages ---- */

void catalog_message(Caravan__StoredModel *out, const struct catalog_model *m) {
	caravan__stored_model__init(out);
	out->name = wire_string(m->name);
	out->manifest = wire_bytes(m->manifest.b, sizeof m->manifest.b);
	out->vocab = wire_bytes(m->vocab.b, sizeof m->vocab.b);
	out->type = wire_string(m->type);
	out->layers = m->layers;
	out->layer_tensors = m->tensors == m->layers * LAYER_PLAIN ? 0 : m->tensors;
	out->bytes = m->bytes;
	out->here = m->here;
	out->tensors = wire_bytes(m->word, m->words * sizeof *m->word);
	out->io = m->io;
	out->file = m->file;
	out->used = m->used;
	out->context = m->context;
	out->parallel = m->parallel;
	out->kv = m->kv;
	out->copies = m->copies;
}

int catalog_from_message(struct catalog_model *out, const Caravan__StoredModel *m) {
	*out = (struct catalog_model){.layers = m->layers,
	        .tensors = m->layer_tensors ? m->layer_tensors : m->layers * LAYER_PLAIN,
	        .bytes = m->bytes,
	        .here = m->here,
	        .words = m->tensors.len / sizeof *out->word,
	        .io = m->io,
	        .file = m->file,
	        .used = m->used,
	        .context = m->context,
	        .parallel = m->parallel,
	        .kv = m->kv,
	        .copies = m->copies};
	snprintf(out->name, sizeof out->name, "%s", m->name);
	snprintf(out->type, sizeof out->type, "%s", m->type);
	memcpy(out->manifest.b, m->manifest.data,
	        sizeof out->manifest.b); /* 32 bytes: validated on arrival */
	memcpy(out->vocab.b, m->vocab.data, sizeof out->vocab.b);
	char nameless[WIRE_NAME_MAX + 1];
	catalog_nameless(&out->manifest, nameless);
	out->named = strcmp(out->name, nameless) != 0;
	if (out->words == 0)
		return 0;
	if (!(out->word = malloc(m->tensors.len)))
		return -ENOMEM;
	memcpy(out->word, m->tensors.data, m->tensors.len);
	return 0;
}

/* ---- records ---- */

void catalog_nameless(const struct content_id *manifest, char name[WIRE_NAME_MAX + 1]) {
	char hex[CONTENT_HEX];
	snprintf(name, WIRE_NAME_MAX + 1, "model-%.12s", content_hex(manifest, hex));
}

void catalog_describe(struct catalog_model *m, const struct manifest *mf) {
	uint64_t bytes[KERN_TYPES] = {0};
	uint32_t most = 0;
	for (size_t i = 0; i < manifest_tensors(mf); i++)
		bytes[manifest_tensor_at(mf, i)->type] += manifest_tensor_at(mf, i)->bytes;
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		most = bytes[t] > bytes[most] ? t : most;
	snprintf(m->type, sizeof m->type, "%s", kern_traits(most)->name);
	m->manifest = mf->id;
	m->vocab = mf->vocab;
	m->layers = mf->hp.layers;
	m->tensors = (uint32_t)manifest_layer_tensors(mf);
	m->bytes = manifest_layer_bytes(mf, 0, mf->hp.layers) + manifest_io_bytes(mf);
}

/* Reads a record; an invalid one counts as absent. */
static int catalog_read_record(struct store *s, const char *name, struct catalog_model *out) {
	uint8_t *data;
	size_t len;
	char err[200];
	int rc = durable_read(store_models_dir(s), name, WIRE_ENVELOPE_MAX, &data, &len);
	if (rc < 0)
		return rc;
	Caravan__Envelope *env = wire_unpack(data, len, 0, WIRE_DEALER, err, sizeof err);
	free(data);
	if (env && env->body_case == CARAVAN__ENVELOPE__BODY_MODEL_LIST && env->model_list->n_models == 1 &&
	        strcmp(env->model_list->models[0]->name, name) == 0)
		rc = catalog_from_message(out, env->model_list->models[0]);
	else
		rc = -ENOENT;
	wire_free(env);
	return rc;
}

/* Calls fn for the name of each record, until it returns a value other than 0. */
static int catalog_each_name(struct store *s, int (*fn)(void *arg, const char *name), void *arg) {
	int copy = openat(store_models_dir(s), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	if (!d) {
		rc = -errno;
		if (copy >= 0)
			close(copy);
		return rc;
	}
	for (struct dirent *e; rc == 0 && (e = readdir(d));)
		if (wire_name_ok(e->d_name))
			rc = fn(arg, e->d_name);
	closedir(d);
	return rc;
}

struct reading {
	struct store *s;
	struct catalog *c;
	bool all; /* unreadable records too, with only their names */
};

static int catalog_take_name(void *arg, const char *name) {
	struct reading *r = arg;
	struct catalog_model m = {0};
	if (catalog_read_record(r->s, name, &m) != 0) {
		if (!r->all)
			return 0;
		m = (struct catalog_model){0};
		snprintf(m.name, sizeof m.name, "%s", name);
	}
	if (catalog_add(r->c, &m))
		return 0;
	catalog_model_clear(&m);
	return -ENOMEM;
}

static int catalog_count_name(void *arg, const char *name) {
	(void)name;
	++*(size_t *)arg;
	return 0;
}

static int catalog_compare_models(const void *a, const void *b) {
	const struct catalog_model *x = a, *y = b;
	if (x->used != y->used)
		return x->used > y->used ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Removes names beyond the limit.  A failure is ignored: the next record tries again. */
static void catalog_prune_names(struct store *s) {
	struct catalog c = {0};
	struct reading r = {s, &c, true};
	size_t count = 0;
	if (catalog_each_name(s, catalog_count_name, &count) == 0 && count > CATALOG_NAMES_MAX &&
	        catalog_each_name(s, catalog_take_name, &r) == 0) {
		qsort(c.model, c.models, sizeof *c.model, catalog_compare_models);
		for (size_t i = CATALOG_NAMES_MAX; i < c.models; i++)
			unlinkat(store_models_dir(s), c.model[i].name, 0);
	}
	catalog_clear(&c);
}

int catalog_record(struct store *s, const struct catalog_model *m) {
	Caravan__StoredModel one, *list = &one;
	Caravan__ModelList models = CARAVAN__MODEL_LIST__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(MODEL_LIST, model_list, &models);
	struct catalog_model kept = *m;
	uint8_t *frame;
	size_t len;
	char err[200];
	kept.here = kept.io = 0; /* what is here is read from the store */
	kept.words = 0;
	kept.file = false;
	catalog_message(&one, &kept);
	models.models = &list;
	models.n_models = 1;
	env.boot = env.seq = env.ref = 1;
	if (!wire_valid(&env, 0, WIRE_DEALER, err, sizeof err))
		return -EINVAL;
	int rc = wire_pack(&env, &frame, &len);
	if (rc == 0) {
		rc = durable_write(store_models_dir(s), m->name, frame, len);
		free(frame);
	}
	if (rc == 0)
		catalog_prune_names(s);
	return rc;
}

int catalog_names(struct catalog *out, struct store *s) {
	struct reading r = {s, out, false};
	*out = (struct catalog){0};
	catalog_prune_names(s);
	int rc = catalog_each_name(s, catalog_take_name, &r);
	if (rc)
		catalog_clear(out);
	else if (out->models)
		qsort(out->model, out->models, sizeof *out->model, catalog_compare_models);
	return rc;
}

/* ---- what is here ---- */

/* Reads a manifest from the store: 0 or a negative errno. */
static int catalog_read_manifest(struct store *s, const struct content_id *id, struct manifest **out) {
	uint8_t *data;
	size_t len;
	char err[200];
	int rc = store_get_blob(s, id, &data, &len);
	if (rc)
		return rc;
	rc = manifest_decode(out, data, len, err, sizeof err);
	free(data);
	return rc;
}

static bool catalog_is_in(const struct content_id *ids, size_t count, const struct content_id *id) {
	return count && bsearch(id, ids, count, sizeof *ids, content_compare);
}

static int catalog_count_here(struct catalog *c, struct store *s, struct catalog_model *m,
        const struct content_id *tensor, size_t tensors) {
	struct manifest *mf;
	int rc = catalog_read_manifest(s, &m->manifest, &mf);
	if (rc && rc != -ENOENT && rc != -EBADMSG && rc != -EINVAL)
		c->unread = rc;
	if (rc) /* without the manifest the content here is unusable, unless another node has it */
		return 0;
	size_t all = manifest_tensors(mf), layers = all - IO_ROLES;
	catalog_describe(m, mf);
	m->words = (layers + WORD_BITS - 1) / WORD_BITS;
	free(m->word);
	m->word = calloc(m->words, sizeof *m->word);
	for (size_t i = 0; m->word && i < all; i++) {
		const struct manifest_tensor *t = manifest_tensor_at(mf, i);
		if (!catalog_is_in(tensor, tensors, &t->id))
			continue;
		/* a tied head is the embedding: count it once */
		if (i < all - IO_ROLES + IO_HEAD || !content_equal(&t->id, &mf->io[IO_EMBED].id))
			m->here += t->bytes;
		if (i < layers)
			m->word[i / WORD_BITS] |= (uint32_t)1 << i % WORD_BITS;
		else
			m->io |= (uint32_t)1 << (i - layers);
	}
	m->io |= (uint32_t)store_has_blob(s, &m->vocab) << IO_ROLES;
	if (!m->word)
		rc = -ENOMEM;
	manifest_destroy(mf);
	return rc;
}

/* Manifests that have no name. */
static int catalog_add_nameless(struct catalog *c, struct store *s) {
	struct content_id *blob = NULL;
	size_t blobs = 0, named = c->models;
	int rc = store_list_blobs(s, &blob, &blobs);
	for (size_t i = 0; i < blobs && rc == 0; i++) {
		struct catalog_model m = {.manifest = blob[i]};
		bool known = !store_blob_begins(s, &blob[i], MANIFEST_MAGIC, sizeof MANIFEST_MAGIC - 1);
		for (size_t k = 0; k < named && !known; k++)
			known = content_equal(&c->model[k].manifest, &blob[i]);
		catalog_nameless(&blob[i], m.name);
		if (!known && !catalog_add(c, &m))
			rc = -ENOMEM;
	}
	free(blob);
	return rc;
}

int catalog_list(struct catalog *out, struct store *s) {
	struct content_id *tensor = NULL;
	size_t tensors = 0, kept = 0;
	int rc = catalog_names(out, s);
	if (rc == 0)
		rc = catalog_add_nameless(out, s);
	if (rc == 0)
		rc = store_list_tensors(s, &tensor, &tensors);
	if (rc == 0 && tensors)
		qsort(tensor, tensors, sizeof *tensor, content_compare);
	for (size_t i = 0; i < out->models && rc == 0; i++)
		rc = catalog_count_here(out, s, &out->model[i], tensor, tensors);
	/* not a manifest after all */
	for (size_t i = 0; i < out->models && rc == 0; i++) {
		if (out->model[i].layers)
			out->model[kept++] = out->model[i];
		else
			catalog_model_clear(&out->model[i]);
	}
	free(tensor);
	if (rc)
		catalog_clear(out);
	else
		out->models = kept;
	return rc;
}

/* ---- taking away ---- */

/* Adds the content ids that a model needs; frees mf. */
static int catalog_add_needed(struct manifest *mf, struct content_id **out, size_t *n, size_t *capacity) {
	size_t all = manifest_tensors(mf);
	struct content_id *grown = realloc(*out, (*capacity += all + 2) * sizeof *grown);
	if (grown) {
		*out = grown;
		for (size_t k = 0; k < all; k++)
			grown[(*n)++] = manifest_tensor_at(mf, k)->id;
		grown[(*n)++] = mf->vocab;
		grown[(*n)++] = mf->id;
	}
	manifest_destroy(mf);
	return grown ? 0 : -ENOMEM;
}

/* The content ids that other models of this store need, ascending. */
static int catalog_list_needed(struct store *s, const struct catalog *c, const struct content_id *but,
        const struct content_id *more, size_t count, struct content_id **out, size_t *n) {
	size_t capacity = 0;
	int rc = 0;
	*out = NULL;
	*n = 0;
	for (size_t i = 0; i < c->models + count && rc == 0; i++) {
		const struct content_id *id = i < c->models ? &c->model[i].manifest : &more[i - c->models];
		struct manifest *mf;
		if (content_equal(id, but))
			continue;
		/* what an unreadable model needs is unknown: remove nothing */
		rc = catalog_read_manifest(s, id, &mf);
		if (rc == -ENOENT)
			rc = 0;
		else if (rc == 0)
			rc = catalog_add_needed(mf, out, n, &capacity);
	}
	if (*n)
		qsort(*out, *n, sizeof **out, content_compare);
	return rc;
}

/* Removes a model's content except what other models need. */
static int catalog_remove_content(struct catalog_removed *out, struct store *s, const struct manifest *mf,
        const struct content_id *needed, size_t count, bool tensors_only) {
	size_t all = manifest_tensors(mf), n = 0;
	uint64_t bytes;
	struct content_id *id = malloc(all * sizeof *id);
	if (!id)
		return -ENOMEM;
	for (size_t i = 0; i < all; i++)
		id[i] = manifest_tensor_at(mf, i)->id;
	qsort(id, all, sizeof *id, content_compare);
	for (size_t i = 0; i < all; i++) /* two tensors may have the same content */
		if (i == 0 || !content_equal(&id[i], &id[n - 1]))
			id[n++] = id[i];
	for (size_t i = 0; i < n; i++) {
		if (catalog_is_in(needed, count, &id[i])) {
			out->shared += store_tensor_bytes(s, &id[i]);
			continue;
		}
		int rc = store_remove_tensor(s, &id[i], &bytes);
		out->freed += rc == 0 ? bytes : 0;
		out->in_use += rc == -EBUSY ? bytes : 0;
	}
	free(id);
	/* manifest and vocabulary stay as long as any content does */
	if (out->in_use || tensors_only)
		return 0;
	if (!catalog_is_in(needed, count, &mf->vocab) && store_remove_blob(s, &mf->vocab, &bytes) == 0)
		out->freed += bytes;
	if (store_remove_blob(s, &mf->id, &bytes) == 0)
		out->freed += bytes;
	return 0;
}

int catalog_remove(struct catalog_removed *out, struct store *s, const char *name,
        const struct content_id *manifest, const struct content_id *needed, size_t count, bool tensors_only) {
	struct catalog all = {0};
	struct content_id *need = NULL;
	struct manifest *mf = NULL;
	size_t n = 0;
	bool stays = false;
	*out = (struct catalog_removed){0};
	int rc = catalog_list(&all, s);
	if (rc == 0 && all.unread) {
		rc = all.unread;
		catalog_clear(&all);
	}
	if (rc)
		return rc;
	for (size_t i = 0; i < count; i++)
		stays = stays || content_equal(&needed[i], manifest);
	for (size_t i = 0; i < all.models; i++) {
		const struct catalog_model *m = &all.model[i];
		if (!content_equal(&m->manifest, manifest))
			continue;
		if (m->named && strcmp(m->name, name) != 0)
			stays = true; /* the same model has another name */
	}
	if (stays) {
		for (size_t i = 0; i < all.models && !out->shared; i++)
			if (content_equal(&all.model[i].manifest, manifest))
				out->shared = all.model[i].here;
	} else if (catalog_read_manifest(s, manifest, &mf) == 0) {
		rc = catalog_list_needed(s, &all, manifest, needed, count, &need, &n);
		if (rc == 0)
			rc = catalog_remove_content(out, s, mf, need, n, tensors_only);
	}
	/* the name is removed last, so that an interrupted removal can be repeated */
	for (size_t i = 0; i < all.models && rc == 0 && !out->in_use; i++) {
		const struct catalog_model *m = &all.model[i];
		if (m->named && strcmp(m->name, name) == 0 && content_equal(&m->manifest, manifest) &&
		        unlinkat(store_models_dir(s), name, 0) < 0 && errno != ENOENT)
			rc = -errno;
	}
	manifest_destroy(mf);
	free(need);
	catalog_clear(&all);
	return rc;
}
