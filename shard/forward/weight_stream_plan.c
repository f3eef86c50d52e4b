/* weight_stream_plan: which groups of a slice stay in memory.  Pure.
 *
 * The two buffers, each as large as the largest streamed group, take memory in which weights could stay.  So
 * only groups up to a certain size are streamed, the smallest size that suffices; and only as many of these
 * as necessary, spread evenly over the layers to keep the disk busy all the time. */
#include "shard/forward/expert_cache.h"
#include "shard/forward/weight_stream.h"
#include <errno.h>
#include <stdlib.h>

#define PAGE 4096u /* tensors begin at a page, in their files and in a buffer */

static const struct {
	enum layer_role first, last;
} roles[WEIGHT_GROUPS] = {[WEIGHTS_QKV] = {LAYER_Q, LAYER_V},
        [WEIGHTS_OUT] = {LAYER_OUT, LAYER_OUT},
        [WEIGHTS_UP] = {LAYER_GATE, LAYER_UP},
        [WEIGHTS_DOWN] = {LAYER_DOWN, LAYER_DOWN}};

uint64_t weight_stream_tensor_bytes(const struct manifest_tensor *t) {
	uint64_t bytes = kern_packed_bytes(t->type, t->rows, t->n);
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* 0: the layer has none of its tensors. */
static uint64_t weight_stream_group_bytes(const struct manifest *m, uint32_t layer, int g) {
	uint64_t sum = 0;
	for (int r = (int)roles[g].first; r <= (int)roles[g].last; r++) {
		const struct manifest_tensor *t = manifest_find(m, layer, (enum layer_role)r);
		sum += t ? weight_stream_tensor_bytes(t) : 0;
	}
	return sum;
}

uint64_t weight_stream_largest_group(const struct manifest *m, uint32_t first, uint32_t last) {
	uint64_t most = 0;
	for (uint32_t l = first; l < last; l++)
		for (int g = 0; g < WEIGHT_GROUPS; g++) {
			uint64_t bytes = weight_stream_group_bytes(m, l, g);
			most = bytes > most ? bytes : most;
		}
	return most;
}

/* Bytes of all groups of at most `size`. */
static uint64_t weight_stream_bytes_up_to(
        const struct manifest *m, uint32_t first, uint32_t last, uint64_t size) {
	uint64_t sum = 0;
	for (uint32_t l = first; l < last; l++)
		for (int g = 0; g < WEIGHT_GROUPS; g++) {
			uint64_t bytes = weight_stream_group_bytes(m, l, g);
			sum += bytes <= size ? bytes : 0;
		}
	return sum;
}

/* The next larger group size than `size`; 0 if none. */
static uint64_t weight_stream_next_size(
        const struct manifest *m, uint32_t first, uint32_t last, uint64_t size) {
	uint64_t next = 0;
	for (uint32_t l = first; l < last; l++)
		for (int g = 0; g < WEIGHT_GROUPS; g++) {
			uint64_t bytes = weight_stream_group_bytes(m, l, g);
			if (bytes > size && (!next || bytes < next))
				next = bytes;
		}
	return next;
}

/* Selects groups of at most `size` until `need` bytes are streamed, spread evenly over the layers. */
static void weight_stream_spread(struct weight_stream_plan *p, const struct manifest *m, uint32_t first,
        uint32_t last, uint64_t size, uint64_t need) {
	double due = 0, share = (double)need / (double)weight_stream_bytes_up_to(m, first, last, size);
	for (int pass = 0; pass < 2; pass++) /* the second pass makes up for rounding */
		for (uint32_t l = first; l < last; l++)
			for (int g = 0; g < WEIGHT_GROUPS && p->step < need; g++) {
				uint64_t bytes = weight_stream_group_bytes(m, l, g);
				uint8_t bit = (uint8_t)(1u << g);
				if (!bytes || bytes > size || p->streamed[l - first] & bit)
					continue;
				due += (double)bytes * share;
				if (pass == 0 && due < (double)bytes / 2)
					continue;
				due -= (double)bytes;
				p->streamed[l - first] |= bit;
				p->step += bytes;
				p->buffer = bytes > p->buffer ? bytes : p->buffer;
			}
}

struct weight_stream_least weight_stream_least(const struct manifest *m, uint32_t first, uint32_t last) {
	struct weight_stream_least out = {0};
	for (uint32_t l = first; l < last; l++) {
		uint64_t slot = 0, parts = 0;
		for (uint32_t i = m->at[l]; i < m->at[l + 1]; i++) {
			const struct manifest_tensor *t = &m->tensor[i];
			if (t->parts == 1) {
				out.rest += weight_stream_tensor_bytes(t);
				continue;
			}
			parts = t->parts;
			out.experts += weight_stream_tensor_bytes(t);
			slot += expert_cache_part_bytes(t->type, t->n, t->rows, t->parts);
		}
		out.slot = slot > out.slot ? slot : out.slot;
		out.count += parts;
	}
	out.cache = m->hp.experts_used * out.slot;
	return out;
}

uint64_t weight_stream_stay_bytes(const struct manifest *m, uint32_t layer) {
	uint64_t bytes = weight_stream_least(m, layer, layer + 1).rest;
	for (int g = 0; g < WEIGHT_GROUPS && !m->hp.experts; g++)
		bytes -= weight_stream_group_bytes(m, layer, g);
	return bytes;
}

/* Experts are read when the router has chosen them; all else stays. */
static int weight_stream_plan_experts(struct weight_stream_plan *out, const struct hparams *hp,
        const struct weight_stream_least *least, uint64_t memory_limit) {
	if (least->rest + least->cache > memory_limit)
		return -ENOSPC;
	out->resident = least->rest;
	uint64_t slots = (memory_limit - least->rest) / least->slot;
	out->cache = slots * least->slot;
	out->step_most = least->experts / least->count * (least->count - slots);
	out->step = out->step_most / hp->experts * hp->experts_used;
	return 0;
}

static int weight_stream_plan_groups(struct weight_stream_plan *out, const struct manifest *m, uint32_t first,
        uint32_t last, uint64_t all, uint64_t memory_limit) {
	uint64_t size = 0;
	/* with buffers of this size, enough groups can be streamed */
	do
		size = weight_stream_next_size(m, first, last, size);
	while (size && weight_stream_bytes_up_to(m, first, last, size) + memory_limit < all + 2 * size);
	if (!size)
		return -ENOSPC;
	out->streamed = calloc(last - first, 1);
	if (!out->streamed)
		return -ENOMEM;
	weight_stream_spread(out, m, first, last, size, all + 2 * size - memory_limit);
	out->resident = all - out->step;
	out->step_most = out->step;
	return 0;
}

int weight_stream_plan(struct weight_stream_plan *out, const struct manifest *m, uint32_t first,
        uint32_t last, uint64_t memory_limit) {
	struct weight_stream_least least = weight_stream_least(m, first, last);
	uint64_t all = least.rest + least.experts;
	*out = (struct weight_stream_plan){.resident = all, .memory = all};
	if (all <= memory_limit)
		return 0;
	int rc = least.experts ? weight_stream_plan_experts(out, &m->hp, &least, memory_limit)
	                       : weight_stream_plan_groups(out, m, first, last, all, memory_limit);
	out->memory = out->resident + 2 * out->buffer + out->cache;
	return rc;
}

void weight_stream_plan_clear(struct weight_stream_plan *p) {
	free(p->streamed);
	*p = (struct weight_stream_plan){0};
}
