/* load_import: the beginning of a load: the file (metadata, then hashing), or a model that the cluster has on its disks.
 * Threads: the loop, except where a comment says executor or reader. */
#include "common/fail.h"
#include "daemon/deploy/load.h"

#include "common/paths.h"
#include "daemon/core/log.h"
#include "daemon/deploy/catalog.h"
#include "daemon/plan/presets.h"
#include "proto/descriptors.h"
#include "shard/import/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS 100

/* ---- the file ---- */

/* Executor. */
static int import_hash_progress(void *arg, uint64_t done, uint64_t total) {
	struct load *l = arg;
	atomic_store(&l->hashed, done);
	atomic_store(&l->size, total);
	return atomic_load(&l->stop);
}

/* Executor. */
static void import_hash_run(void *arg) {
	struct load *l = arg;
	l->rc = import_open(&l->im, l->fds, l->nfds, l->file, &l->how, store_names_dir(l->d->c.store),
	        import_hash_progress, l, l->err, sizeof l->err);
}

static void import_show_progress(void *arg) {
	struct load *l = arg;
	uint64_t size = atomic_load(&l->size);
	if (size)
		load_report(l, "hashing", deploy_node_name(l->d, &l->d->self), atomic_load(&l->hashed), size);
}

/* Reports what was changed or ignored in the file. */
static void import_report_note(struct load *l) {
	const char *text = l->how.text.note;
	if (!*text)
		return;
	if (l->note)
		l->note(l->arg, text);
	else
		log_line(LOG_LINE_WARN, "%s: %s", l->file, text);
}

static void import_hash_done(void *arg, bool cancelled) {
	struct load *l = arg;
	struct import *im = l->im;
	loop_timer_stop(l->timer);
	l->timer = NULL;
	l->im = NULL; /* owned by the load once offered */
	if (cancelled || l->state != LOAD_IMPORTING) {
		import_close(im);
	} else if (l->rc) {
		load_fail(l, "%s", l->err);
	} else if (transfer_add_source(l->d->transfer, im)) {
		import_close(im);
		load_fail(l, "out of memory");
	} else {
		l->im = im;
		l->manifest = import_manifest(im);
		manifest_destroy(l->own);
		l->own = NULL;
		load_step(l, EV_IMPORTED);
	}
	load_release(l);
}

/* Hashes the file, now that a plan for its header exists.  It is planned again afterwards, because the hashes show what nodes
 * already have. */
void load_hash(struct load *l) {
	load_forget_nodes(l);
	planner_clear(&l->found);
	advice_destroy(l->advice);
	l->advice = NULL;
	plan_free(l->plan);
	l->plan = NULL;
	load_hold(l);
	l->timer = loop_timer_start(l->d->c.loop, POLL_MS, true, import_show_progress, l);
	if (!l->timer || executor_submit(l->d->c.executor, import_hash_run, import_hash_done, l)) {
		load_release(l);
		load_fail(l, "out of memory");
	}
}

/* Reader.  Whether a model on our disk has the same sizes, and so may have the same content, which is not hashed yet. */
static bool import_may_be_here(struct store *s, const struct manifest *m) {
	struct catalog all;
	struct catalog_model like = {0};
	bool found = false;
	catalog_describe(&like, m);
	if (catalog_names(&all, s))
		return false;
	for (size_t i = 0; i < all.models && !found; i++)
		found = all.model[i].bytes == like.bytes && all.model[i].layers == like.layers &&
		        strcmp(all.model[i].type, like.type) == 0;
	catalog_clear(&all);
	return found;
}

/* Reader.  The header of the file, or a preset. */
static void import_metadata_run(void *arg) {
	struct load *l = arg;
	const char *lent = store_lent_names(l->d->c.store);
	if (lent && !l->shape) /* another daemon may have hashed this file */
		(void)import_names_copy(store_names_dir(l->d->c.store), lent, l->fds, l->nfds);
	if (l->shape)
		l->rc = presets_manifest(&l->own, l->shape, l->err, sizeof l->err);
	else
		l->rc = import_metadata(&l->own, l->fds, l->nfds, l->file, &l->how,
		        store_names_dir(l->d->c.store), l->err, sizeof l->err);
	if (l->rc == 0 && !l->shape)
		l->maybe_here = import_may_be_here(l->d->c.store, l->own);
}

static void import_metadata_done(void *arg, bool cancelled) {
	struct load *l = arg;
	if (!cancelled && l->state == LOAD_READING) {
		l->manifest = l->own;
		if (l->rc) {
			load_fail(l, "%s", l->err);
		} else {
			import_report_note(l);
			load_step(l, EV_READ);
		}
	}
	load_release(l);
}

