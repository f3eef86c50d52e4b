/* catalog_gather: lists the models on disk: records a model when it is learnt and while it serves, answers other
 * nodes, and gathers the lists of all nodes.
 *
 * Owns: our requests to other nodes, and requests of other nodes that are being answered.
 * Invariants: a node that does not answer in time, or whose protocol is too old, counts as having nothing.  What a
 * node reports is only counted: whoever fetches content checks its hash.
 * Threads: the loop, except where a comment says reader. */
#include "common/paths.h"
#include "daemon/core/log.h"
#include "daemon/deploy/catalog.h"
#include "daemon/deploy/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LISTS_MAX 16              /* answers for other nodes in preparation at once, */
#define LISTS_EACH 2              /* and per node */
#define MESSAGE_BYTES (60u << 10) /* per ModelList */
#define AGAIN_S 600               /* interval of recording a model that serves */

/* ---- names that we know of ---- */

bool catalog_has(const struct deploy *d, const char *name) {
	for (size_t i = 0; i < d->nstored; i++)
		if (strcmp(d->stored[i], name) == 0)
			return true;
	return false;
}

/* Appends it as the most recently used. */
static void gather_add_name(struct deploy *d, const char *name) {
	catalog_drop(d, name);
	if (d->nstored == CATALOG_NAMES_MAX)
		catalog_drop(d, d->stored[0]);
	char(*grown)[WIRE_NAME_MAX + 1] = realloc(d->stored, (d->nstored + 1) * sizeof *grown);
	if (!grown)
		return;
	d->stored = grown;
	snprintf(grown[d->nstored++], sizeof *grown, "%s", name);
}

void catalog_drop(struct deploy *d, const char *name) {
	for (size_t i = 0; i < d->nstored; i++)
		if (strcmp(d->stored[i], name) == 0) {
			memmove(d->stored[i], d->stored[i + 1], (d->nstored - i - 1) * sizeof *d->stored);
			d->nstored--;
			return;
		}
}

static void gather_take_names(struct deploy *d, const struct catalog *c) {
	d->nstored = 0;
	for (size_t i = c->models; i-- > 0;)
		gather_add_name(d, c->model[i].name);
}

/* ---- recording ---- */

struct record {
	struct deploy *d;
	struct catalog_model m;
	int rc;
};

/* Reader. */
static void catalog_record_run(void *arg) {
	struct record *r = arg;
	r->rc = catalog_record(r->d->c.store, &r->m);
}

static void catalog_record_done(void *arg, bool cancelled) {
	struct record *r = arg;
	if (cancelled) /* shutting down: write this small file here, so that the last use is recorded */
		catalog_record_run(r);
	if (r->rc)
		log_line(LOG_LINE_WARN, "model %s: cannot store its name on disk: %s", r->m.name,
		        strerror(-r->rc));
	free(r);
}

void catalog_note(struct model *m) {
	struct deploy *d = m->d;
	struct record *r = m->manifest ? calloc(1, sizeof *r) : NULL;
	if (!r)
		return;
	m->noted = (uint64_t)time(NULL);
	gather_add_name(d, m->plan->model);
	r->d = d;
	r->m = (struct catalog_model){.used = m->noted,
	        .context = m->plan->context,
	        .parallel = m->plan->parallel,
	        .kv = m->plan->kv,
	        .copies = m->plan->copies};
	snprintf(r->m.name, sizeof r->m.name, "%s", m->plan->model);
	catalog_describe(&r->m, m->manifest);
	/* on the executor that lists and removes names too, so that a later removal runs later */
	if (executor_submit(transfer_reader(d->transfer), catalog_record_run, catalog_record_done, r))
		free(r);
}

void catalog_tick(struct model *m) {
	if (m->pub.phase == CARAVAN__MODEL_PHASE__SERVING && m->noted &&
	        (uint64_t)time(NULL) - m->noted > AGAIN_S)
		catalog_note(m);
}

/* ---- what we have ---- */

/* Adds models of our own model files. */
static void listing_add_files(struct deploy *d, struct catalog *c) {
	size_t kept = 0;
	for (size_t i = 0; i < c->models; i++) {
		struct catalog_model *m = &c->model[i];
		const char *path = transfer_file_path(d->transfer, &m->manifest);
		m->file = path != NULL;
		if (!m->named && path)
			paths_model_name(m->name, sizeof m->name, path);
		/* neither content nor a name */
		if (m->named || path || m->here)
			c->model[kept++] = *m;
		else
			free(m->word);
	}
	c->models = kept;
}

