/* fail: what a function that fails leaves behind: a negative errno for its caller and a sentence for people in the caller's
 * buffer.  Any thread. */
#ifndef COMMON_FAIL_H
#define COMMON_FAIL_H
#include <errno.h>
#include <stddef.h>

void fail_text(char *err, size_t errlen, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* fail_with(rc, err, errlen, format, ...): writes the sentence and is rc (a negative errno, or false or NULL where these mean
 * failure), so that a failing check is one statement.  A macro, not a function, so that the compiler sees that the result is
 * rc. */
#define fail_with(rc, ...) (fail_text(__VA_ARGS__), (rc))

/* "WHAT: out of memory", -ENOMEM. */
static inline int fail_memory(char *err, size_t errlen, const char *what) {
	return fail_with(-ENOMEM, err, errlen, "%s: out of memory", what);
}

#endif
