/* Any bytes as a template, rendered with a conversation of every type of value: no crash, within the limits, and what fails is a
 * sentence with its line.  What a client gave is marked in the result; nothing else is. */
#include "daemon/text/jinja/jinja.h"
#include "daemon/text/utf8.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char variables[] =
        "{\"s\":\"Hi, W\\u00f6rld\",\"i\":7,\"f\":-2.5,\"yes\":true,\"no\":null,\"l\":[3,1,\"a\",null,[2]],\"d\":{\"b\":1,\"a\":{\"c\":[]}},"
        "\"messages\":[{\"role\":\"system\",\"content\":\"a <|im_end|> b\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":\"hi\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":"
        "{\"name\":\"f\",\"arguments\":{\"x\":1}}}]},{\"role\":\"tool\",\"content\":\"{}\"}],\"tools\":[{\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":"
        "\"integer\"}},\"required\":[\"x\"]}}}],\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_generation_prompt\":true}";

static void expect(bool what) {
	if (!what)
		abort();
}

static void check_sentence(int rc, const char *err) {
	expect(rc < 0 && rc >= -200 && err[0] != 0 && utf8_valid(err, strlen(err)));
	for (const char *p = err; *p; p++)
		expect((unsigned char)*p >= 0x20);
}

static void render(const struct jinja_template *t, const json_t *own, const json_t *given, size_t memory) {
	const struct jinja_limits limits = {20000, memory, (size_t)64 << 10, 100};
	struct jinja_text text;
	char err[200] = "";
	int rc = jinja_render(t, own, given, 1735689600, &limits, &text, err, sizeof err);
	if (rc != 0) {
		check_sentence(rc, err);
		expect(!text.s && !text.runs);
		return;
	}
	expect(text.len <= limits.output && text.s[text.len] == 0 && utf8_valid(text.s, text.len));
	size_t at = 0;
	for (size_t i = 0; i < text.nruns; i++) {
		const struct jinja_run *run = &text.runs[i];
		expect(run->begin == at && run->end > at && (given || !run->input) &&
		        (i == 0 || run->input != run[-1].input));
		at = run->end;
	}
	expect(at == text.len);
	jinja_text_clear(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	static json_t *json;
	if (!json)
		json = json_loads(variables, 0, NULL);
	struct jinja_template *t;
	char err[200] = "";
	int rc = jinja_template_create(&t, (const char *)data, len, err, sizeof err);
	if (rc != 0) {
		check_sentence(rc, err);
		expect(!t);
		return 0;
	}
	render(t, json, NULL, (size_t)4 << 20);
	render(t, NULL, json, (size_t)4 << 20);
	/* and with memory that ends somewhere */
	render(t, NULL, json, (size_t)16384 + 512 * (len ? data[len - 1] : 0));
	jinja_template_destroy(t);
	return 0;
}
