/* load: the coordinator's way from a file, or from nodes that are back, to a model that serves.
 *
 * Owns: loads under way.  The table below is their life: a state, the events that it accepts, what is done then,
 * and the next state.  Any other event is late and ignored.
 * Invariants: a load that fails has torn down everything on every stage, announced it, and reports the failure
 * once.  An epoch is used only once, whatever happens: its counter is on disk before any other node hears of it.
 * Threads: the loop.  The file is read, and the plan is searched, on the executor (load_import.c, load_plan.c). */
#include "daemon/deploy/load.h"

#include "common/size.h"
#include "daemon/core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void load_planned(struct load *l);
static void load_prepare(struct load *l);
static void load_open_if_ready(struct load *l);
static void load_served(struct load *l);
static void load_failed(struct load *l);

static const struct load_transition {
	void (*act)(struct load *l); /* NULL: ignored */
	enum load_state next;
} load_table[LOAD_STATES][LOAD_EVENTS] = {
        [LOAD_READING] = {[EV_READ] = {load_settle, LOAD_SETTLING}, [EV_FAILED] = {load_failed, LOAD_ENDED}},
        [LOAD_IMPORTING] =
                {[EV_IMPORTED] = {load_settle, LOAD_SETTLING}, [EV_FAILED] = {load_failed, LOAD_ENDED}},
        [LOAD_SETTLING] = {[EV_SETTLED] = {load_take_inventory, LOAD_INVENTORY},
                [EV_SERVES] = {load_served, LOAD_ENDED},
                [EV_FAILED] = {load_failed, LOAD_ENDED}},
        [LOAD_INVENTORY] =
                {[EV_INVENTORY] = {load_plan, LOAD_PLANNING}, [EV_FAILED] = {load_failed, LOAD_ENDED}},
        [LOAD_PLANNING] =
                {[EV_PLANNED] = {load_planned, LOAD_NUMBERING}, [EV_FAILED] = {load_failed, LOAD_ENDED}},
        [LOAD_NUMBERING] =
                {[EV_NUMBERED] = {load_prepare, LOAD_PREPARING}, [EV_FAILED] = {load_failed, LOAD_ENDED}},
        [LOAD_PREPARING] = {[EV_PART] = {load_open_if_ready, LOAD_PREPARING},
                [EV_OPEN] = {NULL, LOAD_ANNOUNCING},
                [EV_SERVES] = {load_served, LOAD_ENDED},
                [EV_FAILED] = {load_failed, LOAD_ENDED}},
        [LOAD_ANNOUNCING] =
                {[EV_ANNOUNCED] = {load_served, LOAD_ENDED}, [EV_FAILED] = {load_failed, LOAD_ENDED}},
};

void load_step(struct load *l, enum load_event ev) {
	const struct load_transition *row = &load_table[l->state][ev];
	uint64_t now = loop_now_ns();
	l->spent_ns[l->state] += now - l->entered_ns;
	l->entered_ns = now;
	if (!row->act && row->next == LOAD_READING)
		return;
	l->state = row->next;
	if (row->act)
		row->act(l);
}

void load_fail(struct load *l, const char *fmt, ...) {
	va_list ap;
	if (l->error[0] || l->state == LOAD_ENDED)
		return;
	va_start(ap, fmt);
	vsnprintf(l->error, sizeof l->error, fmt, ap);
	va_end(ap);
	load_step(l, EV_FAILED);
}

void load_report(struct load *l, const char *what, const char *node, uint64_t done, uint64_t total) {
	uint64_t all = 0, of = 0;
	snprintf(l->at, sizeof l->at, "%s", what);
	for (size_t i = 0; i < l->nparts; i++) {
		all += l->part[i].done;
		of += l->part[i].total;
	}
	if (of == 0) {
		all = done;
		of = total;
	}
	l->permille = of ? (uint32_t)((double)all / (double)of * 1000) : 0;
	if (l->permille > 1000)
		l->permille = 1000;
	if (l->progress && total)
		l->progress(l->arg, what, node, done, total);
}

void load_hold(struct load *l) {
	l->refs++;
}

void load_release(struct load *l) {
	if (--l->refs == 0)
		load_free(l);
}

void load_forget_nodes(struct load *l) {
	for (size_t i = 0; l->asked && i < l->nnodes; i++)
		free(l->asked[i].held);
	free(l->asked);
	free(l->node);
	free(l->node_name);
	l->asked = NULL;
	l->node = NULL;
	l->node_name = NULL;
	l->nnodes = 0;
}

