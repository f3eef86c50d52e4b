/* report: the state of the whole cluster as this node knows it, for `caravan status`.
 * Owns nothing.  Threads: the loop. */
#ifndef DAEMON_API_REPORT_H
#define DAEMON_API_REPORT_H
#include "daemon/api/control.h"

/* Sends CtlReports, one for each node, model and problem, which together are the report. */
void report_send(struct control_conn *c);

/* Sends the models that are on disks or loaded, for `caravan models`: one CtlModel each. */
void report_stored(struct control_conn *c, const struct deploy_stored *model, size_t count);

/* Sends a problem.  kind: for programs, lower case and '-'; subject: the name of a node or model; advice: a
 * sentence that says what to do, or ""; fmt...: a sentence that says what is wrong.  healthy: of the whole
 * report. */
void report_problem(struct control_conn *c, bool healthy, const char *kind, const char *subject,
        const char *advice, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#endif
