/* kvlayout: the layout of the KV cache in memory.  Private to the ISA levels.
 *
 * In a block, a head has KERN_KV_BLOCK positions of keys and as many of values.  Both are stored in panels of KV_LANES lanes, so
 * that attention reads them from start to end: a lane of keys is a position, a lane of values a dimension.
 *   f16    keys    [KERN_KV_BLOCK / KV_LANES][head_size][KV_LANES] halves
 *          values  [head_size / KV_LANES][KERN_KV_BLOCK][KV_LANES] halves; if KV_LANES does not divide the head size, the last
 *                  panel is narrower
 *   q8_0   the same with one byte per element; dimensions form groups of KV_LANES, and each group begins with its scales:
 *          keys    [KERN_KV_BLOCK / KV_LANES][head_size / KV_LANES] of { half [KV_LANES]; int8 [KV_LANES][KV_LANES] }
 *          values  [head_size / KV_LANES] of { half [KERN_KV_BLOCK]; int8 [KERN_KV_BLOCK][KV_LANES] } */
#ifndef KERNELS_KVLAYOUT_H
#define KERNELS_KVLAYOUT_H
#include "kernels/kernels.h"

#define KV_LANES 32

static inline size_t min_size(size_t a, size_t b) {
	return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b) {
	return a > b ? a : b;
}

/* How many of `count` positions are in block b. */
static inline size_t kv_in_block(size_t count, size_t b) {
	size_t first = b * KERN_KV_BLOCK;
	return count <= first ? 0 : min_size(count - first, KERN_KV_BLOCK);
}

/* The positions that some queries of a call see: from the smallest first to the largest count. */
struct kv_seen {
	size_t first, count;
};
static inline struct kv_seen kv_seen(const struct kern_query *q, size_t nq) {
	struct kv_seen s = {KERN_SPAN, 0};
	for (size_t i = 0; i < nq; i++) {
		s.first = min_size(s.first, q[i].first);
		s.count = max_size(s.count, q[i].count);
	}
	return s;
}

/* The positions in block b that all queries of a tile see (first <= count).  What a query sees before first and from count on
 * is computed for it alone. */
static inline struct kv_seen kv_shared(const struct kern_query *q, size_t nq, size_t b) {
	struct kv_seen s = {0, KERN_SPAN};
	for (size_t i = 0; i < nq; i++) {
		s.first = max_size(s.first, q[i].first);
		s.count = min_size(s.count, q[i].count);
	}
	s.first = kv_in_block(s.first, b);
	s.count = max_size(kv_in_block(s.count, b), s.first);
	return s;
}

/* The elements of a panel: halves; or bytes, times a scale for each lane (keys) or for each row (values). */
enum kv_panel { HALVES, LANE_SCALES, ROW_SCALES };

/* ---- f16: in halves from the head's keys (values) in a block ---- */

static inline size_t kv_key_at(size_t head_size, size_t slot, size_t d) {
	return (slot / KV_LANES * head_size + d) * KV_LANES + slot % KV_LANES;
}

/* Lanes of the panel of values that starts at dimension `first`. */
static inline size_t kv_width(size_t head_size, size_t first) {
	return head_size - first < KV_LANES ? head_size - first : KV_LANES;
}

static inline size_t kv_value_at(size_t head_size, size_t slot, size_t d) {
	size_t first = d / KV_LANES * KV_LANES;
	return first * KERN_KV_BLOCK + slot * kv_width(head_size, first) + d - first;
}

/* ---- q8_0: in bytes ---- */

#define KV_Q8_KEY_SCALES (KV_LANES * 2)
#define KV_Q8_KEYS (KV_Q8_KEY_SCALES + KV_LANES * KV_LANES) /* of a group of a panel */
#define KV_Q8_VALUE_SCALES (KERN_KV_BLOCK * 2)
#define KV_Q8_VALUES (KV_Q8_VALUE_SCALES + KERN_KV_BLOCK * KV_LANES) /* of a group: a panel */

/* The group of keys with dimension d of a position: its scales, then its quants. */
static inline size_t kv_q8_keys(size_t head_size, size_t slot, size_t d) {
	return (slot / KV_LANES * (head_size / KV_LANES) + d / KV_LANES) * KV_Q8_KEYS;
}

/* Stores the quants and the scale of 32 dimensions of a key in such a group. */
static inline void kv_q8_put_key(uint8_t *group, size_t slot, uint16_t scale, const int8_t q[KV_LANES]) {
	size_t lane = slot % KV_LANES;
	((uint16_t *)(void *)group)[lane] = scale;
	for (size_t i = 0; i < KV_LANES; i++)
		group[KV_Q8_KEY_SCALES + i * KV_LANES + lane] = (uint8_t)q[i];
}

static inline size_t kv_q8_values(size_t d) {
	return d / KV_LANES * KV_Q8_VALUES;
}

#endif
