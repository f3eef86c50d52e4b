/* report: asks a daemon for its report of the cluster (daemon/report/report.h), and prints it as JSON. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H
#include "cli/args.h"
#include "cli/client.h"
#include "daemon/report/report.h"

/* Asks the daemon of a.  0, or EXIT_FAILED after reporting the error. */
int report_fetch(struct report *r, const struct args *a);
/* Asks over this connection. */
int report_fetch_from(struct report *r, struct client *c);

/* Prints it as JSON.  Returns an exit status. */
int report_print_json(const struct report *r);

#endif
