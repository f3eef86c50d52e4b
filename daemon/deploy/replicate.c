/* replicate: a model that we coordinate is brought onto the disks of as many nodes as it is to have copies on.
 *
 * In rounds, while the model serves: every node is asked what it has (Look); what is on too few disks is given to the
 * nodes that are to have least of it (Keep); when all have it, or have failed, the next round begins.  A node that is down
 * is waited for before what it has is given to others, since most come back.  What is said of it at any time is what the
 * last look found.
 * Owns: what is known of each node's disk, for each model of ours.
 * Threads: the loop. */
#include "daemon/core/log.h"
#include "daemon/deploy/deploy_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOON_MS 1000           /* after something has changed */
#define AGAIN_MS 5000          /* while something is missing */
#define CHECK_MS 60000         /* when all is there */
#define GONE_MS 300000         /* a node that is down for so long is not waited for */
#define AFTER_FAILURE_MS 60000 /* a node that could not keep something is given nothing for so long */
#define WORD 32

struct keeper {
	struct node_id id;
	bool up, keeps;
	uint64_t gone_ns;   /* since then it is down */
	uint64_t look_ref;  /* 0: not asked, or answered */
	uint64_t keep_ref;  /* it is at work */
	uint64_t heard_ns;  /* of its work */
	uint64_t failed_ns; /* it could not, then */
	uint8_t *has;       /* by tensor: on its disk, as it said last */
	uint8_t *give;      /* by tensor: it is to have it; in the same memory */
	bool vocab;         /* on its disk as well */
	bool disk_known;    /* it has said how much that can take yet: */
	uint64_t disk_free; /* bytes */
	uint64_t load;      /* bytes that it is given in this round */
	size_t items;
};

struct copies {
	struct model *m; /* borrowed: it owns us */
	struct keeper *node;
	size_t nodes;
	size_t tensors; /* of the layers, as bits are numbered, then of the ends */
	uint8_t *again; /* by tensor: the same content as one before it */
	/* by tensor, as the last look found: how many nodes that are up have it, and one of them */
	struct {
		uint32_t count;
		const struct keeper *one;
	} * on;
	bool looking, looked, complete;
	uint64_t since_ns, next_ns;
	uint64_t total, missing;
	char risk[WIRE_RISK_MAX + 1];
};

static const struct manifest_tensor *tensor_at(const struct manifest *m, size_t i) {
	size_t layers = (size_t)m->hp.layers * LAYER_ROLES;
	return i < layers ? &m->layer[i / LAYER_ROLES][i % LAYER_ROLES] : &m->end[i - layers];
}

void copies_free(struct copies *c) {
	if (!c)
		return;
	for (size_t i = 0; i < c->nodes; i++)
		free(c->node[i].has);
	free(c->node);
	free(c->again);
	free(c->on);
	free(c);
}

static const struct manifest *sorting; /* qsort has no argument; the loop is one thread */
static int compare_tensors(const void *a, const void *b) {
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int c = memcmp(tensor_at(sorting, x)->id.b, tensor_at(sorting, y)->id.b, sizeof(struct content_id));
	return c ? c : (x > y) - (x < y);
}

static struct copies *copies_create(struct model *m) {
	struct copies *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->m = m;
	c->tensors = (size_t)m->manifest->hp.layers * LAYER_ROLES + END_ROLES;
	c->again = calloc(c->tensors, 1);
	c->on = calloc(c->tensors, sizeof *c->on);
	size_t *order = calloc(c->tensors, sizeof *order);
	if (!c->again || !c->on || !order) {
		free(order);
		copies_free(c);
		return NULL;
	}
	for (size_t i = 0; i < c->tensors; i++)
		order[i] = i;
	sorting = m->manifest;
	qsort(order, c->tensors, sizeof *order, compare_tensors);
	for (size_t i = 1; i < c->tensors; i++)
		c->again[order[i]] = content_equal(
		        &tensor_at(m->manifest, order[i])->id, &tensor_at(m->manifest, order[i - 1])->id);
	free(order);
	return c;
}

