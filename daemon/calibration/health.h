/* health: what is wrong with the machine of a node, by what it reports: heat, power, memory, clock, version; with advice.
 * Owns: the thresholds and the sentences.  Threads: any; pure. */
#ifndef DAEMON_CALIBRATION_HEALTH_H
#define DAEMON_CALIBRATION_HEALTH_H
#include "proto/wire.h"

#define HEALTH_TOO_HOT 95.0 /* degrees Celsius: a processor is at its limit there, whatever the kernel says */
#define HEALTH_MEMORY_SHARE 0.03         /* of the machine's memory: less than this and */
#define HEALTH_MEMORY_LEAST (512u << 20) /* less than this is too little */
#define HEALTH_SWAPPED (64u << 20)       /* bytes */
#define HEALTH_CLOCK_S 30.0
#define HEALTH_COPIES_S 300.0 /* missing copies are a problem only after this time */

/* A problem, as the report has it. */
struct health_problem {
	const char *kind;
	char what[400], advice[400];
};

/* Whether the node's machine is too hot, has too weak a power supply, too little memory, or has swapped the daemon out: each
 * kind for itself.  name: the node's. */
bool health_heat(struct health_problem *out, const Caravan__Machine *machine, const char *name);
bool health_power(struct health_problem *out, const Caravan__Machine *machine, const char *name);
bool health_memory(struct health_problem *out, const Caravan__Machine *machine, const char *name);
bool health_swap(struct health_problem *out, const Caravan__Machine *machine, const char *name);

/* Whether a node's version is older than another one's. */
bool health_version(struct health_problem *out, const Caravan__NodeState *node, const char *name,
        const Caravan__NodeState *other, const char *other_name);

/* Whether a clock is off.  ahead: seconds by which the clocks of n nodes are ahead of any one of them, sorted; own: the node's.
 * It is compared with the median, since most clocks are right. */
bool health_clock(struct health_problem *out, const double *ahead, size_t n, double own, const char *name);

/* A model that was loaded over more nodes than it runs on now.  down: those that are, such as "gamma is down", or empty; all: the
 * nodes that it was loaded over, with commas between; empty: too many to list. */
bool health_fewer_nodes(struct health_problem *out, const char *model, size_t was, size_t now,
        const char *down, const char *all);

/* A model that would be quicker without a node of its plan, or with one that it does not have.  nodes: the others of the plan, with
 * commas; empty: too many to list. */
bool health_node_drags(struct health_problem *out, const char *model, const Caravan__Alternative *a,
        const char *name, const char *nodes);
bool health_node_unused(
        struct health_problem *out, const char *model, const Caravan__Alternative *a, const char *name);

/* Whether the loss of one node would make a model unavailable although there was time to copy it. */
bool health_single_copy(struct health_problem *out, const Caravan__ModelState *model);

#endif
