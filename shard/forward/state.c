/* state: see state.h.  A layer has its slots next to each other, each with its two states and its two logs, and then the kept
 * states, each with its rows. */
#include "shard/forward/state.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LINE (KERN_ALIGN / sizeof(float))

static size_t state_row_floats(const struct hparams *hp) {
	return ((size_t)hparams_channels(hp) + 2 * (size_t)hp->state_heads + LINE - 1) / LINE * LINE;
}

static size_t state_heads_floats(const struct hparams *hp) {
	return (size_t)hp->state_heads * hp->state_size * hp->state_size;
}

static size_t state_slot_floats(size_t heads, size_t row) {
	return 2 * (heads + STATE_LOG * row);
}

static size_t state_place_floats(size_t heads, size_t row) {
	return heads + STATE_BEFORE * row;
}

static uint32_t state_layers(const struct hparams *hp, uint32_t first, uint32_t last) {
	return hparams_recurrent_before(hp, last) - hparams_recurrent_before(hp, first);
}

uint64_t state_bytes(const struct hparams *hp, uint32_t first, uint32_t last, uint32_t slots) {
	size_t heads = state_heads_floats(hp), row = state_row_floats(hp);
	uint64_t layer = (uint64_t)slots * state_slot_floats(heads, row) +
	                 (uint64_t)STATE_PLACES(slots) * state_place_floats(heads, row);
	return slots ? state_layers(hp, first, last) * layer * sizeof(float) : 0;
}

int state_create(
        struct state **out, const struct hparams *hp, uint32_t first, uint32_t last, uint32_t slots) {
	uint64_t bytes = state_bytes(hp, first, last, slots);
	*out = NULL;
	if (!bytes)
		return 0;
	if (bytes > PTRDIFF_MAX)
		return -ENOMEM;
	struct state *s = malloc(sizeof *s);
	if (!s)
		return -ENOMEM;
	*s = (struct state){.layers = state_layers(hp, first, last),
	        .slots = slots,
	        .places = STATE_PLACES(slots),
	        .head = (size_t)hp->state_size * hp->state_size,
	        .heads = state_heads_floats(hp),
	        .row = state_row_floats(hp),
	        .base = MAP_FAILED,
	        .slot = calloc(slots, sizeof *s->slot),
	        .kept = malloc(STATE_PLACES(slots) * sizeof *s->kept)};
	int rc = s->slot && s->kept ? 0 : -ENOMEM;
	if (!rc) {
		s->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		rc = s->base == MAP_FAILED ? -errno : 0;
	}
	if (rc) {
		free(s->slot);
		free(s->kept);
		free(s);
		return rc;
	}
	memset(s->kept, 0xff, s->places * sizeof *s->kept); /* STATE_UNKNOWN */
	*out = s;
	return 0;
}

/* Floats of a layer. */
static size_t state_layer_floats(const struct state *s) {
	return s->slots * state_slot_floats(s->heads, s->row) +
	       s->places * state_place_floats(s->heads, s->row);
}

void state_destroy(struct state *s) {
	if (!s)
		return;
	int saved = errno;
	munmap(s->base, s->layers * state_layer_floats(s) * sizeof *s->base);
	free(s->slot);
	free(s->kept);
	free(s);
	errno = saved;
}

static float *state_of_slot(const struct state *s, uint32_t slot, uint32_t layer) {
	assert(slot < s->slots && layer < s->layers);
	return s->base + layer * state_layer_floats(s) + slot * state_slot_floats(s->heads, s->row);
}

float *state_head(const struct state *s, uint32_t slot, unsigned which, uint32_t layer, uint32_t head) {
	return state_of_slot(s, slot, layer) + which * s->heads + head * s->head;
}

float *state_row(const struct state *s, uint32_t slot, unsigned log, uint32_t layer, uint32_t position) {
	return state_of_slot(s, slot, layer) + 2 * s->heads +
	       (log * STATE_LOG + position % STATE_LOG) * s->row;
}

static float *state_of_place(const struct state *s, uint32_t place, uint32_t layer) {
	assert(place < s->places && layer < s->layers);
	return s->base + layer * state_layer_floats(s) + s->slots * state_slot_floats(s->heads, s->row) +
	       place * state_place_floats(s->heads, s->row);
}

float *state_kept_head(const struct state *s, uint32_t place, uint32_t layer, uint32_t head) {
	return state_of_place(s, place, layer) + head * s->head;
}

float *state_kept_row(const struct state *s, uint32_t place, uint32_t layer, uint32_t i) {
	return state_of_place(s, place, layer) + s->heads + i * s->row;
}
