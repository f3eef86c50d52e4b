/* machines: descriptions of machines, for planning without a cluster.
 *
 * Owns: the format (caravan.1, "DESCRIPTIONS OF MACHINES") and the parsed machines.  One machine a line,
 *     NAME memory=12G bandwidth=20GB/s [TYPE=18GB/s]... [disk=2GB/s] [space=200G] [threads=4] [link=1Gbit/s] [round-trip=0.4ms] [count=N]
 * with comments after #.
 * Threads: any; pure. */
#ifndef DAEMON_PLAN_MACHINES_H
#define DAEMON_PLAN_MACHINES_H
#include "daemon/plan/planner.h"

struct machine {
	char name[WIRE_NAME_MAX + 1];
	uint64_t memory;
	double rate[KERN_TYPES]; /* bytes a second; 0: not given */
	double disk;             /* bytes a second; 0: not given */
	uint64_t space;          /* bytes of disk for models; 0: not given */
	double link, round_trip; /* bytes a second, seconds */
	unsigned threads;
};

struct machines {
	struct machine *machine; /* owned */
	size_t count;
};

/* Adds the machines of a text; file: for messages.  0, -EINVAL with a sentence in err that begins with FILE:LINE:, or
 * -ENOMEM.  *m must be cleared in any case. */
int machines_parse(
        struct machines *m, const char *text, size_t len, const char *file, char *err, size_t errlen);
void machines_clear(struct machines *m);

/* A machine as planner input, for a model of this width; name is borrowed. */
struct planner_node machines_node(const struct machine *m, uint32_t dim);

#endif
