/* reply: see reply.h.  Text behind the reasoning goes on to the parser of calls; harmony.c does both. */
#include "daemon/text/reply.h"
#include "daemon/text/harmony.h"
#include <stdlib.h>

struct reply_stream {
	struct reasoning_stream *reasoning; /* each NULL: not in this format */
	struct toolcall_stream *calls;
	struct harmony_stream *harmony;
	const struct reply_sink *sink; /* during a push */
};

struct reply_stream *reply_create(const struct reply_format *f) {
	struct reply_stream *s = calloc(1, sizeof *s);
	bool harmony = f->reasoning == REASONING_HARMONY || f->calls == TOOLCALL_HARMONY, ok = s;
	if (ok && harmony)
		ok = (s->harmony = harmony_create(f->calls != TOOLCALL_NONE));
	if (ok && !harmony && f->reasoning != REASONING_NONE)
		ok = (s->reasoning = reasoning_create(f->reasoning, f->open));
	if (ok && !harmony && f->calls != TOOLCALL_NONE)
		ok = (s->calls = toolcall_create(f->calls));
	if (ok)
		return s;
	reply_destroy(s);
	return NULL;
}

void reply_destroy(struct reply_stream *s) {
	if (!s)
		return;
	reasoning_destroy(s->reasoning);
	toolcall_destroy(s->calls);
	harmony_destroy(s->harmony);
	free(s);
}

static struct toolcall_sink reply_calls_sink(const struct reply_sink *sink) {
	return (struct toolcall_sink){sink->text, sink->call, sink->arg};
}

static bool reply_on_reasoning(void *arg, const char *text, size_t len) {
	const struct reply_stream *s = arg;
	return s->sink->reasoning(s->sink->arg, text, len);
}

static bool reply_on_text(void *arg, const char *text, size_t len) {
	const struct reply_stream *s = arg;
	const struct toolcall_sink calls = reply_calls_sink(s->sink);
	return s->calls ? toolcall_push(s->calls, text, len, &calls) : s->sink->text(s->sink->arg, text, len);
}

bool reply_push(struct reply_stream *s, const char *text, size_t len, const struct reply_sink *sink) {
	const struct reasoning_sink parts = {reply_on_reasoning, reply_on_text, s};
	s->sink = sink;
	if (s->harmony)
		return harmony_push(s->harmony, text, len, sink);
	return s->reasoning ? reasoning_push(s->reasoning, text, len, &parts) : reply_on_text(s, text, len);
}

bool reply_finish(struct reply_stream *s, const struct reply_sink *sink) {
	const struct reasoning_sink parts = {reply_on_reasoning, reply_on_text, s};
	const struct toolcall_sink calls = reply_calls_sink(sink);
	s->sink = sink;
	if (s->harmony)
		return harmony_finish(s->harmony, sink);
	return (!s->reasoning || reasoning_finish(s->reasoning, &parts)) &&
	       (!s->calls || toolcall_finish(s->calls, &calls));
}
