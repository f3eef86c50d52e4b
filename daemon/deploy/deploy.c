/* deploy: the public face, the table of models, and what follows when nodes come and go.
 *
 * Threads: the loop. */
#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/deploy/deploy_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS 500

/* ---- the table ---- */

struct model *deploy_model_named(const struct deploy *d, const char *name) {
	for (size_t i = 0; i < d->models; i++)
		if (strcmp(d->model[i]->plan->model, name) == 0)
			return d->model[i];
	return NULL;
}

const struct deploy_model *deploy_at(const struct deploy *d, size_t i) {
	return i < d->models ? &d->model[i]->pub : NULL;
}

/* Appends to a sentence, cut at the end of the buffer. */
static void deploy_append(char *out, size_t len, const char *before, const char *name, const char *what) {
	size_t at = strlen(out);
	if (at < len)
		snprintf(out + at, len - at, "%s%s%s%s", at ? before : "", name, *what ? " " : "", what);
}

/* Writes a list of models into a sentence: those that serve, or all with their state.  False: there are none, and the sentence says
 * what to do. */
static bool deploy_list_models(const struct deploy *d, bool serving, char *out, size_t len) {
	char what[WIRE_TEXT_MAX];
	const char *name;
	*out = 0;
	for (size_t i = 0; i < d->models; i++) {
		const struct model *m = d->model[i];
		bool serves = m->pub.phase == CARAVAN__MODEL_PHASE__SERVING;
		*what = 0;
		if (!serves)
			model_describe(m, what, sizeof what);
		if (serves || !serving)
			deploy_append(out, len, serving ? ", " : "; ", m->plan->model,
			        serving  ? ""
			        : serves ? "serves"
			                 : what);
	}
	for (size_t i = 0; !serving && (name = reconcile_load_at(d, i)); i++)
		if (!deploy_model_named(d, name) && reconcile_loading(d, name, what, sizeof what))
			deploy_append(out, len, "; ", name, what);
	if (*out)
		return true;
	if (d->nstored)
		snprintf(out, len, "no model is loaded: load one that is on the disks with caravan load %s",
		        d->stored[0]);
	else
		snprintf(out, len, "no model is loaded: load one with caravan load FILE");
	return false;
}

bool deploy_is_draft(const struct model *m) {
	const struct deploy *d = m->d;
	for (size_t i = 0; i < d->models; i++) {
		const struct model *o = d->model[i];
		if (o != m && strcmp(o->plan->draft, m->plan->model) == 0 &&
		        node_id_equal(&o->coordinator, &m->coordinator))
			return true;
	}
	return false;
}

const struct deploy_model *deploy_find(const struct deploy *d, const char *name, char *err, size_t errlen) {
	char list[WIRE_TEXT_MAX];
	if (name && *name) {
		const struct model *m = deploy_model_named(d, name);
		if (m)
			return &m->pub;
		if (reconcile_loading(d, name, list, sizeof list))
			return fail_with(NULL, err, errlen, "model %s %s", name, list);
		if (catalog_has(d, name))
			return fail_with(NULL, err, errlen,
			        "model %s is on disk and not loaded; to load it: caravan load %s", name,
			        name);
		deploy_list_models(d, false, list, sizeof list);
		return fail_with(NULL, err, errlen, "there is no model %s: %s", name, list);
	}
	const struct model *only = NULL;
	size_t serving = 0;
	for (size_t i = 0; i < d->models; i++)
		if (d->model[i]->pub.phase == CARAVAN__MODEL_PHASE__SERVING &&
		        !deploy_is_draft(d->model[i])) {
			only = d->model[i];
			serving++;
		}
	if (serving == 1)
		return &only->pub;
	bool any = deploy_list_models(d, serving > 0, list, sizeof list);
	if (serving)
		snprintf(err, errlen, "several models are served, so one must be named: %s", list);
	else
		snprintf(err, errlen, "%s%s", any ? "no model is ready: " : "", list);
	return NULL;
}

