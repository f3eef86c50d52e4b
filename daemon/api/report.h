/* report: the state of the whole cluster as this node knows it, for `caravan status`.
 * Owns nothing.  Threads: the loop. */
#ifndef DAEMON_API_REPORT_H
#define DAEMON_API_REPORT_H
#include "daemon/api/control.h"

/* Sends CtlReports, one a node and one a model, to be taken together. */
void report_send(struct control_conn *c);

#endif
