/* advice: a plan for people: which layers go where, how fast it will be, what is missing.
 *
 * Owns: the conversion of a plan to a CtlAdvice, for a daemon and its cluster, and for the command with described machines.
 * Times are given only when every node that may take part has been measured.
 * Threads: any; pure. */
#ifndef DAEMON_PLAN_ADVICE_H
#define DAEMON_PLAN_ADVICE_H
#include "daemon/plan/planner.h"

struct advice;

/* model: its name.  0, also when the model does not fit (the advice says so); a negative errno with a sentence in err for
 * input that cannot be planned at all. */
int advice_create(
        struct advice **out, const struct planner_input *in, const char *model, char *err, size_t errlen);
/* The advice for a plan that was made with this input, without a new search.  0 or -ENOMEM. */
int advice_of_plan(struct advice **out, const struct planner_input *in, const struct planner_plan *plan,
        const char *model);
void advice_destroy(struct advice *a); /* NULL allowed */
const Caravan__CtlAdvice *advice_message(const struct advice *a);

/* Whether every node that may take part has a rate for every weight type of the model.  Otherwise no times are predicted. */
bool advice_measured(const struct planner_input *in);

/* Tokens per second of this many streams together, with one row per step; with several rows it is faster.  0: not predicted. */
double advice_rate(double seconds, double slowest, uint32_t streams);

#endif
