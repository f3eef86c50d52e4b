/* loss: see loss.h. */
#include "daemon/net/loss.h"

void loss_add(struct loss *l, uint64_t now_ns, uint64_t sent, uint64_t lost) {
	uint64_t number = now_ns / LOSS_SLOT_NS;
	struct loss_slot *s = &l->slot[number % LOSS_SLOTS];
	if (s->number != number)
		*s = (struct loss_slot){.number = number};
	s->sent += sent;
	s->lost += lost;
}

double loss_share(const struct loss *l, uint64_t now_ns) {
	uint64_t number = now_ns / LOSS_SLOT_NS, sent = 0, lost = 0;
	unsigned times = 0;
	for (int i = 0; i < LOSS_SLOTS; i++) {
		const struct loss_slot *s = &l->slot[i];
		if (number - s->number >= LOSS_SLOTS)
			continue;
		sent += s->sent;
		lost += s->lost;
		times += s->lost > 0;
	}
	if (sent < LOSS_SENT || lost < LOSS_LOST || times < LOSS_TIMES)
		return 0;
	return lost < sent ? (double)lost / (double)sent : 1;
}
