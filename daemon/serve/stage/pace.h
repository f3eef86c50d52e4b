/* pace: how long a stage takes per row in steps of one row: recently, and usually.
 * Owns nothing; a plain value.  Threads: the owner's. */
#ifndef DAEMON_SERVE_STAGE_PACE_H
#define DAEMON_SERVE_STAGE_PACE_H
#include <stdint.h>

#define PACE_ROWS 8      /* rows per window */
#define PACE_WINDOWS 256 /* their median is the usual pace: enough that a slow spell is not soon usual */
#define PACE_LEAST 8     /* windows needed before there is a usual pace */
#define PACE_LATELY 60e9 /* nanoseconds */

struct pace {
	double window[PACE_WINDOWS]; /* seconds per row, a ring */
	unsigned windows;            /* ever */
	double seconds;              /* sum of the open window */
	unsigned rows;
	uint64_t closed_ns; /* end of the last one */
};

void pace_add(struct pace *p, uint64_t now_ns, double seconds);
double pace_lately(const struct pace *p, uint64_t now_ns); /* seconds per row; 0: nothing recently */
double pace_usual(const struct pace *p);                   /* the median; 0: too few windows */

#endif
