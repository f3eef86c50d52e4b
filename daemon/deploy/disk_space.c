/* disk_space: how much disk there is for models, for heartbeats and plans: looked at now and then, since a look goes through
 * the whole store.
 *
 * Threads: the loop, but for what says reader. */
#include "daemon/deploy/deploy_internal.h"

#include <stdlib.h>

#define AGAIN_MS 5000

struct room_look {
	struct deploy *d;
	struct store_room room;
	int rc;
};

/* Reader. */
static void room_run(void *arg) {
	struct room_look *r = arg;
	r->rc = store_room(r->d->c.store, NULL, 0, &r->room);
}

static void room_done(void *arg, bool cancelled) {
	struct room_look *r = arg;
	r->d->room_looks = false;
	if (!cancelled && r->rc == 0)
		r->d->room = r->room;
	free(r);
}

void room_tick(struct deploy *d) {
	uint64_t now = loop_now_ns();
	struct room_look *r;
	if (d->room_looks || now - d->room_ns < AGAIN_MS * 1000000ull || !(r = calloc(1, sizeof *r)))
		return;
	d->room_ns = now;
	r->d = d;
	d->room_looks = executor_submit(transfer_reader(d->transfer), room_run, room_done, r) == 0;
	if (!d->room_looks)
		free(r);
}

int room_init(struct deploy *d) {
	d->room_ns = loop_now_ns();
	return store_room(d->c.store, NULL, 0, &d->room); /* before there is anybody to keep waiting */
}

void deploy_disk(const struct deploy *d, Caravan__NodeState *out) {
	out->disk_free = d->room.free;
	out->disk_size = d->room.filesystem;
	out->store_bytes = d->room.bytes;
	out->cache = d->c.cache;
}
