/* speed: how fast a model is served, in words, for whatever shows it to people.
 * Pure; knows no terminal. */
#ifndef CLI_SPEED_H
#define CLI_SPEED_H
#include "common/size.h"
#include "proto/wire.h"
#include <stdbool.h>

struct speed_text {
	char s[160];
};

/* Tokens of answers a second.  The coordinator's figure is of some seconds, the last of which may have been before the last
 * answer ended: then it is 0. */
double speed_now(const Caravan__ModelState *s);
/* What each stage computes a second: tokens of answers and of prompts. */
double speed_of_stages(const Caravan__ModelState *s);

/* "12.3 tokens/s now, 11.8 the last minute, 4.1 the last hour"; a model that is younger says since when: "the last 20 s". */
struct speed_text speed_rates(const Caravan__ModelState *s);
/* "first token after 410 ms (p50), 1.90 s (p99); between tokens 82 ms (p50), 95 ms (p99), the last minute"; without answers in
 * the last minute those of the last hour; empty: there were none. */
struct speed_text speed_waits(const Caravan__ModelState *s);
/* Whether it generated anything lately. */
bool speed_is_any(const Caravan__ModelState *s);
/* The statistics that are shown: of the minute if it has answers, else of the hour; NULL: neither has. */
const Caravan__ServingStats *speed_of_answers(const Caravan__ModelState *s);

#endif