void load_free(struct load *l) {
	TAILQ_REMOVE(&l->d->loads, l, next);
	if (l->m) {
		l->m->load = NULL;
		model_unref(l->m);
	}
	if (l->im) /* only now: a job may have used its manifest */
		transfer_remove_source(l->d->transfer, l->im);
	loop_timer_stop(l->timer);
	transfer_cancel(l->fetch);
	store_unpin(l->pin);
	slice_destroy(l->io);
	slice_destroy(l->mapped);
	planner_clear(&l->found);
	advice_destroy(l->advice);
	manifest_destroy(l->own);
	vocab_destroy(l->words);
	plan_free(l->plan);
	for (size_t i = 0; i < l->nfds; i++)
		close(l->fds[i]);
	for (size_t i = 0; i < l->nnames; i++)
		free(l->names[i]);
	free(l->names);
	free(l->fds);
	load_forget_nodes(l);
	free(l->part);
	free(l->file);
	free(l->shape);
	free(l->pre);
	free(l->chat_template);
	free(l);
}

/* Ends a load; its memory is freed with the last reference. */
static void load_finish(struct load *l, const char *error) {
	void (*done)(void *, const char *) = l->done;
	l->done = NULL;
	l->progress = NULL;
	l->planned = NULL;
	l->note = NULL;
	loop_timer_stop(l->timer);
	l->timer = NULL;
	transfer_cancel(l->fetch);
	l->fetch = NULL;
	if (l->m) {
		l->m->load = NULL;
		model_unref(l->m);
		l->m = NULL;
	}
	if (done)
		done(l->arg, error);
	load_release(l);
}

static void load_failed(struct load *l) {
	struct model *m = l->m;
	atomic_store(&l->stop, true);
	if (!l->advises)
		load_say_failed(l);
	if (m && m->listed && l->revival && m->pub.phase != CARAVAN__MODEL_PHASE__SERVING) {
		/* it may work when nodes are back: the model keeps its name and waits, with this reason */
		char why[WIRE_TEXT_MAX + 1];
		m->again_ns = loop_now_ns() + (DEPLOY_AGAIN_MS * 1000000ull << (m->tries < 5 ? m->tries : 5));
		m->tries++;
		if (l->replan)
			snprintf(why, sizeof why, "%s; on the other nodes: %.600s", m->loss, l->error);
		else
			snprintf(why, sizeof why, "%s", l->error);
		model_shut(m, why);
		participant_close(m);
		model_set(m, CARAVAN__MODEL_PHASE__UNAVAILABLE, why);
		if (model_ours(m))
			announce_send(m, NULL, NULL, NULL);
	} else if (m && m->listed && !l->revival) {
		m->load = NULL;
		model_remove(m, CARAVAN__MODEL_PHASE__FAILED, l->error);
		announce_send(m, NULL, NULL, NULL);
	}
	load_finish(l, l->error);
}

static void load_served(struct load *l) {
	persist_save_plans(l->d);
	if (l->opened)
		load_say_served(l);
	if (l->m) {
		l->m->tries = 0;
		l->m->lost_ns = 0;
	}
	load_finish(l, NULL);
}

static void load_announced(void *arg, bool cancelled) {
	struct load *l = arg;
	if (cancelled) /* deploy_destroy frees it */
		return;
	load_step(l, EV_ANNOUNCED);
	load_release(l);
}

/* The plan is made: reports it, or continues with hashing or preparing. */
static void load_planned(struct load *l) {
	if (!l->advises && l->nfds > 0 && !l->im) {
		l->state = LOAD_IMPORTING;
		load_hash(l);
		return;
	}
	if (!l->advises) {
		load_number(l);
		return;
	}
	l->state = LOAD_ENDED;
	if (l->advise)
		l->advise(l->arg, advice_message(l->advice));
	load_finish(l, NULL);
}

/* ---- preparing ---- */

static void load_io_fetched(void *arg, const char *error, uint64_t moved);

/* Embedding and output are fetched, charged and mapped here like the slice of a stage. */
void load_learnt(struct load *l, const char *error) {
	struct deploy *d = l->d;
	struct model *m = l->m;
	if (l->state != LOAD_PREPARING || l->fetch || m->io_charged)
		return;
	if (error) {
		load_fail(l, "%s", error);
		return;
	}
	uint64_t need = planner_io_bytes(m->manifest, m->plan->parallel, m->plan->max_rows);
	if (!deploy_charge(d, need)) {
		load_fail(l, "embedding and output need %s on %s, where %s of %s is in use",
		        size_text((double)need).s, deploy_node_name(d, &d->self),
		        size_text((double)d->used).s, size_text((double)d->c.memory).s);
		return;
	}
	m->io_charged = need;
	char subject[WIRE_NAME_MAX + 32];
	snprintf(subject, sizeof subject, "embedding and output of %s", m->plan->model);
	struct node_id sources[WIRE_NODES_MAX];
	size_t n = deploy_others(d, sources);
	struct transfer_request r = {.subject = subject,
	        .tensor = m->manifest->io,
	        .tensors = IO_ROLES,
	        .source = sources,
	        .sources = n,
	        .done = load_io_fetched,
	        .arg = l};
	if (deploy_pin(d, r.tensor, r.tensors, &l->pin) || transfer_fetch(d->transfer, &r, &l->fetch)) {
		l->fetch = NULL;
		load_fail(l, "out of memory");
	}
}

