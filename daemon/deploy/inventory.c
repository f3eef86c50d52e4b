/* inventory: what nodes already have of a model.  All of them are asked before a load is planned.
 *
 * Owns: requests of other nodes that are being looked up.
 * Invariants: an answer is a hint for the plan and no promise: a node that holds less than it reported fetches the
 * rest, and one that has less memory refuses.  For a node that does not answer in time, the plan assumes that it
 * holds nothing and that it has the memory that its last heartbeat reported.
 * Threads: the loop, except where a comment says reader.  The reader is never busy for long, so that a node that
 * hashes another model answers too. */
#include "daemon/core/log.h"
#include "daemon/deploy/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_MAX 64 /* requests being looked up at once, */
#define REQUESTS_EACH 4 /* and per node */
#define WORD_BITS 32

_Static_assert(LAYER_PLAIN == 9 && IO_ROLES == 3, "doc/protocol.md numbers the bits by them");
_Static_assert(MANIFEST_MAX_TENSORS <= WIRE_INVENTORY_MAX * WORD_BITS, "every model's answer fits");

/* ---- answering ---- */

struct inventory {
	struct deploy *d;
	struct peers_from from;
	struct content_id manifest;
	uint32_t *word; /* what our store has */
	size_t words;
	uint32_t io;
	struct store_space space;
	bool file; /* one of our model files has all of it */
	LIST_ENTRY(inventory) next;
};

/* How much more of the model the store can take, without evicting what it has of it.  m: NULL when the model is unknown. */
static void inventory_disk_space(struct inventory *k, const struct manifest *m) {
	size_t n = 0, tensors = m ? manifest_tensors(m) : 0;
	struct content_id *id = m ? malloc(tensors * sizeof *id) : NULL;
	for (size_t i = 0; id && i < tensors; i++)
		id[n++] = manifest_tensor_at(m, i)->id;
	if (n)
		qsort(id, n, sizeof *id, content_compare);
	if (store_space(k->d->c.store, id, n, &k->space))
		k->space = (struct store_space){0};
	free(id);
}

/* Reader.  For an unknown model there are no words: nothing is held. */
static void inventory_run(void *arg) {
	struct inventory *k = arg;
	struct store *s = k->d->c.store;
	struct manifest *m = NULL;
	uint8_t *data = NULL;
	size_t len;
	char err[200];
	if (!store_has_blob(s, &k->manifest) || store_get_blob(s, &k->manifest, &data, &len) ||
	        manifest_decode(&m, data, len, err, sizeof err))
		goto out;
	size_t words = (manifest_layer_tensors(m) + WORD_BITS - 1) / WORD_BITS;
	k->word = calloc(words, sizeof *k->word);
	if (!k->word)
		goto out;
	k->words = words;
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		if (store_has_tensor(s, &m->tensor[i].id))
			k->word[i / WORD_BITS] |= (uint32_t)1 << i % WORD_BITS;
	for (int r = 0; r < IO_ROLES; r++)
		k->io |= (uint32_t)store_has_tensor(s, &m->io[r].id) << r;
	k->io |= (uint32_t)store_has_blob(s, &m->vocab) << IO_ROLES;
out:
	inventory_disk_space(k, m);
	manifest_destroy(m);
	free(data);
}

/* Memory available to a new plan of this model: what is free, and what its present parts use if they no longer serve, because
 * they are released when the new plan is prepared. */
static uint64_t inventory_memory_for(const struct deploy *d, const struct content_id *manifest) {
	uint64_t bytes = deploy_memory_free(d);
	for (size_t i = 0; i < d->models; i++) {
		const struct model *m = d->model[i];
		if (m->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE &&
		        memcmp(m->plan->manifest.data, manifest->b, sizeof manifest->b) == 0)
			bytes += participant_charged(m) + m->io_charged;
	}
	return bytes;
}