void deploy_describe(const struct deploy *d, const struct deploy_model *pub, char *out, size_t len) {
	const struct model *m = deploy_model_named(d, pub->plan->model);
	if (m)
		model_describe(m, out, len);
	else
		snprintf(out, len, "has gone");
}

/* ---- small things that the other files ask for ---- */

bool deploy_up(const struct deploy *d, const struct node_id *id) {
	const struct member *m = members_find(d->c.members, id);
	return m && !m->expelled && (m->self || m->up);
}

/* What a node reports of its link to another; NULL: nothing, or the node is down. */
static const Caravan__PeerState *deploy_reported_link(
        const struct deploy *d, const struct node_id *from, const struct node_id *to) {
	const struct member *m = members_find(d->c.members, from);
	for (size_t i = 0; m && m->up && m->state && i < m->state->n_peers; i++)
		if (memcmp(m->state->peers[i]->node.data, to->b, sizeof to->b) == 0)
			return m->state->peers[i];
	return NULL;
}

bool deploy_reaches(const struct deploy *d, const struct node_id *from, const struct node_id *to) {
	if (node_id_equal(from, to))
		return true;
	if (node_id_equal(from, &d->self))
		return deploy_up(d, to);
	const Caravan__PeerState *reported = deploy_reported_link(d, from, to);
	return !reported || reported->up;
}

const char *deploy_node_name(const struct deploy *d, const struct node_id *id) {
	const struct member *m = members_find(d->c.members, id);
	return m ? m->name : "a node that has left";
}

bool deploy_speaks(const struct deploy *d, const struct node_id *id, uint32_t minor) {
	const struct member *m = members_find(d->c.members, id);
	return m && (m->self || m->minor >= minor);
}

size_t deploy_others(const struct deploy *d, struct node_id *out) {
	const struct member *m;
	size_t n = 0;
	for (size_t i = 0; (m = members_at(d->c.members, i)) && n < WIRE_NODES_MAX; i++)
		if (!m->self && m->up && !m->expelled)
			out[n++] = m->id;
	return n;
}

uint64_t deploy_memory_free(const struct deploy *d) {
	return d->c.memory > d->used ? d->c.memory - d->used : 0;
}

int deploy_pin(struct deploy *d, const struct manifest_tensor *tensor, size_t count, struct store_pin **out) {
	struct content_id *ids = malloc((count + 1) * sizeof *ids);
	if (!ids)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		ids[i] = tensor[i].id;
	int rc = store_pin(out, d->c.store, ids, count);
	free(ids);
	return rc;
}

bool deploy_charge(struct deploy *d, uint64_t bytes) {
	if (bytes > deploy_memory_free(d))
		return false;
	d->used += bytes;
	return true;
}

bool deploy_wants_huge(const struct deploy *d, uint64_t bytes) {
	return d->c.huge_pages && d->c.huge_pages(d->c.huge_pages_arg, bytes);
}

uint64_t deploy_memory_used(const struct deploy *d) {
	return d->used;
}

struct store *deploy_store(struct deploy *d) {
	return d->c.store;
}

struct transfer *deploy_transfer(struct deploy *d) {
	return d->transfer;
}

void deploy_watch(struct deploy *d, void (*changed)(void *arg), void *arg) {
	d->watch = changed;
	d->watch_arg = arg;
}

uint64_t deploy_moved(const struct deploy *d) {
	return transfer_moved(d->transfer);
}

uint64_t deploy_served(const struct deploy *d) {
	return transfer_served(d->transfer);
}

/* ---- models come and go with their nodes ---- */

static void deploy_unavailable_now(void *arg) {
	struct model *m = arg;
	m->later = NULL;
	if (!m->listed || m->pub.phase != CARAVAN__MODEL_PHASE__UNAVAILABLE)
		return;
	model_ref(m);
	deploy_say_unavailable(m, m->reason);
	model_shut(m, m->reason);
	model_changed(m);
	announce_send(m, NULL, NULL, NULL);
	model_unref(m);
}

