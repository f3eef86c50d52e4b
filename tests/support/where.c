/* where: see where.h. */
#include "tests/support/where.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char *shared_path(char out[512], const char *name) {
	const char *shared = getenv("CARAVAN_SHARED"), *top = getenv("top_srcdir");
	if (shared)
		snprintf(out, 512, "%s/%s", shared, name);
	else
		snprintf(out, 512, "%s/../shared/%s", top ? top : ".", name);
	return out;
}

char *source_path(char out[512], const char *name) {
	const char *top = getenv("top_srcdir");
	snprintf(out, 512, "%s/%s", top ? top : ".", name);
	return out;
}

const char *shared_or_skip(char out[512], const char *name) {
	if (access(shared_path(out, name), R_OK) == 0)
		return out;
	printf("# skipped: there is no %s\n", out);
	return NULL;
}
