/* progress: a bar on a terminal for long work (node, step, amount, rate, time left), nothing on a pipe.
 * Owns: the last line of standard error while it shows a bar. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H
#include "proto/wire.h"

void progress_show(const Caravan__CtlProgress *p);
void progress_clear(void); /* removes the bar */

/* The contents of the line.  Rate: bytes, or tokens, per second; 0 while unknown. */
struct progress_line {
	const char *what, *node; /* the step; the node that does it, or "" */
	size_t nodes;            /* nodes that do it at the same time */
	double done, total, rate;
	bool tokens; /* tokens are counted, not bytes */
};

/* Formats one line shorter than `columns`: parts that do not fit are left out, the bar first.  Pure. */
void progress_text(char *out, size_t size, unsigned columns, const struct progress_line *l);

#endif
