/* suggest: what somebody may have meant who typed a name that does not exist.
 * Pure. */
#ifndef COMMON_SUGGEST_H
#define COMMON_SUGGEST_H
#include <stddef.h>

#define SUGGEST_LENGTH_MAX 31 /* longer words are not compared */

/* The edits (insert, delete, replace, swap of neighbours) that make b of a; SIZE_MAX where one is too long. */
size_t suggest_distance(const char *a, const char *b);

/* The name that is nearest to what was typed: one edit away, in a long word one for three
 * letters, or what was typed is its beginning.
 * NULL when none is near. */
const char *suggest_nearest(const char *typed, const char *const *names, size_t count);

#endif
