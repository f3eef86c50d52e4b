/* load_import: the beginning of a load: the file, who may take part, the plan, the number of its epoch.
 * Threads: the loop, but for what says executor. */
#include "daemon/deploy/load.h"

#include "common/paths.h"
#include "daemon/calibration/disk.h"
#include "daemon/core/log.h"
#include "daemon/deploy/catalog.h"
#include "daemon/plan/shapes.h"
#include "proto/descriptors.h"
#include "shard/forward/kv.h"
#include "shard/import/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS 100
#define HASH_LOOK (4 << 20) /* bytes */

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

/* What of the file was not taken as it stands. */
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
	l->im = NULL; /* it is the load's when it has been offered */
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

/* There is a plan for what the header says: now it is worth to hash the file, and then it is planned again, since the names
 * say what nodes have of it already. */
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

/* Reader: whether something on our disk is as large as this file's content, and so may be the same: it has no names yet. */
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

/* Reader: the file's header, or a shape that has a name. */
static void import_metadata_run(void *arg) {
	struct load *l = arg;
	const char *lent = store_lent_names(l->d->c.store);
	if (lent && !l->shape) /* another daemon may have hashed this file */
		(void)import_names_copy(store_names_dir(l->d->c.store), lent, l->fds, l->nfds);
	if (l->shape)
		l->rc = shapes_manifest(&l->own, l->shape, l->err, sizeof l->err);
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

/* A model of ours by this name that serves, and so can make drafts; NULL: there is none. */
static const struct model *load_find_draft(const struct load *l, const char *name) {
	const struct model *m = deploy_model_named(l->d, name);
	return m && model_ours(m) && m->pub.phase == CARAVAN__MODEL_PHASE__SERVING ? m : NULL;
}

/* ---- a model on the cluster's disks ---- */

/* Reader: what a model is made of whose manifest is on our disk. */
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
	/* as with a file: what cannot be served is not fetched first */
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

/* Its manifest and vocabulary come from whoever has them. */
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

/* What the user has not said is as it was. */
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
	size_t at = (size_t)snprintf(err, errlen, "no model %s is on the disks of the nodes that are up: %s",
	        name, count ? "there are" : "there is none");
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
	        i++) /* of several that are called so the one used last comes first */
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

