/* load: what its parts share: a question, its answer as it streams, and the two ways to ask. */
#ifndef TESTS_BENCH_LOAD_LOAD_H
#define TESTS_BENCH_LOAD_LOAD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_PROMPT_MAX 200

struct load_question {
	char prompt[LOAD_PROMPT_MAX];
	unsigned limit; /* tokens */
	uint64_t seed;
};

/* An answer: when each of its texts came. */
struct load_answer {
	double asked; /* seconds */
	double *came; /* [n] */
	size_t n, room;
	bool keep; /* the text too: it takes time */
	char *text;
	size_t len, text_room;
	char error[200]; /* empty: it came to its end */
};

/* For the ways: some of it came.  text: in UTF-8. */
void load_came(struct load_answer *a);
void load_keep(struct load_answer *a, const char *text, size_t len);

/* A way to ask.  A connection is one client's, and stays open from one question to the next. */
struct load_way {
	const char *name;
	int (*open)(const char *where, unsigned client); /* a descriptor, or -1 with errno */
	/* Until the answer has ended. */
	void (*ask)(int fd, const struct load_question *q, struct load_answer *a);
};
extern const struct load_way load_control; /* where: a path */
extern const struct load_way
        load_http; /* where: a port of this machine; each client has an address of its own */

#endif
