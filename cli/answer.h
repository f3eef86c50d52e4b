/* answer: a prompt or a conversation that is sent, and its answer as it comes.
 * Shows on a terminal, on standard error, the place in the queue and how much of a long prompt is computed.
 * Owns nothing. */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H
#include "cli/client.h"

/* Text of the answer, or of the reasoning before it.  0, or what ends the answer. */
typedef int answer_text_fn(void *arg, bool reasoning, const uint8_t *text, size_t len);

/* Whether standard output is a terminal on which text can be dimmed, and nobody objects (NO_COLOR). */
bool answer_may_dim(void);
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

void answer_receive(struct client *c, answer_text_fn *text, void *arg, struct answer_end *end);

#endif
