/* plan: copies of plans, for those who keep one beyond the message that brought it.
 * Pure; any thread. */
#ifndef PROTO_PLAN_H
#define PROTO_PLAN_H
#include "proto/wire.h"

Caravan__Plan *plan_copy(const Caravan__Plan *p); /* NULL: no memory */
void plan_free(Caravan__Plan *p);                 /* NULL allowed */

#endif