/* Records when and with which node (NULL: none) a model was lost, `noticed` seconds after the last sign of it. */
static void deploy_mark_lost(struct model *m, const struct member *who, double noticed) {
	m->lost_ns = loop_now_ns();
	m->noticed = noticed;
	snprintf(m->lost_node, sizeof m->lost_node, "%s", who ? who->name : "");
}

/* The phase changes at once.  Hooks are called later, because the caller may be working on the model. */
static void deploy_set_unavailable(struct model *m, uint64_t patience_ms, const char *reason) {
	uint64_t now = loop_now_ns();
	if (m->pub.phase == CARAVAN__MODEL_PHASE__SERVING)
		catalog_note(m); /* it was served until now */
	m->pub.phase = CARAVAN__MODEL_PHASE__UNAVAILABLE;
	snprintf(m->reason, sizeof m->reason, "%s", reason);
	snprintf(m->loss, sizeof m->loss, "%s", reason);
	m->again_ns = now;
	m->replan_ns = now + patience_ms * 1000000ull;
	m->tries = 0;
	m->cut_ns = 0;
	if (!m->later)
		m->later = loop_timer_start(m->d->c.loop, 0, false, deploy_unavailable_now, m);
}

void deploy_unavailable(struct deploy *d, const struct deploy_model *pub, const char *reason) {
	struct model *m = deploy_model_named(d, pub->plan->model);
	if (!m || &m->pub != pub || !model_ours(m) || pub->phase != CARAVAN__MODEL_PHASE__SERVING)
		return;
	deploy_mark_lost(m, NULL, 0);
	deploy_set_unavailable(m, m->d->c.replan_ms, reason);
}

/* "its coordinator study has been down since 14:02" */
static void deploy_describe_gone(char *why, size_t len, const char *role, const char *name, bool expelled) {
	time_t now = time(NULL);
	struct tm tm;
	char at[8] = "";
	if (localtime_r(&now, &tm))
		strftime(at, sizeof at, "%H:%M", &tm);
	if (expelled)
		snprintf(why, len, "%s %s was expelled", role, name);
	else
		snprintf(why, len, "%s %s has been down since %s", role, name, at);
}

/* Marks a model of another coordinator that is gone. */
static void deploy_orphan(struct model *m, const char *why) {
	bool served = m->pub.phase == CARAVAN__MODEL_PHASE__SERVING;
	m->was_draft = m->was_draft || deploy_is_draft(m);
	m->tries = 0;
	snprintf(m->loss, sizeof m->loss, "%s", why);
	if (served)
		deploy_say_unavailable(m, why);
	model_set(m, CARAVAN__MODEL_PHASE__UNAVAILABLE, why);
}

static void deploy_node_down(struct deploy *d, const struct member *who, bool expelled) {
	char why[WIRE_NAME_MAX + 64];
	struct node_id id = who->id;
	load_node_down(d, &id);
	confirm_forget(d, &id, NULL);
	announce_node_down(d, &id);
	catalog_node_down(d, &id);
	remove_node_down(d, &id);
	for (size_t i = d->models; i-- > 0;) {
		struct model *m = d->model[i];
		if (model_ours(m)) {
			if (m->pub.phase != CARAVAN__MODEL_PHASE__SERVING || !model_has_stage(m, &id))
				continue;
			deploy_describe_gone(why, sizeof why, "node", who->name, expelled);
			deploy_mark_lost(m, who, expelled ? 0 : who->silent);
			deploy_set_unavailable(m, expelled ? 0 : d->c.replan_ms, why);
		} else if (node_id_equal(&m->coordinator, &id)) {
			deploy_describe_gone(why, sizeof why, "its coordinator", who->name, expelled);
			deploy_mark_lost(m, who, expelled ? 0 : who->silent);
			if (m->pub.phase == CARAVAN__MODEL_PHASE__LOADING && !m->returns)
				model_remove(m, CARAVAN__MODEL_PHASE__FAILED, why);
			else
				deploy_orphan(m, why);
		}
		if (i > d->models)
			i = d->models; /* hooks may have removed models */
	}
}

