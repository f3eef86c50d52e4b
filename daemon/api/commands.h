/* commands: implements the commands of the control socket: a table with a function for each.
 * Owns: the state of a command while it runs.  Threads: the loop. */
#ifndef DAEMON_API_COMMANDS_H
#define DAEMON_API_COMMANDS_H
#include "daemon/api/control.h"

/* Runs a validated command; it ends with control_end or control_error, now or later. */
void commands_run(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len);

/* Frees the commands that got no answer; call when everything that could answer them has been destroyed. */
void commands_end(void);

#endif
