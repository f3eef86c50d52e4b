/* simple: see simple.h. */
#include "cli/simple.h"
#include "cli/client.h"
#include <stdio.h>
#include <unistd.h>

int simple_run(const struct args *a, const Caravan__Envelope *env) {
	struct client c;
	int rc = client_open(&c, a->control);
	if (rc == 0)
		rc = client_send(&c, env, NULL, 0, NULL, 0);
	if (rc == 0)
		rc = client_wait(&c);
	client_close(&c);
	return rc;
}

bool simple_confirm(const char *question) {
	char line[16] = "";
	if (!isatty(STDIN_FILENO))
		return true;
	fprintf(stderr, "%s [y/N] ", question);
	return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}
