/* report: collects the state of the whole cluster as this node knows it, for `caravan status` and GET /v1/cluster;
 * daemon/report/report.h puts it together.
 * Owns nothing.  Threads: the loop. */
#ifndef DAEMON_API_REPORT_H
#define DAEMON_API_REPORT_H
#include "daemon/api/control.h"

/* Calls emit with a CtlReport for each node, model and problem, which together are the report; valid for the call. */
typedef void report_emit_fn(void *arg, Caravan__Envelope *env);
void report_collect(struct serve *s, report_emit_fn *emit, void *arg);

/* Sends the models that are on disks or loaded, for `caravan models`: one CtlModel each. */
void report_stored(struct control_conn *c, const struct deploy_stored *model, size_t count);

#endif