/* Executor. */
static void load_io_run(void *arg) {
	struct load *l = arg;
	l->rc = slice_create(
	        &l->mapped, l->d->c.store, l->mapping->manifest, 0, 0, true, 0, l->err, sizeof l->err);
	if (l->rc == 0 && l->huge)
		(void)slice_copy(l->mapped, l->d->c.store); /* otherwise it stays mapped */
}

static void load_io_done(void *arg, bool cancelled) {
	struct load *l = arg;
	store_unpin(l->pin); /* mapped tensors need no pin */
	l->pin = NULL;
	if (l->state == LOAD_PREPARING && !cancelled) {
		l->io = l->mapped;
		l->mapped = NULL;
		if (l->rc)
			load_fail(l, "%s: %s", deploy_node_name(l->d, &l->d->self), l->err);
		else
			load_step(l, EV_PART);
	}
	model_unref(l->mapping);
	load_release(l);
}

static void load_io_fetched(void *arg, const char *error, uint64_t moved) {
	struct load *l = arg;
	l->fetch = NULL;
	l->moved += moved;
	if (error) {
		load_fail(l, "%s: %s", deploy_node_name(l->d, &l->d->self), error);
		return;
	}
	load_hold(l);
	l->mapping = model_ref(l->m);
	l->huge = deploy_wants_huge(l->d, l->m->io_charged);
	if (executor_submit(l->d->c.executor, load_io_run, load_io_done, l)) {
		model_unref(l->m);
		load_release(l);
		load_fail(l, "out of memory");
	}
}

/* Whether a node reported any of these layers. */
static bool load_holds_any(
        const struct manifest *m, const struct planner_node *n, uint32_t first, uint32_t last) {
	for (size_t i = m->at[first]; i < m->at[last] && i / 32 < n->held_words; i++)
		if (n->held[i / 32] >> i % 32 & 1)
			return true;
	return false;
}

/* The sources of a stage, without this node, which it always asks. */
static size_t load_list_sources(const struct load *l, const struct part *p, struct node_id *out) {
	const Caravan__Stage *s = l->m->plan->stages[p - l->part];
	size_t n = 0;
	if (l->revival) /* no stage has been contacted */
		return deploy_others(l->d, out);
	for (size_t i = 0; i < l->nnodes && n < WIRE_NODES_MAX - 1; i++)
		if (i != l->self && !node_id_equal(&l->node[i].id, &p->node) &&
		        load_holds_any(l->manifest, &l->node[i], s->first, s->last))
			out[n++] = l->node[i].id;
	return n;
}

static int load_send_prepare(struct load *l, struct part *p) {
	struct deploy *d = l->d;
	Caravan__Prepare msg = CARAVAN__PREPARE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PREPARE, prepare, &msg);
	struct node_id other[WIRE_NODES_MAX];
	ProtobufCBinaryData source[WIRE_NODES_MAX];
	size_t n = 0, others = load_list_sources(l, p, other);
	source[n++] = wire_node(&d->self);
	for (size_t i = 0; i < others && n < WIRE_NODES_MAX; i++)
		source[n++] = wire_node(&other[i]);
	msg.plan = l->m->plan;
	msg.sources = source;
	msg.n_sources = n;
	env.ref = p->ref = peers_ref(d->peers);
	p->heard_ns = loop_now_ns();
	return peers_send(d->peers, &p->node, PEERS_CONTROL, &env, NULL);
}

