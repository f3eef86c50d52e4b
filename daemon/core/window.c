/* window: see window.h. */
#include "daemon/core/window.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct window {
	uint32_t slots, width;
	uint64_t slot_ns, since_ns;
	uint64_t slot; /* the last in use, counted from time 0 */
	uint32_t *sum;
	uint32_t count[]; /* slot s at s % slots */
};

int window_create(struct window **out, uint32_t slots, uint32_t width, uint64_t slot_ns, uint64_t now_ns) {
	struct window *w = calloc(1, sizeof *w + ((size_t)slots + 1) * width * sizeof *w->count);
	if (!w)
		return -ENOMEM;
	w->slots = slots;
	w->width = width;
	w->slot_ns = slot_ns;
	w->since_ns = now_ns;
	w->slot = now_ns / slot_ns;
	w->sum = w->count + (size_t)slots * width;
	*out = w;
	return 0;
}

void window_destroy(struct window *w) {
	free(w);
}

static uint32_t *window_slot(struct window *w, uint64_t slot) {
	return w->count + slot % w->slots * w->width;
}

/* Moves on to the slot of this time: what is older than the window leaves the sum. */
static void window_advance(struct window *w, uint64_t now_ns) {
	uint64_t slot = now_ns / w->slot_ns;
	if (slot <= w->slot)
		return;
	if (slot - w->slot >= w->slots) {
		memset(w->count, 0, ((size_t)w->slots + 1) * w->width * sizeof *w->count);
		w->slot = slot;
	}
	while (w->slot < slot) {
		uint32_t *old = window_slot(w, ++w->slot);
		for (uint32_t i = 0; i < w->width; i++)
			w->sum[i] -= old[i];
		memset(old, 0, w->width * sizeof *old);
	}
}

void window_add(struct window *w, uint64_t now_ns, uint32_t i, uint32_t n) {
	window_advance(w, now_ns);
	window_slot(w, w->slot)[i] += n;
	w->sum[i] += n;
}

const uint32_t *window_sums(struct window *w, uint64_t now_ns) {
	window_advance(w, now_ns);
	return w->sum;
}

double window_seconds(const struct window *w, uint64_t now_ns) {
	uint64_t slot = now_ns / w->slot_ns;
	uint64_t from = slot >= w->slots ? (slot - w->slots + 1) * w->slot_ns : 0;
	from = from > w->since_ns ? from : w->since_ns;
	return now_ns > from ? (double)(now_ns - from) * 1e-9 : 0;
}