/* ---- answering ---- */

struct listing {
	struct deploy *d;
	struct peers_from from;
	struct gather *gather; /* the request is ours; NULL: of another node */
	struct catalog catalog;
	int rc;
	LIST_ENTRY(listing) next;
};

/* Reader. */
static void listing_run(void *arg) {
	struct listing *k = arg;
	k->rc = catalog_list(&k->catalog, k->d->c.store);
}

static void listing_answer(struct listing *k) {
	Caravan__ModelList msg = CARAVAN__MODEL_LIST__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(MODEL_LIST, model_list, &msg);
	Caravan__StoredModel *one = calloc(k->catalog.models + 1, sizeof *one);
	Caravan__StoredModel **list = calloc(k->catalog.models + 1, sizeof(Caravan__StoredModel *));
	size_t bytes = 0;
	if (!one || !list || k->rc) {
		peers_refuse(k->d->peers, &k->from, "its store cannot be read: %s",
		        strerror(k->rc ? -k->rc : ENOMEM));
		goto out;
	}
	for (size_t i = 0; i < k->catalog.models; i++) {
		catalog_message(&one[i], &k->catalog.model[i]);
		bytes += 8 + caravan__stored_model__get_packed_size(&one[i]);
		msg.more = bytes > MESSAGE_BYTES || i >= WIRE_MODELS_MAX;
		if (msg.more)
			break;
		list[msg.n_models++] = &one[i];
	}
	msg.models = list;
	peers_answer(k->d->peers, &k->from, &env, NULL);
out:
	free(one);
	free(list);
}

static void gather_own(struct gather *g, struct catalog *c);

static void listing_done(void *arg, bool cancelled) {
	struct listing *k = arg;
	LIST_REMOVE(k, next);
	if (!cancelled) {
		listing_add_files(k->d, &k->catalog);
		if (k->rc == 0)
			gather_take_names(k->d, &k->catalog);
		if (k->gather)
			gather_own(k->gather, &k->catalog);
		else
			listing_answer(k);
	}
	catalog_clear(&k->catalog);
	free(k);
}

static int listing_submit(struct deploy *d, const struct peers_from *from, struct gather *g) {
	struct listing *k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	k->d = d;
	k->gather = g;
	if (from)
		k->from = *from;
	LIST_INSERT_HEAD(&d->listings, k, next);
	int rc = executor_submit(transfer_reader(d->transfer), listing_run, listing_done, k);
	if (rc) {
		LIST_REMOVE(k, next);
		free(k);
	}
	return rc;
}

static void listing_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	size_t all = 0, its = 0;
	(void)env;
	(void)payload;
	for (const struct listing *k = LIST_FIRST(&d->listings); k; k = LIST_NEXT(k, next)) {
		all++;
		its += !k->gather && node_id_equal(&k->from.node, &from->node);
	}
	if (all >= LISTS_MAX || its >= LISTS_EACH)
		peers_refuse(d->peers, from, "too many requests at once");
	else if (listing_submit(d, from, NULL))
		peers_refuse(d->peers, from, "out of memory");
}

/* ---- gathering ---- */

struct gathered {
	struct node_id id;
	uint64_t ref; /* 0: answered, or not asked */
	struct catalog catalog;
};

struct gather {
	struct deploy *d;
	struct gathered *node; /* ourselves first */
	size_t nodes;
	bool own; /* our own list is being read */
	struct loop_timer *timer;
	deploy_stored_fn *fn;
	void *arg;
	LIST_ENTRY(gather) next;
};

static void gather_free(struct gather *g) {
	LIST_REMOVE(g, next);
	for (struct listing *k = LIST_FIRST(&g->d->listings); k; k = LIST_NEXT(k, next))
		if (k->gather == g)
			k->gather = NULL;
	loop_timer_stop(g->timer);
	for (size_t i = 0; i < g->nodes; i++)
		catalog_clear(&g->node[i].catalog);
	free(g->node);
	free(g);
}

/* One model of one node. */
struct sighting {
	const struct catalog_model *m;
	const struct gathered *at;
};

static int gather_compare_sightings(const void *a, const void *b) {
	const struct catalog_model *x = ((const struct sighting *)a)->m, *y = ((const struct sighting *)b)->m;
	int c = content_compare(&x->manifest, &y->manifest);
	if (c == 0)
		c = (y->named - x->named); /* unnamed ones after named ones, whose name they take */
	if (c == 0)
		c = strcmp(x->name, y->name);
	if (c == 0)
		c = (x->used < y->used) - (x->used > y->used);
	return c;
}

