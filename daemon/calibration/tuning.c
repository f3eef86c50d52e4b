/* tuning: see tuning.h. */
#include "daemon/calibration/tuning.h"

#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define WAYS_MOST 8 /* of a type and class; others are not tried */

/* Rates of the ways of one type and class. */
struct trial {
	double rate[TUNING_ROUNDS][WAYS_MOST];
};

static size_t tuning_count(const struct kern_way *ways) {
	size_t n = 0;
	while (ways && n < WAYS_MOST && ways[n].name)
		n++;
	return n;
}

static int tuning_ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The median over the rounds of a way's rate over the default's; *wins: rounds in which it is faster by the margin. */
static double tuning_gain(const struct trial *t, size_t rounds, size_t way, size_t usual, size_t *wins) {
	double ratio[TUNING_ROUNDS];
	*wins = 0;
	for (size_t r = 0; r < rounds; r++) {
		ratio[r] = t->rate[r][way] / t->rate[r][usual];
		*wins += ratio[r] >= TUNING_MARGIN;
	}
	qsort(ratio, rounds, sizeof *ratio, tuning_ascending);
	return ratio[rounds / 2];
}

/* The way to use: of those that win three quarters of the rounds the one that gains most. */
static struct tuned_way tuning_best(
        const struct kern_way *ways, const struct kern_way *usual, const struct trial *t, size_t rounds) {
	struct tuned_way best = {usual, 1};
	size_t n = tuning_count(ways), wins;
	for (size_t w = 0; w < n; w++) {
		double gain = tuning_gain(t, rounds, w, (size_t)(usual - ways), &wins);
		if (4 * wins >= 3 * rounds && gain > best.gain)
			best = (struct tuned_way){&ways[w], gain};
	}
	return best;
}

/* One round: each way once, those that are compared one after the other.  False: it was not completed. */
static bool tuning_round(const struct kern_ops *ops, struct trial (*trials)[KERN_CLASSES], size_t round,
        tuning_rate_fn *rate, void *arg) {
	for (uint32_t type = 0; type < KERN_TYPES; type++)
		for (int c = 0; c < KERN_CLASSES; c++) {
			const struct kern_way *ways = ops->ways[type][c];
			size_t n = tuning_count(ways);
			for (size_t w = 0; n > 1 && w < n; w++) {
				double v = rate(arg, type, (enum kern_class)c, &ways[w]);
				if (!(v > 0))
					return false;
				trials[type][c].rate[round][w] = v;
			}
		}
	return true;
}

size_t tuning_try(const struct kern_ops *ops, tuning_rate_fn *rate, void *arg, struct tuning *out) {
	struct trial(*trials)[KERN_CLASSES] = calloc(KERN_TYPES, sizeof *trials);
	size_t rounds = 0;
	*out = (struct tuning){.known = true};
	while (trials && rounds < TUNING_ROUNDS && tuning_round(ops, trials, rounds, rate, arg))
		rounds++;
	for (uint32_t type = 0; type < KERN_TYPES; type++)
		for (int c = 0; c < KERN_CLASSES; c++) {
			const struct kern_way *ways = ops->ways[type][c], *usual;
			if (tuning_count(ways) < 2)
				continue;
			usual = kern_way_default(ops, type, (enum kern_class)c);
			out->of[type][c] = rounds < TUNING_ROUNDS_LEAST
			                           ? (struct tuned_way){usual, 1}
			                           : tuning_best(ways, usual, &trials[type][c], rounds);
		}
	free(trials);
	return rounds;
}

void tuning_apply(const struct tuning *t) {
	for (uint32_t type = 0; type < KERN_TYPES; type++)
		for (int c = 0; c < KERN_CLASSES; c++)
			if (kern_ops()->ways[type][c])
				kern_way_choose(
				        type, (enum kern_class)c, t->known ? t->of[type][c].way : NULL);
}

/* What is used of a type and class. */
static const struct kern_way *tuning_used(const struct tuning *t, uint32_t type, enum kern_class class) {
	const struct kern_way *way = t->known ? t->of[type][class].way : NULL;
	return way ? way : kern_way_default(kern_ops(), type, class);
}

bool tuning_same(const struct tuning *a, const struct tuning *b) {
	for (uint32_t type = 0; type < KERN_TYPES; type++)
		for (int c = 0; c < KERN_CLASSES; c++)
			if (kern_ops()->ways[type][c] && tuning_used(a, type, (enum kern_class)c) !=
			                                         tuning_used(b, type, (enum kern_class)c))
				return false;
	return true;
}

const struct kern_way *tuning_way_named(uint32_t type, enum kern_class class, const char *name) {
	const struct kern_way *ways = kern_ops()->ways[type][class];
	size_t n = tuning_count(ways);
	for (size_t w = 0; w < n; w++)
		if (!strcmp(ways[w].name, name))
			return &ways[w];
	return NULL;
}

/* What the kernel calls the first processor; empty: nothing that is known here. */
static void tuning_processor(char *out, size_t len) {
	static const char *const keys[] = {"model name", "CPU part"}; /* x86; ARM: a number of its maker's */
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];
	*out = '\0';
	while (f && !*out && fgets(line, sizeof line, f)) {
		char *value = strchr(line, ':');
		for (size_t k = 0; value && k < sizeof keys / sizeof *keys; k++)
			if (!strncmp(line, keys[k], strlen(keys[k])))
				snprintf(out, len, "%s", value + 1 + strspn(value + 1, " "));
	}
	if (f)
		fclose(f);
	out[strcspn(out, "\n")] = '\0';
}

void tuning_stamp(char *out, size_t len) {
	char processor[128];
	struct utsname name;
	tuning_processor(processor, sizeof processor);
	snprintf(out, len, "%s, %s, %s", PACKAGE_VERSION, uname(&name) ? "" : name.release, processor);
}

bool tuning_is_off(void) {
	const char *value = getenv("CARAVAN_TUNE");
	return value && !strcmp(value, "off");
}
