/* event_merge: see event_merge.h. */
#include "daemon/members/event_merge.h"
#include "daemon/core/journal.h"

#include <stdlib.h>
#include <string.h>

static int merge_compare_serial(const void *a, const void *b) {
	const struct merge_event *x = a, *y = b;
	if (x->origin != y->origin)
		return x->origin < y->origin ? -1 : 1;
	return (x->event->serial > y->event->serial) - (x->event->serial < y->event->serial);
}

static int merge_compare_time(const void *a, const void *b) {
	const struct merge_event *x = a, *y = b;
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return merge_compare_serial(a, b);
}

/* A clock that was set back must not turn the order of a node's events around. */
static void merge_raise_times(struct merge_event *at, size_t n) {
	for (size_t i = 1; i < n; i++)
		if (at[i].origin == at[i - 1].origin && at[i].time < at[i - 1].time)
			at[i].time = at[i - 1].time;
}

static bool merge_is_about_same(const struct merge_event *a, const struct merge_event *b) {
	return strcmp(a->event->node, b->event->node) == 0 && strcmp(a->event->model, b->event->model) == 0;
}

static bool merge_is_same(const struct merge_event *a, const struct merge_event *b) {
	return strcmp(a->event->kind, b->event->kind) == 0 && merge_is_about_same(a, b);
}

static bool merge_is_shared(const struct merge_event *a) {
	return journal_kind_is_shared(journal_kind_find(a->event->kind));
}

/* Whether b ends what a is about: "gamma is back" after "gamma was lost". */
static bool merge_is_other(const struct merge_event *a, const struct merge_event *b) {
	return merge_is_shared(b) && merge_is_about_same(a, b) && !merge_is_same(a, b);
}

/* Whether the event at i, or one that was folded into it, is of this node. */
static bool merge_has_origin(const struct merge_event *at, size_t i, size_t end, unsigned origin) {
	for (size_t k = i; k < end; k++)
		if (at[k].into == i && at[k].origin == origin)
			return true;
	return false;
}

/* The latest event before i that it is a repetition of; i if none. */
static size_t merge_find(const struct merge_event *at, size_t i) {
	size_t least = i > EVENT_MERGE_BACK ? i - EVENT_MERGE_BACK : 0;
	if (!merge_is_shared(&at[i]))
		return i;
	for (size_t k = i; k-- > least && at[i].time - at[k].time <= EVENT_MERGE_SECONDS;) {
		if (merge_is_other(&at[i], &at[k]))
			return i;
		if (at[k].into == k && merge_is_same(&at[k], &at[i]) &&
		        !merge_has_origin(at, k, i, at[i].origin))
			return k;
	}
	return i;
}

void event_merge(struct merge_event *at, size_t n) {
	if (n == 0)
		return;
	qsort(at, n, sizeof *at, merge_compare_serial);
	merge_raise_times(at, n);
	qsort(at, n, sizeof *at, merge_compare_time);
	for (size_t i = 0; i < n; i++)
		at[i].into = merge_find(at, i);
}
