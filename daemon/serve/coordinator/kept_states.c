/* kept_states: see kept_states.h. */
#include "daemon/serve/coordinator/kept_states.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct kept_place {
	uint32_t block; /* KEPT_NONE: free */
	uint32_t pins;
	uint64_t step; /* the last one that read or wrote it */
};

struct kept_states {
	uint32_t places;
	struct kept_place *place;
	uint32_t *of; /* [blocks]: place */
};

int kept_states_create(struct kept_states **out, uint32_t places, uint32_t blocks) {
	struct kept_states *k = calloc(1, sizeof *k);
	if (!k || !(k->place = calloc(places, sizeof *k->place)) ||
	        !(k->of = malloc((blocks ? blocks : 1) * sizeof *k->of))) {
		kept_states_destroy(k);
		return -ENOMEM;
	}
	k->places = places;
	for (uint32_t i = 0; i < places; i++)
		k->place[i].block = KEPT_NONE;
	memset(k->of, 0xff, blocks * sizeof *k->of); /* KEPT_NONE */
	*out = k;
	return 0;
}

void kept_states_destroy(struct kept_states *k) {
	if (!k)
		return;
	free(k->place);
	free(k->of);
	free(k);
}

uint32_t kept_states_find(const struct kept_states *k, uint32_t block) {
	return k->of[block];
}

/* Whether a step may rather write into a than into b. */
static bool kept_states_goes_first(const struct kept_place *a, const struct kept_place *b) {
	if ((a->block == KEPT_NONE) != (b->block == KEPT_NONE))
		return a->block == KEPT_NONE;
	return a->step < b->step;
}

uint32_t kept_states_take(struct kept_states *k, uint32_t block, uint64_t step) {
	uint32_t best = k->of[block];
	for (uint32_t i = 0; i < k->places && k->of[block] == KEPT_NONE; i++)
		if (!k->place[i].pins && k->place[i].step < step &&
		        (best == KEPT_NONE || kept_states_goes_first(&k->place[i], &k->place[best])))
			best = i;
	if (best == KEPT_NONE)
		return KEPT_NONE;
	if (k->place[best].block != KEPT_NONE)
		k->of[k->place[best].block] = KEPT_NONE;
	k->place[best].block = block;
	k->place[best].step = step;
	k->of[block] = best;
	return best;
}

void kept_states_use(struct kept_states *k, uint32_t place, uint64_t step) {
	k->place[place].step = step;
}

void kept_states_pin(struct kept_states *k, uint32_t place) {
	k->place[place].pins++;
}

void kept_states_unpin(struct kept_states *k, uint32_t place) {
	k->place[place].pins--;
}

void kept_states_drop(struct kept_states *k, uint32_t block) {
	if (k->of[block] == KEPT_NONE)
		return;
	k->place[k->of[block]].block = KEPT_NONE;
	k->of[block] = KEPT_NONE;
}

void kept_states_move(struct kept_states *k, uint32_t from, uint32_t to) {
	uint32_t place = k->of[from];
	bool has = k->of[to] != KEPT_NONE;
	kept_states_drop(k, from);
	if (place == KEPT_NONE || has)
		return;
	k->place[place].block = to;
	k->of[to] = place;
}