/* ---- looking ---- */

/* Brings the table up to what members know; false: no memory. */
static bool refresh(struct copies *c) {
	struct deploy *d = c->m->d;
	const struct member *who;
	for (size_t i = 0; (who = members_at(d->c.members, i)); i++) {
		struct keeper *k = NULL;
		for (size_t n = 0; n < c->nodes && !k; n++)
			if (node_id_equal(&c->node[n].id, &who->id))
				k = &c->node[n];
		if (!k && !who->expelled) {
			struct keeper *grown = realloc(c->node, (c->nodes + 1) * sizeof *grown);
			if (!grown)
				return false;
			c->node = grown;
			k = &c->node[c->nodes];
			*k = (struct keeper){
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
			k->look_ref = k->keep_ref = 0;
		if (who->expelled) { /* what it has is out of reach for good */
			memset(k->has, 0, c->tensors);
			k->vocab = false;
		}
	}
	return true;
}

static void look(struct copies *c) {
	struct deploy *d = c->m->d;
	Caravan__Look msg = CARAVAN__LOOK__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	c->next_ns = loop_now_ns() + AGAIN_MS * 1000000ull;
	if (!refresh(c))
		return;
	msg.manifest = c->m->plan->manifest;
	env.body_case = CARAVAN__ENVELOPE__BODY_LOOK;
	env.look = &msg;
	c->looking = true;
	c->since_ns = loop_now_ns();
	for (size_t i = 0; i < c->nodes; i++) {
		struct keeper *k = &c->node[i];
		if (!k->up)
			continue;
		env.ref = peers_ref(d->peers);
		if (peers_send(d->peers, &k->id, PEERS_CONTROL, &env, NULL) == 0)
			k->look_ref = env.ref;
	}
}

static void take_answer(struct copies *c, struct keeper *k, const Caravan__Held *held) {
	size_t layers = c->tensors - END_ROLES;
	for (size_t i = 0; i < layers; i++) {
		uint32_t word = 0;
		if (i / WORD < held->tensors.len / sizeof word)
			memcpy(&word, held->tensors.data + i / WORD * sizeof word, sizeof word);
		k->has[i] = word >> i % WORD & 1;
	}
	for (size_t r = 0; r < END_ROLES; r++)
		k->has[layers + r] = held->ends >> r & 1;
	k->vocab = held->ends >> END_ROLES & 1;
	k->keeps = held->keeps;
	k->disk_known = held->disk_size > 0;
	k->disk_free = held->disk_free;
}

/* ---- what a loss would take ---- */

static void count_holders(struct copies *c) {
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

static void say(struct sentence *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct sentence *s, const char *fmt, ...) {
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

/* What nobody but `only` has (NULL: nobody at all): "layers 0-3, 7, the ends". */
static void tell_only(const struct copies *c, const struct keeper *only, bool *layer, struct sentence *s) {
	size_t layers = (c->tensors - END_ROLES) / LAYER_ROLES;
	const struct keeper *k = NULL;
	bool ends = false, any = false, vocab;
	unsigned vocabs = 0;
	memset(layer, 0, layers * sizeof *layer);
	for (size_t i = 0; i < c->tensors; i++) {
		if (c->again[i] || c->on[i].count > 1 || c->on[i].one != only)
			continue;
		any = true;
		if (i < c->tensors - END_ROLES)
			layer[i / LAYER_ROLES] = true;
		else
			ends = true;
	}
	for (size_t i = 0; i < c->nodes; i++)
		if (c->node[i].up && c->node[i].vocab) {
			k = &c->node[i];
			vocabs++;
		}
	vocab = vocabs < 2 && k == only;
	if (!any && !vocab)
		return;
	say(s, "%s%s%s:", s->any ? "; " : "", only ? "only on " : "on no node that is up",
	        only ? deploy_node_name(c->m->d, &only->id) : "");
	s->any = true;
	const char *comma = " ";
	bool named = false;
	for (size_t i = 0, end; i < layers; i = end + 1) {
		for (end = i; end < layers && layer[end]; end++)
			;
		if (end == i)
			continue;
		say(s, "%s%s%zu", comma, named ? "" : end - i > 1 ? "layers " : "layer ", i);
		if (end - i > 1)
			say(s, "-%zu", end - 1);
		named = true;
		comma = ", ";
	}
	if (ends) {
		say(s, "%sembedding and output", comma);
		comma = ", ";
	}
	if (vocab)
		say(s, "%sthe vocabulary", comma);
}

static unsigned wanted(const struct copies *c, bool patient) {
	uint32_t most = c->m->plan->copies ? c->m->plan->copies : DEPLOY_COPIES;
	uint64_t now = loop_now_ns();
	unsigned nodes = 0;
	for (size_t i = 0; i < c->nodes; i++)
		nodes += c->node[i].up || (patient && now - c->node[i].gone_ns < GONE_MS * 1000000ull);
	return most < nodes ? most : nodes;
}

/* Sums up what the last look found. */
static void sum_up(struct copies *c) {
	const struct manifest *m = c->m->manifest;
	unsigned want = wanted(c, false);
	struct sentence s = {c->risk, sizeof c->risk, false};
	bool *layer = calloc(m->hp.layers, sizeof *layer);
	c->total = c->missing = 0;
	c->risk[0] = '\0';
	count_holders(c);
	for (size_t i = 0; i < c->tensors; i++) {
		uint64_t bytes = c->again[i] ? 0 : tensor_at(m, i)->bytes;
		uint32_t n = c->on[i].count;
		c->total += want * bytes;
		c->missing += n < want ? (want - n) * bytes : 0;
	}
	if (layer) {
		tell_only(c, NULL, layer, &s);
		for (size_t i = 0; i < c->nodes; i++)
			if (c->node[i].up)
				tell_only(c, &c->node[i], layer, &s);
	}
	free(layer);
	if (!wire_line_ok(c->risk, WIRE_RISK_MAX)) /* cut within a character: names are ASCII, so it is not */
		snprintf(c->risk, sizeof c->risk, "too much to list here");
}

/* ---- giving ---- */

static bool counts(const struct keeper *k, size_t tensor, uint64_t now) {
	return k->has[tensor] && (k->up || now - k->gone_ns < GONE_MS * 1000000ull);
}

static bool can_take(const struct copies *c, const struct keeper *k, size_t tensor, uint64_t now) {
	uint64_t bytes = tensor_at(c->m->manifest, tensor)->bytes;
	return k->up && k->keeps && !k->has[tensor] && !k->give[tensor] &&
	       !(k->disk_known && k->load + bytes > k->disk_free) &&
	       !(k->failed_ns && now - k->failed_ns < AFTER_FAILURE_MS * 1000000ull);
}

static bool is_self(const struct copies *c, const struct keeper *k) {
	return node_id_equal(&k->id, &c->m->d->self);
}

/* Who is to have it: the first that has not had its share yet, so that layers that follow each other come to one
 * node; else who has least; and ourselves only if it must be, since we have sent most of it already. */
static struct keeper *taker(struct copies *c, size_t tensor, uint64_t share, uint64_t now) {
	struct keeper *best = NULL, *self = NULL;
	for (size_t i = 0; i < c->nodes; i++) {
		struct keeper *k = &c->node[i];
		if (!can_take(c, k, tensor, now))
			continue;
		if (is_self(c, k)) {
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

static unsigned lacking(const struct copies *c, size_t tensor, uint64_t now) {
	unsigned n = 0, want = wanted(c, true);
	for (size_t i = 0; i < c->nodes; i++)
		n += counts(&c->node[i], tensor, now);
	return c->again[tensor] || n >= want ? 0 : want - n;
}

static void assign(struct copies *c) {
	const struct manifest *m = c->m->manifest;
	uint64_t now = loop_now_ns(), all = 0, takers = 0;
	for (size_t i = 0; i < c->nodes; i++) {
		struct keeper *k = &c->node[i];
		memset(k->give, 0, c->tensors);
		k->load = 0;
		k->items = 0;
		takers += k->up && k->keeps && !is_self(c, k);
	}
	for (size_t i = 0; i < c->tensors; i++)
		all += lacking(c, i, now) * tensor_at(m, i)->bytes;
	uint64_t share = takers ? all / takers : 0;
	for (size_t i = 0; i < c->tensors; i++)
		for (unsigned n = lacking(c, i, now); n > 0; n--) {
			struct keeper *k = taker(c, i, share, now);
			if (!k)
				break;
			k->give[i] = 1;
			k->load += tensor_at(m, i)->bytes;
			k->items++;
		}
}

static void send_keep(struct copies *c, struct keeper *k) {
	struct deploy *d = c->m->d;
	Caravan__Keep msg = CARAVAN__KEEP__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	ProtobufCBinaryData source[WIRE_NODES_MAX];
	uint32_t word[WIRE_HELD_MAX] = {0};
	size_t layers = c->tensors - END_ROLES;
	const uint8_t *give = k->give;
	for (size_t i = 0; i < layers; i++)
		word[i / WORD] |= (uint32_t)give[i] << i % WORD;
	for (size_t r = 0; r < END_ROLES; r++)
		msg.ends |= (uint32_t)give[layers + r] << r;
	for (size_t n = 0; n < c->nodes && msg.n_sources < WIRE_NODES_MAX; n++) {
		const struct keeper *from = &c->node[n];
		bool any = false;
		for (size_t i = 0; i < c->tensors && from->up && from != k && !any; i++)
			any = give[i] && from->has[i];
		if (any)
			source[msg.n_sources++] =
			        (ProtobufCBinaryData){sizeof from->id.b, (uint8_t *)from->id.b};
	}
	msg.manifest = c->m->plan->manifest;
	msg.tensors = (ProtobufCBinaryData){(layers + WORD - 1) / WORD * sizeof *word, (uint8_t *)word};
	msg.sources = source;
	env.body_case = CARAVAN__ENVELOPE__BODY_KEEP;
	env.keep = &msg;
	env.ref = peers_ref(d->peers);
	if (msg.n_sources > 0 && peers_send(d->peers, &k->id, PEERS_CONTROL, &env, NULL) == 0) {
		k->keep_ref = env.ref;
		k->heard_ns = loop_now_ns();
	}
}

static bool at_work(const struct copies *c) {
	for (size_t i = 0; i < c->nodes; i++)
		if (c->node[i].keep_ref)
			return true;
	return false;
}

static void looked(struct copies *c) {
	c->looking = false;
	sum_up(c);
	c->looked = true;
	if (c->missing == 0 && !c->complete && c->nodes > 1)
		log_line(LOG_LINE_INFO, "model %s: every part is on the disks of %u nodes", c->m->plan->model,
		        wanted(c, false));
	c->complete = c->missing == 0;
	if (at_work(c))
		return;
	if (c->missing > 0)
		assign(c);
	/* ourselves when the others have theirs: they would have it from us otherwise */
	bool given = false;
	for (int own = 0; own < 2 && c->missing > 0 && !given; own++)
		for (size_t i = 0; i < c->nodes; i++)
			if (c->node[i].items && is_self(c, &c->node[i]) == (own == 1)) {
				send_keep(c, &c->node[i]);
				given = true;
			}
	if (!given)
		c->next_ns = loop_now_ns() + (c->missing ? AGAIN_MS : CHECK_MS) * 1000000ull;
}

void copies_tick(struct model *m) {
	uint64_t now = loop_now_ns();
	struct copies *c = m->copies;
	if (!model_ours(m) || m->pub.phase != CARAVAN__MODEL_PHASE__SERVING || !m->manifest)
		return;
	if (!c && !(c = m->copies = copies_create(m)))
		return;
	for (size_t i = 0; i < c->nodes; i++) {
		struct keeper *k = &c->node[i];
		if (k->keep_ref && now - k->heard_ns > DEPLOY_SILENT_MS * 1000000ull) {
			log_line(LOG_LINE_WARN, "model %s: %s has not reported on its copies for %d s",
			        m->plan->model, deploy_node_name(m->d, &k->id), DEPLOY_SILENT_MS / 1000);
			k->keep_ref = 0;
			k->failed_ns = now;
		}
	}
	if (c->looking) {
		bool waits = false;
		for (size_t i = 0; i < c->nodes; i++)
			waits = waits || c->node[i].look_ref;
		if (!waits || now - c->since_ns > DEPLOY_LOOK_MS * 1000000ull)
			looked(c);
	} else if (now >= c->next_ns) {
		look(c);
	}
}

/* ---- what comes back ---- */

static void soon(struct copies *c) {
	uint64_t then = loop_now_ns() + SOON_MS * 1000000ull;
	if (c->next_ns > then)
		c->next_ns = then;
}

static struct keeper *keeper_of(
        struct deploy *d, const struct peers_from *from, bool of_look, struct copies **out) {
	for (size_t m = 0; m < d->models && from->ref; m++) {
		struct copies *c = d->model[m]->copies;
		for (size_t i = 0; c && i < c->nodes; i++) {
			struct keeper *k = &c->node[i];
			if ((of_look ? k->look_ref : k->keep_ref) == from->ref &&
			        node_id_equal(&k->id, &from->node)) {
				*out = c;
				return k;
			}
		}
	}
	return NULL;
}

static void on_held(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct copies *c;
	struct keeper *k = keeper_of(arg, from, true, &c);
	(void)payload;
	if (!k)
		return;
	k->look_ref = 0;
	take_answer(c, k, env->held);
}

static void on_progress(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct copies *c;
	struct keeper *k = keeper_of(arg, from, false, &c);
	(void)env;
	(void)payload;
	if (k)
		k->heard_ns = loop_now_ns();
}

static void on_ready(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct copies *c;
	struct keeper *k = keeper_of(arg, from, false, &c);
	(void)env;
	(void)payload;
	if (!k)
		return;
	k->keep_ref = 0;
	k->failed_ns = 0;
	if (!at_work(c))
		c->next_ns = 0;
}

static void on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct copies *c;
	struct keeper *k = keeper_of(arg, from, true, &c);
	(void)payload;
	if (k) {
		k->look_ref = 0;
		return;
	}
	k = keeper_of(arg, from, false, &c);
	if (!k)
		return;
	log_line(LOG_LINE_WARN, "model %s: %s did not store a copy: %s", c->m->plan->model,
	        deploy_node_name(c->m->d, &k->id), env->refused->reason);
	k->keep_ref = 0;
	k->failed_ns = loop_now_ns();
	soon(c);
}

void copies_node_changed(struct deploy *d) {
	for (size_t i = 0; i < d->models; i++) {
		struct copies *c = d->model[i]->copies;
		if (c && refresh(c)) {
			if (c->looked)
				sum_up(c);
			soon(c);
		}
	}
}

void deploy_copies(const struct deploy *d, const char *model, Caravan__ModelState *out) {
	const struct model *m = d ? deploy_model_named(d, model) : NULL;
	const struct copies *c = m ? m->copies : NULL;
	if (!c || !c->looked || c->nodes < 2) /* a node alone has nobody to lose it to */
		return;
	out->copies = m->plan->copies ? m->plan->copies : DEPLOY_COPIES;
	out->copy_bytes = c->total;
	out->copy_missing = c->missing;
	out->at_risk = (char *)c->risk;
}

int copies_init(struct deploy *d) {
	int rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_HELD, on_held, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_PROGRESS, on_progress, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_READY, on_ready, d);
	return rc ? rc : peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REFUSED, on_refused, d);
}
