/* infill: see infill.h.  The order of the parts is llama.cpp's: other files, the prefix, the prompt, the suffix, the middle. */
#include "daemon/api/routes/infill.h"
#include "daemon/text/held.h"
#include <stdlib.h>
#include <string.h>

#define REPOSITORY "repository\n" /* its name is not known, and models want one */
#define FILENAME "filename\n"
#define SNIPPET "\n\n--- snippet ---\n\n" /* before other files, where the model has no mark for them */

struct infilling {
	struct held text;
	struct token_span *span;
	size_t spans, room;
	bool no_memory;
};

static void infill_text(struct infilling *b, const char *s) {
	b->no_memory = !held_append(&b->text, s, strlen(s)) || b->no_memory;
}

static void infill_mark(struct infilling *b, const char *s) {
	if (b->spans == b->room) {
		size_t room = 2 * b->room + 8;
		struct token_span *more = realloc(b->span, room * sizeof *more);
		if (!more) {
			b->no_memory = true;
			return;
		}
		b->span = more;
		b->room = room;
	}
	b->span[b->spans++] = (struct token_span){b->text.len, b->text.len + strlen(s)};
	infill_text(b, s);
}

bool infill_known(const struct model_facts *m) {
	return *m->fim[VOCAB_FIM_PRE] && *m->fim[VOCAB_FIM_SUF] && *m->fim[VOCAB_FIM_MID];
}

static void infill_extra(
        struct infilling *b, struct fields *f, const struct model_facts *m, const json_t *extra) {
	const char *sep = m->fim[VOCAB_FIM_SEP];
	if (*sep && *m->fim[VOCAB_FIM_REP]) {
		infill_mark(b, m->fim[VOCAB_FIM_REP]);
		infill_text(b, REPOSITORY);
	}
	for (size_t i = 0; i < json_array_size(extra); i++) {
		const json_t *one = json_array_get(extra, i), *text = json_object_get(one, "text"),
		             *name = json_object_get(one, "filename");
		if (!json_is_string(text) || (name && !json_is_string(name))) {
			fields_fail(f, "input_extra",
			        "input_extra must be an array of objects with a text and a filename");
			return;
		}
		if (*sep) {
			infill_mark(b, sep);
			infill_text(b, name ? json_string_value(name) : "tmp");
			infill_text(b, "\n");
		} else {
			infill_text(b, SNIPPET);
		}
		infill_text(b, json_string_value(text));
	}
	if (*sep) {
		infill_mark(b, sep);
		infill_text(b, FILENAME);
	}
}

void infill_render(struct prompt *q, struct fields *f, const struct model_entry *m, const struct infill *in,
        const char *param) {
	struct infilling b = {.spans = 0};
	if (in->extra && !json_is_array(in->extra))
		fields_fail(f, "input_extra", "input_extra must be an array");
	else if (!infill_known(m->facts))
		fields_fail(f, param,
		        "%s: the vocabulary of model %.64s has no tokens to fill in the middle of a text",
		        param, m->name);
	if (!fields_ok(f))
		return;
	if (json_array_size(in->extra) > 0)
		infill_extra(&b, f, m->facts, in->extra);
	infill_mark(&b, m->facts->fim[VOCAB_FIM_PRE]);
	infill_text(&b, in->prefix);
	infill_text(&b, in->prompt);
	infill_mark(&b, m->facts->fim[VOCAB_FIM_SUF]);
	infill_text(&b, in->suffix);
	infill_mark(&b, m->facts->fim[VOCAB_FIM_MID]);
	if (b.no_memory || !prompt_set_text(q, b.text.s, b.text.len))
		f->status = f->status ? f->status : 500;
	free(q->spans);
	q->p.spans = q->spans = b.span;
	q->p.nspans = b.spans;
	held_clear(&b.text);
}
