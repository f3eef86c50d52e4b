/* Renders chat templates for the scripts of tests: each line of standard input is an object with a template, the variables own
 * and given, and the time now; each line of standard output has the text, or the error and its errno. */
#include "daemon/text/jinja/jinja.h"
#include <stdio.h>
#include <stdlib.h>

static json_t *render(const json_t *in) {
	const json_t *text = json_object_get(in, "template");
	struct jinja_template *t;
	struct jinja_text out = {0};
	struct jinja_limits limits = JINJA_LIMITS;
	char err[400];
	int rc =
	        jinja_template_create(&t, json_string_value(text), json_string_length(text), err, sizeof err);
	if (rc == 0)
		rc = jinja_render(t, json_object_get(in, "own"), json_object_get(in, "given"),
		        json_integer_value(json_object_get(in, "now")), &limits, &out, err, sizeof err);
	json_t *answer = rc ? json_pack("{s:s, s:i}", "error", err, "errno", -rc)
	                    : json_pack("{s:s%}", "text", out.s, out.len);
	jinja_text_clear(&out);
	jinja_template_destroy(t);
	return answer;
}

int main(void) {
	char *line = NULL;
	size_t size = 0;
	while (getline(&line, &size, stdin) > 0) {
		json_error_t error;
		json_t *in = json_loads(line, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error), *answer;
		if (!in || !json_is_string(json_object_get(in, "template"))) {
			fprintf(stderr, "jinja_render: %s\n", in ? "there is no template" : error.text);
			return EXIT_FAILURE;
		}
		answer = render(in);
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(answer);
		json_decref(in);
	}
	free(line);
	return EXIT_SUCCESS;
}
