/* leave: how a node leaves its cluster, or continues after it was expelled.
 *
 * First the state directory gets a new key.  Once that is on disk the node is a different one, whatever
 * happens next, since a roster without its own entry counts as empty.  Then the other nodes get the
 * tombstone, and the daemon must end.  The content on its disk stays: the next daemon with this directory
 * finds it.
 * Threads: the loop, except leave_renew_run, which runs on the executor. */
#include "config.h"

#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/members/members_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAREWELL_MS 400 /* for the tombstone to reach the others */

static void leave_end(struct members *m, const char *error) {
	members_done_fn *done = m->leave.done;
	void *arg = m->leave.arg;
	m->leave.done = NULL;
	done(arg, error);
}

static void leave_farewell(void *arg) {
	struct members *m = arg;
	m->leave.farewell = NULL;
	leave_end(m, NULL);
}

static void leave_renew_run(void *arg) {
	struct members *m = arg;
	m->leave.rc = keys_renew(m->state_dir, m->leave.err, sizeof m->leave.err);
}

static void leave_renew_done(void *arg, bool cancelled) {
	struct members *m = arg;
	struct member *self = members_own(m);
	if (cancelled || m->leave.rc) {
		leave_end(m, cancelled ? "the daemon ends" : m->leave.err);
		return;
	}
	m->save.gone = true;
	log_line(LOG_LINE_INFO,
	        "this node leaves its cluster: from its next start it has a new key and is a different node");
	bool member = !self->expelled && roster_others(&m->roster) > 0;
	if (member) {
		roster_edit(&m->roster, &self->id, self->name, NULL, 0, true, 0);
		members_send_roster(m, NULL);
		members_notify(m, self, MEMBER_LEFT);
	}
	m->leave.farewell =
	        member ? loop_timer_start(m->config.loop, FAREWELL_MS, false, leave_farewell, m) : NULL;
	if (!m->leave.farewell)
		leave_end(m, NULL);
}

int members_leave(struct members *m, members_done_fn *done, void *arg, char *err, size_t errlen) {
	if (!m->state_dir)
		return fail_with(-ENOTSUP, err, errlen,
		        "this daemon has no state folder, so it belongs to no cluster");
	if (m->leave.done || m->join.done || m->save.gone)
		return fail_with(-EBUSY, err, errlen, "this node is already %s a cluster",
		        m->join.done ? "joining" : "leaving");
	m->leave.done = done;
	m->leave.arg = arg;
	int rc = executor_submit(m->save.executor, leave_renew_run, leave_renew_done, m);
	if (rc) {
		m->leave.done = NULL;
		snprintf(err, errlen, "cannot leave: %s", strerror(-rc));
	}
	return rc;
}

void members_leave_end(struct members *m) {
	loop_timer_stop(m->leave.farewell);
	m->leave.farewell = NULL;
}
