/* paths: see paths.h. */
#include "proto/paths.h"
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *env(const char *name) {
	const char *v = getenv(name);
	return v && *v ? v : NULL;
}

__attribute__((format(printf, 3, 4))) static int put(char *out, size_t len, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(out, len, fmt, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

int paths_state(const char *given, char *out, size_t len) {
	if (given)
		return put(out, len, "%s", given);
	if (env("STATE_DIRECTORY"))
		return put(out, len, "%s", env("STATE_DIRECTORY"));
	if (env("XDG_STATE_HOME"))
		return put(out, len, "%s/caravan", env("XDG_STATE_HOME"));
	if (env("HOME"))
		return put(out, len, "%s/.local/state/caravan", env("HOME"));
	return put(out, len, "/var/lib/caravan");
}

int paths_control(const char *given, const char *state, char *out, size_t len) {
	if (given || env("CARAVAN_CONTROL"))
		return put(out, len, "%s", given ? given : env("CARAVAN_CONTROL"));
	if (state)
		return put(out, len, "%s/control.sock", state);
	if (env("XDG_RUNTIME_DIR"))
		return put(out, len, "%s/caravan/control.sock", env("XDG_RUNTIME_DIR"));
	return put(out, len, "/run/caravan/control.sock");
}

int paths_make(const char *dir) {
	char path[PATH_MAX];
	if (put(path, sizeof path, "%s", dir) != 0)
		return -ENAMETOOLONG;
	for (char *p = path + 1;; p++) {
		char c = *p;
		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) != 0 && errno != EEXIST)
			return -errno;
		*p = c;
		if (c == '\0')
			return 0;
	}
}
