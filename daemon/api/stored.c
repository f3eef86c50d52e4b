/* stored: the models that are on disk or loaded, for `caravan models`: one message per model.
 * Threads: the loop. */
#include "daemon/api/report.h"
#include "shard/model/manifest.h"
#include <stdlib.h>
#include <string.h>

static void stored_send_one(struct control_conn *c, Caravan__CtlModel *m) {
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_MODEL, ctl_model, m);
	control_send(c, &env, NULL, 0);
}

static const char *stored_state_of(const struct deploy_model *m) {
	switch (m->phase) {
	case CARAVAN__MODEL_PHASE__SERVING:
		return "serving";
	case CARAVAN__MODEL_PHASE__LOADING:
		return "loading";
	default:
		return "unavailable";
	}
}

static const char *stored_node_name(struct members *ms, const struct node_id *id) {
	const struct member *m = members_find(ms, id);
	return m ? m->name : "";
}

/* Adds the plan's data of a loaded model. */
static void stored_add_loaded(Caravan__CtlModel *out, struct members *ms, const struct deploy_model *m) {
	struct node_id id;
	out->state = wire_string(stored_state_of(m));
	out->reason = wire_string(m->reason);
	out->stages = (uint32_t)m->plan->n_stages;
	if (node_id_from_bytes(&id, m->plan->coordinator) == 0)
		out->coordinator = wire_string(stored_node_name(ms, &id));
}

static bool stored_is_loaded_as(const struct deploy_model *m, const struct deploy_stored *s) {
	return strcmp(m->plan->model, s->name) == 0 &&
	       memcmp(m->plan->manifest.data, s->manifest.b, sizeof s->manifest.b) == 0;
}

static int stored_compare_on(const void *a, const void *b) {
	return strcmp((*(Caravan__ModelOn *const *)a)->node, (*(Caravan__ModelOn *const *)b)->node);
}

static void stored_send_all(struct control_conn *c, const struct deploy_stored *s) {
	struct members *ms = serve_members(control_serve(c));
	struct deploy *d = serve_deploy(control_serve(c));
	const struct deploy_model *m;
	Caravan__CtlModel out = CARAVAN__CTL_MODEL__INIT;
	size_t ons = s->ons < WIRE_NODES_MAX ? s->ons : WIRE_NODES_MAX;
	Caravan__ModelOn *on = calloc(ons + 1, sizeof *on),
	                 **list = calloc(ons + 1, sizeof(Caravan__ModelOn *));
	for (size_t i = 0; on && list && i < ons; i++) {
		caravan__model_on__init(&on[i]);
		on[i].node = wire_string(stored_node_name(ms, &s->on[i].id));
		on[i].bytes = s->on[i].bytes;
		on[i].file = s->on[i].file;
		list[out.n_on++] = &on[i];
	}
	if (out.n_on)
		qsort(list, out.n_on, sizeof(Caravan__ModelOn *), stored_compare_on);
	out.on = list;
	out.name = wire_string(s->name);
	out.manifest = wire_bytes(s->manifest.b, sizeof s->manifest.b);
	out.type = wire_string(s->type);
	out.bytes = s->bytes;
	out.state = wire_string("on disk");
	out.copies = s->disks;
	out.share = s->share;
	out.used = s->used;
	for (size_t i = 0; (m = deploy_at(d, i)); i++)
		if (stored_is_loaded_as(m, s))
			stored_add_loaded(&out, ms, m);
	stored_send_one(c, &out);
	free(on);
	free(list);
}

/* Sends a model whose content no node reports: it is being loaded, or its nodes are down or too old to report
 * it. */
static void stored_send_loaded(struct control_conn *c, const struct deploy_model *m) {
	Caravan__CtlModel out = CARAVAN__CTL_MODEL__INIT;
	out.name = m->plan->model;
	out.manifest = m->plan->manifest;
	if (m->manifest)
		out.bytes = manifest_layer_bytes(m->manifest, 0, m->manifest->hp.layers) +
		            manifest_io_bytes(m->manifest);
	stored_add_loaded(&out, serve_members(control_serve(c)), m);
	stored_send_one(c, &out);
}

void report_stored(struct control_conn *c, const struct deploy_stored *model, size_t count) {
	struct deploy *d = serve_deploy(control_serve(c));
	const struct deploy_model *m;
	for (size_t i = 0; i < count; i++)
		stored_send_all(c, &model[i]);
	for (size_t i = 0; (m = deploy_at(d, i)); i++) {
		bool sent = false;
		for (size_t k = 0; k < count && !sent; k++)
			sent = stored_is_loaded_as(m, &model[k]);
		if (!sent)
			stored_send_loaded(c, m);
	}
}
