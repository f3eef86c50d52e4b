/* infill: the prompt for a text whose middle is to be written: what comes before, what comes behind, and other files, with the model's
 * own marks (fill in the middle).  Marks are control tokens; what the client sent is text, whatever it contains.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_INFILL_H
#define DAEMON_API_ROUTES_INFILL_H
#include "daemon/api/routes/prompt.h"

/* All borrowed for the call. */
struct infill {
	const char *prefix, *suffix, *prompt; /* the last comes behind the prefix */
	const json_t *extra; /* an array of {text, filename} as llama.cpp's server has it; NULL: none */
};

/* Whether a model has the marks. */
bool infill_known(const struct model_facts *m);
/* Errors go to f; param: the field that asks for it. */
void infill_render(struct prompt *q, struct fields *f, const struct model_entry *m, const struct infill *in,
        const char *param);

#endif
