/* suggest: see suggest.h.  The distance is Damerau and Levenshtein's in its restricted form (optimal string
 * alignment). */
#include "common/suggest.h"
#include <stdint.h>
#include <string.h>

static size_t suggest_least(size_t a, size_t b) {
	return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b) {
	size_t d[SUGGEST_LENGTH_MAX + 1][SUGGEST_LENGTH_MAX + 1];
	size_t m = strlen(a), n = strlen(b);
	if (m > SUGGEST_LENGTH_MAX || n > SUGGEST_LENGTH_MAX)
		return SIZE_MAX;
	for (size_t i = 0; i <= m; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= n; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= m; i++)
		for (size_t j = 1; j <= n; j++) {
			size_t replaced = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			d[i][j] = suggest_least(replaced, suggest_least(d[i - 1][j], d[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = suggest_least(d[i][j], d[i - 2][j - 2] + 1);
		}
	return d[m][n];
}

const char *suggest_nearest(const char *typed, const char *const *names, size_t count) {
	const char *nearest = NULL;
	/* one edit, or more where a word is long: of a short word, several edits make any other */
	size_t length = strlen(typed), best = (length < 6 ? 1 : length / 3) + 1;
	for (size_t i = 0; i < count; i++) {
		size_t distance = suggest_distance(typed, names[i]);
		if (length >= 2 && strncmp(typed, names[i], length) == 0)
			distance = 0;
		if (length >= 2 && distance < best) {
			best = distance;
			nearest = names[i];
		}
	}
	return nearest;
}
