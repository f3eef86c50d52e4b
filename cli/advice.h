/* advice: prints a plan and its predictions, for people or as JSON. */
#ifndef CLI_ADVICE_H
#define CLI_ADVICE_H
#include "proto/wire.h"

/* Prints it; EXIT_OK, or EXIT_FAILED after reporting in one line how much is missing.  draft: the advice for the smaller
 * model on the coordinator, or NULL.  described: times follow from descriptions of machines, not from measurements. */
int advice_print(const Caravan__CtlAdvice *a, const Caravan__CtlAdvice *draft, bool described);
int advice_print_json(const Caravan__CtlAdvice *a, const Caravan__CtlAdvice *draft, bool described);

/* Prints the plan that a load has chosen, in a few lines on standard error. */
void advice_print_chosen(const Caravan__CtlAdvice *a);

struct advice_speed {
	char s[80];
};
/* "0.62 tokens/s (0.55 to 0.66)" from seconds per token; low and high 0: unknown. */
struct advice_speed advice_speed(double seconds, double low, double high);

/* Bytes of memory used on all nodes together. */
uint64_t advice_needs(const Caravan__CtlAdvice *a);

#endif
