/* nodes_wait: see nodes_wait.h. */
#include "tests/support/nodes_wait.h"
#include <stddef.h>

#define SLACK \
	4 /* times as long as is said passes before something is given up: a limit only ends what hangs */

struct loop *loop;

static struct {
	bool (*cond)(void *);
	void *arg;
	bool met, late;
} waiting;

static void look(void *arg) {
	(void)arg;
	if (!waiting.cond || !waiting.cond(waiting.arg))
		return;
	waiting.met = true;
	loop_stop(loop);
}

static void late(void *arg) {
	(void)arg;
	waiting.late = true;
	loop_stop(loop);
}

bool nodes_wait(bool (*cond)(void *arg), void *arg, unsigned ms) {
	waiting.cond = cond;
	waiting.arg = arg;
	waiting.met = waiting.late = false;
	struct loop_timer *limit = loop_timer_start(loop, cond ? SLACK * ms : ms, false, late, NULL);
	struct loop_timer *often = loop_timer_start(loop, 2, true, look, NULL);
	while (!waiting.met && !waiting.late)
		loop_run(loop);
	loop_timer_stop(often);
	if (!waiting.late)
		loop_timer_stop(limit);
	return waiting.met;
}

static bool (*plain)(void);

static bool plainly(void *arg) {
	(void)arg;
	return plain();
}

bool nodes_until(bool (*cond)(void), unsigned ms) {
	plain = cond;
	return nodes_wait(plainly, NULL, ms);
}

void nodes_run(unsigned ms) {
	nodes_wait(NULL, NULL, ms);
}
