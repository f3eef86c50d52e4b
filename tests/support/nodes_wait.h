/* nodes_wait: the one loop of the nodes of a test, and waiting on it. */
#ifndef TESTS_SUPPORT_NODES_WAIT_H
#define TESTS_SUPPORT_NODES_WAIT_H
#include "daemon/core/loop.h"
#include <stdbool.h>

extern struct loop *loop; /* whoever sets the nodes up makes it */

/* Runs the loop until cond, which is asked every millisecond or two; false: it took several times longer. */
bool nodes_wait(bool (*cond)(void *arg), void *arg, unsigned ms);
bool nodes_until(bool (*cond)(void), unsigned ms);
void nodes_run(unsigned ms);

#endif
