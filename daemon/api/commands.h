/* commands: what the commands of the control socket do: a table with a function for each.
 * Owns: the state of a command while it runs.  Threads: the loop. */
#ifndef DAEMON_API_COMMANDS_H
#define DAEMON_API_COMMANDS_H
#include "daemon/api/control.h"

/* Runs a validated command; it ends with control_end or control_error, now or later. */
void commands_run(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len);

/* Lets go of the commands that nobody answered, when all that could has been taken down. */
void commands_end(void);

#endif
