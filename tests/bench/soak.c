/* soak: random clients of a daemon for SECONDS: they come, wait, read, and go, some in the middle, with short prompts and
 * long ones, some that begin alike.
 *
 *     soak SECONDS CLIENTS SEED CONTROL...
 *
 * Each client has a connection to one of the control sockets, one question at a time.  Ends with how many questions
 * were answered, refused as busy and given up; fails when an answer differs from an earlier one to the same question,
 * or when anything but busy goes wrong.
 * Threads: one a client. */
#include "config.h"

#include "tests/bench/control_client.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 64, QUESTIONS = 40, LONGEST = 420 };

static struct {
	char *const *control;
	unsigned controls;
	uint64_t seed;
	double until;
	atomic_uint answered, busy, given_up, failed;
	pthread_mutex_t lock;
	char *answer[QUESTIONS]; /* the first that came, under lock */
} soak = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* xorshift64* (Vigna) */
static uint32_t draw(uint64_t *state, uint32_t below) {
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (uint32_t)((*state * 0x2545f4914f6cdd1du) >> 33) % below;
}

static void wrong(const char *what) {
	fprintf(stderr, "soak: %s\n", what);
	atomic_fetch_add(&soak.failed, 1);
}

/* A question is all of its number: prompt, length of the answer, seed. */
static bool ask(int fd, unsigned question) {
	uint64_t state = 0x9e3779b97f4a7c15u * (question + 1);
	char text[LONGEST + 1];
	uint32_t len = question % 4 == 0 ? 250 + draw(&state, LONGEST - 250) : 1 + draw(&state, 120);
	/* every third begins as others do */
	uint64_t common = 7, *from;
	for (uint32_t i = 0; i < len; i++) {
		from = question % 3 == 0 && i < 200 ? &common : &state;
		text[i] = (char)(draw(from, 6) == 0 ? ' ' : 'a' + draw(from, 26));
	}
	Caravan__Sampling sampling = CARAVAN__SAMPLING__INIT;
	Caravan__CtlRun run = CARAVAN__CTL_RUN__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_RUN, ctl_run, &run);
	sampling.temperature = 0.8f;
	sampling.repeat_penalty = 1;
	sampling.seed = question;
	run.model = (char *)"";
	run.limit = question % 5 == 0 ? 60 + draw(&state, 100) : 1 + draw(&state, 30);
	run.sampling = &sampling;
	return control_client_say(fd, &env, text, len);
}

struct answer {
	char *text;
	size_t len;
};

enum heard { MORE, END, BUSY, BROKEN };

static enum heard hear(int fd, struct answer *a) {
	char *payload;
	size_t len;
	enum heard what = MORE;
	Caravan__Envelope *env = control_client_hear(fd, &payload, &len);
	if (!env)
		return BROKEN;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_TEXT) {
		char *more = realloc(a->text, a->len + len + 1);
		if (!more)
			abort();
		memcpy(more + a->len, payload, len);
		a->text = more;
		a->len += len;
		a->text[a->len] = 0;
	} else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END) {
		what = END;
	} else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR) {
		what = strstr(env->ctl_error->message, " is busy: ") ? BUSY : BROKEN;
		if (what == BROKEN)
			wrong(env->ctl_error->message);
	}
	wire_free(env);
	free(payload);
	return what;
}

static void compare(unsigned question, const struct answer *a) {
	const char *text = a->text ? a->text : "";
	pthread_mutex_lock(&soak.lock);
	if (!soak.answer[question] && !(soak.answer[question] = strdup(text)))
		abort();
	bool same = strcmp(soak.answer[question], text) == 0;
	pthread_mutex_unlock(&soak.lock);
	if (!same)
		wrong("an answer is not what it was before");
}

/* One question; false: the connection is of no use any more. */
static bool converse(int fd, uint64_t *state) {
	unsigned question = draw(state, QUESTIONS);
	/* a fifth goes away: while waiting, in the prompt, in the answer */
	double until = draw(state, 5) == 0 ? now() + draw(state, 300) * 1e-3 : 0;
	struct answer a = {NULL, 0};
	enum heard what = ask(fd, question) ? MORE : BROKEN;
	while (what == MORE) {
		int left = until > 0 ? (int)((until - now()) * 1e3) : -1;
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (until > 0 && (left <= 0 || poll(&p, 1, left) == 0)) {
			atomic_fetch_add(&soak.given_up, 1);
			free(a.text);
			return false;
		}
		what = hear(fd, &a);
	}
	if (what == END) {
		compare(question, &a);
		atomic_fetch_add(&soak.answered, 1);
	} else if (what == BUSY) {
		atomic_fetch_add(&soak.busy, 1);
	} else {
		wrong("a connection broke");
	}
	free(a.text);
	return what != BROKEN;
}

static void *client(void *arg) {
	uint64_t state = soak.seed + 0x9e3779b97f4a7c15u * (1 + (uintptr_t)arg);
	int fd = -1;
	while (now() < soak.until && atomic_load(&soak.failed) == 0) {
		if (fd < 0)
			fd = control_client_connect(soak.control[draw(&state, soak.controls)]);
		if (fd < 0) {
			wrong(strerror(errno));
			break;
		}
		bool stays = converse(fd, &state) && draw(&state, 4) != 0;
		if (!stays) {
			close(fd);
			fd = -1;
		}
		if (draw(&state, 3) == 0)
			nanosleep(&(struct timespec){.tv_nsec = draw(&state, 100) * 1000000l}, NULL);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

int main(int argc, char **argv) {
	pthread_t thread[CLIENTS_MAX];
	unsigned long clients = argc > 4 ? strtoul(argv[2], NULL, 10) : 0;
	if (clients < 1 || clients > CLIENTS_MAX) {
		fprintf(stderr, "usage: soak SECONDS CLIENTS SEED CONTROL...\n");
		return 2;
	}
	soak.until = now() + atof(argv[1]);
	soak.seed = strtoull(argv[3], NULL, 10);
	soak.control = argv + 4;
	soak.controls = (unsigned)argc - 4;
	for (unsigned long i = 0; i < clients; i++)
		if (pthread_create(&thread[i], NULL, client, (void *)(uintptr_t)i) != 0)
			abort();
	for (unsigned long i = 0; i < clients; i++)
		pthread_join(thread[i], NULL);
	printf("%u answered, %u busy, %u given up\n", soak.answered, soak.busy, soak.given_up);
	for (int i = 0; i < QUESTIONS; i++)
		free(soak.answer[i]);
	return soak.failed || soak.answered == 0 || soak.given_up == 0;
}
