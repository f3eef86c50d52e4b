/* pace: how long a stage takes for a row that is a step by itself: lately, and usually.
 * Owns nothing; a plain value.  Threads: whoever owns it. */
#ifndef DAEMON_SERVE_STAGE_PACE_H
#define DAEMON_SERVE_STAGE_PACE_H
#include <stdint.h>

#define PACE_ROWS 8 /* in a window */
#define PACE_WINDOWS \
	256 /* of which the median is what is usual: some thousand rows, so that slow ones are not soon usual */
#define PACE_LEAST 8     /* windows, before anything is usual */
#define PACE_LATELY 60e9 /* nanoseconds */

struct pace {
	double window[PACE_WINDOWS]; /* seconds a row, a ring */
	unsigned windows;            /* ever */
	double seconds;              /* of the window that is open */
	unsigned rows;
	uint64_t closed_ns; /* the last one */
};

void pace_add(struct pace *p, uint64_t now_ns, double seconds);
double pace_lately(const struct pace *p, uint64_t now_ns); /* seconds; 0: nothing was computed lately */
double pace_usual(const struct pace *p);                   /* the median; 0: too little to say */

#endif
