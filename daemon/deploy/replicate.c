/* replicate: copies a model that we coordinate to the disks of as many nodes as the user asked for.
 *
 * It works in rounds while the model serves.  Every node is asked for its inventory (Inventory).  Content on too few
 * disks is assigned to the nodes with the least to copy (Replicate).  When all of them have it or have failed, the next
 * round begins.  A node that is down is waited for before others copy what it has, since most nodes come back.
 * Reports are from the last inventory.
 * Owns: what is known of each node's disk, for each model of ours.
 * Threads: the loop. */
#include "daemon/core/log.h"
#include "daemon/deploy/deploy_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOON_MS 1000           /* after a change */
#define AGAIN_MS 5000          /* while copies are missing */
#define CHECK_MS 60000         /* when all copies exist */
#define GONE_MS 300000         /* how long a node that is down is waited for */
#define AFTER_FAILURE_MS 60000 /* before the next request to a node whose copy failed */
#define WORD 32

struct holder {
	struct node_id id;
	bool up, accepts;
	uint64_t gone_ns;       /* down since */
	uint64_t inventory_ref; /* 0: not asked, or answered */
	uint64_t request_ref;   /* of Replicate; 0: none */
	uint64_t heard_ns;      /* last progress */
	uint64_t failed_ns;     /* last failure */
	uint8_t *has;           /* by tensor: on its disk, as last reported */
	uint8_t *give;          /* by tensor: assigned in this round; in the same allocation */
	bool vocab;             /* on its disk */
	bool disk_known;        /* whether its free space is known */
	uint64_t disk_free;     /* bytes */
	uint64_t load;          /* bytes assigned in this round */
	size_t items;
};

struct replication {
	struct model *m; /* borrowed: it owns us */
	struct holder *node;
	size_t nodes;
	size_t tensors; /* of the layers, numbered as in InventoryReply, then embedding and output */
	uint8_t *again; /* by tensor: same content as an earlier one */
	/* by tensor, in the last inventory: number of nodes up that have it, and one of them */
	struct {
		uint32_t count;
		const struct holder *one;
	} * on;
	bool asking, known, complete;
	uint64_t since_ns, next_ns;
	uint64_t total, missing;
	uint32_t disks; /* every part is on at least so many */
	char risk[WIRE_RISK_MAX + 1];
};

void replicate_free(struct replication *c) {
	if (!c)
		return;
	for (size_t i = 0; i < c->nodes; i++)
		free(c->node[i].has);
	free(c->node);
	free(c->again);
	free(c->on);
	free(c);
}

static const struct manifest *sorting; /* for qsort, which passes no argument; only the loop uses it */
static int replicate_compare_tensors(const void *a, const void *b) {
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int c = memcmp(manifest_tensor_at(sorting, x)->id.b, manifest_tensor_at(sorting, y)->id.b,
	        sizeof(struct content_id));
	return c ? c : (x > y) - (x < y);
}

static struct replication *replicate_create(struct model *m) {
	struct replication *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->m = m;
	c->tensors = manifest_tensors(m->manifest);
	c->again = calloc(c->tensors, 1);
	c->on = calloc(c->tensors, sizeof *c->on);
	size_t *order = calloc(c->tensors, sizeof *order);
	if (!c->again || !c->on || !order) {
		free(order);
		replicate_free(c);
		return NULL;
	}
	for (size_t i = 0; i < c->tensors; i++)
		order[i] = i;
	sorting = m->manifest;
	qsort(order, c->tensors, sizeof *order, replicate_compare_tensors);
	for (size_t i = 1; i < c->tensors; i++)
		c->again[order[i]] = content_equal(&manifest_tensor_at(m->manifest, order[i])->id,
		        &manifest_tensor_at(m->manifest, order[i - 1])->id);
	free(order);
	return c;
}

/* ---- looking ---- */

