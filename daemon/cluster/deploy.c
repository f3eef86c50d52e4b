/* deploy: the public face, the table of models, and what follows when nodes come and go.
 *
 * Threads: the loop. */
#include "daemon/cluster/deploy_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Writes the names of the models (those that serve) into a sentence. */
static void list_models(const struct deploy *d, bool serving, char *out, size_t len) {
	size_t at = 0;
	snprintf(out, len, "there is none");
	for (size_t i = 0; i < d->models && at < len; i++) {
		const struct deploy_model *m = &d->model[i]->pub;
		if (serving && m->phase != CARAVAN__MODEL_PHASE__SERVING)
			continue;
		at += (size_t)snprintf(out + at, len - at, "%s%s", at ? ", " : "there is ", m->plan->model);
		if (*m->reason && at < len)
			at += (size_t)snprintf(out + at, len - at, " (%s)", m->reason);
	}
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
		list_models(d, false, list, sizeof list);
		snprintf(err, errlen, "no model %s is loaded: %s", name, list);
		return NULL;
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
	list_models(d, serving > 0, list, sizeof list);
	snprintf(err, errlen, "%s: %s",
	        serving ? "several models serve, so one must be named" : "no model serves", list);
	return NULL;
}

/* ---- small things that the other files ask for ---- */

