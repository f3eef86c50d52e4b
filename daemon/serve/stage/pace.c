/* pace: see pace.h. */
#include "daemon/serve/stage/pace.h"

#include <stdlib.h>
#include <string.h>

void pace_add(struct pace *p, uint64_t now_ns, double seconds) {
	p->seconds += seconds;
	if (++p->rows < PACE_ROWS)
		return;
	p->window[p->windows++ % PACE_WINDOWS] = p->seconds / p->rows;
	p->seconds = 0;
	p->rows = 0;
	p->closed_ns = now_ns;
}

double pace_lately(const struct pace *p, uint64_t now_ns) {
	if (p->windows == 0 || (double)(now_ns - p->closed_ns) > PACE_LATELY)
		return 0;
	return p->window[(p->windows - 1) % PACE_WINDOWS];
}

static int pace_compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double pace_usual(const struct pace *p) {
	double v[PACE_WINDOWS];
	size_t n = p->windows < PACE_WINDOWS ? p->windows : PACE_WINDOWS;
	if (n < PACE_LEAST)
		return 0;
	memcpy(v, p->window, n * sizeof *v);
	qsort(v, n, sizeof *v, pace_compare);
	return v[n / 2];
}
