/* fail: what a function that fails leaves behind: a negative errno for its caller and a sentence for people in the caller's
 * buffer.  Any thread. */
#ifndef COMMON_FAIL_H
#define COMMON_FAIL_H
#include <stddef.h>

/* Writes the sentence and returns rc, so that a failing check is one statement. */
int fail_with(int rc, char *err, size_t errlen, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* "WHAT: out of memory", -ENOMEM. */
int fail_memory(char *err, size_t errlen, const char *what);

#endif