/* Updates the table from members; false: out of memory. */
static bool replicate_refresh_nodes(struct replication *c) {
	struct deploy *d = c->m->d;
	const struct member *who;
	for (size_t i = 0; (who = members_at(d->c.members, i)); i++) {
		struct holder *k = NULL;
		for (size_t n = 0; n < c->nodes && !k; n++)
			if (node_id_equal(&c->node[n].id, &who->id))
				k = &c->node[n];
		if (!k && !who->expelled) {
			struct holder *grown = realloc(c->node, (c->nodes + 1) * sizeof *grown);
			if (!grown)
				return false;
			c->node = grown;
			k = &c->node[c->nodes];
			*k = (struct holder){
			        .id = who->id, .has = calloc(c->tensors, 2), .gone_ns = loop_now_ns()};
			if (!k->has)
				return false;
			k->give = k->has + c->tensors;
			c->nodes++;
		}
		if (!k)
			continue;
		bool up = deploy_up(d, &who->id);
		if (k->up && !up)
			k->gone_ns = loop_now_ns();
		k->up = up;
		if (!up)
			k->inventory_ref = k->request_ref = 0;
		if (who->expelled) { /* what it has is lost */
			memset(k->has, 0, c->tensors);
			k->vocab = false;
		}
	}
	return true;
}

static void replicate_ask_inventory(struct replication *c) {
	struct deploy *d = c->m->d;
	Caravan__Inventory msg = CARAVAN__INVENTORY__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(INVENTORY, inventory, &msg);
	c->next_ns = loop_now_ns() + AGAIN_MS * 1000000ull;
	if (!replicate_refresh_nodes(c))
		return;
	msg.manifest = c->m->plan->manifest;
	c->asking = true;
	c->since_ns = loop_now_ns();
	for (size_t i = 0; i < c->nodes; i++) {
		struct holder *k = &c->node[i];
		if (!k->up)
			continue;
		env.ref = peers_ref(d->peers);
		if (peers_send(d->peers, &k->id, PEERS_CONTROL, &env, NULL) == 0)
			k->inventory_ref = env.ref;
	}
}

static void replicate_take_inventory(
        struct replication *c, struct holder *k, const Caravan__InventoryReply *held) {
	size_t layers = c->tensors - IO_ROLES;
	for (size_t i = 0; i < layers; i++) {
		uint32_t word = 0;
		if (i / WORD < held->tensors.len / sizeof word)
			memcpy(&word, held->tensors.data + i / WORD * sizeof word, sizeof word);
		k->has[i] = word >> i % WORD & 1;
	}
	for (size_t r = 0; r < IO_ROLES; r++)
		k->has[layers + r] = held->io >> r & 1;
	k->vocab = held->io >> IO_ROLES & 1;
	k->accepts = held->accepts_replicas;
	k->disk_known = held->disk_size > 0;
	k->disk_free = held->disk_free;
}

/* ---- what a loss would take ---- */

static void replicate_count_holders(struct replication *c) {
	for (size_t i = 0; i < c->tensors; i++) {
		c->on[i].count = 0;
		c->on[i].one = NULL;
		for (size_t k = 0; k < c->nodes; k++)
			if (c->node[k].up && c->node[k].has[i]) {
				c->on[i].one = &c->node[k];
				c->on[i].count++;
			}
	}
}

struct sentence {
	char *at;
	size_t left;
	bool any;
};

