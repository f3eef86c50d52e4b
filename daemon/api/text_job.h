/* text_job: a text that becomes tokens, or tokens that become text, on an executor: a long one takes seconds,
 * which neither the loop nor other clients wait for.
 *
 * Owns: what is converted, and references to the tokenizer, so its model may go meanwhile.
 * Threads: the loop. */
#ifndef DAEMON_API_TEXT_JOB_H
#define DAEMON_API_TEXT_JOB_H
#include "daemon/core/executor.h"
#include "daemon/text/tokenizer.h"

struct text_job;

/* What is converted; malloc'd.  Afterwards the other one of text and ids is there as well. */
struct text_work {
	char *text; /* NULL: ids */
	size_t len;
	struct token_span *spans; /* where control tokens count */
	size_t nspans;
	bool special;   /* or everywhere */
	unsigned flags; /* TOKENIZE_BOS */
	uint32_t *ids;
	size_t nids;
};

/* Called once on the loop.  rc: 0 or a negative errno.  What it wants of the work it takes, leaving NULL. */
typedef void text_job_done_fn(void *arg, const struct tokenizer *t, struct text_work *w, int rc);

/* Takes over what w points to.  NULL: out of memory, and w is still the caller's. */
struct text_job *text_job_start(struct executor *e, const struct tokenizer *t, const struct text_work *w,
        text_job_done_fn *done, void *arg);
/* done is not called.  One that has not begun is not converted any more. */
void text_job_drop(struct text_job *j); /* NULL allowed */

#endif