static void deploy_node_up(struct deploy *d, const struct member *who) {
	struct node_id id = who->id;
	for (size_t i = 0; i < d->models; i++) {
		struct model *m = d->model[i];
		if (m->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE && m->tries) {
			m->again_ns = 0; /* the plan may work again with this node */
			m->tries = 0;
		}
		if (model_ours(m) && m->pub.phase != CARAVAN__MODEL_PHASE__LOADING && !m->later)
			announce_send(m, &id, NULL, NULL);
	}
	reconcile_node_up(d, who);
}

/* Describes which nodes a plan of ours from before a restart waits for. */
static void deploy_describe_awaited(struct model *m) {
	struct node_id id;
	char why[WIRE_TEXT_MAX];
	size_t at = (size_t)snprintf(why, sizeof why, "waits for"), n = 0;
	if (!m->restarted || m->load || m->tries || m->pub.phase != CARAVAN__MODEL_PHASE__UNAVAILABLE)
		return;
	for (size_t i = 0; i < m->plan->n_stages && at < sizeof why; i++)
		if (node_id_from_bytes(&id, m->plan->stages[i]->node) == 0 && !deploy_up(m->d, &id))
			at += (size_t)snprintf(why + at, sizeof why - at, "%s %s", n++ ? "," : "",
			        deploy_node_name(m->d, &id));
	if (n == 0)
		snprintf(why, sizeof why, "its nodes are up");
	else if (at < sizeof why)
		snprintf(why + at, sizeof why - at, ": not heard from since this coordinator was restarted");
	snprintf(m->loss, sizeof m->loss, "%.*s", (int)sizeof m->loss - 1, why);
	model_set(m, CARAVAN__MODEL_PHASE__UNAVAILABLE, why);
}

static void deploy_on_change(void *arg, const struct member *who, enum member_change change) {
	struct deploy *d = arg;
	if (who->self)
		return;
	if (change == MEMBER_EXPELLED || change == MEMBER_DOWN)
		deploy_node_down(d, who, change == MEMBER_EXPELLED);
	else if (change == MEMBER_UP)
		deploy_node_up(d, who);
	for (size_t i = d->models; i-- > 0;)
		deploy_describe_awaited(d->model[i]);
	replicate_node_changed(d);
}

/* The first two neighbours in a plan of which one is down or cannot reach the other; false: none. */
static bool deploy_find_cut(const struct model *m, struct node_id *from, struct node_id *to) {
	for (size_t i = 0; i < m->plan->n_stages; i++) {
		ProtobufCBinaryData next =
		        i + 1 < m->plan->n_stages ? m->plan->stages[i + 1]->node : m->plan->coordinator;
		node_id_from_bytes(from, m->plan->stages[i]->node); /* 32 bytes: validated on arrival */
		node_id_from_bytes(to, next);
		if (!deploy_up(m->d, from) || !deploy_reaches(m->d, from, to) ||
		        !deploy_reaches(m->d, from, &m->coordinator))
			return true;
	}
	return false;
}

/* Checks whether the nodes of a model of ours that serves reach each other. */
static void deploy_watch_links(struct model *m, uint64_t now) {
	struct node_id from, to;
	char why[2 * WIRE_NAME_MAX + 64];
	if (!deploy_find_cut(m, &from, &to)) {
		m->cut_ns = 0;
		return;
	}
	if (m->cut_ns == 0)
		m->cut_ns = now;
	if (now - m->cut_ns < DEPLOY_CUT_MS * 1000000ull)
		return;
	snprintf(why, sizeof why, "node %s cannot reach %s", deploy_node_name(m->d, &from),
	        deploy_node_name(m->d, &to));
	deploy_mark_lost(m, members_find(m->d->c.members, &from), (double)(now - m->cut_ns) * 1e-9);
	deploy_set_unavailable(m, m->d->c.replan_ms, why);
}