static void inventory_done(void *arg, bool cancelled) {
	struct inventory *k = arg;
	struct deploy *d = k->d;
	LIST_REMOVE(k, next);
	if (!cancelled) {
		Caravan__InventoryReply held = CARAVAN__INVENTORY_REPLY__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(INVENTORY_REPLY, inventory_reply, &held);
		held.tensors = wire_bytes(k->word, k->words * sizeof *k->word);
		held.io = k->io;
		held.disk_free = k->space.free;
		held.disk_size = k->space.filesystem;
		uint32_t *all = k->file && k->words ? malloc(k->words * sizeof *all) : NULL;
		if (all) { /* a model file of ours has everything */
			held.stored = held.tensors;
			held.stored_io = held.io;
			memset(all, 0xff, k->words * sizeof *all);
			held.tensors.data = (uint8_t *)all;
			held.io |= (1u << IO_ROLES) - 1;
		}
		held.accepts_replicas = true;
		held.memory_free = inventory_memory_for(d, &k->manifest);
		peers_answer(d->peers, &k->from, &env, NULL);
		free(all);
	}
	free(k->word);
	free(k);
}

static void inventory_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	size_t all = 0, its = 0;
	(void)payload;
	for (struct inventory *k = LIST_FIRST(&d->inventories); k; k = LIST_NEXT(k, next)) {
		all++;
		its += node_id_equal(&k->from.node, &from->node);
	}
	if (all >= REQUESTS_MAX || its >= REQUESTS_EACH) {
		peers_refuse(d->peers, from, "too many requests at once");
		return;
	}
	struct inventory *k = calloc(1, sizeof *k);
	if (!k) {
		peers_refuse(d->peers, from, "out of memory");
		return;
	}
	k->d = d;
	k->from = *from;
	memcpy(k->manifest.b, env->inventory->manifest.data, sizeof k->manifest.b);
	k->file = transfer_has_file(d->transfer, &k->manifest);
	LIST_INSERT_HEAD(&d->inventories, k, next);
	if (executor_submit(transfer_reader(d->transfer), inventory_run, inventory_done, k))
		inventory_done(k, false); /* answers that it holds nothing */
}

/* ---- asking ---- */

static const struct content_id nameless; /* the id of content not hashed yet, or absent */

static void inventory_check_all(struct load *l) {
	for (size_t i = 0; i < l->nnodes; i++)
		if (l->asked[i].ref)
			return;
	loop_timer_stop(l->timer);
	l->timer = NULL;
	load_step(l, EV_INVENTORY);
}

static void inventory_timed_out(void *arg) {
	struct load *l = arg;
	l->timer = NULL;
	for (size_t i = 0; i < l->nnodes; i++)
		if (l->asked[i].ref) {
			log_line(LOG_LINE_WARN, "model %s: %s did not answer the inventory request", l->name,
			        l->node[i].name);
			l->asked[i].ref = 0;
		}
	inventory_check_all(l);
}

void load_take_inventory(struct load *l) {
	struct deploy *d = l->d;
	Caravan__Inventory msg = CARAVAN__INVENTORY__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(INVENTORY, inventory, &msg);
	/* nodes that will not take part are asked too: others may fetch from them */
	const struct manifest *m = l->manifest;
	if (load_take_part(l))
		return;
	l->asked = calloc(l->nnodes, sizeof *l->asked);
	l->timer = loop_timer_start(d->c.loop, DEPLOY_INVENTORY_MS, false, inventory_timed_out, l);
	if (!l->asked || !l->timer) {
		load_fail(l, "out of memory");
		return;
	}
	msg.manifest = wire_bytes(m->id.b, sizeof m->id.b);
	/* without hashes there is nothing to ask for */
	for (size_t i = 0; i < l->nnodes && !content_equal(&m->id, &nameless); i++) {
		env.ref = peers_ref(d->peers);
		if (peers_send(d->peers, &l->node[i].id, PEERS_CONTROL, &env, NULL) == 0)
			l->asked[i].ref = env.ref;
	}
	inventory_check_all(l);
}

/* The load whose request this answers, which is closed; NULL: none. */
static struct load *inventory_find_load(struct deploy *d, const struct peers_from *from, size_t *node) {
	for (struct load *l = TAILQ_FIRST(&d->loads); l; l = TAILQ_NEXT(l, next))
		for (size_t i = 0; l->state == LOAD_INVENTORY && i < l->nnodes; i++)
			if (l->asked[i].ref && l->asked[i].ref == from->ref &&
			        node_id_equal(&l->node[i].id, &from->node)) {
				l->asked[i].ref = 0;
				*node = i;
				return l;
			}
	return NULL;
}

