/* glance: a daemon's report for who can do without: nothing is printed, and it is not waited for long.
 * Owns nothing.  Blocking; the program has one thread. */
#ifndef CLI_GLANCE_H
#define CLI_GLANCE_H
#include "daemon/report/report.h"
#include <stdbool.h>
#include <sys/un.h>

/* The report of the daemon on this socket, as far as it came, for report_clear; false: none came.  ms: for each piece of it. */
bool glance_report(struct report *r, const struct sockaddr_un *at, unsigned ms);

#endif
