/* pretokenizer: the table.
 *
 * The rules are those that the models were trained with: what the pre_tokenizer of the tokenizer.json says that a model was
 * published with.  Where llama.cpp's rules under the same name give other words, doc/tokenizers.md says so. */
#include "shard/model/pretokenizer.h"
#include <stdbool.h>
#include <string.h>

/* White space as defined by Unicode: PCRE2's own \s also matches U+180E, which is white space no longer. */
#define S "\\p{Z}\\x09-\\x0D\\x{85}"

#define SPACES "[" S "]+(?![^" S "])|[" S "]+"
#define BREAKS "[" S "]*[\\r\\n]+"
#define SHORT "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"

/* OpenAI's gpt-2/encoder.py; with each digit for itself; and with digits by threes, as llama.cpp cuts for files of unknown kind. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" S "\\p{L}\\p{N}]+|" SPACES
#define DIGITS_GPT2 "\\p{N}", GPT2
#define UNKNOWN "[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"

/* tiktoken's cl100k_base and what became of it: Llama 3 has up to three digits in a word, Qwen one. */
#define CL100K(letters, marks, numbers) \
	SHORT "|" LEAD letters "|" numbers "| ?[^" S "\\p{L}" marks "\\p{N}]+[\\r\\n]*|" BREAKS "|" SPACES
#define LLAMA3 CL100K("\\p{L}+", "", "\\p{N}{1,3}")
#define QWEN2 CL100K("\\p{L}+", "", "\\p{N}")
#define QWEN35 CL100K("[\\p{L}\\p{M}]+", "\\p{M}", "\\p{N}")
#define MINICPM5 "\\p{N}{1,3}", CL100K("\\p{L}+", "", "\\p{N}+")
#define SEED_CODER SHORT "|" LEAD "\\p{L}+|\\p{N}| ?[^" S "\\p{L}\\p{N}\\r\\n]+|" BREAKS "|" SPACES

/* tiktoken's o200k_base, which begins a word at a capital letter within one; Mistral's lacks the endings. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K(ending, numbers) \
	LEAD UPPER "*" LOWER "+" ending "|" LEAD UPPER "+" LOWER "*" ending "|" numbers "| ?[^" S \
	           "\\p{L}\\p{N}]+[\\r\\n/]*|" BREAKS "|" SPACES
#define GPT4O O200K(SHORT "?", "\\p{N}{1,3}")
#define TEKKEN O200K("", "\\p{N}")

/* Kimi K2's: as o200k, but runs of Han are words of their own, and none is a letter.  Their characters are those of Unicode 16. */
#define HAN \
	"\\x{2E80}-\\x{2E99}\\x{2E9B}-\\x{2EF3}\\x{2F00}-\\x{2FD5}\\x{3005}\\x{3007}\\x{3021}-\\x{3029}\\x{3038}-\\x{303B}" \
	"\\x{3400}-\\x{4DBF}\\x{4E00}-\\x{9FFF}\\x{F900}-\\x{FA6D}\\x{FA70}-\\x{FAD9}\\x{16FE2}\\x{16FE3}\\x{16FF0}\\x{16FF1}" \
	"\\x{20000}-\\x{2A6DF}\\x{2A700}-\\x{2B739}\\x{2B740}-\\x{2B81D}\\x{2B820}-\\x{2CEA1}\\x{2CEB0}-\\x{2EBE0}" \
	"\\x{2EBF0}-\\x{2EE5D}\\x{2F800}-\\x{2FA1D}\\x{30000}-\\x{3134A}\\x{31350}-\\x{323AF}"
#define NO_LETTER "\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}" HAN
#define KIMI_UPPER "[^\\p{Ll}" NO_LETTER "]"
#define KIMI_LOWER "[^\\p{Lu}\\p{Lt}" NO_LETTER "]"
#define KIMI_K2 \
	"[" HAN "]+|" LEAD KIMI_UPPER "*" KIMI_LOWER "+" SHORT "?|" LEAD KIMI_UPPER "+" KIMI_LOWER "*" SHORT \
	"?|\\p{N}{1,3}| ?[^" S "\\p{L}\\p{N}]+[\\r\\n]*|" BREAKS "|" SPACES

/* DeepSeek's three.  U+0800 to U+4E00 in the Chinese range is theirs. */
#define CHINESE "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define LATIN \
	"A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}" \
	"\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}" \
	"\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}" \
	"\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}" \
	"\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}" \
	"\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}" \
	"\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}" \
	"\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}" \
	"\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}" \
	"\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}" \
	"\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}" \
	"\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}" \
	"\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"
