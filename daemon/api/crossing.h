/* crossing: something that the HTTP thread begins and the loop works at: what both threads share of it.
 *
 * Each side has fields of its own, and they only post messages to each other.  The loop gets one message at the
 * beginning and one at the end, when the HTTP side is done with it: then what still runs is cancelled.  In answer
 * to that last message the HTTP thread gets the one that frees it.  Messages of one thread stay in order, so neither
 * side ever sees what the other has freed.
 * Threads: see each function. */
#ifndef DAEMON_API_CROSSING_H
#define DAEMON_API_CROSSING_H
#include "daemon/core/loop.h"
#include <sys/queue.h>

struct crossing {
	struct crossings *all;
	void (*begin)(struct crossing *x);  /* loop */
	void (*cancel)(struct crossing *x); /* loop: posts no event after this; may be called again */
	void (*destroy)(
	        struct crossing *x); /* HTTP thread, or the loop when there is no such thread any more */
	/* the HTTP thread's */
	bool released;
	/* the loop's */
	bool begun;
	LIST_ENTRY(crossing) next;
};

struct crossings {
	struct loop *loop;
	struct loop *http; /* the loop's: NULL: not started yet, or ended */
	LIST_HEAD(, crossing) begun;
};

/* Loop.  Before http is set, the HTTP thread has nothing to begin. */
void crossings_init(struct crossings *cs, struct loop *loop);
/* Loop; the HTTP thread has ended, and posted its last message: cancels what has begun.  The memory of cs is needed until
 * a message that is posted to the loop after this. */
void crossings_end(struct crossings *cs);

/* HTTP thread.  0 or -ENOMEM. */
int crossing_start(struct crossing *x, struct crossings *cs);
/* HTTP thread; once: no event is delivered any more. */
void crossing_release(struct crossing *x);

#endif