static void inventory_on_reply(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	const Caravan__InventoryReply *held = env->inventory_reply;
	size_t i;
	struct load *l = inventory_find_load(arg, from, &i);
	(void)payload;
	if (!l)
		return;
	struct planner_node *n = &l->node[i];
	size_t len = held->tensors.len;
	n->memory = held->memory_free;
	if (held->disk_size) {
		n->disk_known = true;
		n->disk_free = held->disk_free;
	}
	l->asked[i].answered = true;
	l->asked[i].io = held->io;
	n->held_io = held->io & ((1u << IO_ROLES) - 1);
	n->file = held->stored.len > 0;
	n->stored_io = held->stored_io;
	l->asked[i].held = malloc(2 * len + 1);
	if (l->asked[i].held) {
		if (len)
			memcpy(l->asked[i].held, held->tensors.data, len);
		n->held = l->asked[i].held;
		n->held_words = len / sizeof *n->held;
		if (n->file && held->stored.len == len) {
			memcpy(l->asked[i].held + n->held_words, held->stored.data, len);
			n->stored = l->asked[i].held + n->held_words;
		}
	}
	inventory_check_all(l);
}

static void inventory_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	size_t i;
	struct load *l = inventory_find_load(arg, from, &i);
	(void)payload;
	if (!l)
		return;
	log_line(LOG_LINE_WARN, "model %s: %s refused the inventory request: %s", l->name, l->node[i].name,
	        env->refused->reason);
	inventory_check_all(l);
}

/* A node that was asked is down: the plan is made without its answer. */
void inventory_node_down(struct load *l, const struct node_id *id) {
	for (size_t i = 0; i < l->nnodes; i++) {
		if (!node_id_equal(&l->node[i].id, id))
			continue;
		if (l->node[i].required) {
			load_fail(l, "%s went down while the model was being loaded", l->node[i].name);
			return;
		}
		l->node[i].excluded = true;
		if (l->asked[i].ref) {
			l->asked[i].ref = 0;
			inventory_check_all(l);
		}
		return;
	}
}

/* Whether some node has each tensor of a layer. */
static bool inventory_has_layer(const struct load *l, uint32_t layer) {
	for (size_t bit = l->manifest->at[layer]; bit < l->manifest->at[layer + 1]; bit++) {
		bool found = false;
		for (size_t i = 0; i < l->nnodes && !found; i++)
			found = bit / WORD_BITS < l->node[i].held_words &&
			        l->node[i].held[bit / WORD_BITS] >> bit % WORD_BITS & 1;
		if (!found)
			return false;
	}
	return true;
}

/* Writes which parts no node has; empty when there are none. */
void inventory_describe_gaps(const struct load *l, char *why, size_t len) {
	const struct manifest *m = l->manifest;
	size_t at = 0, gaps = 0;
	uint32_t io = 0;
	*why = '\0';
	for (size_t i = 0; i < l->nnodes; i++) {
		if (!l->asked[i].answered)
			return; /* unknown: fetching will show what is missing */
		io |= l->asked[i].io;
	}
	for (uint32_t layer = 0, end; layer < m->hp.layers; layer = end + 1) {
		for (end = layer; end < m->hp.layers && !inventory_has_layer(l, end); end++)
			;
		if (end == layer || at >= len)
			continue;
		at += (size_t)snprintf(why + at, len - at, "%slayer%s %u", gaps++ ? ", " : "",
		        end - layer > 1 ? "s" : "", layer);
		if (end - layer > 1 && at < len)
			at += (size_t)snprintf(why + at, len - at, "-%u", end - 1);
	}
	if (io != (1u << (IO_ROLES + 1)) - 1 && at < len)
		snprintf(why + at, len - at, "%sits embedding, output or vocabulary", gaps ? ", " : "");
}

int inventory_init(struct deploy *d) {
	int rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_INVENTORY, inventory_on_request, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_INVENTORY_REPLY, inventory_on_reply, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REFUSED, inventory_on_refused, d);
	return rc;
}
