/* load_plan: the middle of a load: which nodes may take part, the plan, and the number of its epoch.
 *
 * It waits for running link probes and calibrations, within bounds.  Nodes that cannot serve one plan together are left out, or the
 * load fails if the user named them.  The counter of the epoch is on disk before any other node gets the plan.
 * Threads: the loop, except where a comment says executor or reader. */
#include "daemon/deploy/load.h"

#include "daemon/calibration/disk.h"
#include "daemon/core/log.h"
#include "shard/forward/kv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS 100
#define HASH_BYTES (4 << 20) /* hashed per run to measure the rate */

/* ---- who may take part ---- */

/* Whether the user named this member; not if the list is empty. */
static bool load_names_member(const struct load *l, const struct member *m) {
	for (size_t i = 0; i < l->nnames; i++)
		if (members_named(l->d->c.members, l->names[i]) == m)
			return true;
	return false;
}

static bool load_member_measured(const struct member *m) {
	return m->state && m->state->n_rates > 0;
}

/* Whether the member and every other node that is up reach each other. */
static bool load_member_linked(const struct load *l, const struct member *m) {
	const struct member *o;
	for (size_t i = 0; (o = members_at(l->d->c.members, i)); i++)
		if (!o->expelled && (o->self || o->up) && !deploy_reaches(l->d, &m->id, &o->id))
			return false;
	return true;
}

/* Whether the figures of all nodes are known, or not expected soon. */
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

/* Whether the draft model is usable; if not, the load has failed. */
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

/* Whether it may be the same model; only the hashes of the file, not known yet, can decide. */
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
		load_fail(l,
		        *l->stored
		                ? "a context of %u is more than the model was loaded for: %u (its file may have more)"
		                : "a context of %u is more than the model was trained for: %u",
		        l->context, m->hp.context);
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
	/* a model that cannot serve gives up its name: its coordinator may never come back */
	if (old->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE && !old->load)
		return true;
	const struct manifest *m = l->manifest;
	bool same = m && memcmp(m->id.b, old->plan->manifest.data, sizeof m->id.b) == 0;
	if (same && old->pub.phase == CARAVAN__MODEL_PHASE__SERVING)
		load_step(l, EV_SERVES); /* the request is already fulfilled */
	else if (same)
		load_fail(l, "model %s is already being loaded", l->name);
	else
		load_fail(l, "the name %s is in use by another model; choose one with --name, or unload it",
		        l->name);
	return false;
}

/* ---- the plan ---- */

/* Whether it computes with the same arithmetic, as all nodes of a plan must. */
static bool load_same_arithmetic(const struct member *m) {
	return m->self || m->arithmetic == KERN_ARITHMETIC;
}

/* Bytes a second of the link between this node and another: the lower of both measurements. */
static double load_link_rate(const struct deploy *d, const struct member *m) {
	double rate = m->rate;
	for (size_t i = 0; m->state && i < m->state->n_peers; i++) {
		const Caravan__PeerState *p = m->state->peers[i];
		struct node_id id;
		if (node_id_from_bytes(&id, p->node) || !node_id_equal(&id, &d->self) || !(p->rate > 0))
			continue;
		rate = rate > 0 && rate < p->rate ? rate : p->rate;
	}
	return planner_link(rate);
}

/* Whether it supports this type of KV cache. */
static bool load_supports_kv(enum kern_kv kv, const struct member *m) {
	return m->self || kv == KERN_KV_F16 || (m->state && m->state->kv_types >> kv & 1);
}

bool deploy_can_compute(const struct member *m, enum kern_kv kv) {
	return load_same_arithmetic(m) && load_supports_kv(kv, m);
}

static bool load_member_down(const struct member *m) {
	return !m->self && !m->up;
}

void deploy_describe_node(
        struct planner_node *n, const struct deploy *d, const struct member *m, uint32_t dim) {
	const Caravan__NodeState *s = m->state;
	n->id = m->id;
	if (m->self)
		n->memory = deploy_memory_free(d);
	else if (s && m->up) /* a node that is down has no current state */
		n->memory = s->memory_allowed > s->memory_used ? s->memory_allowed - s->memory_used : 0;
	for (size_t i = 0; s && i < s->n_rates; i++)
		if (s->rates[i]->type < KERN_TYPES) {
			n->bytes_per_second[s->rates[i]->type] = s->rates[i]->bytes_per_second;
			n->many[s->rates[i]->type] = s->rates[i]->many;
			n->low[s->rates[i]->type] = s->rates[i]->low;
			n->high[s->rates[i]->type] = s->rates[i]->high;
		}
	n->rate = load_link_rate(d, m);
	n->hop = planner_hop(m->round_trip, n->rate, dim);
}