const struct model *load_find_draft(const struct load *l, const char *name) {
	const struct model *m = deploy_model_named(l->d, name);
	return m && model_ours(m) && m->pub.phase == CARAVAN__MODEL_PHASE__SERVING ? m : NULL;
}

/* ---- a model on the cluster's disks ---- */

/* Reader.  A model whose manifest is on our disk. */
static void known_read_run(void *arg) {
	struct load *l = arg;
	struct store *s = l->d->c.store;
	uint8_t *data = NULL;
	size_t len;
	char why[512];
	l->rc = store_get_blob(s, &l->known[0], &data, &len);
	if (l->rc)
		snprintf(l->err, sizeof l->err, "the manifest of %s is not on this node: %s", l->stored,
		        strerror(-l->rc));
	else
		l->rc = manifest_decode(&l->own, data, len, l->err, sizeof l->err);
	free(data);
	data = NULL;
	if (l->rc == 0 && store_get_blob(s, &l->known[1], &data, &len) == 0)
		l->rc = vocab_decode(&l->words, data, len, l->err, sizeof l->err);
	free(data);
	/* as with a file: unsupported models are refused before they are fetched */
	if (l->rc == 0 && l->words && l->how.check && (l->rc = l->how.check(l->words, why, sizeof why)))
		snprintf(l->err, sizeof l->err, "%.64s: %.400s", l->stored, why);
}

static void known_fetched(void *arg, const char *error, uint64_t moved) {
	struct load *l = arg;
	(void)moved;
	l->fetch = NULL;
	load_hold(l);
	if (error) {
		load_fail(l, "%s", error);
		load_release(l);
	} else if (executor_submit(
	                   transfer_reader(l->d->transfer), known_read_run, import_metadata_done, l)) {
		load_fail(l, "out of memory");
		load_release(l);
	}
}

/* Fetches manifest and vocabulary from any node that has them. */
static int known_fetch(struct load *l) {
	struct node_id source[WIRE_NODES_MAX];
	char subject[WIRE_NAME_MAX + 16];
	snprintf(subject, sizeof subject, "model %s", l->stored);
	struct transfer_request r = {.subject = subject,
	        .blob = l->known,
	        .blobs = 2,
	        .source = source,
	        .sources = deploy_others(l->d, source),
	        .done = known_fetched,
	        .arg = l};
	int rc = transfer_fetch(l->d->transfer, &r, &l->fetch);
	if (rc)
		l->fetch = NULL;
	return rc;
}

/* Fills in options that the user did not give from the last plan. */
static void load_take_defaults(
        struct load *l, uint32_t context, uint32_t parallel, uint32_t kv, uint32_t copies) {
	if (!l->context)
		l->context = context;
	if (!l->own_parallel && parallel)
		l->parallel = parallel;
	if (!l->own_kv)
		l->kv = kv;
	if (!l->own_copies && copies)
		l->copies = copies;
}

void deploy_name_stored(
        const struct deploy_stored *model, size_t count, const char *name, char *err, size_t errlen) {
	size_t at = (size_t)snprintf(err, errlen, "no model %s is on the disks of the nodes that are up%s",
	        name, count ? ", which have" : ", nor is any other");
	for (size_t i = 0; i < count && at < errlen; i++)
		at += (size_t)snprintf(err + at, errlen - at, "%s %s", i ? "," : "", model[i].name);
}

static void known_gathered(void *arg, const struct deploy_stored *model, size_t count) {
	struct load *l = arg;
	const struct deploy_stored *found = NULL;
	char err[DEPLOY_ERROR];
	if (l->state != LOAD_READING) {
		load_release(l);
		return;
	}
	for (size_t i = 0; i < count && !found;
	        i++) /* of several models with this name, the most recently used comes first */
		if (strcmp(model[i].name, l->stored) == 0)
			found = &model[i];
	if (!found) {
		deploy_name_stored(model, count, l->stored, err, sizeof err);
		load_fail(l, "%s", err);
	} else {
		load_take_defaults(l, found->context, found->parallel, found->kv, found->copies);
		l->known[0] = found->manifest;
		l->known[1] = found->vocab;
		if (known_fetch(l))
			load_fail(l, "out of memory");
	}
	load_release(l);
}

/* Finds a model by its name: loaded, or on the disks of all nodes. */
static int known_find(struct load *l) {
	const struct model *m = deploy_model_named(l->d, l->stored);
	int rc = 0;
	if (m) {
		const Caravan__Plan *p = m->plan;
		load_take_defaults(l, p->context, p->parallel, p->kv, p->copies);
		/* for a model that another node coordinates, only the name is known here */
		if (!*l->draft && load_find_draft(l, p->draft))
			snprintf(l->draft, sizeof l->draft, "%s", p->draft);
		memcpy(l->known[0].b, p->manifest.data, sizeof l->known[0].b);
		memcpy(l->known[1].b, p->vocab.data, sizeof l->known[1].b);
		return known_fetch(l);
	}
	load_hold(l);
	rc = deploy_list_stored(l->d, known_gathered, l);
	if (rc)
		l->refs--;
	return rc;
}

