/* answer: a prompt or a conversation that is sent, and its answer as it comes.
 * Shows on a terminal, on standard error, the place in the queue, how much of a long prompt is computed, and after a while without
 * text what is waited for.
 * Owns nothing. */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H
#include "cli/client.h"

/* Text of the answer, or of the reasoning before it.  0, or what ends the answer. */
typedef int answer_text_fn(void *arg, bool reasoning, const uint8_t *text, size_t len);

/* Whether this descriptor is a terminal on which text can be dimmed, and nobody objects (NO_COLOR). */
bool answer_may_dim(int fd);
#define ANSWER_DIM "\033[2m"
#define ANSWER_DIM_END "\033[22m"

enum answer_outcome {
	ANSWER_ENDED,   /* finished says how */
	ANSWER_REFUSED, /* error says why; text may have come before */
	ANSWER_LOST,    /* the connection, which has been reported, or the wait was ended */
	ANSWER_LEFT     /* text returned `left`, not 0 */
};

struct answer_end {
	enum answer_outcome outcome;
	Caravan__Finished finished; /* without its error */
	char error[8 * WIRE_TEXT_MAX + 1];
	bool too_long; /* the prompt does not fit the context */
	int left;
};

/* model: that was asked; empty: the only one. */
void answer_receive(
        struct client *c, const char *model, answer_text_fn *text, void *arg, struct answer_end *end);

#endif