static void load_describe_node(struct planner_node *n, const struct load *l, const struct member *m) {
	const struct deploy *d = l->d;
	const Caravan__NodeState *s = m->state;
	deploy_describe_node(n, d, m, l->manifest->hp.dim);
	snprintf(l->node_name[l->nnodes], sizeof *l->node_name, "%s", m->name);
	n->name = l->node_name[l->nnodes];
	n->disk = s ? s->disk_rate : 0;
	/* our own is known before the first heartbeat */
	uint64_t size = m->self ? d->disk_space.filesystem : s ? s->disk_size : 0;
	if (size && !l->maybe_here) {
		n->disk_known = true;
		n->disk_free = m->self ? d->disk_space.free : s->disk_free;
	}
	n->required = !load_member_down(m) && (l->all_nodes || load_names_member(l, m));
	n->excluded = load_member_down(m) || !load_same_arithmetic(m) || !load_supports_kv(l->kv, m) ||
	              (l->nnames > 0 && !n->required);
	if (load_member_down(m))
		n->why = "it is down";
	else if (!load_same_arithmetic(m))
		n->why = "it uses another arithmetic revision";
	else if (!load_supports_kv(l->kv, m))
		n->why = "its version of Caravan does not support this type of KV cache";
}

/* The number of nodes that may take part and have no link with this one in either direction; *other: one of them. */
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

/* Leaves out nodes until all can reach each other, those with the most missing links first.  0, or -EHOSTUNREACH with the load
 * failed, because the user named one of them. */
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
		if (!load_supports_kv(l->kv, m)) {
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
		/* only advice mentions nodes that are down */
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

/* The longest context, up to the requested one, with which all weights and the KV cache fit into memory, by bisection over blocks;
 * or the default, if there is none. */
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

/* Reader.  Bytes a second of hashing on this machine, the best of three runs. */
static double plan_hash_rate(void) {
	double best = 0;
	uint8_t *data = calloc(1, HASH_BYTES);
	for (int i = 0; data && i < 3; i++) {
		uint64_t since = loop_now_ns();
		struct content_id id = content_hash(data, HASH_BYTES);
		uint64_t ns = loop_now_ns() - since;
		data[i] = id.b[0]; /* uses the result, so that it is not optimized away */
		best = ns && HASH_BYTES * 1e9 / (double)ns > best ? HASH_BYTES * 1e9 / (double)ns : best;
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
		/* a preset stands for a file that must be hashed */
		if (content_equal(&l->manifest->id, &nameless))
			in.hash_bytes = manifest_layer_bytes(l->manifest, 0, l->manifest->hp.layers) +
			                manifest_io_bytes(l->manifest);
		in.hash_rate = plan_hash_rate();
	}
	/* the disk of a single node is measured only when needed */
	if (l->nnodes == 1 && l->node[0].disk == 0 && !plan_fits_memory(&in))
		l->node[0].disk = disk_rate(store_names_dir(l->d->c.store));
	if (l->advises)
		l->rc = advice_create(&l->advice, &in, l->name, l->err, sizeof l->err);
	else
		l->rc = planner_plan(&l->found, &in, l->err, sizeof l->err);
	if (l->rc == 0 && l->planned)
		l->rc = advice_of_plan(&l->advice, &in, &l->found, l->name);
}

static bool plan_has_stage(const Caravan__Plan *p, ProtobufCBinaryData node) {
	for (size_t i = 0; i < p->n_stages; i++)
		if (memcmp(p->stages[i]->node.data, node.data, sizeof(struct node_id)) == 0)
			return true;
	return false;
}

/* The nodes on which the user's load placed a model that is planned again, if the new plan leaves one of them out.  placed: for
 * WIRE_NODES_MAX of them; borrowed from the old plan. */
static void plan_add_placed(const struct load *l, Caravan__Plan *p, ProtobufCBinaryData *placed) {
	const Caravan__Plan *old = l->replan && l->m ? l->m->plan : NULL;
	bool whole = true;
	size_t n = 0;
	for (size_t i = 0; old && i < old->n_placed; i++)
		placed[n++] = old->placed[i];
	for (size_t i = 0; old && old->n_placed == 0 && i < old->n_stages && n < WIRE_NODES_MAX; i++)
		placed[n++] = old->stages[i]->node;
	for (size_t i = 0; i < n && whole; i++)
		whole = plan_has_stage(p, placed[i]);
	p->placed = placed;
	p->n_placed = whole ? 0 : n;
}

static int plan_make(struct load *l) {
	const struct manifest *m = l->manifest;
	Caravan__Plan p = CARAVAN__PLAN__INIT;
	Caravan__Epoch epoch = CARAVAN__EPOCH__INIT;
	Caravan__Stage stage[WIRE_STAGES_MAX], *stages[WIRE_STAGES_MAX];
	ProtobufCBinaryData self = wire_node(&l->d->self), placed[WIRE_NODES_MAX];
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
		stage[i].memory_limit = f->memory_limit;
		stage[i].streamed = f->streamed;
		stages[i] = &stage[i];
	}
	p.stages = stages;
	p.n_stages = l->found.stages;
	plan_add_placed(l, &p, placed);
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
	p.blocks = l->found.kv.blocks;
	p.window_blocks = l->found.kv.window_blocks;
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

/* Executor.  Writes manifest and vocabulary to the store; only now, so that a load that fails earlier leaves nothing behind. */
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
