/* group: see group.h. */
#include "shard/forward/group.h"
#include <errno.h>

#define GROUP_MOST (1u << 16) /* of one node's proportion, so that products fit 64 bits */

static uint64_t group_sum(const uint32_t *of, uint32_t nodes) {
	uint64_t sum = 0;
	for (uint32_t i = 0; i < nodes; i++)
		sum += of[i];
	return sum;
}

int group_check(const struct group *g) {
	if (!g->nodes || g->nodes > GROUP_NODES || g->node >= g->nodes)
		return -EINVAL;
	for (uint32_t i = 0; i < g->nodes; i++)
		if (g->heads[i] > GROUP_MOST || g->rows[i] > GROUP_MOST)
			return -EINVAL;
	return group_sum(g->heads, g->nodes) && group_sum(g->rows, g->nodes) ? 0 : -EINVAL;
}

/* Cuts n at the multiples of `unit` that are nearest to the proportions: integers, so that all nodes find the same. */
static void group_cut(
        const uint32_t *of, uint32_t nodes, size_t n, size_t unit, size_t begin[GROUP_NODES + 1]) {
	uint64_t sum = group_sum(of, nodes), before = 0, units = (n + unit - 1) / unit;
	for (uint32_t i = 0; i < nodes; before += of[i++])
		begin[i] = (size_t)((units * before + sum / 2) / sum) * unit;
	begin[nodes] = n;
	for (uint32_t i = 0; i < nodes; i++)
		begin[i] = begin[i] < n ? begin[i] : n;
}

void group_cut_heads(const struct group *g, size_t n, size_t begin[GROUP_NODES + 1]) {
	group_cut(g->heads, g->nodes, n, 1, begin);
}

void group_cut_rows(const struct group *g, size_t n, size_t begin[GROUP_NODES + 1]) {
	group_cut(g->rows, g->nodes, n, GROUP_ROWS, begin);
}
