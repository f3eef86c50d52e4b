/* fail: see fail.h. */
#include "common/fail.h"
#include <stdarg.h>
#include <stdio.h>

void fail_text(char *err, size_t errlen, const char *format, ...) {
	va_list args;
	va_start(args, format);
	vsnprintf(err, errlen, format, args);
	va_end(args);
}
