/* expert_use: see expert_use.h. */
#include "shard/forward/expert_use.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct expert_use {
	uint32_t experts;
	_Atomic uint64_t *rows; /* [layers][experts] */
};

int expert_use_create(struct expert_use **out, uint32_t layers, uint32_t experts) {
	struct expert_use *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	u->experts = experts;
	u->rows = calloc((size_t)layers * experts, sizeof *u->rows);
	if (!u->rows) {
		free(u);
		return -ENOMEM;
	}
	*out = u;
	return 0;
}

void expert_use_destroy(struct expert_use *u) {
	if (!u)
		return;
	free(u->rows);
	free(u);
}

void expert_use_add(struct expert_use *u, uint32_t layer, uint32_t expert, uint64_t rows) {
	_Atomic uint64_t *to = &u->rows[(size_t)layer * u->experts + expert];
	/* nobody else writes: a store does, where adding would lock the memory bus */
	atomic_store_explicit(
	        to, atomic_load_explicit(to, memory_order_relaxed) + rows, memory_order_relaxed);
}

uint64_t expert_use_rows(const struct expert_use *u, uint32_t layer, uint32_t expert) {
	return atomic_load_explicit(&u->rows[(size_t)layer * u->experts + expert], memory_order_relaxed);
}

struct expert_rows {
	uint64_t rows;
	uint32_t expert;
};

/* Those chosen most first, and of equal ones the first. */
static int expert_use_compare(const void *a, const void *b) {
	const struct expert_rows *x = a, *y = b;
	if (x->rows != y->rows)
		return x->rows > y->rows ? -1 : 1;
	return x->expert < y->expert ? -1 : x->expert > y->expert;
}

void expert_use_layer(const struct expert_use *u, uint32_t layer, struct expert_use_layer *out) {
	struct expert_rows e[HPARAMS_MAX_EXPERTS];
	uint64_t sum = 0;
	*out = (struct expert_use_layer){0};
	for (uint32_t i = 0; i < u->experts; i++) {
		e[i].expert = i;
		e[i].rows = expert_use_rows(u, layer, i);
		out->chosen += e[i].rows;
	}
	qsort(e, u->experts, sizeof *e, expert_use_compare);
	while (sum < out->chosen - sum)
		sum += e[out->half++].rows;
	for (uint32_t i = 0; i < EXPERT_USE_TOP && i < u->experts && e[i].rows; i++) {
		out->top[i] = e[i].expert;
		out->share[i] = (double)e[i].rows / (double)out->chosen;
		out->tops++;
	}
}
