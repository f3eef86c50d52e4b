/* participant: our slice of a model, from the coordinator's Prepare to our Ready.
 *
 * In order: the plan is checked against what we know; manifest and vocabulary are learnt; the slice's memory is
 * charged, computed from the manifest and not taken from the coordinator; its tensors are fetched; it is mapped,
 * and from then on copied into huge pages where these are faster; the layer above opens it.  Meanwhile the coordinator gets the
 * progress twice a second.  Any failure is a Refused with a sentence, and the model is removed here.
 * Threads: the loop, except where a comment says executor. */
#include "daemon/deploy/deploy_internal.h"

#include "common/size.h"
#include "daemon/core/log.h"
#include "shard/forward/kv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct participant {
	struct model *m; /* borrowed: it owns us */
	uint32_t index;
	const Caravan__Stage *at; /* in the plan */
	struct peers_from from;   /* sender of Prepare */
	struct node_id *sources;
	size_t nsources;
	struct store_pin *pin; /* until it is mapped */
	struct fetch *fetch;
	struct loop_timer *beat;
	uint64_t charged, moved, done, total;
	char what[16];
	bool open; /* stage_open was called */
};

/* A slice being mapped; it outlives a participant that is closed before the job ends. */
struct mapping {
	struct model *m; /* a reference */
	struct participant *st;
	uint32_t first, last;
	uint64_t memory_limit;
	bool huge; /* in huge pages */
	struct slice *slice;
	int rc;
	char err[256];
};

void participant_free(struct participant *st) {
	if (!st)
		return;
	loop_timer_stop(st->beat);
	store_unpin(st->pin);
	free(st->sources);
	free(st);
}

bool participant_serves(const struct model *m) {
	const struct participant *st = m->participant;
	const struct deploy_hooks *h = &m->d->c.hooks;
	return st && st->open && !(h->stage_broken && h->stage_broken(h->arg, &m->pub, st->index));
}

bool participant_work(const struct model *m, Caravan__WorkState *out) {
	const struct participant *st = m->participant;
	if (!st || st->open)
		return false;
	out->what = wire_string(st->what);
	out->done = st->done;
	out->total = st->total;
	return true;
}

uint64_t participant_charged(const struct model *m) {
	return m->participant ? m->participant->charged : 0;
}

void participant_close(struct model *m) {
	struct participant *st = m->participant;
	struct deploy *d = m->d;
	if (!st)
		return;
	m->participant = NULL;
	transfer_cancel(st->fetch);
	if (st->open)
		d->c.hooks.stage_close(d->c.hooks.arg, &m->pub, st->index);
	d->used -= st->charged;
	participant_free(st);
}

static void participant_fail(struct participant *st, const char *fmt, ...)
        __attribute__((format(printf, 2, 3)));

/* Frees st, and removes the model unless it is ours: then its load decides. */
static void participant_fail(struct participant *st, const char *fmt, ...) {
	struct model *m = st->m;
	char why[WIRE_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	peers_refuse(m->d->peers, &st->from, "%s", why);
	if (model_ours(m))
		participant_close(m);
	else
		model_remove(m, CARAVAN__MODEL_PHASE__FAILED, why);
}

static void participant_send_progress(struct participant *st) {
	Caravan__Progress p = CARAVAN__PROGRESS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PROGRESS, progress, &p);
	p.what = st->what;
	p.done = st->done;
	p.total = st->total;
	peers_answer(st->m->d->peers, &st->from, &env, NULL); /* the coordinator notices a lost link itself */
}

static void participant_beat(void *arg) {
	participant_send_progress(arg);
}

static void participant_set_progress(
        struct participant *st, const char *what, uint64_t done, uint64_t total) {
	bool other = strcmp(st->what, what) != 0;
	snprintf(st->what, sizeof st->what, "%s", what);
	st->done = done;
	st->total = total;
	if (other || done == total)
		participant_send_progress(st);
}

static void participant_on_fetch_progress(void *arg, const char *what, uint64_t done, uint64_t total) {
	participant_set_progress(arg, what, done, total);
}

/* ---- mapped, open, ready ---- */

static void participant_send_ready(struct participant *st, uint64_t weights) {
	Caravan__Ready r = CARAVAN__READY__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(READY, ready, &r);
	r.weight_bytes = weights;
	r.moved_bytes = st->moved;
	peers_answer(st->m->d->peers, &st->from, &env, NULL);
}

/* Executor. */
static void participant_map_run(void *arg) {
	struct mapping *map = arg;
	map->rc = slice_create(&map->slice, map->m->d->c.store, map->m->manifest, map->first, map->last,
	        false, map->memory_limit, map->err, sizeof map->err);
	if (map->rc == 0 && map->huge && slice_copy(map->slice, map->m->d->c.store))
		log_line(LOG_LINE_WARN, "model %s: no memory for huge pages: its weights stay mapped",
		        map->m->plan->model);
}