#define DEEPSEEK_LLM \
	"[\\r\\n]", "[" S "]?[" LATIN "]+", \
	        "[" S \
	        "]?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+", \
	        "(?<![" S "])[" S "]++\\z", CHINESE, "\\p{N}"
#define DEEPSEEK_CODER "[\\r\\n]", "[" S "]?\\p{L}+", "[" S "]?\\p{P}+", CHINESE, "\\p{N}"
#define DEEPSEEK_V3 \
	"\\p{N}{1,3}", "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{30FF}]+", \
	        "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" BREAKS \
	        "|" SPACES

#define WHOLE PRETOKENIZER_WHOLE
#define BOS PRETOKENIZER_BOS
#define NFC PRETOKENIZER_NFC

#define PRETOKENIZERS(X) \
	X("llama-bpe", WHOLE | BOS, LLAMA3) \
	X("llama3", WHOLE | BOS, LLAMA3) \
	X("llama-v3", WHOLE | BOS, LLAMA3) \
	X("falcon3", WHOLE | BOS, LLAMA3) \
	X("falcon-h1", WHOLE | BOS, LLAMA3) \
	X("pixtral", WHOLE | BOS, LLAMA3) \
	X("midm-2.0", WHOLE | BOS, LLAMA3) \
	X("lfm2", WHOLE | BOS, LLAMA3) \
	X("dbrx", 0, LLAMA3) \
	X("smaug-bpe", 0, LLAMA3) \
	X("glm4", 0, LLAMA3) \
	X("chatglm-bpe", 0, LLAMA3) \
	X("qwen2", NFC, QWEN2) \
	X("deepseek-r1-qwen", NFC, QWEN2) \
	X("megrez", 0, QWEN2) \
	X("qwen35", NFC, QWEN35) \
	X("stablelm2", 0, QWEN2) \
	X("hunyuan", 0, QWEN2) \
	X("solar-open", 0, QWEN2) \
	X("grok-2", 0, QWEN2) \
	X("gpt-4o", WHOLE, GPT4O) \
	X("llama4", WHOLE, GPT4O) \
	X("kanana2", 0, GPT4O) \
	X("minimax-m2", 0, GPT4O) \
	X("tekken", WHOLE | BOS, TEKKEN) \
	X("kimi-k2", WHOLE, KIMI_K2) \
	X("deepseek-llm", 0, DEEPSEEK_LLM) \
	X("deepseek-coder", 0, DEEPSEEK_CODER) \
	X("deepseek-v3", 0, DEEPSEEK_V3) \
	X("hunyuan-dense", 0, DEEPSEEK_V3) \
	X("joyai-llm", 0, DEEPSEEK_V3) \
	X("smollm", 0, DIGITS_GPT2) \
	X("starcoder", 0, DIGITS_GPT2) \
	X("refact", 0, DIGITS_GPT2) \
	X("codeshell", 0, DIGITS_GPT2) \
	X("exaone", 0, DIGITS_GPT2) \
	X("minerva-7b", 0, DIGITS_GPT2) \
	X("mellum2", 0, DIGITS_GPT2) \
	X("command-r", NFC, DIGITS_GPT2) \
	X("gpt-2", 0, GPT2) \
	X("phi-2", 0, GPT2) \
	X("mpt", NFC, GPT2) \
	X("olmo", NFC, GPT2) \
	X("jais", 0, GPT2) \
	X("gigachat", 0, GPT2) \
	X("a.x-4.0", 0, GPT2) \
	X("mellum", 0, GPT2) \
	X("exaone4", 0, GPT2) \
	X("trillion", 0, GPT2) \
	X("granite-docling", 0, GPT2) \
	X("seed-coder", 0, SEED_CODER) \
	X("minicpm5", WHOLE, MINICPM5) \
	X("bailingmoe", 0, QWEN2) \
	X("bailingmoe2", 0, QWEN2) \
	X("llada-moe", 0, QWEN2) \
	X("default", 0, UNKNOWN)

#define ROW(name, flags, ...) {name, flags, {__VA_ARGS__}},
static const struct pretokenizer pretokenizers[] = {PRETOKENIZERS(ROW)};

const struct pretokenizer *pretokenizer_find(const char *name, size_t len) {
	for (size_t i = 0; i < sizeof pretokenizers / sizeof *pretokenizers; i++)
		if (strlen(pretokenizers[i].name) == len && memcmp(pretokenizers[i].name, name, len) == 0)
			return &pretokenizers[i];
	return NULL;
}

#define NAME(name, ...) ", " name
const char *pretokenizer_names(void) {
	static const char names[] = PRETOKENIZERS(NAME);
	return names + 2;
}
