/* tokenizers: see tokenizers.h. */
#include "daemon/text/tokenizers.h"
#include "common/fail.h"
#include "daemon/text/tokenizer.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct entry {
	const struct vocab *vocab;
	struct tokenizer *tokenizer;
	LIST_ENTRY(entry) next;
};

struct tokenizers {
	LIST_HEAD(, entry) all;
};

int tokenizers_create(struct tokenizers **out) {
	struct tokenizers *ts = calloc(1, sizeof *ts);
	if (!ts)
		return -ENOMEM;
	LIST_INIT(&ts->all);
	*out = ts;
	return 0;
}

static void tokenizers_free_entry(struct entry *e) {
	LIST_REMOVE(e, next);
	tokenizer_destroy(e->tokenizer);
	free(e);
}

void tokenizers_destroy(struct tokenizers *ts) {
	if (!ts)
		return;
	while (!LIST_EMPTY(&ts->all))
		tokenizers_free_entry(LIST_FIRST(&ts->all));
	free(ts);
}

const struct tokenizer *tokenizers_get(
        struct tokenizers *ts, const struct vocab *v, char *err, size_t errlen) {
	struct entry *e;
	LIST_FOREACH(e, &ts->all, next)
	if (e->vocab == v)
		return e->tokenizer;
	if (!(e = calloc(1, sizeof *e)))
		return fail_with(NULL, err, errlen, "%s", strerror(ENOMEM));
	if (tokenizer_create(&e->tokenizer, v, err, errlen) != 0) {
		free(e);
		return NULL;
	}
	e->vocab = v;
	LIST_INSERT_HEAD(&ts->all, e, next);
	return e->tokenizer;
}

void tokenizers_drop(struct tokenizers *ts, const struct vocab *v) {
	struct entry *e;
	LIST_FOREACH(e, &ts->all, next)
	if (e->vocab == v) {
		tokenizers_free_entry(e);
		return;
	}
}