static void sentence_add(struct sentence *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void sentence_add(struct sentence *s, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(s->at, s->left, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	size_t used = (size_t)n < s->left ? (size_t)n : s->left - 1;
	s->at += used;
	s->left -= used;
}

/* What only `only` has (NULL: what no node has): "layers 0-3, 7, embedding and output". */
static void replicate_describe_risk(
        const struct replication *c, const struct holder *only, bool *layer, struct sentence *s) {
	size_t layers = c->m->manifest->hp.layers;
	const struct holder *k = NULL;
	bool io = false, any = false, vocab;
	unsigned vocabs = 0;
	memset(layer, 0, layers * sizeof *layer);
	for (size_t i = 0; i < c->tensors; i++) {
		if (c->again[i] || c->on[i].count > 1 || c->on[i].one != only)
			continue;
		any = true;
		if (i < c->tensors - IO_ROLES)
			layer[manifest_layer_of(c->m->manifest, i)] = true;
		else
			io = true;
	}
	for (size_t i = 0; i < c->nodes; i++)
		if (c->node[i].up && c->node[i].vocab) {
			k = &c->node[i];
			vocabs++;
		}
	vocab = vocabs < 2 && k == only;
	if (!any && !vocab)
		return;
	sentence_add(s, "%s%s%s:", s->any ? "; " : "", only ? "only on " : "on no node that is up",
	        only ? deploy_node_name(c->m->d, &only->id) : "");
	s->any = true;
	const char *comma = " ";
	bool named = false;
	for (size_t i = 0, end; i < layers; i = end + 1) {
		for (end = i; end < layers && layer[end]; end++)
			;
		if (end == i)
			continue;
		sentence_add(s, "%s%s%zu", comma, named ? "" : end - i > 1 ? "layers " : "layer ", i);
		if (end - i > 1)
			sentence_add(s, "-%zu", end - 1);
		named = true;
		comma = ", ";
	}
	if (io) {
		sentence_add(s, "%sembedding and output", comma);
		comma = ", ";
	}
	if (vocab)
		sentence_add(s, "%sthe vocabulary", comma);
}

static unsigned replicate_target(const struct replication *c, bool patient) {
	uint32_t most = c->m->plan->copies ? c->m->plan->copies : DEPLOY_COPIES;
	uint64_t now = loop_now_ns();
	unsigned nodes = 0;
	for (size_t i = 0; i < c->nodes; i++)
		nodes += c->node[i].up || (patient && now - c->node[i].gone_ns < GONE_MS * 1000000ull);
	return most < nodes ? most : nodes;
}

static uint32_t replicate_count_vocabs(const struct replication *c) {
	uint32_t n = 0;
	for (size_t i = 0; i < c->nodes; i++)
		n += c->node[i].up && c->node[i].vocab;
	return n;
}

/* Summarizes the last inventory. */
static void replicate_summarize(struct replication *c) {
	const struct manifest *m = c->m->manifest;
	unsigned want = replicate_target(c, false);
	struct sentence s = {c->risk, sizeof c->risk, false};
	bool *layer = calloc(m->hp.layers, sizeof *layer);
	c->total = c->missing = 0;
	c->disks = replicate_count_vocabs(c);
	c->risk[0] = '\0';
	replicate_count_holders(c);
	for (size_t i = 0; i < c->tensors; i++) {
		uint64_t bytes = c->again[i] ? 0 : manifest_tensor_at(m, i)->bytes;
		uint32_t n = c->on[i].count;
		c->disks = n < c->disks ? n : c->disks;
		c->total += want * bytes;
		c->missing += n < want ? (want - n) * bytes : 0;
	}
	if (layer) {
		replicate_describe_risk(c, NULL, layer, &s);
		for (size_t i = 0; i < c->nodes; i++)
			if (c->node[i].up)
				replicate_describe_risk(c, &c->node[i], layer, &s);
	}
	free(layer);
	if (!wire_line_ok(c->risk, WIRE_RISK_MAX)) /* cut within a character: names are ASCII, so it is not */
		snprintf(c->risk, sizeof c->risk, "too much to list here");
}

/* ---- giving ---- */

static bool replicate_counts(const struct holder *k, size_t tensor, uint64_t now) {
	return k->has[tensor] && (k->up || now - k->gone_ns < GONE_MS * 1000000ull);
}

static bool replicate_can_take(
        const struct replication *c, const struct holder *k, size_t tensor, uint64_t now) {
	uint64_t bytes = manifest_tensor_at(c->m->manifest, tensor)->bytes;
	return k->up && k->accepts && !k->has[tensor] && !k->give[tensor] &&
	       !(k->disk_known && k->load + bytes > k->disk_free) &&
	       !(k->failed_ns && now - k->failed_ns < AFTER_FAILURE_MS * 1000000ull);
}

static bool replicate_is_self(const struct replication *c, const struct holder *k) {
	return node_id_equal(&k->id, &c->m->d->self);
}

/* The node to copy it: the first below its share, so that consecutive layers go to one node; else the one with the least
 * assigned; this node only as a last resort, because it has already sent most of the content. */
static struct holder *replicate_choose_taker(
        struct replication *c, size_t tensor, uint64_t share, uint64_t now) {
	struct holder *best = NULL, *self = NULL;
	for (size_t i = 0; i < c->nodes; i++) {
		struct holder *k = &c->node[i];
		if (!replicate_can_take(c, k, tensor, now))
			continue;
		if (replicate_is_self(c, k)) {
			self = k;
			continue;
		}
		if (k->load < share)
			return k;
		if (!best || k->load < best->load)
			best = k;
	}
	return best ? best : self;
}

static unsigned replicate_count_missing(const struct replication *c, size_t tensor, uint64_t now) {
	unsigned n = 0, want = replicate_target(c, true);
	for (size_t i = 0; i < c->nodes; i++)
		n += replicate_counts(&c->node[i], tensor, now);
	return c->again[tensor] || n >= want ? 0 : want - n;
}

static void replicate_assign(struct replication *c) {
	const struct manifest *m = c->m->manifest;
	uint64_t now = loop_now_ns(), all = 0, takers = 0;
	for (size_t i = 0; i < c->nodes; i++) {
		struct holder *k = &c->node[i];
		memset(k->give, 0, c->tensors);
		k->load = 0;
		k->items = 0;
		takers += k->up && k->accepts && !replicate_is_self(c, k);
	}
	for (size_t i = 0; i < c->tensors; i++)
		all += replicate_count_missing(c, i, now) * manifest_tensor_at(m, i)->bytes;
	uint64_t share = takers ? all / takers : 0;
	for (size_t i = 0; i < c->tensors; i++)
		for (unsigned n = replicate_count_missing(c, i, now); n > 0; n--) {
			struct holder *k = replicate_choose_taker(c, i, share, now);
			if (!k)
				break;
			k->give[i] = 1;
			k->load += manifest_tensor_at(m, i)->bytes;
			k->items++;
		}
}

static void replicate_send_request(struct replication *c, struct holder *k) {
	struct deploy *d = c->m->d;
	Caravan__Replicate msg = CARAVAN__REPLICATE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(REPLICATE, replicate, &msg);
	ProtobufCBinaryData source[WIRE_NODES_MAX];
	uint32_t word[WIRE_INVENTORY_MAX] = {0};
	size_t layers = c->tensors - IO_ROLES;
	const uint8_t *give = k->give;
	for (size_t i = 0; i < layers; i++)
		word[i / WORD] |= (uint32_t)give[i] << i % WORD;
	for (size_t r = 0; r < IO_ROLES; r++)
		msg.io |= (uint32_t)give[layers + r] << r;
	for (size_t n = 0; n < c->nodes && msg.n_sources < WIRE_NODES_MAX; n++) {
		const struct holder *from = &c->node[n];
		bool any = false;
		for (size_t i = 0; i < c->tensors && from->up && from != k && !any; i++)
			any = give[i] && from->has[i];
		if (any)
			source[msg.n_sources++] = wire_node(&from->id);
	}
	msg.manifest = c->m->plan->manifest;
	msg.tensors = wire_bytes(word, (layers + WORD - 1) / WORD * sizeof *word);
	msg.sources = source;
	env.ref = peers_ref(d->peers);
	if (msg.n_sources > 0 && peers_send(d->peers, &k->id, PEERS_CONTROL, &env, NULL) == 0) {
		k->request_ref = env.ref;
		k->heard_ns = loop_now_ns();
	}
}

static bool replicate_at_work(const struct replication *c) {
	for (size_t i = 0; i < c->nodes; i++)
		if (c->node[i].request_ref)
			return true;
	return false;
}

static void replicate_inventory_done(struct replication *c) {
	c->asking = false;
	replicate_summarize(c);
	c->known = true;
	if (c->missing == 0 && !c->complete && c->nodes > 1)
		deploy_say(c->m->d, EVENT_COPIES_COMPLETE, LOG_LINE_INFO, c->m->plan->model,
		        "model %s: every part is on the disks of %u nodes", c->m->plan->model,
		        replicate_target(c, false));
	c->complete = c->missing == 0;
	if (replicate_at_work(c))
		return;
	if (c->missing > 0)
		replicate_assign(c);
	/* this node copies after the others: they fetch from it */
	bool given = false;
	for (int own = 0; own < 2 && c->missing > 0 && !given; own++)
		for (size_t i = 0; i < c->nodes; i++)
			if (c->node[i].items && replicate_is_self(c, &c->node[i]) == (own == 1)) {
				replicate_send_request(c, &c->node[i]);
				given = true;
			}
	if (!given)
		c->next_ns = loop_now_ns() + (c->missing ? AGAIN_MS : CHECK_MS) * 1000000ull;
}

void replicate_tick(struct model *m) {
	uint64_t now = loop_now_ns();
	struct replication *c = m->replication;
	if (!model_ours(m) || m->pub.phase != CARAVAN__MODEL_PHASE__SERVING || !m->manifest)
		return;
	if (!c && !(c = m->replication = replicate_create(m)))
		return;
	for (size_t i = 0; i < c->nodes; i++) {
		struct holder *k = &c->node[i];
		if (k->request_ref && now - k->heard_ns > DEPLOY_SILENT_MS * 1000000ull) {
			log_line(LOG_LINE_WARN, "model %s: %s has not reported on its copies for %d s",
			        m->plan->model, deploy_node_name(m->d, &k->id), DEPLOY_SILENT_MS / 1000);
			k->request_ref = 0;
			k->failed_ns = now;
		}
	}
	if (c->asking) {
		bool waits = false;
		for (size_t i = 0; i < c->nodes; i++)
			waits = waits || c->node[i].inventory_ref;
		if (!waits || now - c->since_ns > DEPLOY_INVENTORY_MS * 1000000ull)
			replicate_inventory_done(c);
	} else if (now >= c->next_ns) {
		replicate_ask_inventory(c);
	}
}

/* ---- what comes back ---- */

static void replicate_soon(struct replication *c) {
	uint64_t then = loop_now_ns() + SOON_MS * 1000000ull;
	if (c->next_ns > then)
		c->next_ns = then;
}

static struct holder *replicate_find_holder(
        struct deploy *d, const struct peers_from *from, bool of_look, struct replication **out) {
	for (size_t m = 0; m < d->models && from->ref; m++) {
		struct replication *c = d->model[m]->replication;
		for (size_t i = 0; c && i < c->nodes; i++) {
			struct holder *k = &c->node[i];
			if ((of_look ? k->inventory_ref : k->request_ref) == from->ref &&
			        node_id_equal(&k->id, &from->node)) {
				*out = c;
				return k;
			}
		}
	}
	return NULL;
}

static void replicate_on_inventory(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct replication *c;
	struct holder *k = replicate_find_holder(arg, from, true, &c);
	(void)payload;
	if (!k)
		return;
	k->inventory_ref = 0;
	replicate_take_inventory(c, k, env->inventory_reply);
}

static void replicate_on_progress(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct replication *c;
	struct holder *k = replicate_find_holder(arg, from, false, &c);
	(void)env;
	(void)payload;
	if (k)
		k->heard_ns = loop_now_ns();
}

static void replicate_on_ready(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct replication *c;
	struct holder *k = replicate_find_holder(arg, from, false, &c);
	(void)env;
	(void)payload;
	if (!k)
		return;
	k->request_ref = 0;
	k->failed_ns = 0;
	if (!replicate_at_work(c))
		c->next_ns = 0;
}

static void replicate_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct replication *c;
	struct holder *k = replicate_find_holder(arg, from, true, &c);
	(void)payload;
	if (k) {
		k->inventory_ref = 0;
		return;
	}
	k = replicate_find_holder(arg, from, false, &c);
	if (!k)
		return;
	log_line(LOG_LINE_WARN, "model %s: %s did not store a copy: %s", c->m->plan->model,
	        deploy_node_name(c->m->d, &k->id), env->refused->reason);
	k->request_ref = 0;
	k->failed_ns = loop_now_ns();
	replicate_soon(c);
}

void replicate_node_changed(struct deploy *d) {
	for (size_t i = 0; i < d->models; i++) {
		struct replication *c = d->model[i]->replication;
		if (c && replicate_refresh_nodes(c)) {
			if (c->known)
				replicate_summarize(c);
			replicate_soon(c);
		}
	}
}

void deploy_copies(const struct deploy *d, const char *model, Caravan__ModelState *out) {
	const struct model *m = d ? deploy_model_named(d, model) : NULL;
	const struct replication *c = m ? m->replication : NULL;
	if (!c || !c->known || c->nodes < 2) /* a single node has no other disk */
		return;
	out->copies = m->plan->copies ? m->plan->copies : DEPLOY_COPIES;
	out->disks = c->disks;
	out->copy_bytes = c->total;
	out->copy_missing = c->missing;
	out->at_risk = wire_string(c->risk);
}

int replicate_init(struct deploy *d) {
	int rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_INVENTORY_REPLY, replicate_on_inventory, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_PROGRESS, replicate_on_progress, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_READY, replicate_on_ready, d);
	return rc ? rc : peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REFUSED, replicate_on_refused, d);
}
