/* progress: a bar on a terminal for long work (what, whose, bytes, rate, time left), nothing on a pipe.
 * Owns: the last line of standard error while a bar stands there. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H
#include "proto/wire.h"

void progress_show(const Caravan__CtlProgress *p);
void progress_clear(void); /* takes the bar away */

#endif
