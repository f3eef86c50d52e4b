/* expert_state: see expert_state.h. */
#include "daemon/serve/stage/expert_state.h"
#include <errno.h>
#include <stdlib.h>

struct expert_layer_state {
	Caravan__ExpertLayer message;
	uint32_t top[EXPERT_USE_TOP], share[EXPERT_USE_TOP];
};

struct expert_state {
	const struct slice *slice;
	const struct expert_use *use;
	struct expert_layer_state *layer; /* [layers]: of those that are mixtures */
	Caravan__ExpertLayer **list;
	uint32_t *in_memory; /* [layers of the slice] */
	uint32_t layers;
};

int expert_state_create(struct expert_state **out, const struct slice *s, const struct expert_use *use) {
	size_t layers = s->last - s->first;
	struct expert_state *e = calloc(1, sizeof *e);
	if (!e)
		return -ENOMEM;
	*e = (struct expert_state){.slice = s,
	        .use = use,
	        .layer = calloc(layers, sizeof *e->layer),
	        .list = calloc(layers, sizeof *e->list),
	        .in_memory = calloc(layers, sizeof *e->in_memory)};
	if (!e->layer || !e->list || !e->in_memory) {
		expert_state_destroy(e);
		return -ENOMEM;
	}
	for (uint32_t l = 0; l < layers; l++) {
		Caravan__ExpertLayer *m = &e->layer[e->layers].message;
		if (!s->layer[l][LAYER_ROUTER])
			continue;
		caravan__expert_layer__init(m);
		m->layer = s->first + l;
		e->list[e->layers++] = m;
	}
	*out = e;
	return 0;
}

void expert_state_destroy(struct expert_state *e) {
	if (!e)
		return;
	free(e->layer);
	free(e->list);
	free(e->in_memory);
	free(e);
}

static void expert_state_fill_layer(const struct expert_state *e, struct expert_layer_state *to) {
	Caravan__ExpertLayer *m = &to->message;
	struct expert_use_layer use;
	uint32_t l = m->layer - e->slice->first;
	expert_use_layer(e->use, l, &use);
	m->chosen = use.chosen;
	m->half = use.half;
	m->in_memory = e->in_memory[l];
	for (uint32_t i = 0; i < use.tops; i++) {
		to->top[i] = use.top[i];
		to->share[i] = (uint32_t)(10000 * use.share[i]);
	}
	m->top = wire_bytes(to->top, use.tops * sizeof *to->top);
	m->share = wire_bytes(to->share, use.tops * sizeof *to->share);
}

void expert_state_fill(struct expert_state *e, uint32_t layers, Caravan__StageState *out) {
	if (e->layers)
		out->experts = e->slice->manifest->hp.experts;
	if (e->layers > layers)
		return;
	if (e->slice->experts)
		expert_cache_in_memory(e->slice->experts, e->in_memory);
	for (uint32_t i = 0; i < e->layers; i++)
		expert_state_fill_layer(e, &e->layer[i]);
	out->expert_layers = e->list;
	out->n_expert_layers = e->layers;
}