/* Creates the model in place of one with its name; then all stages start at once. */
static void load_prepare(struct load *l) {
	struct deploy *d = l->d;
	struct model *old = deploy_model_named(d, l->name), *m, *mine = l->m;
	char loss[sizeof old->loss] = "";
	unsigned tries = 0;
	uint64_t replan_ns = 0, lost_ns = 0;
	double noticed = 0;
	if (l->revival && (old != mine || mine->pub.phase != CARAVAN__MODEL_PHASE__UNAVAILABLE)) {
		load_fail(l, "another plan has replaced it");
		return;
	}
	if (old && !l->revival && !load_may_replace(l, old))
		return;
	/* the same weights, waiting for nodes: if this load fails they go on waiting */
	if (old && old->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE &&
	        memcmp(old->plan->manifest.data, l->plan->manifest.data, sizeof(struct content_id)) == 0)
		l->revival = true;
	if (mine) { /* a model that is brought back stays in the table until here, so that it can be unloaded */
		mine->load = NULL;
		model_unref(mine);
		l->m = NULL;
	}
	if (old) {
		memcpy(loss, old->loss, sizeof loss);
		tries = old->tries;
		replan_ns = old->replan_ns;
		lost_ns = old->lost_ns;
		noticed = old->noticed;
		model_drop_draft(old);
		model_remove(old, CARAVAN__MODEL_PHASE__UNLOADED, "a newer plan has replaced it");
	}
	m = model_create(d, l->plan, CARAVAN__MODEL_PHASE__LOADING, "", l->err, sizeof l->err);
	if (!m) {
		load_fail(l, "%s", l->err);
		return;
	}
	l->m = model_ref(m);
	m->load = l;
	memcpy(m->loss, loss, sizeof loss);
	m->tries = tries;
	m->replan_ns = replan_ns;
	m->lost_ns = lost_ns;
	m->noticed = noticed;
	m->returns = l->revival;
	l->nparts = m->plan->n_stages;
	l->part = calloc(l->nparts, sizeof *l->part);
	if (!l->part) {
		load_fail(l, "out of memory");
		return;
	}
	for (size_t i = 0; i < l->nparts; i++)
		memcpy(l->part[i].node.b, m->plan->stages[i]->node.data, sizeof l->part[i].node.b);
	if (l->replan)
		load_say_plan(l);
	load_hold(l); /* the load may end below */
	for (size_t i = 0; i < l->nparts && l->state == LOAD_PREPARING; i++) {
		int rc = load_send_prepare(l, &l->part[i]);
		if (rc)
			load_fail(l, "%s cannot be reached: %s", deploy_node_name(d, &l->part[i].node),
			        strerror(-rc));
	}
	if (l->state == LOAD_PREPARING && m->learnt == LEARN_DONE)
		load_learnt(l, NULL);
	else if (l->state == LOAD_PREPARING)
		model_learn_from_cluster(m);
	load_release(l);
}

static void load_open_if_ready(struct load *l) {
	struct deploy *d = l->d;
	struct model *m = l->m;
	for (size_t i = 0; i < l->nparts; i++)
		if (!l->part[i].ready)
			return;
	if (!l->io)
		return;
	struct slice *io = l->io;
	l->io = NULL;
	if (d->c.hooks.model_open(d->c.hooks.arg, &m->pub, io, l->err, sizeof l->err)) {
		slice_destroy(io);
		load_fail(l, "%s", l->err);
		return;
	}
	m->open = l->opened = true;
	load_step(l, EV_OPEN);
	model_set(m, CARAVAN__MODEL_PHASE__SERVING, "");
	load_hold(l);
	if (announce_send(m, NULL, load_announced, l)) {
		load_release(l);
		load_fail(l, "out of memory");
	}
}

/* ---- what the stages answer ---- */

static struct part *load_find_part(struct deploy *d, const struct peers_from *from, struct load **out) {
	for (struct load *l = TAILQ_FIRST(&d->loads); l; l = TAILQ_NEXT(l, next))
		for (size_t i = 0; l->state == LOAD_PREPARING && i < l->nparts; i++)
			if (l->part[i].ref == from->ref && node_id_equal(&l->part[i].node, &from->node)) {
				l->part[i].heard_ns = loop_now_ns();
				*out = l;
				return &l->part[i];
			}
	return NULL;
}

static void load_on_progress(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct load *l;
	struct part *p = load_find_part(arg, from, &l);
	const Caravan__Progress *m = env->progress;
	(void)payload;
	if (!p)
		return;
	p->done = m->done;
	p->total = m->total;
	load_report(l, m->what, deploy_node_name(l->d, &p->node), m->done, m->total);
}

static void load_on_ready(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct load *l;
	struct part *p = load_find_part(arg, from, &l);
	(void)payload;
	if (!p)
		return;
	p->ready = true;
	l->moved += env->ready->moved_bytes;
	log_line(LOG_LINE_INFO, "model %s: %s is ready with %s of weights, %s of them moved", l->name,
	        deploy_node_name(l->d, &p->node), size_text((double)env->ready->weight_bytes).s,
	        size_text((double)env->ready->moved_bytes).s);
	load_step(l, EV_PART);
}