static void participant_map_done(void *arg, bool cancelled) {
	struct mapping *map = arg;
	struct model *m = map->m;
	struct deploy *d = m->d;
	struct participant *st = m->participant == map->st ? map->st : NULL;
	if (st && !cancelled) {
		uint64_t weights = map->rc ? 0 : slice_bytes(map->slice);
		loop_timer_stop(st->beat);
		st->beat = NULL;
		store_unpin(st->pin); /* the slice holds its files */
		st->pin = NULL;
		if (map->rc == 0)
			map->rc = d->c.hooks.stage_open(
			        d->c.hooks.arg, &m->pub, st->index, map->slice, map->err, sizeof map->err);
		if (map->rc) {
			participant_fail(st, "%s", map->err);
		} else {
			map->slice = NULL; /* the hook owns it now */
			st->open = true;
			members_heartbeat(
			        d->c.members); /* so that other nodes know that the stage serves before the model is announced */
			participant_send_ready(st, weights);
		}
	}
	slice_destroy(map->slice);
	model_unref(m);
	free(map);
}

static void participant_fetched(void *arg, const char *error, uint64_t moved) {
	struct participant *st = arg;
	struct model *m = st->m;
	st->fetch = NULL;
	st->moved = moved;
	if (error) {
		participant_fail(st, "%s", error);
		return;
	}
	struct mapping *map = calloc(1, sizeof *map);
	if (map) {
		*map = (struct mapping){.m = model_ref(m),
		        .st = st,
		        .first = st->at->first,
		        .last = st->at->last,
		        .memory_limit = st->at->memory_limit,
		        /* one that reads from its disk in every step is as fast as that */
		        .huge = !st->at->memory_limit &&
		                deploy_wants_huge(
		                        m->d, planner_layer_bytes(m->manifest, st->at->first, st->at->last))};
		if (executor_submit(m->d->c.executor, participant_map_run, participant_map_done, map) == 0)
			return;
		model_unref(m);
		free(map);
	}
	participant_fail(st, "out of memory");
}

/* ---- learnt: memory, then weights ---- */

void participant_learnt(struct participant *st, const char *error) {
	struct model *m = st->m;
	struct deploy *d = m->d;
	const Caravan__Plan *plan = m->plan;
	if (st->fetch || st->open || st->charged)
		return;
	if (error) {
		participant_fail(st, "%s", error);
		return;
	}
	uint32_t first = st->at->first, last = st->at->last;
	uint64_t disk = planner_layer_bytes(m->manifest, first, last);
	char why[WIRE_TEXT_MAX];
	if (kv_check(&m->manifest->hp, plan->kv, why, sizeof why)) {
		participant_fail(st, "%s", why);
		return;
	}
	if (d->c.cache && disk > d->c.cache) {
		participant_fail(st, "%s need%s %s on disk, but the store may use only %s",
		        size_layers_named(first, last).s, last - first == 1 ? "s" : "",
		        size_text((double)disk).s, size_text((double)d->c.cache).s);
		return;
	}
	uint64_t need = planner_slice_bytes(
	        m->manifest, first, last, planner_plan_kv(plan), plan->max_rows, d->c.team);
	if (st->at->memory_limit) { /* the rest is streamed from disk */
		struct weight_stream_plan p;
		int rc = weight_stream_plan(&p, m->manifest, first, last, st->at->memory_limit);
		if (rc) {
			participant_fail(st, "there is not enough memory even to read %s from disk",
			        size_layers_named(first, last).s);
			return;
		}
		need = need - disk + p.memory;
		weight_stream_plan_clear(&p);
	}
	if (!deploy_charge(d, need)) {
		participant_fail(st, "%s need%s %s with KV cache and buffers, but only %s of %s is free",
		        size_layers_named(first, last).s, last - first == 1 ? "s" : "",
		        size_text((double)need).s, size_text((double)deploy_memory_free(d)).s,
		        size_text((double)d->c.memory).s);
		return;
	}
	st->charged = need;
	char subject[WIRE_NAME_MAX + 64];
	snprintf(subject, sizeof subject, "%s of %s", size_layers_named(first, last).s, plan->model);
	const struct manifest_tensor *tensor = m->manifest->tensor + m->manifest->at[first];
	size_t tensors = m->manifest->at[last] - m->manifest->at[first];
	struct transfer_request r = {.subject = subject,
	        .tensor = tensor,
	        .tensors = tensors,
	        .source = st->sources,
	        .sources = st->nsources,
	        .progress = participant_on_fetch_progress,
	        .done = participant_fetched,
	        .arg = st};
	if (deploy_pin(d, tensor, tensors, &st->pin) || transfer_fetch(d->transfer, &r, &st->fetch)) {
		st->fetch = NULL;
		participant_fail(st, "out of memory");
	}
}

