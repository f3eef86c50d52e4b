/* bench_load: see bench_load.h. */
#include "cli/bench_load.h"

#include "cli/args.h"
#include "cli/client.h"
#include "cli/command.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define WORD 6   /* letters of the longest word */
#define TRIES 64 /* to make a prompt of a given length */

struct stream {
	struct client client;
	char *text; /* of its prompt */
	size_t len;
	bool running;
	double sent, first, ended;
	uint32_t prompt, cached, generated, asked;
};

struct bench_load {
	const char *control, *model;
	bool undrafted;
	uint64_t random;
	double letters; /* of a token, as learnt from the prompts so far */
	struct stream stream[BENCH_STREAMS_MAX];
	unsigned streams; /* that have a connection */
};

static double bench_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int bench_load_open(struct bench_load **out, const char *control, const char *model, bool undrafted) {
	struct bench_load *l = calloc(1, sizeof *l);
	*out = l;
	if (!l)
		return fail("out of memory");
	l->control = control;
	l->model = model;
	l->undrafted = undrafted;
	l->letters = 2;
	if (getentropy(&l->random, sizeof l->random) != 0)
		return fail("cannot draw a seed: %s", strerror(errno));
	l->random |= 1;
	return 0;
}

void bench_load_close(struct bench_load *l) {
	for (unsigned i = 0; l && i < l->streams; i++) {
		client_close(&l->stream[i].client);
		free(l->stream[i].text);
	}
	free(l);
}

/* ---- prompts ---- */

/* xorshift64* (Vigna) */
static unsigned bench_draw(struct bench_load *l, unsigned below) {
	l->random ^= l->random >> 12;
	l->random ^= l->random << 25;
	l->random ^= l->random >> 27;
	return (unsigned)((l->random * 0x2545f4914f6cdd1du) >> 33) % below;
}

/* The length of so many random words, in text, which has room for WORD + 1 bytes each. */
static size_t bench_words(struct bench_load *l, char *text, size_t words) {
	size_t len = 0;
	for (size_t i = 0; i < words; i++) {
		if (i)
			text[len++] = ' ';
		for (unsigned k = 1 + bench_draw(l, WORD); k > 0; k--)
			text[len++] = (char)('a' + bench_draw(l, 26));
	}
	return len;
}

/* The number of tokens of a text. */
static int bench_count(struct bench_load *l, struct client *c, const char *text, size_t len, size_t *tokens) {
	Caravan__CtlTokenize cmd = CARAVAN__CTL_TOKENIZE__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_TOKENIZE, ctl_tokenize, &cmd);
	const Caravan__Envelope *env;
	const uint8_t *payload;
	size_t n;
	cmd.model = wire_string(l->model);
	int rc = client_send(c, &ask, text, len, NULL, 0);
	*tokens = 0;
	while (rc == 0 && (env = client_next(c, &payload, &n)))
		switch (env->body_case) {
		case CARAVAN__ENVELOPE__BODY_CTL_TOKENS:
			*tokens += n / sizeof(uint32_t);
			break;
		case CARAVAN__ENVELOPE__BODY_CTL_ERROR:
			return fail("%s", env->ctl_error->message);
		case CARAVAN__ENVELOPE__BODY_CTL_END:
			return 0;
		default:
			break;
		}
	return EXIT_FAILED;
}

/* A random text of so many tokens, or a few less, in text, which has room for `tokens` words: a longer one is cut where it fits. */
static int bench_make_prompt(
        struct bench_load *l, struct client *c, unsigned tokens, char *text, size_t *len) {
	size_t fits = 1, beyond = bench_words(l, text, tokens) + 1, try = (size_t)(tokens * l->letters),
	       got = 0;
	for (int i = 0; i < TRIES && fits + 1 < beyond && got != tokens; i++) {
		if (try <= fits || try >= beyond)
			try = fits + (beyond - fits) / 2;
		int rc = bench_count(l, c, text, try, &got);
		if (rc != 0)
			return rc;
		if (got <= tokens)
			fits = try;
		else
			beyond = try;
		l->letters = (double)try / (double)(got ? got : 1);
		try = (size_t)(tokens * l->letters);
	}
	*len = fits;
	return 0;
}

/* ---- streams ---- */

static int bench_prepare(struct bench_load *l, struct stream *s, unsigned prompt) {
	free(s->text);
	s->text = malloc((size_t)prompt * (WORD + 1));
	if (!s->text)
		return fail("out of memory");
	return bench_make_prompt(l, &s->client, prompt, s->text, &s->len);
}