static void load_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct load *l;
	struct part *p = load_find_part(arg, from, &l);
	(void)payload;
	if (p)
		load_fail(l, "%s: %s", deploy_node_name(l->d, &p->node), env->refused->reason);
}

/* ---- what else happens to loads ---- */

void load_node_down(struct deploy *d, const struct node_id *id) {
	for (struct load *l = TAILQ_FIRST(&d->loads), *next; l; l = next) {
		next = TAILQ_NEXT(l, next);
		load_hold(l);
		if (l->state == LOAD_INVENTORY)
			inventory_node_down(l, id);
		for (size_t i = 0; l->state == LOAD_PREPARING && i < l->nparts; i++)
			if (node_id_equal(&l->part[i].node, id))
				load_fail(l, "%s went down while the model was being loaded",
				        deploy_node_name(d, id));
		load_release(l);
	}
}

void load_tick(struct deploy *d) {
	uint64_t now = loop_now_ns();
	for (struct load *l = TAILQ_FIRST(&d->loads), *next; l; l = next) {
		next = TAILQ_NEXT(l, next);
		load_hold(l);
		for (size_t i = 0; l->state == LOAD_PREPARING && i < l->nparts; i++)
			if (!l->part[i].ready && now - l->part[i].heard_ns > DEPLOY_SILENT_MS * 1000000ull)
				load_fail(l, "%s has not answered for %d s",
				        deploy_node_name(d, &l->part[i].node), DEPLOY_SILENT_MS / 1000);
		load_release(l);
	}
}

void load_stop(struct load *l, const char *why) {
	load_fail(l, "%s", why);
}

struct load *load_create(struct deploy *d, const char *name) {
	struct load *l = calloc(1, sizeof *l);
	if (!l)
		return NULL;
	l->d = d;
	l->refs = 1;
	l->began_ns = l->entered_ns = loop_now_ns();
	snprintf(l->name, sizeof l->name, "%s", name);
	snprintf(l->at, sizeof l->at, "starting");
	TAILQ_INSERT_TAIL(&d->loads, l, next);
	return l;
}

int load_revive(struct model *m) {
	struct load *l = load_create(m->d, m->plan->model);
	if (!l)
		return -ENOMEM;
	l->revival = true;
	l->plan = plan_copy(m->plan);
	if (!l->plan) {
		load_release(l);
		return -ENOMEM;
	}
	load_say_recovery(l, m, "its nodes are up, bringing it back");
	l->m = model_ref(m);
	m->load = l;
	l->state = LOAD_NUMBERING;
	load_number(l);
	return 0;
}

/* The nodes that the user named, without those that are down. */
static int load_name_chosen(struct load *l, const Caravan__Plan *p) {
	struct node_id id;
	char hex[NODE_ID_HEX];
	l->names = calloc(p->n_chosen + 1, sizeof *l->names);
	if (!l->names)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_chosen; i++) {
		if (node_id_from_bytes(&id, p->chosen[i]) || !deploy_up(l->d, &id))
			continue;
		if (!(l->names[l->nnames] = strdup(node_id_hex(&id, hex))))
			return -ENOMEM;
		l->nnames++;
	}
	return 0;
}

/* A load by name with the settings of the old plan; if it fails, the model goes on waiting. */
int load_replan(struct model *m) {
	char how[sizeof m->loss + 64];
	struct load *l = load_create(m->d, m->plan->model);
	if (!l)
		return -ENOMEM;
	l->revival = l->replan = true;
	snprintf(l->stored, sizeof l->stored, "%s", m->plan->model);
	l->max_rows = m->plan->max_rows;
	int rc = (l->file = strdup(m->plan->model)) ? load_name_chosen(l, m->plan) : -ENOMEM;
	if (rc == 0)
		rc = load_begin(l);
	if (rc) {
		load_release(l);
		return rc;
	}
	snprintf(how, sizeof how, "%s: %s", m->loss,
	        model_ours(m) ? "making a plan with the nodes that are up" : "this node takes it over");
	load_say_recovery(l, m, how);
	l->m = model_ref(m);
	m->load = l;
	return 0;
}

struct load *load_early(struct deploy *d, const char *name) {
	struct load *l = TAILQ_FIRST(&d->loads);
	while (l && (l->advises || l->revival || l->state >= LOAD_PREPARING || strcmp(l->name, name) != 0))
		l = TAILQ_NEXT(l, next);
	return l;
}

int load_init(struct deploy *d) {
	int rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_PROGRESS, load_on_progress, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_READY, load_on_ready, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REFUSED, load_on_refused, d);
	return rc;
}
