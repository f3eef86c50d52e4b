/* The well-known chat templates, rendered: what their models were trained with, to the byte; and which one fits a model. */
#include "daemon/api/chat_templates.h"
#include "daemon/text/jinja/jinja.h"
#include "tests/unit/text/text_vocab.h"
#include <check.h>

static const struct {
	const char *name, *want, *alone; /* a conversation of four messages; a user's word alone */
} cases[] = {
        {"llama2", "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] Bye [/INST]",
                "<s>[INST] Hi [/INST]"},
        {"mistral", "<s>[INST] Be brief.\n\nHi [/INST] Hello!</s>[INST] Bye [/INST]", "<s>[INST] Hi [/INST]"},
        {"alpaca",
                "Be brief.\n\n### Instruction:\nHi\n\n### Response:Hello!</s>\n\n### Instruction:\nBye\n\n### Response:",
                "Below is an instruction that describes a task. Write a response that appropriately completes the "
                "request.\n\n### Instruction:\nHi\n\n### Response:"},
        {"vicuna", "Be brief. USER: Hi ASSISTANT: Hello!</s>USER: Bye ASSISTANT:",
                "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
                "detailed, and polite answers to the user's questions. USER: Hi ASSISTANT:"},
        {"wizardlm", "Be brief. USER: Hi ASSISTANT: Hello!</s>USER: Bye ASSISTANT:",
                "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
                "detailed, and polite answers to the user's questions. USER: Hi ASSISTANT:"},
        {"chatml",
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
                "Hello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
        {"llama3",
                "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user"
                "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant"
                "<|end_header_id|>\n\n",
                "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant"
                "<|end_header_id|>\n\n"},
        {"zephyr",
                "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n<|user|>\nBye</s>\n<|assistant|>\n",
                "<|user|>\nHi</s>\n<|assistant|>\n"},
        {"plain", "Be brief.\nHi\nHello!\nBye", "Hi"},
};

#define OWN "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_generation_prompt\":true}"
#define FOUR \
	"{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hi\"}," \
	"{\"role\":\"assistant\",\"content\":\"Hello!\"},{\"role\":\"user\",\"content\":\"Bye\"}]}"
#define ONE "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}"

static void render(const char *name, const char *given, struct jinja_text *text) {
	char err[300] = "";
	const char *source = chat_template_find(name);
	struct jinja_template *t;
	const struct jinja_limits limits = JINJA_LIMITS;
	json_t *own = json_loads(OWN, 0, NULL), *o = json_loads(given, 0, NULL);
	ck_assert(own && o);
	ck_assert_msg(source, "no template %s", name);
	ck_assert_msg(
	        jinja_template_create(&t, source, strlen(source), err, sizeof err) == 0, "%s: %s", name, err);
	ck_assert_msg(jinja_render(t, own, o, 0, &limits, text, err, sizeof err) == 0, "%s: %s", name, err);
	jinja_template_destroy(t);
	json_decref(own);
	json_decref(o);
}

START_TEST(conversations) {
	struct jinja_text text;
	render(cases[_i].name, FOUR, &text);
	ck_assert_str_eq(text.s, cases[_i].want);
	jinja_text_clear(&text);
	render(cases[_i].name, ONE, &text);
	ck_assert_str_eq(text.s, cases[_i].alone);
	jinja_text_clear(&text);
}
END_TEST

/* Everything but the messages' own words is the template's: its control tokens count. */
START_TEST(origins) {
	struct jinja_text text;
	char given[256] = "";
	size_t len = 0;
	render(cases[_i].name, FOUR, &text);
	for (size_t i = 0; i < text.nruns; i++)
		if (text.runs[i].input)
			len += (size_t)snprintf(given + len, sizeof given - len, "%.*s",
			        (int)(text.runs[i].end - text.runs[i].begin), text.s + text.runs[i].begin);
	ck_assert_str_eq(given, "Be brief.HiHello!Bye");
	jinja_text_clear(&text);
}
END_TEST

START_TEST(names) {
	char all[200] = "";
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		ck_assert_msg(
		        strstr(chat_template_names(), cases[i].name), "%s is not listed", cases[i].name);
	snprintf(all, sizeof all, "%s", chat_template_names());
	size_t n = 0;
	for (char *name = strtok(all, ", "); name; name = strtok(NULL, ", "), n++)
		ck_assert_ptr_nonnull(chat_template_find(name));
	ck_assert_uint_eq(n, sizeof cases / sizeof *cases);
	ck_assert_ptr_null(chat_template_find("llama"));
}
END_TEST

START_TEST(guesses) {
	static const struct {
		const char *model, *token, *want;
	} rows[] = {{"stories", NULL, "plain"}, {"anything", "<|im_start|>", "chatml"},
	        {"llama-2-7b-chat", "<|start_header_id|>", "llama3"},
	        {"llama-2-70b-chat.Q4_K_M", NULL, "llama2"}, {"llama-2-70b.Q4_K_M", NULL, "plain"},
	        {"Vicuna-13B", NULL, "vicuna"}, {"WizardLM-70B-V1.0", NULL, "wizardlm"},
	        {"Mistral-7B-Instruct-v0.2", NULL, "mistral"}, {"mistral-7b", NULL, "plain"},
	        {"mixtral-8x7b-instruct", NULL, "mistral"}, {"zephyr-7b-beta", NULL, "zephyr"},
	        {"alpaca-7b", NULL, "alpaca"}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct small_vocab *x = small_spm();
		if (rows[i].token)
			small_add(x, rows[i].token, 0, VOCAB_CONTROL);
		ck_assert_str_eq(chat_template_guess(rows[i].model, &x->v), rows[i].want);
		free(x);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("chat_templates");
	TCase *t = tcase_create("templates");
	tcase_add_loop_test(t, conversations, 0, (int)(sizeof cases / sizeof *cases));
	tcase_add_loop_test(t, origins, 0, (int)(sizeof cases / sizeof *cases));
	tcase_add_test(t, names);
	tcase_add_test(t, guesses);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
