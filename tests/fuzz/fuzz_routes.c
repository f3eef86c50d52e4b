/* Requests as clients send them, to each route that takes a body: the first byte chooses what the model does, the rest of the line is
 * the path, and what follows is the body.  Whatever it says there is one answer, which is JSON, and the completion is let go of. */
#include "config.h"

#include "daemon/text/utf8.h"
#include "tests/unit/api/fake_http.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define TEMPLATE \
	"{% for t in tools %}<tool_call>{{ t | tojson }}{% endfor %}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}" \
	"{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}{# </think> #}"

/* What was written is UTF-8; as a whole, JSON. */
static void check_answer(const struct http_exchange *x) {
	if (!x->ended || !x->status || !utf8_valid(x->out, x->outlen))
		abort();
	if (strcmp(x->type, "application/json") != 0)
		return;
	json_t *o = json_loadb(x->out, x->outlen, JSON_DECODE_ANY, NULL);
	if (!o)
		abort();
	json_decref(o);
}

/* Embeddings of all texts; an error instead where there are too many for the fake. */
static void answer_embeddings(const struct http_exchange *x, unsigned kind) {
	static const float vector[FAKE_DIM] = {0.25f, -1};
	for (unsigned i = 0; i < fake.started && i < FAKE_EACH && !x->ended; i++)
		fake_embed(i, kind % 5 ? vector : NULL);
	if (!x->ended)
		fake_fail(503, "the roof is gone");
}

/* A token of a piece of the answer, with any bytes, and as many most likely ones as were asked for. */
static void answer_token(const uint8_t *data, size_t len, size_t offset) {
	struct token_logprob top[WIRE_TOP_LOGPROBS_MAX] = {{.id = 0}};
	const struct token_logprob token = {
	        .id = 7, .logprob = -0.5f, .text = (const char *)data, .len = len, .hidden = len > 40};
	for (uint32_t i = 0; i < fake.p.top_logprobs; i++) {
		top[i] = token;
		top[i].len = len * i / WIRE_TOP_LOGPROBS_MAX;
	}
	fake.ev.token(fake.ev.arg, 0,
	        &(struct token_logprobs){
	                .token = token, .offset = offset, .top = top, .ntop = fake.p.top_logprobs});
}

/* The model says the body back, as ASCII, in pieces. */
static void answer(const struct http_exchange *x, unsigned kind, const uint8_t *data, size_t len) {
	char piece[64];
	size_t step = kind % 3 ? 7 : sizeof piece - 1;
	if (fake.p.embedding) {
		answer_embeddings(x, kind);
		return;
	}
	fake.ev.prompt(fake.ev.arg, 0, 20);
	for (size_t at = 0, n; at < len && at < 4096; at += n) {
		n = len - at < step ? len - at : step;
		for (size_t i = 0; i < n; i++)
			piece[i] = (char)(data[at + i] & 0x7f ? data[at + i] & 0x7f : ' ');
		piece[n] = '\0';
		if (fake.p.logprobs)
			answer_token(data + at, n, at);
		fake_text(piece);
		if (x->ended || fake.released == fake.started)
			return;
	}
	for (unsigned i = 1; i < fake.p.choices; i++)
		fake.ev.end(fake.ev.arg, i, &(struct completion_end){.reason = CARAVAN__REASON__LIMIT});
	if (kind % 5 == 0)
		fake_fail(503, "the roof is gone");
	else
		fake_finish(kind % 5 == 1 && fake.p.nstops ? CARAVAN__REASON__STOP : CARAVAN__REASON__END);
}

static const char *find_route(const uint8_t *path, size_t len) {
	size_t n;
	const struct http_route *table = routes_table(&n);
	for (size_t i = 0; i < n; i++)
		if (table[i].methods == HTTP_POST && strlen(table[i].path) == len &&
		        memcmp(table[i].path, path, len) == 0)
			return table[i].path;
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	const uint8_t *line = len > 0 ? memchr(data, '\n', len) : NULL;
	const char *path = line ? find_route(data + 1, (size_t)(line - data) - (line > data)) : NULL;
	if (!path || line == data)
		return 0;
	unsigned kind = data[0];
	const uint8_t *body = line + 1;
	size_t n = len - (size_t)(body - data);
	bool kept =
	        kind % 7 == 6; /* a stream that is to survive, if it is one, of a client that reads slowly */
	struct http_exchange x = {.path = path,
	        .rest = "",
	        .body = (const char *)body,
	        .len = n,
	        .method = HTTP_POST,
	        .resume = kept ? "30" : NULL,
	        .slow = kept};
	fake_begin(kind % 4 == 3 ? TEMPLATE "<think>" : TEMPLATE);
	for (unsigned i = 0; i < VOCAB_FIMS; i++)
		fake_fim((enum vocab_fim)i, kind % 8 < VOCAB_FIMS ? "<FIM>" : "");
	fake_ask_again(&x);
	if (!x.ended && fake.ev.end && kind != 1)
		answer(&x, kind, body, n);
	for (int i = 0; i < 99 && kept && kind % 2 && !x.ended; i++) /* or it goes before the end */
		fake_written(&x);
	if (x.ended)
		check_answer(&x);
	fake_done(&x);
	fake_end();
	return 0;
}
