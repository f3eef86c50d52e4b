/* compute: see compute.h.  hwloc tells how many physical cores there are; nothing is pinned, since several
 * daemons may share a machine. */
#include "daemon/serve/stage/compute.h"
#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKER_THREADS_MAX 256
#define BUSY_MS 250 /* after a job: the next token of a stream is on its way through the other stages */

struct worker {
	struct loop *loop;
	struct team *team;
	struct executor *lane;
	uint64_t last_ns; /* a job was submitted */
};

/* Cores that this process may use (a cgroup or an affinity mask may leave it fewer than there are). */
static unsigned physical_cores(void) {
	hwloc_topology_t topo;
	hwloc_bitmap_t mask = hwloc_bitmap_alloc();
	int cores = 0;
	if (mask && hwloc_topology_init(&topo) == 0) {
		if (hwloc_topology_load(topo) == 0 &&
		        hwloc_get_cpubind(topo, mask, HWLOC_CPUBIND_PROCESS) == 0)
			cores = hwloc_get_nbobjs_inside_cpuset_by_type(topo, mask, HWLOC_OBJ_CORE);
		hwloc_topology_destroy(topo);
	}
	hwloc_bitmap_free(mask);
	return cores < 1 ? 1 : cores > WORKER_THREADS_MAX ? WORKER_THREADS_MAX : (unsigned)cores;
}

int worker_create(struct worker **out, struct loop *l, unsigned threads, char *err, size_t errlen) {
	struct worker *w = calloc(1, sizeof *w);
	int rc = w ? 0 : -ENOMEM;
	if (rc == 0) {
		w->loop = l;
		rc = team_create(&w->team, threads ? threads : physical_cores(), NULL);
	}
	if (rc == 0)
		rc = executor_create(&w->lane, l);
	if (rc != 0) {
		snprintf(err, errlen, "cannot start the compute threads: %s", strerror(-rc));
		worker_destroy(w);
		return rc;
	}
	*out = w;
	return 0;
}

void worker_destroy(struct worker *w) {
	if (!w)
		return;
	executor_destroy(w->lane);
	team_destroy(w->team);
	free(w);
}

struct team *worker_team(struct worker *w) {
	return w->team;
}

struct loop *worker_loop(struct worker *w) {
	return w->loop;
}

unsigned worker_threads(const struct worker *w) {
	return team_size(w->team);
}

int worker_submit(struct worker *w, loop_fn *run, executor_done_fn *done, void *arg) {
	w->last_ns = loop_now_ns();
	return executor_submit(w->lane, run, done, arg);
}

bool worker_busy(const struct worker *w) {
	return executor_open(w->lane) > 0 ||
	       (w->last_ns && loop_now_ns() - w->last_ns < BUSY_MS * 1000000ull);
}

uint64_t worker_idle_ns(const struct worker *w) {
	return executor_open(w->lane) > 0 ? 0 : loop_now_ns() - w->last_ns;
}
