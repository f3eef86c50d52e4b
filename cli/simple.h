/* simple: subcommands that send one message and wait for its end.
 * Owns nothing. */
#ifndef CLI_SIMPLE_H
#define CLI_SIMPLE_H
#include "cli/args.h"
#include "proto/wire.h"

/* Connects to the daemon of a, sends env, waits.  An exit status, after saying what went wrong. */
int simple_run(const struct args *a, const Caravan__Envelope *env);

/* Asks on a terminal whether to go on; where standard input is none, nobody is there to be asked, and the answer is yes. */
bool simple_confirm(const char *question);

#endif
