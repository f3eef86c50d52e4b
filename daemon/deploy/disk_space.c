/* disk_space: how much disk space there is for models, for heartbeats and plans.  It is updated
 * periodically, because that walks the whole store.
 *
 * Threads: the loop, except where a comment says reader. */
#include "daemon/deploy/deploy_internal.h"

#include <stdlib.h>

#define AGAIN_MS 5000

struct disk_space_job {
	struct deploy *d;
	struct store_space space;
	int rc;
};

/* Reader. */
static void disk_space_run(void *arg) {
	struct disk_space_job *r = arg;
	r->rc = store_space(r->d->c.store, NULL, 0, &r->space);
}

static void disk_space_take(struct deploy *d, const struct store_space *now) {
	bool was = d->disk_full;
	d->disk_space = *now;
	/* not again and again when it is about full */
	d->disk_full = now->free < (was ? 2 : 1) * (uint64_t)DEPLOY_DISK_LOW;
	if (d->disk_full && !was)
		deploy_say(d, EVENT_DISK_FULL, LOG_LINE_WARN, NULL, "%s has no space left for more weights",
		        members_self(d->c.members)->name);
}

static void disk_space_done(void *arg, bool cancelled) {
	struct disk_space_job *r = arg;
	r->d->disk_space_pending = false;
	if (!cancelled && r->rc == 0)
		disk_space_take(r->d, &r->space);
	free(r);
}

void disk_space_tick(struct deploy *d) {
	uint64_t now = loop_now_ns();
	struct disk_space_job *r;
	if (d->disk_space_pending || now - d->disk_space_ns < AGAIN_MS * 1000000ull ||
	        !(r = calloc(1, sizeof *r)))
		return;
	d->disk_space_ns = now;
	r->d = d;
	d->disk_space_pending =
	        executor_submit(transfer_reader(d->transfer), disk_space_run, disk_space_done, r) == 0;
	if (!d->disk_space_pending)
		free(r);
}

int disk_space_init(struct deploy *d) {
	d->disk_space_ns = loop_now_ns();
	return store_space(d->c.store, NULL, 0, &d->disk_space); /* at start, blocking is allowed */
}

void deploy_disk(const struct deploy *d, Caravan__NodeState *out) {
	out->disk_free = d->disk_space.free;
	out->disk_size = d->disk_space.filesystem;
	out->store_bytes = d->disk_space.bytes;
	out->cache = d->c.cache;
}
