/* compute: see compute.h.  hwloc counts the physical cores; threads are not pinned, since several daemons may
 * share a machine. */
#include "daemon/serve/stage/compute.h"
#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPUTE_THREADS_MAX 256
#define BUSY_MS \
	250 /* still busy for this long after a job: the next token is on its way through the other stages */

struct compute {
	struct loop *loop;
	struct team *team;
	struct executor *thread;
	uint64_t last_ns; /* when a job was last submitted */
};

/* Cores that this process may use; a cgroup or an affinity mask may allow fewer than there are. */
static unsigned compute_count_cores(void) {
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
	return cores < 1 ? 1 : cores > COMPUTE_THREADS_MAX ? COMPUTE_THREADS_MAX : (unsigned)cores;
}

int compute_create(struct compute **out, struct loop *l, unsigned threads, char *err, size_t errlen) {
	struct compute *w = calloc(1, sizeof *w);
	int rc = w ? 0 : -ENOMEM;
	if (rc == 0) {
		w->loop = l;
		rc = team_create(&w->team, threads ? threads : compute_count_cores(), NULL);
	}
	if (rc == 0)
		rc = executor_create(&w->thread, l);
	if (rc != 0) {
		snprintf(err, errlen, "cannot start the compute threads: %s", strerror(-rc));
		compute_destroy(w);
		return rc;
	}
	*out = w;
	return 0;
}

void compute_destroy(struct compute *c) {
	if (!c)
		return;
	executor_destroy(c->thread);
	team_destroy(c->team);
	free(c);
}

struct team *compute_team(struct compute *c) {
	return c->team;
}

struct loop *compute_loop(struct compute *c) {
	return c->loop;
}

unsigned compute_threads(const struct compute *c) {
	return team_size(c->team);
}

int compute_submit(struct compute *c, loop_fn *run, executor_done_fn *done, void *arg) {
	c->last_ns = loop_now_ns();
	return executor_submit(c->thread, run, done, arg);
}

bool compute_busy(const struct compute *c) {
	return executor_open(c->thread) > 0 ||
	       (c->last_ns && loop_now_ns() - c->last_ns < BUSY_MS * 1000000ull);
}

uint64_t compute_idle_ns(const struct compute *c) {
	return executor_open(c->thread) > 0 ? 0 : loop_now_ns() - c->last_ns;
}