static int bench_send(struct bench_load *l, struct stream *s, unsigned generate) {
	Caravan__Sampling sampling = CARAVAN__SAMPLING__INIT;
	Caravan__CtlRun run = CARAVAN__CTL_RUN__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_RUN, ctl_run, &run);
	sampling.temperature = 1; /* answers as varied as they are in use: drafts are not always right */
	sampling.repeat_penalty = 1;
	sampling.seed = bench_draw(l, 1u << 30);
	sampling.undrafted = l->undrafted;
	run.model = wire_string(l->model);
	run.limit = generate;
	run.ignore_end = true;
	run.sampling = &sampling;
	s->first = s->ended = 0;
	s->prompt = s->generated = 0;
	s->asked = generate;
	s->sent = bench_now();
	int rc = client_send(&s->client, &env, s->text, s->len, NULL, 0);
	s->running = rc == 0;
	return rc;
}

static int bench_take(struct stream *s) {
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env = client_next(&s->client, &payload, &len);
	if (!env)
		return EXIT_FAILED;
	switch (env->body_case) {
	case CARAVAN__ENVELOPE__BODY_CTL_TEXT:
		if (s->first == 0)
			s->first = bench_now();
		return 0;
	case CARAVAN__ENVELOPE__BODY_CTL_ERROR:
		return fail("%s", env->ctl_error->message);
	case CARAVAN__ENVELOPE__BODY_CTL_END:
		s->ended = bench_now();
		if (s->first == 0) /* no token had a text */
			s->first = s->ended;
		s->running = false;
		if (!env->ctl_end->finished)
			return fail("the daemon sent no result");
		s->prompt = env->ctl_end->finished->prompt;
		s->cached = env->ctl_end->finished->cached;
		s->generated = env->ctl_end->finished->generated;
		if (s->generated != s->asked)
			return fail("an answer ended after %u of %u tokens%s%s", s->generated, s->asked,
			        *env->ctl_end->finished->error ? ": " : "", env->ctl_end->finished->error);
		return 0;
	default:
		return 0;
	}
}

/* Takes what the streams send, until all have ended. */
static int bench_wait(struct bench_load *l, unsigned streams) {
	struct pollfd fds[BENCH_STREAMS_MAX];
	for (bool running = true; running;) {
		running = false;
		for (unsigned i = 0; i < streams; i++) {
			bool is = l->stream[i].running;
			fds[i] = (struct pollfd){.fd = is ? l->stream[i].client.fd : -1, .events = POLLIN};
			running = running || is;
		}
		if (running && poll(fds, streams, -1) < 0 && errno != EINTR)
			return fail("cannot wait for the daemon: %s", strerror(errno));
		for (unsigned i = 0; running && i < streams; i++)
			if (fds[i].revents && bench_take(&l->stream[i]) != 0)
				return EXIT_FAILED;
	}
	return 0;
}

/* ---- figures ---- */

static int bench_compare_doubles(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double bench_sort(double *v, size_t n) {
	qsort(v, n, sizeof *v, bench_compare_doubles);
	return n ? (v[(n - 1) / 2] + v[n / 2]) / 2 : 0;
}

/* A stream whose answer had no text before its end, or one token, has no rate. */
static void bench_figure(const struct bench_load *l, unsigned streams, struct bench_figures *out) {
	double first[BENCH_STREAMS_MAX], rate[BENCH_STREAMS_MAX];
	double begun = 0, computed = 0, begin = 0, end = 0;
	uint64_t later = 0;
	size_t rates = 0;
	*out = (struct bench_figures){0};
	for (unsigned i = 0; i < streams; i++) {
		const struct stream *s = &l->stream[i];
		out->prompt += s->prompt;
		out->generated += s->generated;
		out->cached += s->cached;
		if (begun == 0 || s->sent < begun)
			begun = s->sent;
		first[i] = s->first - s->sent;
		computed = s->first > computed ? s->first : computed;
		if (s->generated < 2 || s->ended <= s->first)
			continue;
		rate[rates++] = (s->generated - 1) / (s->ended - s->first);
		later += s->generated - 1;
		begin = begin == 0 || s->first < begin ? s->first : begin;
		end = s->ended > end ? s->ended : end;
	}
	out->first = bench_sort(first, streams);
	out->stream_rate = bench_sort(rate, rates);
	if (computed > begun)
		out->prompt_rate = (double)out->prompt / (computed - begun);
	if (end > begin)
		out->rate = (double)later / (end - begin);
}

int bench_load_prompts(struct bench_load *l, unsigned prompt, unsigned streams) {
	int rc = 0;
	for (; rc == 0 && l->streams < streams; l->streams += rc == 0)
		rc = client_open(&l->stream[l->streams].client, l->control);
	for (unsigned i = 0; rc == 0 && i < streams; i++)
		rc = bench_prepare(l, &l->stream[i], prompt);
	return rc;
}

int bench_load_run(struct bench_load *l, unsigned generate, unsigned streams, struct bench_figures *out) {
	int rc = 0;
	for (unsigned i = 0; rc == 0 && i < streams; i++)
		rc = bench_send(l, &l->stream[i], generate);
	if (rc == 0)
		rc = bench_wait(l, streams);
	if (rc == 0)
		bench_figure(l, streams, out);
	return rc;
}
