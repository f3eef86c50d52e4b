/* progress: a bar on a terminal for long work (node, step, amount, rate, time left), or a few words; nothing on a pipe.
 * Owns: the line of standard error while it shows them. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H
#include "proto/wire.h"
#include <stdbool.h>

void progress_show(const Caravan__CtlProgress *p);
/* Words in the place of the bar, dimmed or not, as far as the line goes.  below: on the line below the one where the cursor is, which
 * then comes back to its place; the terminal is one that can do that. */
void progress_say(const char *text, bool dim, bool below);
void progress_clear(void); /* removes the bar or the words */
bool progress_standing(void);

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
