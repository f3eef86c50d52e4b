/* waiting: what an answer that does not come waits for.  Pure. */
#ifndef CLI_WAITING_H
#define CLI_WAITING_H
#include "common/size.h"
#include "daemon/report/report.h"
#include <stdbool.h>

#define WAITING_SILENT_S 2 /* what is not said before: a heartbeat comes twice a second */

/* What keeps this model (empty: the only one) from going on, as the cluster reports it: "node pi has been silent for 4 s".  false:
 * nothing that is known. */
bool waiting_trouble(char *out, size_t size, const struct report *r, const char *model);

/* The state of a node: "up", "down"; "silent 5 s" before it is given up. */
struct size_text waiting_state(const Caravan__ReportNode *n);

/* What a node that is up loads or copies, one after the other from 0: "kitchen is fetching neu: 40% of 2.04 GiB".  false: nothing more. */
struct waiting_text {
	char s[256];
};
bool waiting_work(struct waiting_text *out, const Caravan__ReportNode *n, size_t i);

#endif
