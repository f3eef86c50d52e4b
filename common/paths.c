/* paths: see paths.h. */
#include "common/paths.h"
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *paths_env(const char *name) {
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
	if (paths_env("STATE_DIRECTORY"))
		return put(out, len, "%.*s", (int)strcspn(paths_env("STATE_DIRECTORY"), ":"),
		        paths_env("STATE_DIRECTORY"));
	if (paths_env("XDG_STATE_HOME"))
		return put(out, len, "%s/caravan", paths_env("XDG_STATE_HOME"));
	if (paths_env("HOME"))
		return put(out, len, "%s/.local/state/caravan", paths_env("HOME"));
	return put(out, len, "/var/lib/caravan");
}

/* Systemd's folders may be several, with colons between them; ours is the first. */
static int paths_first_of(const char *list, const char *name, char *out, size_t len) {
	return put(out, len, "%.*s/%s", (int)strcspn(list, ":"), list, name);
}

#define SERVICE_SOCKET "/run/caravan/control.sock"

/* STATE/control.sock of the state folder that is meant when none is named; as a service it is not there. */
static int paths_in_default_state(char *out, size_t len) {
	char dir[PATH_MAX];
	if (paths_env("STATE_DIRECTORY") || (!paths_env("XDG_STATE_HOME") && !paths_env("HOME")))
		return put(out, len, SERVICE_SOCKET);
	int rc = paths_state(NULL, dir, sizeof dir);
	return rc == 0 ? put(out, len, "%s/control.sock", dir) : rc;
}

int paths_control(const char *given, const char *state, char *out, size_t len) {
	if (given)
		return put(out, len, "%s", given);
	if (state)
		return put(out, len, "%s/control.sock", state);
	if (paths_env("CARAVAN_CONTROL"))
		return put(out, len, "%s", paths_env("CARAVAN_CONTROL"));
	if (paths_env("RUNTIME_DIRECTORY"))
		return paths_first_of(paths_env("RUNTIME_DIRECTORY"), "control.sock", out, len);
	if (paths_env("XDG_RUNTIME_DIR"))
		return put(out, len, "%s/caravan/control.sock", paths_env("XDG_RUNTIME_DIR"));
	return paths_in_default_state(out, len);
}

int paths_control_search(const char *given, unsigned i, char *out, size_t len) {
	if (given || paths_env("CARAVAN_CONTROL"))
		return i == 0 ? paths_control(given, NULL, out, len) : -ENOENT;
	switch (i) {
	case 0:
		if (paths_env("XDG_RUNTIME_DIR"))
			return put(out, len, "%s/caravan/control.sock", paths_env("XDG_RUNTIME_DIR"));
		return put(out, len, "/run/user/%u/caravan/control.sock", (unsigned)getuid());
	case 1:
		return paths_in_default_state(out, len);
	case 2:
		return put(out, len, SERVICE_SOCKET);
	default:
		return -ENOENT;
	}
}

void paths_model_name(char *out, size_t size, const char *file) {
	const char *slash = strrchr(file, '/');
	char stem[256];
	snprintf(stem, sizeof stem, "%s", slash ? slash + 1 : file);
	size_t len = strlen(stem);
	if (len > 5 && strcmp(stem + len - 5, ".gguf") == 0)
		stem[len -= 5] = 0;
	/* the first part of a split file: NAME-00001-of-0000N */
	unsigned part, parts;
	int end = 0;
	if (len > 15 && sscanf(stem + len - 15, "-%5u-of-%5u%n", &part, &parts, &end) == 2 && end == 15)
		stem[len -= 15] = 0;
	size_t n = 0;
	for (size_t i = 0; i < len && n + 1 < size; i++) {
		char c = stem[i];
		bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool mark = c == '.' || c == '_' || c == '-';
		if (letter || n > 0)
			out[n++] = letter || mark ? c : '-';
	}
	out[n] = 0;
	if (n == 0)
		snprintf(out, size, "model");
}
