/* sampling: how tokens are sampled: the options of run and chat, which are the settings of a chat too.
 * Owns nothing.  The program has one thread. */
#ifndef CLI_SAMPLING_H
#define CLI_SAMPLING_H
#include "cli/args.h"
#include "proto/wire.h"

struct sampling {
	Caravan__Sampling s;
	bool seeded; /* the seed was given; else each answer draws its own */
};

/* Values of these options. */
enum { SAMPLING_FIRST = 1000, SAMPLING_LAST = SAMPLING_FIRST + 15 };
#define SAMPLING_OPTIONS \
	{"temp", required_argument, NULL, SAMPLING_FIRST}, \
	        {"top-k", required_argument, NULL, SAMPLING_FIRST + 1}, \
	        {"top-p", required_argument, NULL, SAMPLING_FIRST + 2}, \
	        {"min-p", required_argument, NULL, SAMPLING_FIRST + 3}, \
	        {"repeat-penalty", required_argument, NULL, SAMPLING_FIRST + 4}, \
	        {"presence-penalty", required_argument, NULL, SAMPLING_FIRST + 5}, \
	        {"frequency-penalty", required_argument, NULL, SAMPLING_FIRST + 6}, { \
		"seed", required_argument, NULL, SAMPLING_FIRST + 7 \
	}

#define SAMPLING_HELP \
	"How tokens are sampled:\n" \
	"  --temp T               temperature; 0 always picks the most likely token (0.8)\n" \
	"  --top-k K              from the K most likely tokens; 0: from all (40)\n" \
	"  --top-p P              from the most likely tokens that together have this\n" \
	"                         probability (0.95)\n" \
	"  --min-p P              from tokens at least P times as likely as the top token\n" \
	"                         (0.05)\n" \
	"  --repeat-penalty R     divides the scores of tokens that occur in the last 64\n" \
	"                         (1: no penalty)\n" \
	"  --presence-penalty P   subtracted once from the scores of these tokens (0)\n" \
	"  --frequency-penalty F  subtracted once for each occurrence there (0)\n" \
	"  --seed S               the same prompt, settings and seed give the same text\n" \
	"                         on any machines (default: a random seed)\n"

void sampling_init(struct sampling *s);

/* Takes the option that args_next returned, if it is one of these; returns whether it was.  A wrong value ends the
 * program. */
bool sampling_take(struct sampling *s, int option);

/* By name, as of the option without its dashes; "temperature" and "random" as a seed are understood too.  false with a
 * sentence in err. */
bool sampling_set(struct sampling *s, const char *name, const char *value, char *err, size_t errlen);

/* The i-th setting: its name and its value as text; NULL: there are no more. */
const char *sampling_at(const struct sampling *s, size_t i, char *value, size_t size);

/* Draws a seed if none was given.  0, or EXIT_FAILED after reporting the error. */
int sampling_draw(struct sampling *s);

#endif
