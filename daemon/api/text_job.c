/* text_job: see text_job.h. */
#include "daemon/api/text_job.h"
#include "daemon/text/stream.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct text_job {
	struct tokenizer *tokenizer; /* a reference */
	struct text_work work;
	text_job_done_fn *done;
	void *arg;
	int rc;
	atomic_bool dropped;
};

static int text_job_encode(struct text_job *j) {
	struct text_work *w = &j->work;
	const struct token_span all = {0, w->len};
	return tokenizer_encode_spans(j->tokenizer, w->text, w->len, w->special ? &all : w->spans,
	        w->special ? 1 : w->nspans, w->flags, &w->ids, &w->nids);
}

static int text_job_decode(struct text_job *j) {
	struct text_work *w = &j->work;
	struct text_stream *s;
	const char *text;
	int rc = text_stream_create(&s, j->tokenizer, NULL, 0, TEXT_STREAM_AT_START | TEXT_STREAM_SPECIAL);
	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < w->nids; i++)
		rc = text_stream_push(s, w->ids[i]);
	if (rc == 0)
		rc = text_stream_finish(s);
	if (rc == 0) {
		w->len = text_stream_take(s, &text);
		w->text = malloc(w->len + 1);
		if (w->text && w->len)
			memcpy(w->text, text, w->len);
		rc = w->text ? 0 : -ENOMEM;
	}
	text_stream_destroy(s);
	return rc;
}

/* On the executor. */
static void text_job_run(void *arg) {
	struct text_job *j = arg;
	if (!atomic_load(&j->dropped))
		j->rc = j->work.text ? text_job_encode(j) : text_job_decode(j);
}

static void text_job_over(void *arg, bool cancelled) {
	struct text_job *j = arg;
	if (!atomic_load(&j->dropped))
		j->done(j->arg, j->tokenizer, &j->work, cancelled ? -ESHUTDOWN : j->rc);
	free(j->work.text);
	free(j->work.spans);
	free(j->work.ids);
	tokenizer_destroy(j->tokenizer);
	free(j);
}

struct text_job *text_job_start(struct executor *e, const struct tokenizer *t, const struct text_work *w,
        text_job_done_fn *done, void *arg) {
	struct text_job *j = calloc(1, sizeof *j);
	if (!j)
		return NULL;
	j->tokenizer = tokenizer_ref(t);
	j->work = *w;
	j->done = done;
	j->arg = arg;
	if (executor_submit(e, text_job_run, text_job_over, j) == 0)
		return j;
	tokenizer_destroy(j->tokenizer);
	free(j);
	return NULL;
}

void text_job_drop(struct text_job *j) {
	if (j)
		atomic_store(&j->dropped, true);
}
