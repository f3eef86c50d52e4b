/* advice: a plan as something that people can decide by: what goes where, how quick it will be, what is missing.
 *
 * Owns: the one way from the planner's numbers to a CtlAdvice, whoever asks: a daemon for its cluster, or the command
 * for machines that somebody described.  Times are there only when every node that may take part has been measured.
 * Threads: any; pure. */
#ifndef DAEMON_PLAN_ADVICE_H
#define DAEMON_PLAN_ADVICE_H
#include "daemon/plan/planner.h"

struct advice;

/* model: what it is called.  0, also when it does not fit, which the advice then says; or a negative errno with a
 * sentence in err for what cannot be planned at all. */
int advice_create(
        struct advice **out, const struct planner_input *in, const char *model, char *err, size_t errlen);
/* Of a plan that was made with this input: what goes where and how quick it will be; nothing is searched for.  0 or -ENOMEM. */
int advice_of_plan(struct advice **out, const struct planner_input *in, const struct planner_plan *plan,
        const char *model);
void advice_destroy(struct advice *a); /* NULL allowed */
const Caravan__CtlAdvice *advice_message(const struct advice *a);

/* Whether every node that may take part has a rate for every weight type of the model: without, predictions of time
 * would be guesses, and are not made. */
bool advice_measured(const struct planner_input *in);

/* Tokens a second of so many streams together, when each waits its turn and a step carries one row: rows that share a
 * step are quicker.  0 when nothing is predicted. */
double advice_rate(double seconds, double slowest, uint32_t streams);

#endif
