/* simple: see simple.h. */
#include "cli/simple.h"
#include "cli/command.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int simple_ask(const struct args *a, const Caravan__Envelope *env, client_answer_fn *fn, void *arg) {
	struct client c;
	int rc = client_open(&c, a->control);
	if (rc == 0)
		rc = client_send(&c, env, NULL, 0, NULL, 0);
	if (rc == 0)
		rc = client_wait_with(&c, fn, arg);
	client_close(&c);
	return rc;
}

int simple_run(const struct args *a, const Caravan__Envelope *env) {
	return simple_ask(a, env, NULL, NULL);
}

int simple_json(json_t *o) {
	if (!o)
		return fail("out of memory");
	json_dumpf(o, stdout, JSON_INDENT(2));
	json_decref(o);
	putchar('\n');
	return EXIT_OK;
}

bool simple_confirm(const char *question) {
	char line[16] = "";
	if (!isatty(STDIN_FILENO))
		return true;
	fprintf(stderr, "%s [y/N] ", question);
	return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}
