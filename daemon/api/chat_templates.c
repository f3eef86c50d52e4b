/* chat_templates: see chat_templates.h.
 *
 * Each follows what its model was trained with: Llama 2's chat_completion() (facebookresearch/llama),
 * Stanford Alpaca's prompt, FastChat's vicuna_v1.1 (also used by WizardLM 70B and 13B V1.2), OpenAI's ChatML,
 * Mistral 7B Instruct v0.1, Llama 3's prompt format, Zephyr 7B. */
#include "daemon/api/chat_templates.h"
#include <string.h>
#include <strings.h>

#define PLAIN "{% for m in messages %}{{ m.content }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"

/* The system message, and the turns after it. */
#define SPLIT(otherwise) \
	"{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}" \
	"{% else %}{% set system = " otherwise " %}{% set turns = messages %}{% endif %}"

#define LLAMA2 \
	SPLIT("''") \
	"{% for m in turns %}{% if m.role == 'assistant' %}" \
	"{{ ' ' + m.content.strip() + ' ' + eos_token }}" \
	"{% else %}{{ bos_token + '[INST] ' }}" \
	"{% if loop.first and system %}{{ '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' }}{% endif %}" \
	"{{ m.content.strip() + ' [/INST]' }}{% endif %}{% endfor %}"

#define MISTRAL \
	SPLIT("''") \
	"{{ bos_token }}{% for m in turns %}{% if m.role == 'assistant' %}{{ ' ' + m.content.strip() + eos_token }}" \
	"{% else %}{{ '[INST] ' }}{% if loop.first and system %}{{ system + '\\n\\n' }}{% endif %}" \
	"{{ m.content.strip() + ' [/INST]' }}{% endif %}{% endfor %}"

#define ALPACA \
	SPLIT("'Below is an instruction that describes a task. Write a response that appropriately completes the " \
	      "request.'") \
	"{{ system }}{% for m in turns %}{% if m.role == 'assistant' %}" \
	"{{ '\\n\\n### Response:' + m.content + eos_token }}" \
	"{% else %}{{ '\\n\\n### Instruction:\\n' + m.content }}{% endif %}{% endfor %}" \
	"{% if add_generation_prompt %}{{ '\\n\\n### Response:' }}{% endif %}"

#define VICUNA \
	SPLIT("'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, " \
	      "detailed, and polite answers to the user\\'s questions.'") \
	"{{ system + ' ' }}{% for m in turns %}{% if m.role == 'assistant' %}" \
	"{{ 'ASSISTANT: ' + m.content + eos_token }}{% else %}{{ 'USER: ' + m.content + ' ' }}{% endif %}{% endfor %}" \
	"{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"

#define CHATML \
	"{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}" \
	"{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

#define LLAMA3 \
	"{{ bos_token }}{% for m in messages %}" \
	"{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content.strip() + '<|eot_id|>' }}" \
	"{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"

#define ZEPHYR \
	"{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endfor %}" \
	"{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"

#define TEMPLATES(X) \
	X("llama2", LLAMA2) \
	X("alpaca", ALPACA) \
	X("vicuna", VICUNA) \
	X("wizardlm", VICUNA) \
	X("chatml", CHATML) \
	X("mistral", MISTRAL) \
	X("llama3", LLAMA3) \
	X("zephyr", ZEPHYR) \
	X("plain", PLAIN)

#define ROW(name, text) {name, text},
static const struct { const char *name, *text; } templates[] = {TEMPLATES(ROW)};

const char *chat_template_find(const char *name) {
	for (size_t i = 0; i < sizeof templates / sizeof *templates; i++)
		if (strcmp(templates[i].name, name) == 0)
			return templates[i].text;
	return NULL;
}

#define NAME(name, text) ", " name
const char *chat_template_names(void) {
	static const char names[] = TEMPLATES(NAME);
	return names + 2;
}

static bool vocab_has(const struct vocab *v, const char *text) {
	size_t len = strlen(text);
	for (uint32_t i = 0; i < v->tokens; i++)
		if (v->token[i].text.len == len && memcmp(v->token[i].text.s, text, len) == 0)
			return true;
	return false;
}

const char *chat_template_guess(const char *model, const struct vocab *v) {
	static const struct {
		const char *word, *and, *name;
	} by_name[] = {{"vicuna", "", "vicuna"}, {"wizardlm", "", "wizardlm"}, {"alpaca", "", "alpaca"},
	        {"zephyr", "", "zephyr"}, {"mistral", "instruct", "mistral"},
	        {"mixtral", "instruct", "mistral"}, {"llama-2", "chat", "llama2"},
	        {"llama2", "chat", "llama2"}};
	if (vocab_has(v, "<|im_start|>"))
		return "chatml";
	if (vocab_has(v, "<|start_header_id|>"))
		return "llama3";
	for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++)
		if (strcasestr(model, by_name[i].word) && strcasestr(model, by_name[i].and))
			return by_name[i].name;
	return "plain";
}
