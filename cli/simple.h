/* simple: subcommands that send one message and read answers until the end.
 * Owns nothing. */
#ifndef CLI_SIMPLE_H
#define CLI_SIMPLE_H
#include "cli/args.h"
#include "cli/client.h"
#include <jansson.h>

/* Connects to the daemon of a, sends env, waits.  Returns an exit status, after reporting any error. */
int simple_run(const struct args *a, const Caravan__Envelope *env);

/* The same; fn (may be NULL) gets each answer. */
int simple_ask(const struct args *a, const Caravan__Envelope *env, client_answer_fn *fn, void *arg);

/* Prints a JSON object on standard output and releases it.  o NULL: out of memory.  Returns an exit status. */
int simple_json(json_t *o);

/* Asks on a terminal whether to continue; yes if standard input is not a terminal. */
bool simple_confirm(const char *question);

#endif
