/* reply: see reply.h.  Text behind the reasoning goes on to the parser of calls; harmony.c does both. */
#include "daemon/text/reply.h"
#include "daemon/text/harmony.h"
#include "daemon/text/held.h"
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
		ok = (s->calls = toolcall_create(f->calls, f->tools));
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

/* ---- what comes out, without what has told spelled marks apart ----------------------------------- */

static bool reply_give(const struct reply_stream *s, bool (*to)(void *arg, const char *text, size_t len),
        const char *text, size_t len) {
	if (held_is_plain(text, len))
		return to(s->sink->arg, text, len);
	size_t n;
	char *plain = held_copy_plain(text, len, &n);
	bool ok = plain && (n == 0 || to(s->sink->arg, plain, n));
	free(plain);
	return ok;
}

static bool reply_give_reasoning(void *arg, const char *text, size_t len) {
	const struct reply_stream *s = arg;
	return reply_give(s, s->sink->reasoning, text, len);
}

static bool reply_give_text(void *arg, const char *text, size_t len) {
	const struct reply_stream *s = arg;
	return reply_give(s, s->sink->text, text, len);
}

static bool reply_give_call(void *arg, const struct tool_call *call) {
	const struct reply_stream *s = arg;
	return s->sink->call(s->sink->arg, call);
}

/* ---- the parsers --------------------------------------------------------------------------------- */

static bool reply_on_text(void *arg, const char *text, size_t len) {
	struct reply_stream *s = arg;
	const struct toolcall_sink calls = {reply_give_text, reply_give_call, s};
	return s->calls ? toolcall_push(s->calls, text, len, &calls) : reply_give_text(s, text, len);
}

bool reply_push(struct reply_stream *s, const char *text, size_t len, const struct reply_sink *sink) {
	const struct reasoning_sink parts = {reply_give_reasoning, reply_on_text, s};
	const struct reply_sink out = {reply_give_reasoning, reply_give_text, reply_give_call, s};
	s->sink = sink;
	if (s->harmony)
		return harmony_push(s->harmony, text, len, &out);
	return s->reasoning ? reasoning_push(s->reasoning, text, len, &parts) : reply_on_text(s, text, len);
}

bool reply_finish(struct reply_stream *s, const struct reply_sink *sink) {
	const struct reasoning_sink parts = {reply_give_reasoning, reply_on_text, s};
	const struct reply_sink out = {reply_give_reasoning, reply_give_text, reply_give_call, s};
	const struct toolcall_sink calls = {reply_give_text, reply_give_call, s};
	s->sink = sink;
	if (s->harmony)
		return harmony_finish(s->harmony, &out);
	return (!s->reasoning || reasoning_finish(s->reasoning, &parts)) &&
	       (!s->calls || toolcall_finish(s->calls, &calls));
}
