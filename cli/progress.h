/* progress: a bar on a terminal for long work (whose, which step, how much, rate, time left), nothing on a pipe.
 * Owns: the last line of standard error while a bar is there. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H
#include "proto/wire.h"

void progress_show(const Caravan__CtlProgress *p);
void progress_clear(void); /* removes the bar */

/* What one line says.  Rate: of bytes, or tokens, a second; 0 while there is nothing to tell it from. */
struct progress_line {
	const char *what, *node; /* the step; who does it, or "" */
	size_t nodes;            /* that do it at the same time */
	double done, total, rate;
	bool tokens; /* what is counted; else bytes */
};

/* One line of fewer than `columns` columns: what does not fit is left out, the bar first.  Pure. */
void progress_text(char *out, size_t size, unsigned columns, const struct progress_line *l);

#endif
