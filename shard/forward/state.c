/* state: see state.h.  A layer has a block's states and rows next to each other. */
#include "shard/forward/state.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LINE (KERN_ALIGN / sizeof(float))

static size_t state_row_floats(const struct hparams *hp) {
	return ((size_t)hparams_channels(hp) + 2 * (size_t)hp->state_heads + LINE - 1) / LINE * LINE;
}

static size_t state_layer_floats(const struct hparams *hp) {
	return (size_t)hp->state_heads * hp->state_size * hp->state_size +
	       KERN_KV_BLOCK * state_row_floats(hp);
}

size_t state_block_bytes(const struct hparams *hp, uint32_t layers) {
	return layers * state_layer_floats(hp) * sizeof(float);
}

int state_create(struct state **out, const struct hparams *hp, uint32_t layers, uint32_t blocks) {
	size_t block = state_block_bytes(hp, layers);
	if (blocks > PTRDIFF_MAX / block)
		return -ENOMEM;
	struct state *s = malloc(sizeof *s);
	if (!s)
		return -ENOMEM;
	*s = (struct state){.layers = layers,
	        .blocks = blocks,
	        .head = (size_t)hp->state_size * hp->state_size,
	        .row = state_row_floats(hp),
	        .base = MAP_FAILED,
	        .known = calloc(blocks, 1),
	        .logged = calloc(blocks, 1)};
	s->heads = hp->state_heads * s->head;
	if (s->known && s->logged)
		s->base = mmap(NULL, block * blocks, PROT_READ | PROT_WRITE,
		        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->base == MAP_FAILED) {
		int rc = s->known && s->logged ? -errno : -ENOMEM;
		free(s->known);
		free(s->logged);
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void state_destroy(struct state *s) {
	if (!s)
		return;
	int saved = errno;
	size_t floats = (s->heads + KERN_KV_BLOCK * s->row) * s->layers * s->blocks;
	munmap(s->base, floats * sizeof(float));
	free(s->known);
	free(s->logged);
	free(s);
	errno = saved;
}

static float *state_layer(const struct state *s, uint32_t block, uint32_t layer) {
	assert(block < s->blocks && layer < s->layers);
	return s->base + ((size_t)layer * s->blocks + block) * (s->heads + KERN_KV_BLOCK * s->row);
}

float *state_head(const struct state *s, uint32_t block, uint32_t layer, uint32_t head) {
	return state_layer(s, block, layer) + head * s->head;
}

float *state_row(const struct state *s, uint32_t block, uint32_t layer, uint32_t slot) {
	return state_layer(s, block, layer) + s->heads + slot * s->row;
}