static int load_copy_request(struct load *l, const struct deploy_load *r) {
	l->file = strdup(r->file);
	l->shape = r->shape ? strdup(r->shape) : NULL;
	l->pre = strdup(r->pre ? r->pre : "");
	l->chat_template = strdup(r->chat_template ? r->chat_template : "");
	l->how = (struct import_options){.text = {.pre = l->pre, .chat_template = l->chat_template},
	        .context = r->context,
	        .check = l->d->c.hooks.check_vocab};
	l->fds = calloc(r->nfds + 1, sizeof *l->fds);
	l->names = calloc(r->nnodes + 2, sizeof *l->names);
	if (!l->file || !l->fds || !l->names || !l->pre || !l->chat_template || (r->shape && !l->shape))
		return -ENOMEM;
	for (size_t i = 0; i < r->nfds; i++) {
		int fd = fcntl(r->fds[i], F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return -errno;
		l->fds[l->nfds++] = fd;
	}
	for (size_t i = 0; i < r->nnodes; i++) {
		if (!(l->names[l->nnames] = strdup(r->nodes[i])))
			return -ENOMEM;
		l->nnames++;
	}
	if (r->drafts) {
		char hex[NODE_ID_HEX];
		if (!(l->names[l->nnames] = strdup(node_id_hex(&l->d->self, hex))))
			return -ENOMEM;
		l->nnames++;
	}
	snprintf(l->draft, sizeof l->draft, "%s", r->draft ? r->draft : "");
	l->drafts = r->drafts;
	l->all_nodes = r->all_nodes;
	l->context = r->context;
	l->fit = r->fit && !r->context;
	l->parallel = r->parallel ? r->parallel : PLANNER_PARALLEL;
	l->kv = r->kv ? (enum kern_kv)(r->kv - 1) : KERN_KV_F16;
	l->own_parallel = r->parallel != 0;
	l->own_kv = r->kv != 0;
	l->own_copies = r->copies != 0;
	snprintf(l->stored, sizeof l->stored, "%s", r->known ? r->known : "");
	l->max_rows = r->max_rows || !r->drafts ? r->max_rows : PLANNER_DRAFT_ROWS;
	l->reserved = r->reserved;
	l->copies = r->copies ? r->copies : DEPLOY_COPIES;
	l->progress = r->progress;
	l->note = r->note;
	l->advise = r->advise;
	l->planned = r->planned;
	l->advises = r->advise != NULL;
	l->done = r->done;
	l->arg = r->arg;
	return 0;
}

/* Starts reading the header of a file, or the manifest of a known model. */
int load_begin(struct load *l) {
	if (*l->stored)
		return known_find(l);
	load_hold(l);
	/* the reader stays responsive while another model is hashed */
	int rc = executor_submit(
	        transfer_reader(l->d->transfer), import_metadata_run, import_metadata_done, l);
	if (rc)
		l->refs--;
	return rc;
}

int deploy_load(struct deploy *d, const struct deploy_load *r, char *err, size_t errlen) {
	char name[WIRE_NAME_MAX + 1];
	if (r->name && *r->name && !wire_name_ok(r->name))
		return fail_with(-EINVAL, err, errlen,
		        "%s is not a name for a model: letters, digits, and . _ - after the first, at "
		        "most %d",
		        r->name, WIRE_NAME_MAX);
	if (r->name && *r->name)
		snprintf(name, sizeof name, "%s", r->name);
	else if (r->known)
		snprintf(name, sizeof name, "%s", r->known);
	else if (r->shape)
		snprintf(name, sizeof name, "%s", r->shape);
	else
		paths_model_name(name, sizeof name, r->file);
	for (struct load *l = TAILQ_FIRST(&d->loads); l; l = TAILQ_NEXT(l, next))
		if (!r->advise && !l->advises && l->state != LOAD_ENDED && strcmp(l->name, name) == 0)
			return fail_with(-EEXIST, err, errlen, "model %s is already being loaded", name);
	struct load *l = load_create(d, name);
	int rc = l ? load_copy_request(l, r) : -ENOMEM;
	if (rc == 0 && !l->advises)
		load_say_started(l);
	if (rc == 0)
		rc = load_begin(l);
	if (rc) {
		snprintf(err, errlen, "%s: %s", r->file, descriptors_strerror(-rc).s);
		if (l) {
			l->done = NULL;
			load_release(l);
		}
	}
	return rc;
}