static bool gather_has_part(const struct catalog_model *m, size_t part) {
	if (m->file)
		return true;
	return part < m->tensors ? part / 32 < m->words && m->word[part / 32] >> part % 32 & 1
	                         : m->io >> (part - m->tensors) & 1;
}

/* Summarizes what nodes have of one model under one name. */
static void gather_summarize(struct deploy_stored *out, const struct sighting *s, size_t count) {
	struct deploy_stored_on *on = (struct deploy_stored_on *)out->on;
	const struct catalog_model *m = s->m;
	size_t parts = (size_t)m->tensors + IO_ROLES + 1, found = 0;
	out->name = m->name;
	out->type = m->type;
	out->manifest = m->manifest;
	out->vocab = m->vocab;
	out->bytes = m->bytes;
	out->context = m->context;
	out->parallel = m->parallel;
	out->kv = m->kv;
	out->copies = m->copies;
	out->disks = (uint32_t)count;
	for (size_t p = 0; p < parts; p++) {
		uint32_t n = 0;
		for (size_t i = 0; i < count; i++)
			n += s[i].m->tensors == m->tensors && gather_has_part(s[i].m, p);
		out->disks = n < out->disks ? n : out->disks;
		found += n > 0;
	}
	out->share = (double)found / (double)parts;
	for (size_t i = 0; i < count; i++) {
		const struct catalog_model *one = s[i].m;
		out->used = one->used > out->used ? one->used : out->used;
		if (one->here || one->file)
			on[out->ons++] = (struct deploy_stored_on){
			        s[i].at->id, one->file ? one->bytes : one->here, one->file};
	}
}

static int gather_compare_stored(const void *a, const void *b) {
	const struct deploy_stored *x = a, *y = b;
	int c = strcmp(x->name, y->name);
	return c ? c : (x->used < y->used) - (x->used > y->used);
}

/* Groups all answers, and reports the result. */
static void gather_deliver(struct gather *g) {
	deploy_stored_fn *fn = g->fn;
	size_t all = 0, models = 0;
	for (size_t i = 0; i < g->nodes; i++)
		all += g->node[i].catalog.models;
	struct sighting *s = calloc(all + 1, sizeof *s);
	struct deploy_stored *found = calloc(all + 1, sizeof *found);
	struct deploy_stored_on *on = calloc(all + 1, sizeof *on);
	size_t n = 0, at = 0;
	for (size_t i = 0; s && i < g->nodes; i++)
		for (size_t k = 0; k < g->node[i].catalog.models; k++)
			s[n++] = (struct sighting){&g->node[i].catalog.model[k], &g->node[i]};
	if (n)
		qsort(s, n, sizeof *s, gather_compare_sightings);
	for (size_t end; found && on && at < n; at = end) {
		for (end = at + 1; end < n && content_equal(&s[end].m->manifest, &s[at].m->manifest) &&
		                   (strcmp(s[end].m->name, s[at].m->name) == 0 || !s[end].m->named);
		        end++)
			;
		found[models] = (struct deploy_stored){.on = on + at};
		gather_summarize(&found[models], s + at, end - at);
		models += found[models].ons > 0; /* skip models without any weights */
	}
	if (models)
		qsort(found, models, sizeof *found, gather_compare_stored);
	g->fn = NULL;
	if (fn)
		fn(g->arg, found, models);
	free(s);
	free(found);
	free(on);
	gather_free(g);
}

static void gather_check_all(struct gather *g) {
	if (g->own)
		return;
	for (size_t i = 0; i < g->nodes; i++)
		if (g->node[i].ref)
			return;
	gather_deliver(g);
}

static void gather_own(struct gather *g, struct catalog *c) {
	g->own = false;
	g->node[0].catalog = *c;
	*c = (struct catalog){0};
	gather_check_all(g);
}

static void gather_timed_out(void *arg) {
	struct gather *g = arg;
	loop_timer_stop(g->timer);
	g->timer = NULL;
	for (size_t i = 0; i < g->nodes; i++)
		if (g->node[i].ref) {
			log_line(LOG_LINE_WARN, "%s did not list its models on disk",
			        deploy_node_name(g->d, &g->node[i].id));
			g->node[i].ref = 0;
		}
	gather_check_all(g); /* waits for our own list */
}

