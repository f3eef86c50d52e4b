/* jinja: the door: templates are parsed and rendered, with bounds, and all that was used for it is released.
 * A template keeps the arena of its tree; a rendering has one of its own. */
#include "daemon/text/jinja/jinja.h"
#include "common/fail.h"
#include "daemon/text/jinja/eval_internal.h"
#include "daemon/text/utf8.h"
#include <stdlib.h>
#include <string.h>

#define PARSE_DEPTH 100
#define PARSE_MEMORY ((size_t)256 << 20)
#define PARSE_STEPS 50000000

struct jinja_template {
	struct jinja j; /* its arena has the tree */
	const struct node *body;
};

static bool template_parse(struct jinja_template *t, const char *text, size_t len) {
	if (setjmp(t->j.escape))
		return false;
	t->body = jinja_parse(&t->j, text, len);
	return true;
}

int jinja_template_create(
        struct jinja_template **out, const char *text, size_t len, char *err, size_t errlen) {
	*out = NULL;
	if (len > JINJA_TEMPLATE_MAX)
		return fail_with(
		        -E2BIG, err, errlen, "the template is longer than %zu bytes", JINJA_TEMPLATE_MAX);
	if (!utf8_valid(text, len))
		return fail_with(-EINVAL, err, errlen, "the template is not UTF-8");
	struct jinja_template *t = calloc(1, sizeof *t);
	if (!t)
		return fail_memory(err, errlen, "the template");
	t->j = (struct jinja){.memory_left = PARSE_MEMORY,
	        .steps_left = PARSE_STEPS,
	        .depth_left = PARSE_DEPTH,
	        .line = 1,
	        .err = err,
	        .errlen = errlen};
	if (!template_parse(t, text, len)) {
		int rc = t->j.rc;
		jinja_template_destroy(t);
		return rc;
	}
	*out = t;
	return 0;
}

void jinja_template_destroy(struct jinja_template *t) {
	if (!t)
		return;
	jinja_release(&t->j);
	free(t);
}

static const struct dict *template_variables(struct jinja *j, const json_t *json, bool given) {
	return json_is_object(json) ? jinja_from_json(j, json, given).u.dict : NULL;
}

/* The runs of b, written where there is room for them. */
static size_t template_find_runs(const struct buf *b, struct jinja_run *runs) {
	size_t n = 0;
	for (size_t at = 0, end; at < b->len; at = end) {
		bool input = b->given && b->given[at];
		for (end = at + 1; end < b->len && (b->given && b->given[end]) == input; end++)
			;
		if (runs)
			runs[n] = (struct jinja_run){at, end, input};
		n++;
	}
	return n;
}

static int template_copy_out(struct jinja *j, const struct buf *b, struct jinja_text *text) {
	size_t n = template_find_runs(b, NULL);
	*text = (struct jinja_text){malloc(b->len + 1), b->len, calloc(n + 1, sizeof *text->runs), n};
	if (!text->s || !text->runs) {
		jinja_text_clear(text);
		return fail_memory(j->err, j->errlen, "the text");
	}
	if (b->len)
		memcpy(text->s, b->p, b->len);
	text->s[b->len] = '\0';
	template_find_runs(b, text->runs);
	return 0;
}

static int template_render(struct jinja *j, const struct node *body, const json_t *own, const json_t *given,
        struct buf *result) {
	if (setjmp(j->escape))
		return j->rc;
	j->out = j->result = result;
	j->line = 1;
	j->scope = jinja_scope(j, NULL);
	j->scope->variables[0] = template_variables(j, own, false);
	j->scope->variables[1] = template_variables(j, given, true);
	jinja_exec(j, body);
	return 0;
}

int jinja_render(const struct jinja_template *t, const json_t *own, const json_t *given, int64_t now,
        const struct jinja_limits *limits, struct jinja_text *text, char *err, size_t errlen) {
	struct jinja j = {.memory_left = limits->memory,
	        .steps_left = limits->steps,
	        .depth_left = limits->depth,
	        .output_max = limits->output,
	        .now = now,
	        .err = err,
	        .errlen = errlen};
	struct buf result = {0};
	*text = (struct jinja_text){0};
	int rc = template_render(&j, t->body, own, given, &result);
	if (rc == 0)
		rc = template_copy_out(&j, &result, text);
	jinja_release(&j);
	return rc;
}

void jinja_text_clear(struct jinja_text *text) {
	free(text->s);
	free(text->runs);
	*text = (struct jinja_text){0};
}
