/* work: what this node does for models that are being loaded or copied, as its state lists it for all nodes.
 * Threads: the loop. */
#include "daemon/deploy/deploy_internal.h"
#include "daemon/deploy/load.h"

static void work_add(
        struct deploy *d, Caravan__NodeState *out, const char *model, const Caravan__WorkState *w) {
	if (out->n_work == WIRE_WORK_MAX)
		return;
	d->work[out->n_work] = *w;
	d->work[out->n_work].model = wire_string(model);
	d->work_at[out->n_work] = &d->work[out->n_work];
	out->n_work++;
}

/* A load of ours that has no stages yet: reading and hashing its file, and planning. */
static bool work_of_load(struct load *l, Caravan__WorkState *w) {
	if (l->advises || l->state == LOAD_ENDED || l->nparts)
		return false;
	w->what = l->at;
	w->total = atomic_load(&l->size);
	w->done = atomic_load(&l->hashed);
	return true;
}

void deploy_work(struct deploy *d, Caravan__NodeState *out) {
	Caravan__WorkState w = CARAVAN__WORK_STATE__INIT;
	struct load *l;
	out->work = d->work_at;
	out->n_work = 0;
	TAILQ_FOREACH(l, &d->loads, next)
	if (work_of_load(l, &w))
		work_add(d, out, l->name, &w);
	for (size_t i = 0; i < d->models; i++) {
		const struct model *m = d->model[i];
		if (participant_work(m, &w))
			work_add(d, out, m->plan->model, &w);
		if (replica_work(m, &w))
			work_add(d, out, m->plan->model, &w);
	}
}
