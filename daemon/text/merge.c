/* merge: a doubly linked list of symbols over an array, and a binary heap of candidate pairs.
 *
 * A candidate is not removed when one of its symbols is merged into another: when it reaches the top, it is
 * recognised as stale because the length of the pair has grown.
 * One thread at a time. */
#include "daemon/text/merge.h"
#include <errno.h>
#include <stdlib.h>

struct merge_candidate {
	uint64_t key; /* rank, then the left symbol: the heap's order */
	uint32_t len; /* of the pair, when it was found */
	uint32_t id;
};

static int merge_grow(void **p, size_t *cap, size_t size) {
	size_t want = *cap ? *cap * 2 : 64;
	void *q = realloc(*p, want * size);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = want;
	return 0;
}

static int merge_heap_push(struct merge_work *w, struct merge_candidate c) {
	if (w->nheap == w->capheap) {
		void *p = w->heap;
		int rc = merge_grow(&p, &w->capheap, sizeof *w->heap);
		w->heap = p;
		if (rc < 0)
			return rc;
	}
	size_t i = w->nheap++;
	for (; i > 0 && w->heap[(i - 1) / 2].key > c.key; i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = c;
	return 0;
}

static struct merge_candidate merge_heap_pop(struct merge_work *w) {
	struct merge_candidate top = w->heap[0], last = w->heap[--w->nheap];
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < w->nheap; i = child) {
		if (child + 1 < w->nheap && w->heap[child + 1].key < w->heap[child].key)
			child++;
		if (last.key <= w->heap[child].key)
			break;
		w->heap[i] = w->heap[child];
	}
	w->heap[i] = last;
	return top;
}

static int merge_consider(struct merge_work *w, uint32_t left, merge_find find, const void *ctx) {
	if (left == MERGE_END || w->sym[left].next == MERGE_END)
		return 0;
	const struct merge_symbol *l = &w->sym[left], *r = &w->sym[l->next];
	uint32_t rank, id;
	if (!find(ctx, l, r, &rank, &id))
		return 0;
	return merge_heap_push(w, (struct merge_candidate){(uint64_t)rank << 32 | left, l->len + r->len, id});
}

void merge_release(struct merge_work *w) {
	free(w->sym);
	free(w->heap);
	*w = (struct merge_work){0};
}

void merge_begin(struct merge_work *w) {
	w->n = 0;
	w->nheap = 0;
}

int merge_append(struct merge_work *w, uint32_t len, uint32_t id) {
	if (w->n == w->cap) {
		void *p = w->sym;
		int rc = merge_grow(&p, &w->cap, sizeof *w->sym);
		w->sym = p;
		if (rc < 0)
			return rc;
	}
	uint32_t at = 0, prev = MERGE_END;
	if (w->n > 0) {
		prev = (uint32_t)w->n - 1;
		at = w->sym[prev].at + w->sym[prev].len;
		w->sym[prev].next = (uint32_t)w->n;
	}
	w->sym[w->n++] = (struct merge_symbol){at, len, id, prev, MERGE_END};
	return 0;
}

int merge_run(struct merge_work *w, merge_find find, const void *ctx) {
	int rc = 0;
	for (size_t i = 0; rc == 0 && i + 1 < w->n; i++)
		rc = merge_consider(w, (uint32_t)i, find, ctx);
	while (rc == 0 && w->nheap > 0) {
		struct merge_candidate c = merge_heap_pop(w);
		uint32_t left = (uint32_t)c.key;
		struct merge_symbol *l = &w->sym[left];
		if (l->len == 0 || l->next == MERGE_END)
			continue;
		struct merge_symbol *r = &w->sym[l->next];
		if (l->len + r->len != c.len)
			continue;
		l->len += r->len;
		l->id = c.id;
		r->len = 0;
		l->next = r->next;
		if (r->next != MERGE_END)
			w->sym[r->next].prev = left;
		rc = merge_consider(w, l->prev, find, ctx);
		if (rc == 0)
			rc = merge_consider(w, left, find, ctx);
	}
	return rc;
}