/* ---- Prepare ---- */

/* The reason to refuse this plan.  NULL: none. */
static const char *participant_objection(struct deploy *d, const struct peers_from *from,
        const Caravan__Plan *plan, const struct model *known, char *buf, size_t len) {
	size_t mine = 0;
	for (size_t i = 0; i < plan->n_stages; i++)
		for (size_t j = 0; j <= i; j++) {
			bool same = memcmp(plan->stages[i]->node.data, plan->stages[j]->node.data,
			                    sizeof d->self.b) == 0;
			if (same && i != j)
				return "the plan names a node twice";
			mine += same && i == j &&
			        memcmp(plan->stages[i]->node.data, d->self.b, sizeof d->self.b) == 0;
		}
	if (memcmp(from->node.b, plan->coordinator.data, sizeof from->node.b) != 0)
		return "only the plan's coordinator may ask for it to be prepared";
	if (mine == 0)
		return "this node is not a stage of the plan";
	if (plan->arithmetic != KERN_ARITHMETIC) {
		snprintf(buf, len, "the plan needs arithmetic revision %u, this node has %u",
		        plan->arithmetic, KERN_ARITHMETIC);
		return buf;
	}
	if (!known)
		return NULL;
	int order = wire_epoch_compare(known->plan->epoch, plan->epoch);
	if (order > 0)
		return "the plan is older than the one that this node knows";
	if (order == 0 && known->participant)
		return "the plan is already being prepared here";
	if (order == 0 && model_our_stage(known) < 0) /* a plan never changes */
		return "this node knows another plan with that epoch, in which it has no stage";
	if (order < 0 && known->pub.phase == CARAVAN__MODEL_PHASE__SERVING &&
	        memcmp(known->coordinator.b, plan->coordinator.data, sizeof known->coordinator.b) != 0) {
		snprintf(buf, len, "the name %s is in use by a model that %s coordinates", plan->model,
		        deploy_node_name(d, &known->coordinator));
		return buf;
	}
	return NULL;
}

static struct participant *participant_create(
        struct model *m, const struct peers_from *from, const Caravan__Prepare *p) {
	struct participant *st = calloc(1, sizeof *st);
	if (!st)
		return NULL;
	st->m = m;
	st->from = *from;
	st->index = (uint32_t)model_our_stage(m);
	st->at = m->plan->stages[st->index];
	snprintf(st->what, sizeof st->what, "waiting");
	st->sources = calloc(p->n_sources + 1, sizeof *st->sources);
	st->beat = loop_timer_start(m->d->c.loop, DEPLOY_BEAT_MS, true, participant_beat, st);
	if (!st->sources || !st->beat) {
		participant_free(st);
		return NULL;
	}
	for (size_t i = 0; i < p->n_sources; i++)
		if (node_id_from_bytes(&st->sources[st->nsources], p->sources[i]) == 0)
			st->nsources++;
	return st;
}

static void participant_on_prepare(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	const Caravan__Prepare *p = env->prepare;
	char buf[256];
	(void)payload;
	struct model *m = deploy_model_named(d, p->plan->model);
	const char *why = participant_objection(d, from, p->plan, m, buf, sizeof buf);
	if (why) {
		peers_refuse(d->peers, from, "%s", why);
		return;
	}
	bool returns = false;
	if (m && wire_epoch_compare(m->plan->epoch, p->plan->epoch) < 0) {
		returns = (m->returns || m->pub.phase != CARAVAN__MODEL_PHASE__LOADING) &&
		          memcmp(m->plan->manifest.data, p->plan->manifest.data, sizeof(struct content_id)) ==
		                  0;
		model_remove(m, CARAVAN__MODEL_PHASE__UNLOADED, "a newer plan has replaced it");
		m = NULL;
	}
	if (!m) {
		m = model_create(d, p->plan, CARAVAN__MODEL_PHASE__LOADING, "", buf, sizeof buf);
		if (!m) {
			peers_refuse(d->peers, from, "%s", buf);
			return;
		}
		m->returns = returns;
	}
	m->participant = participant_create(m, from, p);
	if (!m->participant) {
		peers_refuse(d->peers, from, "out of memory");
		if (!model_ours(m))
			model_remove(m, CARAVAN__MODEL_PHASE__FAILED, "out of memory");
		return;
	}
	participant_send_progress(m->participant);
	/* either may free the participant: do not touch it after this */
	if (m->learnt == LEARN_DONE)
		participant_learnt(m->participant, NULL);
	else
		model_learn(m, m->participant->sources, m->participant->nsources);
}

int participant_init(struct deploy *d) {
	return peers_on(d->peers, CARAVAN__ENVELOPE__BODY_PREPARE, participant_on_prepare, d);
}
