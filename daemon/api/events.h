/* events: the command `caravan events`: what happened in the cluster, and what happens from now on.
 * Threads: the loop. */
#ifndef DAEMON_API_EVENTS_H
#define DAEMON_API_EVENTS_H
#include "daemon/api/control.h"

void events_run(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len);

#endif