bool deploy_up(const struct deploy *d, const struct node_id *id) {
	const struct member *m = members_find(d->c.members, id);
	return m && !m->expelled && (m->self || m->up);
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

/* ---- nodes come and go ---- */

static void unavailable_now(void *arg) {
	struct model *m = arg;
	m->later = NULL;
	if (!m->listed || m->pub.phase != CARAVAN__MODEL_PHASE__UNAVAILABLE)
		return;
	model_ref(m);
	log_line(LOG_LINE_WARN, "model %s: %s", m->plan->model, m->reason);
	model_shut(m, m->reason);
	model_changed(m);
	news_tell(m, NULL, NULL, NULL);
	model_unref(m);
}

/* The phase changes at once; hooks hear later, since who calls may be in the middle of the model's own work. */
static void unavailable(struct model *m, const char *reason) {
	m->pub.phase = CARAVAN__MODEL_PHASE__UNAVAILABLE;
	snprintf(m->reason, sizeof m->reason, "%s", reason);
	if (!m->later)
		m->later = loop_timer_start(m->d->c.loop, 0, false, unavailable_now, m);
}

void deploy_unavailable(struct deploy *d, const struct deploy_model *pub, const char *reason) {
	struct model *m = deploy_model_named(d, pub->plan->model);
	if (m && &m->pub == pub && model_ours(m) && pub->phase == CARAVAN__MODEL_PHASE__SERVING)
		unavailable(m, reason);
}

static bool has_stage(const struct model *m, const struct node_id *id) {
	for (size_t i = 0; i < m->plan->n_stages; i++)
		if (memcmp(m->plan->stages[i]->node.data, id->b, sizeof id->b) == 0)
			return true;
	return false;
}

static void node_down(struct deploy *d, const struct member *who, bool expelled) {
	char why[WIRE_NAME_MAX + 64];
	struct node_id id = who->id;
	load_node_down(d, &id);
	news_node_down(d, &id);
	catalog_node_down(d, &id);
	remove_node_down(d, &id);
	for (size_t i = d->models; i-- > 0;) {
		struct model *m = d->model[i];
		m->orphan_ns = 0;
		if (model_ours(m)) {
			if (m->pub.phase != CARAVAN__MODEL_PHASE__SERVING || !has_stage(m, &id))
				continue;
			snprintf(why, sizeof why, "node %s %s", who->name,
			        expelled ? "was expelled" : "is down");
			unavailable(m, why);
		} else if (node_id_equal(&m->coordinator, &id)) {
			snprintf(why, sizeof why, "its coordinator %s %s", who->name,
			        expelled ? "was expelled" : "is down");
			if (expelled || m->pub.phase == CARAVAN__MODEL_PHASE__LOADING)
				model_remove(m, CARAVAN__MODEL_PHASE__FAILED, why);
			else
				model_set(m, CARAVAN__MODEL_PHASE__UNAVAILABLE, why);
		}
		if (i > d->models)
			i = d->models; /* hooks may have taken others away */
	}
}

static void node_up(struct deploy *d, const struct member *who) {
	struct node_id id = who->id;
	for (size_t i = 0; i < d->models; i++) {
		struct model *m = d->model[i];
		if (model_ours(m) && m->pub.phase != CARAVAN__MODEL_PHASE__LOADING && !m->later)
			news_tell(m, &id, NULL, NULL);
		/* what it does not speak of any more, it has lost */
		if (node_id_equal(&m->coordinator, &id) && m->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE)
			m->orphan_ns = loop_now_ns();
	}
}

static void on_change(void *arg, const struct member *who, const char *what) {
	struct deploy *d = arg;
	bool expelled = strcmp(what, "expelled") == 0;
	if (who->self)
		return;
	if (expelled || strcmp(what, "down") == 0)
		node_down(d, who, expelled);
	else if (strcmp(what, "up") == 0)
		node_up(d, who);
	copies_node_changed(d);
}

static bool all_up(const struct model *m) {
	struct node_id id;
	for (size_t i = 0; i < m->plan->n_stages; i++)
		if (node_id_from_bytes(&id, m->plan->stages[i]->node) || !deploy_up(m->d, &id))
			return false;
	return true;
}

static void tick(void *arg) {
	struct deploy *d = arg;
	uint64_t now = loop_now_ns();
	load_tick(d);
	news_tick(d);
	room_tick(d);
	for (size_t i = d->models; i-- > 0;) {
		struct model *m = d->model[i];
		copies_tick(m);
		catalog_tick(m);
		bool out = m->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE && !m->later;
		if (model_ours(m) && out && !m->load && now >= m->again_ns && all_up(m)) {
			m->again_ns = now + DEPLOY_AGAIN_MS * 1000000ull;
			load_revive(m); /* without memory, the next time */
		} else if (m->orphan_ns && out && now - m->orphan_ns > DEPLOY_ORPHAN_MS * 1000000ull) {
			model_remove(m, CARAVAN__MODEL_PHASE__UNLOADED,
			        "its coordinator does not know it any more");
		} else if (m->learnt == LEARN_NOT && m->pub.phase == CARAVAN__MODEL_PHASE__SERVING &&
		           now >= m->again_ns) {
			m->again_ns = now + DEPLOY_AGAIN_MS * 1000000ull;
			model_learn_from_cluster(m);
		}
		if (i > d->models)
			i = d->models;
	}
}

/* ---- making it ---- */

int deploy_create(struct deploy **out, const struct deploy_config *c, char *err, size_t errlen) {
	struct deploy *d = calloc(1, sizeof *d);
	int rc = -ENOMEM;
	if (!d)
		goto error;
	d->c = *c;
	d->peers = members_peers(c->members);
	d->self = *peers_self(d->peers);
	d->born_ns = loop_now_ns();
	if ((rc = state_read(d, err, errlen)) < 0) {
		deploy_destroy(d);
		return rc;
	}
	if ((rc = transfer_create(&d->transfer, c->loop, c->members, c->loader, c->store)) < 0 ||
	        (rc = stage_init(d)) < 0 || (rc = look_init(d)) < 0 || (rc = copies_init(d)) < 0 ||
	        (rc = keep_init(d)) < 0 || (rc = load_init(d)) < 0 || (rc = news_init(d)) < 0 ||
	        (rc = catalog_init(d)) < 0 || (rc = remove_init(d)) < 0 || (rc = room_init(d)) < 0 ||
	        (rc = members_on_change(c->members, on_change, d)) < 0)
		goto error;
	if (c->models && (rc = transfer_models(d->transfer, c->models)) < 0)
		goto error;
	transfer_yields(d->transfer, c->hooks.busy, c->hooks.arg);
	rc = -ENOMEM;
	if (!(d->tick = loop_timer_start(c->loop, TICK_MS, true, tick, d)))
		goto error;
	*out = d;
	return 0;
error:
	snprintf(err, errlen, "deploying models: %s", strerror(-rc));
	deploy_destroy(d);
	return rc;
}

void deploy_destroy(struct deploy *d) {
	if (!d)
		return;
	loop_timer_stop(d->tick);
	news_clear(d);
	remove_clear(d);
	catalog_clear_all(d);
	while (d->loads)
		load_free(d->loads);
	for (size_t i = 0; i < d->models; i++)
		model_free(d->model[i]);
	while (d->dead) {
		struct model *m = d->dead;
		d->dead = m->next_dead;
		model_free(m);
	}
	free(d->model);
	transfer_destroy(d->transfer);
	free(d);
}
