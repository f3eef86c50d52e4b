/* loss: how much of what is sent to a node gets lost on the way, by what TCP had to send again within the last two minutes.
 *
 * Owns: the counts, in slots of a few seconds, and what is enough to be believed: a cable that was unplugged for a moment is not a
 * bad cable, and a few losses of few segments are chance.
 * Threads: any; pure. */
#ifndef DAEMON_NET_LOSS_H
#define DAEMON_NET_LOSS_H
#include <stdint.h>

#define LOSS_SLOTS 24
#define LOSS_SLOT_NS 5000000000u
#define LOSS_SENT 200 /* segments sent, */
#define LOSS_LOST 10  /* segments lost, */
#define LOSS_TIMES 3  /* and slots with losses: with less no share is given */

struct loss {
	struct loss_slot {
		uint64_t number; /* of the time that it is for */
		uint64_t sent, lost;
	} slot[LOSS_SLOTS];
};

/* Adds segments that were sent since the last call, and how many of them were lost. */
void loss_add(struct loss *l, uint64_t now_ns, uint64_t sent, uint64_t lost);
/* The share that was lost, 0 to 1; 0 also while too little is known. */
double loss_share(const struct loss *l, uint64_t now_ns);

#endif
