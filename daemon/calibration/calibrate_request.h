/* calibrate_request: measures a node on request, this one or another: the command `caravan measure`.
 *
 * Owns: requests that were sent and that were received, until they are answered.  A node answers Measure with
 * Progress while it measures or waits until it is idle, then with Measured or Refused.
 * Invariants: a member's request costs at most one run, and all requests that wait for a run share it.  The number
 * of waiting requests is bounded.
 * Threads: the loop. */
#ifndef DAEMON_CALIBRATION_CALIBRATE_REQUEST_H
#define DAEMON_CALIBRATION_CALIBRATE_REQUEST_H
#include "daemon/calibration/calibrate.h"
#include "daemon/members/members.h"

struct calibrate_requests;

/* m: borrowed, and stopped before the requests are destroyed; NULL: this node does not measure. */
int calibrate_requests_create(
        struct calibrate_requests **out, struct loop *l, struct members *members, struct calibration *m);
void calibrate_requests_destroy(
        struct calibrate_requests *k); /* NULL allowed; before members; without answers */

struct calibrate_request {
	void (*note)(void *arg, const char *text); /* what the request waits for, whenever that changes */
	/* Once: what the node measured, or a sentence.  Both are borrowed for the call. */
	void (*done)(void *arg, const char *node, const Caravan__NodeState *state, const char *error);
	void *arg;
};

/* node: a name or an id, or "" for this one.  0, or a negative errno with a sentence in err; done is not called then. */
int calibrate_request(struct calibrate_requests *k, const char *node, const struct calibrate_request *ask,
        char *err, size_t errlen);

#endif
