/* fail: see fail.h. */
#include "common/fail.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int fail_with(int rc, char *err, size_t errlen, const char *format, ...) {
	va_list args;
	va_start(args, format);
	vsnprintf(err, errlen, format, args);
	va_end(args);
	return rc;
}

int fail_memory(char *err, size_t errlen, const char *what) {
	return fail_with(-ENOMEM, err, errlen, "%s: out of memory", what);
}
