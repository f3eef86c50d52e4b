/* crossing: see crossing.h. */
#include "daemon/api/crossing.h"
#include "daemon/core/log.h"

static void crossing_free(void *arg) {
	struct crossing *x = arg;
	x->destroy(x);
}

static void crossing_begin(void *arg) {
	struct crossing *x = arg;
	if (!x->all->http)
		return; /* its end is in the mailbox already */
	x->begun = true;
	LIST_INSERT_HEAD(&x->all->begun, x, next);
	x->begin(x);
}

static void crossing_end(void *arg) {
	struct crossing *x = arg;
	if (x->begun) {
		LIST_REMOVE(x, next);
		x->cancel(x);
	}
	if (!x->all->http)
		x->destroy(x);
	else if (loop_post(x->all->http, crossing_free, x) != 0)
		log_line(LOG_LINE_ERROR, "out of memory: a request over HTTP is never freed");
}

int crossing_start(struct crossing *x, struct crossings *cs) {
	x->all = cs;
	return loop_post(cs->loop, crossing_begin, x);
}

void crossing_release(struct crossing *x) {
	x->released = true;
	if (loop_post(x->all->loop, crossing_end, x) != 0)
		log_line(LOG_LINE_ERROR, "out of memory: a request over HTTP cannot be cancelled");
}

void crossings_init(struct crossings *cs, struct loop *loop) {
	*cs = (struct crossings){.loop = loop};
	LIST_INIT(&cs->begun);
}

void crossings_end(struct crossings *cs) {
	cs->http = NULL;
	for (struct crossing *x; (x = LIST_FIRST(&cs->begun));) {
		LIST_REMOVE(x, next);
		x->begun = false;
		x->cancel(x);
	}
}
