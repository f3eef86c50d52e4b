/* advice: tells what a plan would be, to people and to programs. */
#ifndef CLI_ADVICE_H
#define CLI_ADVICE_H
#include "proto/wire.h"

/* Prints it; EXIT_OK, or EXIT_FAILED after saying in one line how much is missing.  draft: of the smaller model that runs
 * beside it on the coordinator, or NULL.  described: the times come from what somebody wrote of machines, not from
 * measurements. */
int advice_print(const Caravan__CtlAdvice *a, const Caravan__CtlAdvice *draft, bool described);
int advice_print_json(const Caravan__CtlAdvice *a, const Caravan__CtlAdvice *draft, bool described);

/* Bytes of memory that all of it takes on the nodes together. */
uint64_t advice_needs(const Caravan__CtlAdvice *a);

#endif
