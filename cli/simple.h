/* simple: subcommands that send one message and take what comes until its end.
 * Owns nothing. */
#ifndef CLI_SIMPLE_H
#define CLI_SIMPLE_H
#include "cli/args.h"
#include "cli/client.h"
#include <jansson.h>

/* Connects to the daemon of a, sends env, waits.  An exit status, after saying what went wrong. */
int simple_run(const struct args *a, const Caravan__Envelope *env);

/* The same, and fn (NULL: nobody) gets each answer. */
int simple_ask(const struct args *a, const Caravan__Envelope *env, client_answer_fn *fn, void *arg);

/* Prints a JSON object on standard output and releases it.  o NULL: no memory.  An exit status. */
int simple_json(json_t *o);

/* Asks on a terminal whether to go on; where standard input is none, nobody is there to be asked, and the answer is yes. */
bool simple_confirm(const char *question);

#endif