int deploy_list_stored(struct deploy *d, deploy_stored_fn *fn, void *arg) {
	struct node_id other[WIRE_NODES_MAX];
	Caravan__ListModels msg = CARAVAN__LIST_MODELS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(LIST_MODELS, list_models, &msg);
	size_t others = deploy_others(d, other);
	struct gather *g = calloc(1, sizeof *g);
	if (!g)
		return -ENOMEM;
	g->d = d;
	g->fn = fn;
	g->arg = arg;
	LIST_INSERT_HEAD(&d->gathers, g, next);
	g->node = calloc(others + 1, sizeof *g->node);
	g->timer = loop_timer_start(d->c.loop, DEPLOY_INVENTORY_MS, false, gather_timed_out, g);
	g->own = true;
	if (!g->node || !g->timer || listing_submit(d, NULL, g)) {
		gather_free(g);
		return -ENOMEM;
	}
	g->node[g->nodes++].id = d->self;
	for (size_t i = 0; i < others; i++) {
		if (!deploy_speaks(d, &other[i], WIRE_1_2))
			continue;
		env.ref = peers_ref(d->peers);
		if (peers_send(d->peers, &other[i], PEERS_CONTROL, &env, NULL) == 0)
			g->node[g->nodes++] = (struct gathered){.id = other[i], .ref = env.ref};
	}
	return 0;
}

void deploy_stored_abandon(struct deploy *d, void *arg) {
	for (struct gather *g = LIST_FIRST(&d->gathers); g; g = LIST_NEXT(g, next))
		if (g->arg == arg)
			g->fn = NULL;
}

/* The request that this answers, which is closed; NULL: none. */
static struct gathered *gather_find_node(
        struct deploy *d, const struct peers_from *from, struct gather **out) {
	for (struct gather *g = LIST_FIRST(&d->gathers); g; g = LIST_NEXT(g, next))
		for (size_t i = 0; i < g->nodes; i++)
			if (g->node[i].ref && g->node[i].ref == from->ref &&
			        node_id_equal(&g->node[i].id, &from->node)) {
				g->node[i].ref = 0;
				*out = g;
				return &g->node[i];
			}
	return NULL;
}

static void gather_on_list(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	const Caravan__ModelList *list = env->model_list;
	struct gather *g;
	struct gathered *n = gather_find_node(arg, from, &g);
	(void)payload;
	if (!n)
		return;
	n->catalog.model = calloc(list->n_models + 1, sizeof *n->catalog.model);
	for (size_t i = 0; n->catalog.model && i < list->n_models; i++)
		n->catalog.models +=
		        catalog_from_message(&n->catalog.model[n->catalog.models], list->models[i]) == 0;
	if (list->more)
		log_line(LOG_LINE_WARN,
		        "%s has more models on disk than one message can list: the most recently used are listed",
		        deploy_node_name(g->d, &from->node));
	gather_check_all(g);
}

static void gather_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct gather *g;
	struct gathered *n = gather_find_node(arg, from, &g);
	(void)payload;
	if (!n)
		return;
	log_line(LOG_LINE_WARN, "%s did not list its models on disk: %s", deploy_node_name(g->d, &from->node),
	        env->refused->reason);
	gather_check_all(g);
}

void catalog_node_down(struct deploy *d, const struct node_id *id) {
	for (struct gather *g = LIST_FIRST(&d->gathers), *next; g; g = next) {
		bool waits = false;
		next = LIST_NEXT(g, next);
		for (size_t i = 0; i < g->nodes; i++)
			if (g->node[i].ref && node_id_equal(&g->node[i].id, id)) {
				g->node[i].ref = 0;
				waits = true;
			}
		if (waits)
			gather_check_all(g);
	}
}

void catalog_clear_all(struct deploy *d) {
	while (!LIST_EMPTY(&d->gathers))
		gather_free(LIST_FIRST(&d->gathers));
	free(d->stored);
	d->stored = NULL;
	d->nstored = 0;
}

int catalog_init(struct deploy *d) {
	struct catalog names;
	if (catalog_names(&names, d->c.store) == 0) { /* at start, blocking is allowed */
		gather_take_names(d, &names);
		catalog_clear(&names);
	}
	int rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_LIST_MODELS, listing_on_request, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_MODEL_LIST, gather_on_list, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REFUSED, gather_on_refused, d);
	return rc;
}