/* Brings a model of ours back: by the same plan if its nodes are up, by a new one if they have been away for long enough or the
 * same plan fails.  Out of memory: the next tick tries again. */
static void deploy_bring_back(struct model *m, uint64_t now) {
	struct node_id from, to;
	bool there = !deploy_find_cut(m, &from, &to);
	if (m->load || m->later || now < m->again_ns)
		return;
	if (there && (m->tries % 2 == 0 || deploy_is_draft(m)))
		load_revive(m);
	else if ((there || now >= m->replan_ns) && !deploy_is_draft(m))
		load_replan(m);
}

/* This node's place in the order of succession for a model whose coordinator is gone: first the nodes of its stages that are up, in
 * order, then the other nodes that are up, by id.  Nodes that see each other agree on it. */
static size_t deploy_takeover_place(const struct model *m) {
	const struct deploy *d = m->d;
	const struct member *who;
	struct node_id id;
	size_t stages = 0, others = 0;
	for (size_t i = 0; i < m->plan->n_stages; i++) {
		if (node_id_from_bytes(&id, m->plan->stages[i]->node) || !deploy_up(d, &id) ||
		        !deploy_speaks(d, &id, WIRE_1_2))
			continue;
		if (node_id_equal(&id, &d->self))
			return stages;
		stages++;
	}
	for (size_t i = 0; (who = members_at(d->c.members, i)); i++)
		others += deploy_up(d, &who->id) && deploy_speaks(d, &who->id, WIRE_1_2) &&
		          !model_has_stage(m, &who->id) && node_id_compare(&who->id, &d->self) < 0;
	return stages + others;
}

/* Whether a model's coordinator has stayed away for so many times as long as it may: it has sent nothing, and nobody
 * reaches it. */
static bool deploy_coordinator_away(const struct model *m, size_t times) {
	const struct deploy *d = m->d;
	const struct member *who = members_find(d->c.members, &m->coordinator), *other;
	uint64_t since = d->born_ns, patience_ms = DEPLOY_REBOOT_MS,
	         more_ms = DEPLOY_TAKEOVER * (uint64_t)d->c.replan_ms;
	if (who && (who->up || who->self))
		return false;
	if (who && who->heard_ns) {
		since = who->heard_ns;
		patience_ms = who->expelled ? 0 : more_ms;
	}
	if (loop_now_ns() < since + (patience_ms + (times - 1) * more_ms) * 1000000)
		return false;
	for (size_t i = 0; (other = members_at(d->c.members, i)); i++) {
		const Caravan__PeerState *reported = deploy_reported_link(d, &other->id, &m->coordinator);
		if (reported && reported->up && !(who && who->expelled))
			return false;
	}
	return true;
}

bool deploy_coordinator_gone(const struct model *m) {
	return !model_ours(m) && deploy_coordinator_away(m, 1);
}

/* Takes over a model whose coordinator stays away, from content on the disks of the remaining nodes: the first in the order of
 * succession does, or the next one if that does nothing.  Nodes where the old coordinator still serves refuse to take part. */
static void deploy_take_over(struct model *m, uint64_t now) {
	char what[WIRE_TEXT_MAX];
	if (m->load || m->was_draft || m->pub.phase != CARAVAN__MODEL_PHASE__UNAVAILABLE || now < m->again_ns)
		return;
	if (deploy_coordinator_away(m, 1 + deploy_takeover_place(m)) &&
	        !reconcile_loading(m->d, m->plan->model, what, sizeof what))
		load_replan(m); /* out of memory: the next tick tries again */
}

/* Fetches manifest and vocabulary of a model that serves, until they are here.  Those of a model that was announced before a
 * restart are requested once; with them its weights are kept. */
static void deploy_learn(struct model *m, uint64_t now) {
	bool serves = m->pub.phase == CARAVAN__MODEL_PHASE__SERVING;
	bool waits = m->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE && !model_ours(m) && m->again_ns == 0;
	if (m->learnt != LEARN_NOT || now < m->again_ns || !(serves || waits))
		return;
	m->again_ns = now + DEPLOY_AGAIN_MS * 1000000ull;
	model_learn_from_cluster(m);
}

