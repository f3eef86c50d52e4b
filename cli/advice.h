/* advice: tells what a plan would be, to people and to programs. */
#ifndef CLI_ADVICE_H
#define CLI_ADVICE_H
#include "proto/wire.h"

/* Prints it; EXIT_OK, or EXIT_FAILED after saying in one line how much is missing.  draft: of the smaller model that runs
 * beside it on the coordinator, or NULL.  described: the times come from what somebody wrote of machines, not from
 * measurements. */
int advice_print(const Caravan__CtlAdvice *a, const Caravan__CtlAdvice *draft, bool described);
int advice_print_json(const Caravan__CtlAdvice *a, const Caravan__CtlAdvice *draft, bool described);

/* What a load has chosen to do, in a few lines on standard error. */
void advice_print_chosen(const Caravan__CtlAdvice *a);

struct advice_speed {
	char s[80];
};
/* "0.62 tokens/s (0.55 to 0.66)" of seconds a token; low and high 0: not known. */
struct advice_speed advice_speed(double seconds, double low, double high);

/* Bytes of memory that all of it takes on the nodes together. */
uint64_t advice_needs(const Caravan__CtlAdvice *a);

#endif
