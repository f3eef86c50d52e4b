/* machine: what the kernel says of this machine: memory, heat, clock rate.
 *
 * Owns: a thread that looks every MACHINE_EVERY_MS and the last look.  Some of these files take milliseconds to read (a
 * thermal zone asks the firmware), so the loop never reads them.
 * Threads: machine_look any; the rest the loop's. */
#ifndef DAEMON_CORE_MACHINE_H
#define DAEMON_CORE_MACHINE_H
#include <stdbool.h>
#include <stdint.h>

#define MACHINE_EVERY_MS 5000
#define MACHINE_THROTTLED_S 60 /* a processor that was slowed down within this time counts as throttled */

struct machine;

/* 0: the kernel does not say. */
struct machine_look {
	uint64_t memory_size, memory_free; /* bytes; free: what programs could still take */
	uint64_t swapped;                  /* bytes of this process */
	double temperature;                /* of the hottest processor sensor; degrees Celsius */
	double clock, clock_max;           /* of the fastest core now, and at most; Hz */
	uint64_t slowed;        /* how often heat has slowed the processor down, since the machine started */
	bool slowed_by_heat;    /* right now */
	bool slowed_by_voltage; /* right now: the power supply is too weak */
};

/* Reads the kernel's files below root ("" for the machine's own). */
void machine_look(struct machine_look *out, const char *root);

/* What a row of looks says. */
struct machine_state {
	struct machine_look last;
	bool hot, weak; /* slowed down within MACHINE_THROTTLED_S, by heat or by a weak power supply */
};

/* root is borrowed.  Looks once before it returns.  0 or a negative errno. */
int machine_watch(struct machine **out, const char *root);
void machine_unwatch(struct machine *m); /* NULL allowed; waits for a look that is under way */
struct machine_state machine_state(struct machine *m);

/* What the row of looks says after another one; `now` in seconds.  Pure. */
struct machine_history {
	struct machine_look last;
	double hot, weak; /* when it was last seen slowed down */
	bool seen, was_hot, was_weak;
};
struct machine_state machine_add(struct machine_history *h, const struct machine_look *look, double now);

#endif