/* Finds a model by its name: among those that this node knows as loaded, or on the disks of all nodes. */
static int known_find(struct load *l) {
	const struct model *m = deploy_model_named(l->d, l->stored);
	int rc = 0;
	if (m) {
		const Caravan__Plan *p = m->plan;
		load_take_defaults(l, p->context, p->parallel, p->kv, p->copies);
		/* of one that another node coordinates there is no more than the name here */
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
	l->how = (struct import_options){.text.pre = l->pre, .check = l->d->c.hooks.check_vocab};
	l->fds = calloc(r->nfds + 1, sizeof *l->fds);
	l->names = calloc(r->nnodes + 2, sizeof *l->names);
	if (!l->file || !l->fds || !l->names || !l->pre || (r->shape && !l->shape))
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

/* Whether the model may have its draft; if not, the load has failed. */
static bool load_check_draft(struct load *l) {
	char why[VOCAB_WHY];
	if (!*l->draft)
		return true;
	const struct model *m = load_find_draft(l, l->draft);
	const struct vocab *words = l->im ? import_vocab(l->im) : l->words;
	if (!m || !m->vocab)
		load_fail(l, "no model %s that can draft is served on this node", l->draft);
	else if (words && !vocab_same_tokens(words, m->vocab, why, sizeof why))
		load_fail(
		        l, "%s cannot draft for %s: its tokenizer is different (%s)", l->draft, l->name, why);
	else
		return true;
	return false;
}

/* Begins with what can be read soon: a file's header, or what is known of a model. */
int load_begin(struct load *l) {
	if (*l->stored)
		return known_find(l);
	load_hold(l);
	/* a node that hashes another model answers too */
	int rc = executor_submit(
	        transfer_reader(l->d->transfer), import_metadata_run, import_metadata_done, l);
	if (rc)
		l->refs--;
	return rc;
}

int deploy_load(struct deploy *d, const struct deploy_load *r, char *err, size_t errlen) {
	char name[WIRE_NAME_MAX + 1];
	if (r->name && *r->name && !wire_name_ok(r->name)) {
		snprintf(err, errlen,
		        "%s is not a name for a model: letters, digits, and . _ - after the first, at "
		        "most %d",
		        r->name, WIRE_NAME_MAX);
		return -EINVAL;
	}
	if (r->name && *r->name)
		snprintf(name, sizeof name, "%s", r->name);
	else if (r->known)
		snprintf(name, sizeof name, "%s", r->known);
	else if (r->shape)
		snprintf(name, sizeof name, "%s", r->shape);
	else
		paths_model_name(name, sizeof name, r->file);
	for (struct load *l = d->loads; l; l = l->next)
		if (!r->advise && !l->advises && l->state != LOAD_ENDED && strcmp(l->name, name) == 0) {
			snprintf(err, errlen, "model %s is already being loaded", name);
			return -EEXIST;
		}
	struct load *l = load_create(d, name);
	int rc = l ? load_copy_request(l, r) : -ENOMEM;
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

/* ---- who may take part ---- */

/* Whether a name of the user's means this member; an empty list means nobody. */
static bool load_names_member(const struct load *l, const struct member *m) {
	for (size_t i = 0; i < l->nnames; i++)
		if (members_named(l->d->c.members, l->names[i]) == m)
			return true;
	return false;
}

static bool load_member_measured(const struct member *m) {
	return m->state && m->state->n_rates > 0;
}

/* It and every other node that is up reach each other. */
static bool load_member_linked(const struct load *l, const struct member *m) {
	const struct member *o;
	for (size_t i = 0; (o = members_at(l->d->c.members, i)); i++)
		if (!o->expelled && (o->self || o->up) && !deploy_reaches(l->d, &m->id, &o->id))
			return false;
	return true;
}

/* What the plan needs is known of every node, or will not be soon. */
static bool load_is_settled(const struct load *l) {
	const struct member *m;
	bool young = loop_now_ns() - l->d->born_ns < DEPLOY_SETTLE_MS * 1000000ull;
	size_t count = 0;
	for (size_t i = 0; (m = members_at(l->d->c.members, i)); i++)
		count += !m->expelled;
	for (size_t i = 0; (m = members_at(l->d->c.members, i)) && count > 1; i++) {
		bool asked = young || l->all_nodes || load_names_member(l, m) || m->heard_ns == 0;
		if (m->expelled || (!m->self && !m->up && !asked))
			continue;
		if ((!m->self && !m->up) || !load_member_measured(m) || !load_member_linked(l, m))
			return false;
	}
	return true;
}

static void load_settle_tick(void *arg) {
	struct load *l = arg;
	if (!load_is_settled(l) && loop_now_ns() - l->since_ns < DEPLOY_SETTLE_MS * 1000000ull)
		return;
	loop_timer_stop(l->timer);
	l->timer = NULL;
	load_step(l, EV_SETTLED);
}

static void load_wait_settled(struct load *l) {
	l->since_ns = loop_now_ns();
	l->timer = loop_timer_start(l->d->c.loop, POLL_MS, true, load_settle_tick, l);
	if (!l->timer)
		load_fail(l, "out of memory");
	else
		load_settle_tick(l);
}

/* Whether only the names of a file's content can tell, which nobody knows yet, that it is the same model. */
static bool load_may_be_same(const struct load *l, const struct model *old) {
	static const struct content_id nameless;
	const struct manifest *m = l->manifest, *o = old->manifest;
	return content_equal(&m->id, &nameless) && o && o->hp.layers == m->hp.layers &&
	       manifest_layer_bytes(o, 0, o->hp.layers) == manifest_layer_bytes(m, 0, m->hp.layers);
}

void load_settle(struct load *l) {
	const struct manifest *m = l->manifest;
	struct model *old = deploy_model_named(l->d, l->name);
	if (old && !l->advises && !l->revival && !load_may_be_same(l, old) && !load_may_replace(l, old))
		return;
	if (l->context == 0)
		l->context = l->fit ? m->hp.context : planner_context(m->hp.context);
	if (l->drafts && l->context > m->hp.context)
		l->context = m->hp.context;
	if (l->context > m->hp.context) {
		load_fail(l, "a context of %u is more than the model was trained for: %u", l->context,
		        m->hp.context);
		return;
	}
	char why[WIRE_TEXT_MAX];
	if (kv_check(&m->hp, l->kv, why, sizeof why)) {
		load_fail(l, "%s", why);
		return;
	}
	if (load_check_draft(l))
		load_wait_settled(l);
}

bool load_may_replace(struct load *l, const struct model *old) {
	/* one that cannot serve gives its name up: its coordinator may never come back */
	if (old->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE && !old->load)
		return true;
	const struct manifest *m = l->manifest;
	bool same = m && memcmp(m->id.b, old->plan->manifest.data, sizeof m->id.b) == 0;
	if (same && old->pub.phase == CARAVAN__MODEL_PHASE__SERVING)
		load_step(l, EV_SERVES); /* what was asked for is so */
	else if (same)
		load_fail(l, "model %s is already being loaded", l->name);
	else
		load_fail(l, "the name %s is in use by another model; choose one with --name, or unload it",
		        l->name);
	return false;
}

/* ---- the plan ---- */

/* Whether it has the same arithmetic: only such nodes can serve one plan. */
static bool load_same_arithmetic(const struct member *m) {
	return m->self || m->arithmetic == KERN_ARITHMETIC;
}

/* Bytes a second of the link between this node and another: the lesser of what both have measured. */
static double load_link_rate(const struct load *l, const struct member *m) {
	double rate = m->rate;
	for (size_t i = 0; m->state && i < m->state->n_peers; i++) {
		const Caravan__PeerState *p = m->state->peers[i];
		struct node_id id;
		if (node_id_from_bytes(&id, p->node) || !node_id_equal(&id, &l->d->self) || !(p->rate > 0))
			continue;
		rate = rate > 0 && rate < p->rate ? rate : p->rate;
	}
	return planner_link(rate);
}

/* Whether it has the type of KV cache that the plan is to have. */
static bool load_supports_kv(const struct load *l, const struct member *m) {
	return m->self || l->kv == KERN_KV_F16 || (m->state && m->state->kv_types >> l->kv & 1);
}

static bool load_member_down(const struct member *m) {
	return !m->self && !m->up;
}

static void load_describe_node(struct planner_node *n, const struct load *l, const struct member *m) {
	struct deploy *d = l->d;
	const Caravan__NodeState *s = m->state;
	n->id = m->id;
	snprintf(l->node_name[l->nnodes], sizeof *l->node_name, "%s", m->name);
	n->name = l->node_name[l->nnodes];
	if (m->self)
		n->memory = deploy_memory_free(d);
	else if (s && m->up) /* what it said before it went says nothing of now */
		n->memory = s->memory_allowed > s->memory_used ? s->memory_allowed - s->memory_used : 0;
	for (size_t i = 0; s && i < s->n_rates; i++)
		if (s->rates[i]->type < KERN_TYPES) {
			n->bytes_per_second[s->rates[i]->type] = s->rates[i]->bytes_per_second;
			n->many[s->rates[i]->type] = s->rates[i]->many;
			n->low[s->rates[i]->type] = s->rates[i]->low;
			n->high[s->rates[i]->type] = s->rates[i]->high;
		}
	n->disk = s ? s->disk_rate : 0;
	/* of ourselves we know it before a heartbeat has said it */
	uint64_t size = m->self ? d->disk_space.filesystem : s ? s->disk_size : 0;
	if (size && !l->maybe_here) {
		n->disk_known = true;
		n->disk_free = m->self ? d->disk_space.free : s->disk_free;
	}
	n->rate = load_link_rate(l, m);
	n->hop = planner_hop(m->round_trip, n->rate, l->manifest->hp.dim);
	n->required = !load_member_down(m) && (l->all_nodes || load_names_member(l, m));
	n->excluded = load_member_down(m) || !load_same_arithmetic(m) || !load_supports_kv(l, m) ||
	              (l->nnames > 0 && !n->required);
	if (load_member_down(m))
		n->why = "it is down";
	else if (!load_same_arithmetic(m))
		n->why = "it uses another arithmetic revision";
	else if (!load_supports_kv(l, m))
		n->why = "its version of Caravan does not support this type of KV cache";
}

/* How many of the nodes that may take part this one does not reach, or does not hear; *other: one of them. */
static size_t load_count_unreachable(const struct load *l, size_t node, size_t *other) {
	size_t n = 0;
	for (size_t i = 0; i < l->nnodes; i++)
		if (!l->node[i].excluded && i != node &&
		        (!deploy_reaches(l->d, &l->node[i].id, &l->node[node].id) ||
		                !deploy_reaches(l->d, &l->node[node].id, &l->node[i].id))) {
			*other = i;
			n++;
		}
	return n;
}

/* Nodes that cannot reach each other cannot serve one plan: those that are cut off most are left out.  0, or -EHOSTUNREACH
 * with the load failed, since the user named one of them. */
static int load_exclude_unreachable(struct load *l) {
	for (;;) {
		size_t worst = l->self, most = 0, other = 0;
		for (size_t i = 0; i < l->nnodes; i++) {
			size_t n = i == l->self || l->node[i].excluded ? 0
			                                               : load_count_unreachable(l, i, &other);
			if (n > most) {
				most = n;
				worst = i;
			}
		}
		if (most == 0)
			return 0;
		load_count_unreachable(l, worst, &other);
		if (l->node[worst].required) {
			load_fail(l, "%s and %s cannot reach each other: is a port closed between them?",
			        l->node[worst].name, l->node[other].name);
			return -EHOSTUNREACH;
		}
		l->node[worst].excluded = true;
		l->node[worst].why = "it and other nodes cannot reach each other";
		if (!l->advises)
			log_line(LOG_LINE_WARN, "model %s: %s is left out: it and %s cannot reach each other",
			        l->name, l->node[worst].name, l->node[other].name);
	}
}

int load_take_part(struct load *l) {
	struct members *ms = l->d->c.members;
	const struct member *m;
	size_t count = 0;
	for (size_t i = 0; i < l->nnames; i++) {
		m = members_named(ms, l->names[i]);
		if (!m || m->expelled || (!m->self && !m->up)) {
			load_fail(l, "%s %s", m ? m->name : l->names[i],
			        !m            ? "is not a node of this cluster"
			        : m->expelled ? "is expelled"
			                      : "is down");
			return -ENOENT;
		}
	}
	for (; (m = members_at(ms, count)); count++) {
		if (!(l->all_nodes || load_names_member(l, m)) || m->expelled || !m->up)
			continue;
		if (!load_same_arithmetic(m)) {
			load_fail(l,
			        "%s uses arithmetic revision %u, this node uses %u: they cannot serve one model together",
			        m->name, m->arithmetic, KERN_ARITHMETIC);
			return -EPROTO;
		}
		if (!load_supports_kv(l, m)) {
			load_fail(l, "%s does not support a KV cache of type %s: upgrade it, or leave it out",
			        m->name, kern_kv_name(l->kv));
			return -EPROTO;
		}
	}
	l->node = calloc(count, sizeof *l->node);
	l->node_name = calloc(count, sizeof *l->node_name);
	if (!l->node || !l->node_name) {
		load_fail(l, "out of memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		m = members_at(ms, i);
		/* who is down is for the advice to tell of */
		if (m->expelled || (load_member_down(m) && !l->advises))
			continue;
		if (m->self)
			l->self = l->nnodes;
		load_describe_node(&l->node[l->nnodes], l, m);
		l->nnodes++;
	}
	return load_exclude_unreachable(l);
}

/* Whether everything can stay in memory. */
static bool plan_fits_memory(const struct planner_input *in) {
	struct planner_plan p;
	char err[256];
	int rc = planner_plan(&p, in, err, sizeof err);
	planner_clear(&p);
	return rc != -ENOSPC;
}

/* The longest context, up to the one that is asked for, with which all weights and the KV cache stay in memory: blocks are
 * tried by halves.  Where there is none, what is usual. */
static uint32_t plan_fitting_context(const struct planner_input *asked) {
	struct planner_input in = *asked;
	uint32_t most = (asked->context + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK, low = 0, high = most;
	in.memory_only = true;
	while (low < high) {
		uint32_t mid = low + (high - low + 1) / 2;
		in.context = mid == most ? asked->context : mid * KERN_KV_BLOCK;
		if (plan_fits_memory(&in))
			low = mid;
		else
			high = mid - 1;
	}
	return low == 0      ? planner_context(asked->context)
	       : low == most ? asked->context
	                     : low * KERN_KV_BLOCK;
}

/* Reader: bytes a second that this machine hashes, the best of three looks. */
static double plan_hash_rate(void) {
	double best = 0;
	uint8_t *data = calloc(1, HASH_LOOK);
	for (int i = 0; data && i < 3; i++) {
		uint64_t since = loop_now_ns();
		struct content_id id = content_hash(data, HASH_LOOK);
		uint64_t ns = loop_now_ns() - since;
		data[i] = id.b[0]; /* it is used, so that it is computed */
		best = ns && HASH_LOOK * 1e9 / (double)ns > best ? HASH_LOOK * 1e9 / (double)ns : best;
	}
	free(data);
	return best;
}

/* Executor; reader for advice. */
static void plan_search_run(void *arg) {
	struct load *l = arg;
	l->max_rows = planner_rows(l->max_rows, l->manifest->hp.dim);
	struct planner_input in = {.manifest = l->manifest,
	        .context = l->context,
	        .parallel = l->parallel,
	        .max_rows = l->max_rows,
	        .kv = l->kv,
	        .node = l->node,
	        .nodes = l->nnodes,
	        .coordinator = l->self,
	        .team = l->d->c.team};
	if (l->fit)
		in.context = l->context = plan_fitting_context(&in);
	l->measured = advice_measured(&in);
	if (l->advises) {
		static const struct content_id nameless;
		/* a shape stands for a file that is to be hashed */
		if (content_equal(&l->manifest->id, &nameless))
			in.hash_bytes = manifest_layer_bytes(l->manifest, 0, l->manifest->hp.layers) +
			                manifest_end_bytes(l->manifest);
		in.hash_rate = plan_hash_rate();
	}
	/* a node alone is measured only when it matters */
	if (l->nnodes == 1 && l->node[0].disk == 0 && !plan_fits_memory(&in))
		l->node[0].disk = disk_rate(store_names_dir(l->d->c.store));
	if (l->advises)
		l->rc = advice_create(&l->advice, &in, l->name, l->err, sizeof l->err);
	else
		l->rc = planner_plan(&l->found, &in, l->err, sizeof l->err);
	if (l->rc == 0 && l->planned)
		l->rc = advice_of_plan(&l->advice, &in, &l->found, l->name);
}

static int plan_make(struct load *l) {
	const struct manifest *m = l->manifest;
	Caravan__Plan p = CARAVAN__PLAN__INIT;
	Caravan__Epoch epoch = CARAVAN__EPOCH__INIT;
	Caravan__Stage stage[WIRE_STAGES_MAX], *stages[WIRE_STAGES_MAX];
	ProtobufCBinaryData self = {sizeof l->d->self.b, l->d->self.b};
	if (l->found.stages > WIRE_STAGES_MAX)
		return -E2BIG;
	epoch.node = self;
	p.model = l->name;
	p.manifest = wire_bytes(m->id.b, sizeof m->id.b);
	p.epoch = &epoch;
	p.coordinator = self;
	for (size_t i = 0; i < l->found.stages; i++) {
		const struct planner_stage *f = &l->found.stage[i];
		caravan__stage__init(&stage[i]);
		stage[i].node = wire_node(&l->node[f->node].id);
		stage[i].first = f->first;
		stage[i].last = f->last;
		stage[i].seconds = l->measured ? f->seconds : 0;
		stage[i].prompt = l->measured ? f->prompt : 0;
		stage[i].room = f->room;
		stage[i].streamed = f->streamed;
		stages[i] = &stage[i];
	}
	p.stages = stages;
	p.n_stages = l->found.stages;
	p.context = l->context;
	p.parallel = l->parallel;
	p.kv = l->kv;
	p.draft = l->draft;
	ProtobufCBinaryData *chosen = calloc(l->nnames + 1, sizeof *chosen);
	if (!chosen)
		return -ENOMEM;
	for (size_t i = 0; i < l->nnodes && !l->drafts; i++)
		if (l->nnames && l->node[i].required)
			chosen[p.n_chosen++] = wire_node(&l->node[i].id);
	p.chosen = chosen;
	p.blocks = l->found.blocks;
	p.max_rows = l->max_rows;
	p.vocab = wire_bytes(m->vocab.b, sizeof m->vocab.b);
	p.arithmetic = KERN_ARITHMETIC;
	p.copies = l->copies;
	p.seconds = l->measured ? l->found.seconds : 0;
	p.seconds_low = l->measured ? l->found.seconds_low : 0;
	p.seconds_high = l->measured ? l->found.seconds_high : 0;
	p.slowest = l->measured ? l->found.slowest : 0;
	p.prompt = l->measured ? l->found.prompt : 0;
	l->plan = plan_copy(&p);
	free(chosen);
	return l->plan ? 0 : -ENOMEM;
}

static void plan_search_done(void *arg, bool cancelled) {
	struct load *l = arg;
	if (!cancelled && l->state == LOAD_PLANNING) {
		int rc = l->rc || l->advises ? 0 : plan_make(l);
		if (l->rc)
			load_fail(l, "%s", l->err);
		else if (rc)
			load_fail(l, "cannot create the plan: %s", strerror(-rc));
		else {
			if (l->planned && l->advice)
				l->planned(l->arg, advice_message(l->advice));
			load_step(l, EV_PLANNED);
		}
	}
	load_release(l);
}

void load_plan(struct load *l) {
	struct deploy *d = l->d;
	uint64_t *memory = &l->node[l->self].memory;
	char gaps[300];
	if (*l->stored) {
		inventory_describe_gaps(l, gaps, sizeof gaps);
		if (*gaps) {
			load_fail(l,
			        "model %s is incomplete on the disks of the nodes that are up: no node has %s; load it "
			        "from its file, or start the nodes that have them",
			        l->stored, gaps);
			return;
		}
	}
	*memory -= l->reserved < *memory ? l->reserved : *memory;
	load_hold(l);
	if (executor_submit(l->advises ? transfer_reader(d->transfer) : d->c.executor, plan_search_run,
	            plan_search_done, l)) {
		load_release(l);
		load_fail(l, "out of memory");
	}
}

/* ---- the number of its epoch ---- */

/* Executor.  What a model is made of goes into the store here, and no sooner, so that a load that comes to nothing leaves
 * nothing behind. */
static int load_store_blobs(struct load *l) {
	const struct manifest *m = l->im ? import_manifest(l->im) : NULL;
	int rc = 0;
	for (int i = 0; m && i < 2 && rc == 0; i++) {
		size_t len;
		struct content_id id;
		const uint8_t *data = import_blob(l->im, i ? &m->vocab : &m->id, &len);
		rc = data ? store_put_blob(l->d->c.store, data, len, &id) : -ENOENT;
	}
	if (rc)
		snprintf(
		        l->err, sizeof l->err, "cannot store the manifest of %s: %s", l->file, strerror(-rc));
	return rc;
}

/* Executor. */
static void load_number_run(void *arg) {
	struct load *l = arg;
	l->rc = l->d->c.state_dir ? persist_write_epoch(l->d->c.state_dir, l->plan->epoch->counter) : 0;
	if (l->rc)
		snprintf(l->err, sizeof l->err, "cannot write %s/epoch: %s", l->d->c.state_dir,
		        strerror(-l->rc));
	else
		l->rc = load_store_blobs(l);
}

static void load_number_done(void *arg, bool cancelled) {
	struct load *l = arg;
	if (!cancelled && l->state == LOAD_NUMBERING) {
		if (l->rc)
			load_fail(l, "%s", l->err);
		else
			load_step(l, EV_NUMBERED);
	}
	load_release(l);
}

void load_number(struct load *l) {
	l->plan->epoch->counter = ++l->d->counter;
	load_hold(l);
	if (executor_submit(l->d->c.executor, load_number_run, load_number_done, l)) {
		load_release(l);
		load_fail(l, "out of memory");
	}
}
