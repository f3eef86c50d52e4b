// What Hugging Face's tokenizers makes of texts with the rules that models were published with: the vectors of
// tests/data/pretokenizers, for tests/unit/text/check_pretokenizers.c.
//
//   pretokenizers.mjs PROGRAM TEXTS DIR
//
// PROGRAM writes the mixed text (tests/tools/mixed_text), TEXTS has the 46 texts (shared/vocab/llama-bpe.inp), DIR is written anew:
// RULE.ids, a line of ids for each of the 46; and mixed: NAME, RULE, the number of ids of the mixed text, and the FNV-1a of them as
// 32-bit little-endian numbers.  Run it in a folder where npm has installed
//
//   @anush008/tokenizers@0.6.0   (Hugging Face's own, in Rust, 0.22.2: the oracle)
//   @huggingface/tokenizers@0.2.0   (theirs in JavaScript: a second opinion, whose disagreements are printed)
//
// The second is asked about text without U+017F, U+212A, U+0085, U+FEFF and digits beyond ASCII, and only where words that are tokens are
// merged like others: JavaScript's expressions differ in those, and it does not know ignore_merges.
//
// The vocabulary has every byte, every pair of bytes, and a few words that no merge makes.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [program, textsFile, dir] = process.argv.slice(2);
const require = createRequire(process.cwd() + "/");
const rust = require("@anush008/tokenizers");
const script = require("@huggingface/tokenizers");

const split = (regex) => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false });
const bytes = (useRegex) => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: useRegex });
const digits = { type: "Digits", individual_digits: true };

// As in the tokenizer.json of the models named; where that is not public, as llama.cpp quotes it.
const R = String.raw;
const spaces = R`\s*[\r\n]+|\s+(?!\S)|\s+`;
const short = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const upper = R`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, lower = R`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const o200k = (end, number) => R`[^\r\n\p{L}\p{N}]?` + upper + "*" + lower + "+" + end + R`|[^\r\n\p{L}\p{N}]?` + upper + "+" + lower +
	"*" + end + "|" + number + R`| ?[^\s\p{L}\p{N}]+[\r\n/]*|` + spaces;
const kimi = R`[\p{Han}]+|` + o200k(short + "?", R`\p{N}{1,3}`).replaceAll(R`\p{M}]`, R`\p{M}&&[^\p{Han}]]`).replace(R`[\r\n/]*`, R`[\r\n]*`); // tokenization_kimi.py
const gpt2 = R`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const chinese = "[\u{4E00}-\u{9FA5}\u{800}-\u{4E00}\u{AC00}-\u{D7FF}]+";
const llama3 = short + R`|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + spaces;
const qwen2 = short + R`|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|` + spaces;
const qwen35 = short + R`|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|` + spaces;
const latin = "\\s?[A-Za-z" +
	"\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}\u{370}-\u{373}\u{376}" +
	"\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}" +
	"\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}" +
	"\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}" +
	"\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}" +
	"\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}" +
	"\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}" +
	"\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}" +
	"\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}" +
	"\u{A722}-\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}" +
	"\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}" +
	"\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}" + "]+";
const deepseek3 = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

