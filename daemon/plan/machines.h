/* machines: a description of machines that somebody has or may buy, for planning without a cluster.
 *
 * Owns: the form of the text (caravan.1, "DESCRIPTIONS OF MACHINES") and what is read from it: one machine a line,
 *     NAME memory=12G bandwidth=20GB/s [TYPE=18GB/s]... [disk=2GB/s] [space=200G] [threads=4] [link=1Gbit/s] [round-trip=0.4ms] [count=N]
 * and after a # whatever people want to say.
 * Threads: any; pure. */
#ifndef DAEMON_PLAN_MACHINES_H
#define DAEMON_PLAN_MACHINES_H
#include "daemon/plan/planner.h"

struct machine {
	char name[WIRE_NAME_MAX + 1];
	uint64_t memory;
	double rate[KERN_TYPES]; /* bytes a second; 0: nothing is said of this type or of its bandwidth */
	double disk;             /* the same, of its disk; 0: nothing is said of it */
	uint64_t space;          /* bytes of disk for models; 0: nothing is said of it */
	double link, round_trip; /* bytes a second, seconds */
	unsigned threads;
};

struct machines {
	struct machine *machine; /* owned */
	size_t count;
};

/* Adds what a text says; file: for messages.  0, or -EINVAL with a sentence in err that begins with FILE:LINE:, or
 * -ENOMEM; *m is to be cleared in any case. */
int machines_parse(
        struct machines *m, const char *text, size_t len, const char *file, char *err, size_t errlen);
void machines_clear(struct machines *m);

/* What the planner takes of a machine, for a model of this width; name is borrowed. */
struct planner_node machines_node(const struct machine *m, uint32_t dim);

#endif