static void deploy_tick(void *arg) {
	struct deploy *d = arg;
	uint64_t now = loop_now_ns();
	load_tick(d);
	announce_tick(d);
	confirm_tick(d);
	disk_space_tick(d);
	reconcile_tick(d);
	for (size_t i = d->models; i-- > 0;) {
		struct model *m = d->model[i];
		replicate_tick(m);
		if (model_ours(m) && m->pub.phase == CARAVAN__MODEL_PHASE__SERVING)
			compare_tick(m, now);
		catalog_tick(m);
		if (model_ours(m) && m->pub.phase == CARAVAN__MODEL_PHASE__SERVING)
			deploy_watch_links(m, now);
		else if (model_ours(m) && m->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE)
			deploy_bring_back(m, now);
		else if (!model_ours(m))
			deploy_take_over(m, now);
		deploy_learn(m, now);
		if (i > d->models)
			i = d->models;
	}
	if (d->unsaved) {
		d->unsaved = false;
		persist_save_plans(d);
	}
}

/* ---- making it ---- */

int deploy_create(struct deploy **out, const struct deploy_config *c, char *err, size_t errlen) {
	struct deploy *d = calloc(1, sizeof *d);
	int rc = -ENOMEM;
	if (!d)
		goto error;
	d->c = *c;
	TAILQ_INIT(&d->loads);
	if (d->c.replan_ms == 0)
		d->c.replan_ms = DEPLOY_REPLAN_MS;
	d->peers = members_peers(c->members);
	d->self = *peers_self(d->peers);
	d->born_ns = loop_now_ns();
	if ((rc = persist_read(d, err, errlen)) < 0) {
		deploy_destroy(d);
		return rc;
	}
	if ((rc = transfer_create(&d->transfer, c->loop, c->members, c->executor, c->store)) < 0 ||
	        (rc = participant_init(d)) < 0 || (rc = inventory_init(d)) < 0 ||
	        (rc = replicate_init(d)) < 0 || (rc = replica_init(d)) < 0 || (rc = reconcile_init(d)) < 0 ||
	        (rc = load_init(d)) < 0 || (rc = confirm_init(d)) < 0 || (rc = announce_init(d)) < 0 ||
	        (rc = unload_init(d)) < 0 || (rc = catalog_init(d)) < 0 || (rc = remove_init(d)) < 0 ||
	        (rc = disk_space_init(d)) < 0 ||
	        (rc = members_on_change(c->members, deploy_on_change, d)) < 0)
		goto error;
	if (c->models && (rc = transfer_add_model_dir(d->transfer, c->models)) < 0)
		goto error;
	transfer_yields(d->transfer, c->hooks.busy, c->hooks.arg);
	rc = -ENOMEM;
	if (!(d->tick = loop_timer_start(c->loop, TICK_MS, true, deploy_tick, d)))
		goto error;
	for (size_t i = d->models; i-- > 0;)
		deploy_describe_awaited(d->model[i]);
	*out = d;
	return 0;
error:
	snprintf(err, errlen, "cannot deploy models: %s", strerror(-rc));
	deploy_destroy(d);
	return rc;
}

void deploy_destroy(struct deploy *d) {
	if (!d)
		return;
	loop_timer_stop(d->tick);
	announce_clear(d);
	confirm_clear(d);
	remove_clear(d);
	catalog_clear_all(d);
	while (!TAILQ_EMPTY(&d->loads))
		load_free(TAILQ_FIRST(&d->loads));
	while (d->models) /* jobs that end below look models up */
		model_free(d->model[--d->models]);
	for (struct model *m; (m = LIST_FIRST(&d->dead)); model_free(m))
		LIST_REMOVE(m, next_dead);
	free(d->model);
	reconcile_free(d);
	transfer_destroy(d->transfer);
	free(d);
}