// RULE: the names that have it, the pre-tokenizers, whether whole words that are tokens become those (ignore_merges), normal form C
const rules = {
	"llama-bpe": [["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"], [split(llama3), bytes(false)], true],
	dbrx: [["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], [split(llama3), bytes(false)]],
	qwen2: [["qwen2", "deepseek-r1-qwen"], [split(qwen2), bytes(false)], false, true],
	stablelm2: [["stablelm2", "megrez", "hunyuan", "solar-open", "grok-2"], [split(qwen2), bytes(false)]],
	qwen35: [["qwen35"], [split(qwen35), bytes(false)], false, true],
	"gpt-4o": [["gpt-4o", "llama4"], [split(o200k(short + "?", R`\p{N}{1,3}`)), bytes(false)], true],
	"minimax-m2": [["minimax-m2", "kanana2"], [split(o200k(short + "?", R`\p{N}{1,3}`)), bytes(false)]],
	tekken: [["tekken"], [split(o200k("", R`\p{N}`)), bytes(false)], true],
	"kimi-k2": [["kimi-k2"], [split(kimi), bytes(false)], true],
	"deepseek-llm": [["deepseek-llm"],
		[split("[\r\n]"), split(latin), split("\\s?[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]+"), split(R`\s+$`), split(chinese), digits, bytes(false)]],
	"deepseek-coder": [["deepseek-coder"],
		[split("[\r\n]"), split(R`\s?\p{L}+`), split(R`\s?\p{P}+`), split(chinese), digits, bytes(false)]],
	"deepseek-v3": [["deepseek-v3", "hunyuan-dense", "joyai-llm"],
		[split(R`\p{N}{1,3}`), split("[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+"), split(deepseek3), bytes(false)]],
	smollm: [["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"], [digits, bytes(true)]],
	"command-r": [["command-r"], [digits, bytes(true)], false, true],
	"gpt-2": [["gpt-2", "phi-2", "jais", "gigachat", "a.x-4.0", "mellum", "exaone4", "trillion", "granite-docling"], [bytes(true)]],
	olmo: [["olmo", "mpt"], [bytes(true)], false, true],
	"seed-coder": [["seed-coder"],
		[split(short + R`|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|` + spaces), bytes(false)]],
	minicpm5: [["minicpm5"], [split(R`\p{N}{1,3}`), split(llama3.replace(R`\p{N}{1,3}`, R`\p{N}+`)), bytes(false)], true],
	bailingmoe: [["bailingmoe", "bailingmoe2", "llada-moe"],
		[split(R`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`), bytes(false)]],
	default: [["default"], [split(R`[\p{P}\$\+<=>\^~\|]+`), split(gpt2), split(R`\p{N}+`), split("[0-9][0-9][0-9]"), bytes(false)]],
};

// GPT-2's letters of bytes
function letter(b) {
	if ((b >= 33 && b <= 126) || (b >= 161 && b <= 255 && b !== 173))
		return String.fromCharCode(b);
	return String.fromCharCode(b < 33 ? 256 + b : b < 161 ? 289 + b - 127 : 323);
}
const letters = (text) => [...Buffer.from(text)].map(letter).join("");

function model(whole) {
	const vocab = {}, merges = [];
	for (let b = 0; b < 256; b++)
		vocab[letter(b)] = b;
	for (let rank = 0; rank < 65536; rank++) {
		const pair = (rank * 40503 + 12345) & 65535;
		merges.push([letter(pair >> 8), letter(pair & 255)]);
		vocab[letter(pair >> 8) + letter(pair & 255)] = 256 + pair;
	}
	for (const word of ["Hello", " world", "token", " international", "中文", "123", " the", "...", " й", " naïve", "\n\n\n"])
		vocab[letters(word)] = Object.keys(vocab).length;
	return { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false,
		byte_fallback: false, ignore_merges: whole, vocab, merges };
}

function fnv1a(ids) {
	let h = 0xcbf29ce484222325n;
	for (const byte of new Uint8Array(Uint32Array.from(ids).buffer))
		h = BigInt.asUintN(64, (h ^ BigInt(byte)) * 0x100000001b3n);
	return h.toString(16).padStart(16, "0");
}

const mixed = execFileSync(program, { maxBuffer: 1 << 24 }).toString();
const texts = readFileSync(textsFile, "utf8").split("\n__ggml_vocab_test__\n").slice(0, 46);
const lines = [];
for (const [rule, [names, pre, whole, nfc]] of Object.entries(rules)) {
	const json = { version: "1.0", truncation: null, padding: null, added_tokens: [], normalizer: nfc ? { type: "NFC" } : null,
		pre_tokenizer: { type: "Sequence", pretokenizers: pre }, post_processor: null,
		decoder: bytes(true), model: model(!!whole) };
	const first = rust.Tokenizer.fromString(JSON.stringify(json));
	const second = whole ? null : new script.Tokenizer(json, {});
	const encode = async (text) => (await first.encode(text, null, { addSpecialTokens: false })).getIds();
	const compare = async (what, text) => {
		if (whole)
			return;
		text = text.replace(/[\u{17F}\u{212A}\u{85}\u{FEFF}]|(?!\d)\p{N}/gu, "");
		const a = await encode(text), b = second.encode(text, { add_special_tokens: false }).ids;
		let i = 0;
		while (i < a.length && a[i] === b[i])
			i++;
		if (i < a.length || i < b.length)
			console.log(`${rule}: ${what}: JavaScript differs at id ${i} of ${a.length}: ${a.slice(i, i + 6)} and ${b.slice(i, i + 6)}`);
	};
	const out = [];
	for (const [i, text] of texts.entries()) {
		const ids = await encode(text);
		await compare(`text ${i}`, text);
		out.push(ids.join(" ") + "\n");
	}
	writeFileSync(`${dir}/${rule}.ids`, out.join(""));
	const ids = await encode(mixed);
	await compare("mixed text", mixed);
	for (const name of names)
		lines.push(`${name} ${rule} ${ids.length} ${fnv1a(ids)}\n`);
}
writeFileSync(`${dir}/mixed`, lines.join(""));
