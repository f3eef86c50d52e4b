/* lend: streams that this node keeps, for other nodes whose clients take them up (relay.h).
 *
 * Owns: the readers of other nodes.  Each crosses from the loop, where its messages arrive, to the HTTP thread, where the
 * streams are kept, the other way round than a crossing: the loop posts what was asked, what was taken and, last, that it is
 * over; the HTTP thread posts bytes and an end, and in answer to that last message the one that frees it.
 * Flow control: no more than the other node's window is under way.  A node that does not read its answers gets an end instead.
 * Threads: lend_create and lend_destroy on the loop. */
#ifndef DAEMON_API_STREAMS_LEND_H
#define DAEMON_API_STREAMS_LEND_H
#include "daemon/api/streams/kept.h"
#include "daemon/members/members.h"

struct lend;

/* All borrowed.  0 or -ENOMEM. */
int lend_create(struct lend **out, struct loop *loop, struct loop *http, struct members *m, struct kept *k);
void lend_destroy(struct lend *l); /* NULL allowed; when the HTTP thread has ended */

#endif
