/* Tokenizers: the expected ids of two real vocabularies, small ones of our own, round trips, long texts. */
#include "daemon/text/stream.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/tokenizer_impl.h"
#include "shard/gguf/gguf.h"
#include "tests/support/where.h"
#include "tests/unit/text/text_vocab.h"
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

static struct tokenizer *make(const struct vocab *v) {
	struct tokenizer *t;
	char err[200];
	ck_assert_msg(tokenizer_create(&t, v, err, sizeof err) == 0, "%s", err);
	return t;
}

static void expect_ids(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
        const uint32_t *want, size_t nwant) {
	uint32_t *ids;
	size_t n;
	ck_assert_int_eq(tokenizer_encode(t, text, len, flags, &ids, &n), 0);
	for (size_t i = 0; i < n && i < nwant; i++)
		ck_assert_msg(ids[i] == want[i], "\"%.*s\": token %zu is %" PRIu32 ", not %" PRIu32, (int)len,
		        text, i, ids[i], want[i]);
	ck_assert_msg(n == nwant, "\"%.*s\": %zu tokens, not %zu", (int)len, text, n, nwant);
	free(ids);
}

/* The tokens by their texts in the file, separated by '|' and ended by NULL. */
static void expect(const struct small_vocab *x, const char *text, unsigned flags, ...) {
	struct tokenizer *t = make(&x->v);
	uint32_t want[64];
	size_t n = 0;
	va_list ap;
	va_start(ap, flags);
	for (const char *s; (s = va_arg(ap, const char *));) {
		want[n] = small_find(x, s);
		ck_assert_msg(want[n] != UINT32_MAX, "no token %s", s);
		n++;
	}
	va_end(ap);
	expect_ids(t, text, strlen(text), flags, want, n);
	tokenizer_destroy(t);
}

static char *decode_bytes(const struct tokenizer *t, const uint32_t *ids, size_t n, size_t *outlen) {
	size_t total = 0, len;
	for (size_t i = 0; i < n; i++) {
		tokenizer_piece(t, ids[i], &len);
		total += len;
	}
	char *out = malloc(total + 1);
	ck_assert_ptr_nonnull(out);
	*outlen = 0;
	for (size_t i = 0; i < n; i++) {
		const char *p = tokenizer_piece(t, ids[i], &len);
		memcpy(out + *outlen, p, len);
		*outlen += len;
	}
	return out;
}

static void expect_round_trip(const struct tokenizer *t, const char *text, size_t len) {
	uint32_t *ids;
	size_t n, outlen, prefix = tokenizer_has_space_prefix(t) && len > 0;
	ck_assert_int_eq(tokenizer_encode(t, text, len, 0, &ids, &n), 0);
	char *out = decode_bytes(t, ids, n, &outlen);
	ck_assert_uint_eq(outlen, len + prefix);
	ck_assert_mem_eq(out + prefix, text, len);
	free(out);
	free(ids);
}

/* ---- the vocabularies of Llama 2 and Llama 3, where they are there ---- */

static char *read_shared(const char *name, size_t *len) {
	char path[512];
	FILE *f = fopen(shared_path(path, name), "rb");
	if (!f)
		return NULL;
	char *s = malloc(1 << 20);
	ck_assert_ptr_nonnull(s);
	*len = fread(s, 1, (1 << 20) - 1, f);
	s[*len] = 0;
	fclose(f);
	return s;
}

static struct vocab *load_shared(const char *name) {
	char err[200] = "", path[512];
	struct gguf *g;
	struct vocab *v;
	if (!shared_or_skip(path, name))
		return NULL;
	ck_assert_msg(gguf_open_path(&g, path, err, sizeof err) == 0, "%s", err);
	ck_assert_msg(vocab_from_gguf(&v, g, NULL, err, sizeof err) == 0, "%s", err);
	gguf_close(g);
	return v;
}

static void check_vectors(const char *gguf, const char *inp, const char *out) {
	static const char mark[] = "\n__ggml_vocab_test__\n";
	struct vocab *v = load_shared(gguf);
	if (!v)
		return;
	struct tokenizer *t = make(v);
	size_t ninp, nout, cases = 0;
	char *texts = read_shared(inp, &ninp), *lines = read_shared(out, &nout);
	ck_assert(texts && lines);
	char *line = lines;
	for (char *text = texts, *end; (end = strstr(text, mark)); text = end + strlen(mark), cases++) {
		uint32_t want[1024];
		size_t n = 0;
		while (*line && *line != '\n') {
			want[n++] = (uint32_t)strtoul(line, &line, 10);
			while (*line == ' ')
				line++;
		}
		line += *line == '\n';
		expect_ids(t, text, (size_t)(end - text), 0, want, n);
		expect_round_trip(t, text, (size_t)(end - text));
	}
	ck_assert_uint_eq(cases, 46);
	ck_assert(*line == 0);
	free(texts);
	free(lines);
	tokenizer_destroy(t);
	vocab_destroy(v);
}

START_TEST(llama2_vectors) {
	check_vectors("vocab/llama-spm.gguf", "vocab/llama-spm.inp", "vocab/llama-spm.out");
}
END_TEST

START_TEST(llama3_vectors) {
	check_vectors("vocab/llama-bpe.gguf", "vocab/llama-bpe.inp", "vocab/llama-bpe.out");
}
END_TEST

START_TEST(llama2_special) {
	struct vocab *v = load_shared("vocab/llama-spm.gguf");
	if (!v)
		return;
	struct tokenizer *t = make(v);
	ck_assert(tokenizer_is_end(t, 2) && !tokenizer_is_end(t, 1));
	const uint32_t as_token[] = {1, 2, 15043};
	uint32_t *ids;
	size_t n;
	/* behind a special token the space prefix comes again */
	expect_ids(t, "</s>Hello", 9, TOKENIZE_BOS | TOKENIZE_SPECIAL, as_token, 3);
	ck_assert_int_eq(tokenizer_encode(t, "</s>Hello", 9, TOKENIZE_BOS, &ids, &n), 0);
	for (size_t i = 1; i < n; i++)
		ck_assert(!tokenizer_is_control(t, ids[i]));
	ck_assert_uint_eq(ids[0], 1);
	free(ids);
	tokenizer_destroy(t);
	vocab_destroy(v);
}
END_TEST

START_TEST(llama3_special) {
	struct vocab *v = load_shared("vocab/llama-bpe.gguf");
	if (!v)
		return;
	struct tokenizer *t = make(v);
	const uint32_t want[] = {128000, 128006, 882, 128007, 271, 9906, 128009};
	static const char text[] = "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>";
	expect_ids(t, text, strlen(text), TOKENIZE_BOS | TOKENIZE_SPECIAL, want, 7);
	ck_assert(tokenizer_is_end(t, 128001) && tokenizer_is_end(t, 128009) && !tokenizer_is_end(t, 128000));
	uint32_t *ids;
	size_t n;
	ck_assert_int_eq(tokenizer_encode(t, text, strlen(text), 0, &ids, &n), 0);
	for (size_t i = 0; i < n; i++)
		ck_assert(!tokenizer_is_control(t, ids[i]));
	free(ids);
	tokenizer_destroy(t);
	vocab_destroy(v);
}
END_TEST

/* ---- our own ---- */

static uint64_t next_random(uint64_t *state) { /* xorshift64 (Marsaglia) */
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#define SP "\u2581"

START_TEST(spm_small) {
	struct small_vocab *x = small_spm();
	expect(x, "", 0, NULL);
	expect(x, "", TOKENIZE_BOS, "<s>", NULL);
	expect(x, "hello", 0, SP "hello", NULL);
	expect(x, "hello world", TOKENIZE_BOS, "<s>", SP "hello", SP "world", NULL);
	expect(x, "helloworld", 0, SP "hello", "w", "or", "ld", NULL);
	/* of pairs with one score the leftmost is first */
	expect(x, "xaaa", 0, SP, "x", "aa", "a", NULL);
	expect(x, "xaaaaaa", 0, SP, "x", "aaaa", "aa", NULL);
	expect(x, " ", 0, SP SP, NULL);
	/* characters without a token go byte by byte */
	expect(x, "x\u00FCx", 0, SP, "x", "<0xC3>", "<0xBC>", "x", NULL);
	expect(x, "\u00E9\n", 0, SP, "\u00E9", "<0x0A>", NULL);
	/* what is not UTF-8 too */
	expect(x, "\xFFx\xC3", 0, SP, "<0xFF>", "x", "<0xC3>", NULL);
	/* a control token cannot be spelled */
	expect(x, "</s>", 0, SP, "</", "s>", NULL);
	expect(x, "</s>", TOKENIZE_SPECIAL, "</s>", NULL);
	expect(x, "x</s>x", TOKENIZE_SPECIAL, SP, "x", "</s>", SP, "x", NULL);
	/* user-defined ones are found always, the longest first */
	expect(x, "x<tool>x<tool>sx", 0, SP, "x", "<tool>", SP, "x", "<tool>s", SP, "x", NULL);
	expect(x, "<tool", 0, SP, "<", "<0x74>", "o", "o", "l", NULL);
	x->v.add_space_prefix = false;
	expect(x, "hello hello", 0, "hello", SP "hello", NULL);
	x->v.add_eos = true;
	expect(x, "x", TOKENIZE_BOS | TOKENIZE_EOS, "<s>", "x", "</s>", NULL);
	/* a prompt goes on: no EOS, whatever else is asked for */
	expect(x, "x", TOKENIZE_BOS, "<s>", "x", NULL);
	expect(x, "x", TOKENIZE_BOS | TOKENIZE_SPECIAL, "<s>", "x", NULL);
	expect(x, "x</s>", TOKENIZE_BOS | TOKENIZE_SPECIAL, "<s>", "x", "</s>", NULL);
	free(x);
}
END_TEST

/* Who types the beginning of a text gets it once. */
START_TEST(bos_is_not_doubled) {
	struct small_vocab *x = small_spm();
	expect(x, "<s>x", TOKENIZE_BOS | TOKENIZE_SPECIAL, "<s>", SP, "x", NULL);
	expect(x, "<s>", TOKENIZE_BOS | TOKENIZE_SPECIAL, "<s>", NULL);
	expect(x, "<s><s>x", TOKENIZE_BOS | TOKENIZE_SPECIAL, "<s>", "<s>", SP, "x", NULL);
	expect(x, "x<s>", TOKENIZE_BOS | TOKENIZE_SPECIAL, "<s>", SP, "x", "<s>", NULL);
	expect(x, "<s>x", TOKENIZE_SPECIAL, "<s>", SP, "x", NULL);
	expect(x, "<s>", TOKENIZE_BOS, "<s>", SP, "<", "s>", NULL);
	free(x);
	x = small_bpe("llama-bpe");
	expect(x, "<|begin_of_text|>hello", TOKENIZE_BOS | TOKENIZE_SPECIAL, "<|begin_of_text|>", "hello",
	        NULL);
	free(x);
}
END_TEST

/* ---- control tokens within spans ---- */

/* The text with its spans in it, as \x01 and \x02: the ids that it has. */
static void expect_spans(const struct small_vocab *x, const char *marked, unsigned flags, ...) {
	struct tokenizer *t = make(&x->v);
	struct token_span span[8];
	char text[256];
	size_t len = 0, spans = 0, n = 0, nids;
	uint32_t *ids;
	va_list ap;
	for (const char *s = marked; *s; s++) {
		if (*s == 1)
			span[spans].begin = len;
		else if (*s == 2)
			span[spans++].end = len;
		else
			text[len++] = *s;
	}
	ck_assert_int_eq(tokenizer_encode_spans(t, text, len, span, spans, flags, &ids, &nids), 0);
	va_start(ap, flags);
	for (const char *s; (s = va_arg(ap, const char *)); n++) {
		ck_assert_msg(n < nids, "\"%s\" has %zu tokens: %s is missing", text, nids, s);
		ck_assert_msg(ids[n] == small_find(x, s), "\"%s\": token %zu is %" PRIu32 ", not %s", text, n,
		        ids[n], s);
	}
	va_end(ap);
	ck_assert_uint_eq(n, nids);
	free(ids);
	tokenizer_destroy(t);
}

/* Without spans the name of a token is not that token. */
static void expect_absent(const struct small_vocab *x, const char *name) {
	struct tokenizer *t = make(&x->v);
	size_t n;
	uint32_t *ids;
	ck_assert_int_eq(tokenizer_encode_spans(t, name, strlen(name), NULL, 0, 0, &ids, &n), 0);
	ck_assert_uint_gt(n, 0);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(ids[i] != small_find(x, name), "%s", name);
	free(ids);
	tokenizer_destroy(t);
}

#define B "\1" /* a span begins, */
#define E "\2" /* and ends */

START_TEST(spans_spm) {
	struct small_vocab *x = small_spm();
	expect_spans(x, "</s>", 0, SP, "</", "s>", NULL);
	expect_spans(x, B "</s>" E, 0, "</s>", NULL);
	expect_spans(x, B "</s>" E "</s>" B "</s>" E, 0, "</s>", SP, "</", "s>", "</s>", NULL);
	/* not whole within one span: it begins before it, ends behind it, or lies in two that touch */
	expect_spans(x, "<" B "/s>" E, 0, SP, "</", "s>", NULL);
	expect_spans(x, B "</s" E ">", 0, SP, "</", "s>", NULL);
	expect_spans(x, B "</" E B "s>" E, 0, SP, "</", "s>", NULL);
	expect_spans(x, B E "</s>" B E, 0, SP, "</", "s>", NULL);
	/* borders change nothing else: what lies on both sides is encoded in one piece, */
	expect_spans(x, "he" B "ll" E "o", 0, SP "hello", NULL);
	expect_spans(x,
	        B "</s>"
	          "he" E "llo wor" B "ld</s>" E,
	        0, "</s>", SP "hello", SP "world", "</s>", NULL);
	/* and user-defined tokens are found across them, also where they are longer than a control token */
	expect_spans(x, "<to" B "ol" E ">s", 0, "<tool>s", NULL);
	/* BOS is not doubled where the template writes it; a user who writes it writes text */
	expect_spans(x, B "<s>" E "x", TOKENIZE_BOS, "<s>", SP, "x", NULL);
	expect_spans(x, "<s>x", TOKENIZE_BOS, "<s>", SP, "<", "s>", "x", NULL);
	expect_spans(x, "<s>" B "x" E, TOKENIZE_BOS, "<s>", SP, "<", "s>", "x", NULL);
	/* TOKENIZE_SPECIAL adds nothing */
	expect_spans(x, "</s>" B "</s>" E, TOKENIZE_SPECIAL, SP, "</", "s>", "</s>", NULL);
	free(x);
}
END_TEST

/* A user-defined token that begins like a control token and is longer wins, as if there were no spans. */
START_TEST(spans_longest) {
	struct small_vocab *x = small_spm();
	small_add(x, "</s>x", 0, VOCAB_USER_DEFINED);
	expect_spans(x, B "</s>" E "x", 0, "</s>x", NULL);
	expect_spans(x, B "</s>" E "y", 0, "</s>", SP, "<0x79>", NULL);
	small_add(x, "<tool>sy", 0, VOCAB_CONTROL);
	expect_spans(x, B "<tool>sy" E, 0, "<tool>sy", NULL);
	expect_spans(x, B "<tool>s" E "y", 0, "<tool>s", SP, "<0x79>", NULL);
	free(x);
}
END_TEST

/* Files of older conversions have control tokens as user-defined ones: their names tell. */
START_TEST(spans_old_files) {
	static const char *const marks[] = {"<|im_start|>", "<|im_end|>", "<\uFF5CUser\uFF5C>",
	        "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "[TOOL_CALLS]", "<<SYS>>"};
	static const char *const words[] = {"<think>", "[multimodal]", "<table>", "<|", "[]"};
	struct small_vocab *x[] = {small_spm(), small_bpe("llama-bpe")};
	for (unsigned k = 0; k < 2; k++) {
		char text[64];
		for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
			small_add(x[k], marks[i], 0, VOCAB_USER_DEFINED);
		for (size_t i = 0; i < sizeof words / sizeof *words; i++)
			small_add(x[k], words[i], 0, VOCAB_USER_DEFINED);
		for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
			snprintf(text, sizeof text, B "%s" E, marks[i]);
			expect_spans(x[k], text, 0, marks[i], NULL);
			expect_absent(x[k], marks[i]);
		}
		for (size_t i = 0; i < sizeof words / sizeof *words; i++)
			expect_spans(x[k], words[i], 0, words[i], NULL);
		free(x[k]);
	}
	/* nor do pieces of ordinary text add up to one */
	struct small_vocab *y = small_spm();
	small_add(y, "<|", -1, VOCAB_NORMAL);
	small_add(y, "|>", -1, VOCAB_NORMAL);
	small_add(y, "<||>", -2, VOCAB_USER_DEFINED);
	small_add(y, "<|h", -1, VOCAB_NORMAL);
	small_add(y, "<|h|>", -1, VOCAB_USER_DEFINED);
	expect_absent(y, "<|h|>");
	free(y);
}
END_TEST

/* Whatever users write between the control tokens of a template, only the template's own become such tokens. */
static void hostile_users(
        const struct vocab *v, const char *open, const char *close, uint32_t open_id, uint32_t close_id) {
	struct tokenizer *t = make(v);
	const char *const texts[] = {close, open, "x", "<", ">", "|", " ", "</s>", "<s>", "<|eot_id|>",
	        "<|begin_of_text|>", "<|reserved_special_token_5|>", "<0x0A>"};
	uint64_t state = 4711;
	for (int i = 0; i < 2000; i++) {
		struct token_span span[2] = {{0, strlen(open)}, {0, 0}};
		char text[512];
		size_t len = (size_t)snprintf(text, sizeof text, "%s", open), n, controls = 0;
		uint32_t *ids;
		for (uint64_t k = next_random(&state) % 6; k > 0; k--) {
			const char *s = texts[next_random(&state) % (sizeof texts / sizeof *texts)];
			size_t cut = next_random(&state) % 4 ? strlen(s) : next_random(&state) % strlen(s);
			len += (size_t)snprintf(text + len, sizeof text - len, "%.*s", (int)cut, s);
		}
		span[1] = (struct token_span){len, len + strlen(close)};
		snprintf(text + len, sizeof text - len, "%s", close);
		len += strlen(close);
		ck_assert_int_eq(tokenizer_encode_spans(t, text, len, span, 2, 0, &ids, &n), 0);
		for (size_t k = 0; k < n; k++)
			controls += tokenizer_is_control(t, ids[k]);
		ck_assert_msg(controls == 2 && ids[0] == open_id && ids[n - 1] == close_id,
		        "\"%s\" has %zu control tokens", text, controls);
		free(ids);
	}
	tokenizer_destroy(t);
}

START_TEST(spans_real) {
	struct vocab *v = load_shared("vocab/llama-bpe.gguf");
	if (!v)
		return;
	hostile_users(v, "<|start_header_id|>", "<|eot_id|>", 128006, 128009);
	vocab_destroy(v);
	v = load_shared("vocab/llama-spm.gguf");
	ck_assert_ptr_nonnull(v);
	hostile_users(v, "<s>", "</s>", 1, 2);
	vocab_destroy(v);
}
END_TEST

START_TEST(spans_small_bpe) {
	struct small_vocab *x = small_bpe("llama-bpe");
	expect_spans(x, B "<|eot_id|>" E "he" B "llo" E, TOKENIZE_BOS, "<|begin_of_text|>", "<|eot_id|>",
	        "hello", NULL);
	hostile_users(&x->v, "<|begin_of_text|>", "<|eot_id|>", small_find(x, "<|begin_of_text|>"),
	        small_find(x, "<|eot_id|>"));
	free(x);
}
END_TEST

#undef B
#undef E

START_TEST(spm_scores) {
	struct small_vocab *x = small_new(VOCAB_SPM);
	static const char *const letters[] = {"a", "b", "c", "d", "e", "f"};
	for (size_t i = 0; i < 6; i++)
		small_add(x, letters[i], -9, VOCAB_NORMAL);
	small_add(x, "ab", -0.0f, VOCAB_NORMAL); /* the same score as the next, and the leftmost is first */
	small_add(x, "bc", 0.0f, VOCAB_NORMAL);
	small_add(x, "cd", 1.5f, VOCAB_NORMAL); /* above nothing, above less, and below */
	small_add(x, "de", 2.5f, VOCAB_NORMAL);
	small_add(x, "ef", -1, VOCAB_NORMAL);
	small_add(x, "fa", -2, VOCAB_NORMAL);
	expect(x, "abc", 0, "ab", "c", NULL);
	expect(x, "bcd", 0, "b", "cd", NULL);
	expect(x, "cde", 0, "c", "de", NULL);
	expect(x, "def", 0, "de", "f", NULL);
	expect(x, "efa", 0, "ef", "a", NULL);
	expect(x, "fab", 0, "f", "ab", NULL);
	free(x);
}
END_TEST

START_TEST(spm_unknown) {
	struct small_vocab *x = small_new(VOCAB_SPM);
	x->v.unk = (int32_t)small_add(x, "<unk>", 0, VOCAB_UNKNOWN);
	small_add(x, "a", 0, VOCAB_NORMAL);
	/* no bytes: one unknown token for each character */
	expect(x, "a\u00E9a", 0, "a", "<unk>", "a", NULL);
	expect(x, "<unk>", TOKENIZE_SPECIAL, "<unk>", NULL);
	x->v.unk = -1;
	expect(x, "a\u00E9a", 0, "a", "a", NULL);
	free(x);
}
END_TEST

START_TEST(bpe_small) {
	struct small_vocab *x = small_bpe("llama-bpe");
	expect(x, "", TOKENIZE_BOS, "<|begin_of_text|>", NULL);
	expect(x, "hello world", 0, "hello", "\u0120world", NULL);
	expect(x, "aaaaaaa", 0, "aaaa", "aa", "a", NULL);
	expect(x, "1234", 0, "123", "4", NULL);
	expect(x, "\u00E9", 0, "\u00C3\u00A9", NULL);
	/* a word that is a token is that token, part of a word is not */
	expect(x, "whole", 0, "whole", NULL);
	expect(x, "wholes", 0, "w", "h", "o", "l", "e", "s", NULL);
	/* merges may pass through what is no token, but not end there */
	expect(x, "quxq", 0, "qux", "q", NULL);
	expect(x, "qua", 0, "q", "u", "a", NULL);
	/* spaces: the last one belongs to the next word */
	expect(x, "a   a", 0, "a", "\u0120\u0120", "\u0120", "a", NULL);
	expect(x, "\xFFhe\xC3", 0, "\u00FF", "he", "\u00C3", NULL);
	expect(x, "<|eot_id|>", TOKENIZE_SPECIAL, "<|eot_id|>", NULL);
	expect(x, "<|", 0, "<", "|", NULL);
	expect(x, "<tool>he", 0, "<tool>", "he", NULL);
	free(x);
}
END_TEST

START_TEST(bpe_letters) {
	char letter[3], byte[4];
	for (unsigned b = 0; b < 256; b++) {
		small_letter(b, letter);
		ck_assert_int_eq(bpe_decode_letters(letter, strlen(letter), byte), 1);
		ck_assert_uint_eq((uint8_t)byte[0], b);
	}
	/* which no byte is spelled by */
	static const char *const none[] = {" ", "\n", "\x7F", "\u00A0", "\u00AD", "\u0144", "\u2581", "\xC3"};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		ck_assert_int_eq(bpe_decode_letters(none[i], strlen(none[i]), byte), -1);
}
END_TEST

/* A merge that stands twice has the rank of the first. */
START_TEST(bpe_merges_twice) {
	struct small_vocab *x = small_bpe("gpt-2");
	static const char *const merges[] = {"x y", "y z", "x y"};
	small_add(x, "xy", 0, VOCAB_NORMAL);
	small_add(x, "yz", 0, VOCAB_NORMAL);
	for (size_t i = 0; i < 3; i++)
		x->merge[x->v.merges++] = small_text(x, merges[i]);
	expect(x, "xyz", 0, "xy", "z", NULL);
	free(x);
}
END_TEST

START_TEST(bpe_gpt2_words) {
	struct small_vocab *x = small_bpe("gpt-2");
	expect(x, "whole", 0, "w", "h", "o", "l", "e", NULL); /* merges are not passed over */
	expect(x, "12312", 0, "123", "12", NULL);             /* digits are not cut by threes */
	expect(x, "hello world", 0, "hello", "\u0120world", NULL);
	free(x);
	/* cut like Llama 3's, and merged like these */
	static const char *const merged[] = {"dbrx", "smaug-bpe"};
	for (size_t i = 0; i < 2; i++) {
		x = small_bpe(merged[i]);
		expect(x, "12123", 0, "12", "1", "2", "3", NULL);
		expect(x, "whole", 0, "w", "h", "o", "l", "e", NULL);
		free(x);
	}
	x = small_bpe("llama3");
	expect(x, "12123", 0, "12", "1", "2", "3", NULL);
	free(x);
}
END_TEST

START_TEST(ends) {
	struct small_vocab *x = small_bpe("llama-v3");
	struct tokenizer *t = make(&x->v);
	uint32_t eot = small_find(x, "<|eot_id|>");
	ck_assert(tokenizer_is_end(t, eot) && tokenizer_is_control(t, eot));
	ck_assert(tokenizer_is_end(t, (uint32_t)x->v.eos));
	ck_assert(!tokenizer_is_end(t, (uint32_t)x->v.bos) && tokenizer_is_control(t, (uint32_t)x->v.bos));
	ck_assert(!tokenizer_is_end(t, x->v.tokens) && !tokenizer_is_end(t, UINT32_MAX));
	/* and what the file lists beside them */
	uint32_t whole = small_find(x, "whole");
	ck_assert(!tokenizer_is_end(t, whole));
	tokenizer_destroy(t);
	x->v.end[x->v.ends++] = whole;
	t = make(&x->v);
	ck_assert(tokenizer_is_end(t, whole) && tokenizer_is_end(t, eot));
	size_t len = 1;
	ck_assert_ptr_nonnull(tokenizer_piece(t, x->v.tokens, &len));
	ck_assert_uint_eq(len, 0);
	tokenizer_destroy(t);
	free(x);
}
END_TEST

static void expect_refusal(const struct vocab *v, int rc, const char *word) {
	struct tokenizer *t;
	char err[300] = "";
	ck_assert_int_eq(tokenizer_create(&t, v, err, sizeof err), rc);
	ck_assert_ptr_null(t);
	ck_assert_msg(strstr(err, word), "\"%s\" does not say %s", err, word);
	ck_assert_int_eq(tokenizer_check(v, err, sizeof err), rc);
}

START_TEST(refusals) {
	struct small_vocab *x = small_bpe("superbpe");
	expect_refusal(&x->v, -ENOTSUP, "superbpe");
	expect_refusal(&x->v, -ENOTSUP, "name that with --pre");
	x->v.pre.len = 0;
	expect_refusal(&x->v, -ENOTSUP, "missing");
	expect_refusal(&x->v, -ENOTSUP, "--pre list");
	free(x);
	x = small_bpe("llama3");
	x->merge[3] = small_text(x, "nospace");
	expect_refusal(&x->v, -EINVAL, "merges[3]");
	x->merge[3] = small_text(x, "a ");
	expect_refusal(&x->v, -EINVAL, "merges[3]");
	free(x);
	x = small_spm();
	x->v.eos = (int32_t)x->v.tokens;
	expect_refusal(&x->v, -EINVAL, "eos");
	x->v.eos = 2;
	x->token[5].type = 200;
	expect_refusal(&x->v, -EINVAL, "token 5");
	x->token[5].type = VOCAB_USER_DEFINED;
	char *long_text = malloc(2000);
	ck_assert_ptr_nonnull(long_text);
	memset(long_text, 'a', 2000);
	x->token[5].text = (struct vocab_string){long_text, 2000};
	expect_refusal(&x->v, -EINVAL, "token 5");
	free(long_text);
	free(x);
}
END_TEST

/* ---- round trips and long texts ---- */

static size_t put_utf8(uint32_t c, char *out) {
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = n; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 63));
	out[0] = (char)((0xF00u >> n & 0xF0) | c);
	return n;
}

/* Any characters but U+2581, which SPM cannot tell from a space. */
static size_t random_text(uint64_t *state, char *out, size_t max) {
	static const uint32_t limit[] = {0x80, 0x80, 0x250, 0x3000, 0x110000};
	static const char *const words[] = {"hello", " world", "aaaa", "  ", "\n", "'s", "<0x41>", "</s>"};
	size_t n = 0, chars = next_random(state) % 60;
	for (size_t i = 0; i < chars && n + 16 < max; i++) {
		uint64_t r = next_random(state);
		if (r % 4 == 0) {
			const char *w = words[r / 4 % 8];
			memcpy(out + n, w, strlen(w));
			n += strlen(w);
			continue;
		}
		uint32_t c = (uint32_t)(r >> 8) % limit[r % 5];
		if (c == 0x2581 || (c >= 0xD800 && c < 0xE000))
			continue;
		n += put_utf8(c, out + n);
	}
	return n;
}

static void round_trips(const struct vocab *v) {
	struct tokenizer *t = make(v);
	uint64_t state = 88172645463325252u;
	char text[1024];
	for (int i = 0; i < 2000; i++)
		expect_round_trip(t, text, random_text(&state, text, sizeof text));
	/* bytes that are no text */
	for (int i = 0; i < 500; i++) {
		size_t n = next_random(&state) % 40;
		for (size_t k = 0; k < n; k++)
			text[k] = (char)next_random(&state);
		expect_round_trip(t, text, n);
	}
	tokenizer_destroy(t);
}

START_TEST(round_trip_spm) {
	struct small_vocab *x = small_spm();
	round_trips(&x->v);
	free(x);
}
END_TEST

START_TEST(round_trip_bpe) {
	static const char *const pre[] = {"llama-bpe", "gpt-2"};
	for (size_t i = 0; i < 2; i++) {
		struct small_vocab *x = small_bpe(pre[i]);
		round_trips(&x->v);
		free(x);
	}
}
END_TEST

START_TEST(round_trip_real) {
	static const char *const names[] = {"vocab/llama-spm.gguf", "vocab/llama-bpe.gguf"};
	for (size_t i = 0; i < 2; i++) {
		struct vocab *v = load_shared(names[i]);
		if (!v)
			return;
		round_trips(v);
		vocab_destroy(v);
	}
}
END_TEST

static void long_texts(const struct vocab *v) {
	struct tokenizer *t = make(v);
	static const char *const units[] = {"a", " ", "\n", " \n", "\xFF", "a\xFF", "1", "\u00E9", "<", "<|",
	        "!", "hello world ", "\U0001F642", "'s", "\r\n "};
	const size_t longest = 1 << 20;
	char *text = malloc(longest);
	ck_assert_ptr_nonnull(text);
	for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
		size_t n = strlen(units[u]), len = u < 2 ? longest : longest / 8;
		for (size_t i = 0; i < len; i++)
			text[i] = units[u][i % n];
		expect_round_trip(t, text, len);
		uint32_t *ids;
		ck_assert_int_eq(tokenizer_encode(t, text, len, TOKENIZE_SPECIAL, &ids, &n), 0);
		free(ids);
	}
	/* a run of spaces that a word ends */
	memset(text, ' ', longest);
	text[longest - 1] = 'x';
	expect_round_trip(t, text, longest);
	free(text);
	size_t n;
	uint32_t *ids;
	ck_assert_int_eq(tokenizer_encode(t, "", TOKENIZER_MAX_TEXT + 1, 0, &ids, &n), -E2BIG);
	ck_assert_ptr_null(ids);
	tokenizer_destroy(t);
}

START_TEST(long_texts_spm) {
	struct small_vocab *x = small_spm();
	long_texts(&x->v);
	free(x);
}
END_TEST

START_TEST(long_texts_bpe) {
	struct small_vocab *x = small_bpe("llama-bpe");
	long_texts(&x->v);
	free(x);
}
END_TEST

/* Phi 3: control tokens take the white space behind them, of a template and of a user, but BOS and the end of a text do not. */
START_TEST(tokens_that_strip) {
	for (unsigned phi3 = 0; phi3 < 2; phi3++) {
		struct small_vocab *x = small_spm();
		small_add(x, "<|endoftext|>", 0, VOCAB_CONTROL);
		small_add(x, "<|user|>", 0, VOCAB_CONTROL);
		if (phi3)
			small_add(x, "<|placeholder1|>", 0, VOCAB_CONTROL);
		if (phi3) {
			expect(x, "<|user|>\n x<|end|>\u2003\u00A0\n<|user|>x", TOKENIZE_SPECIAL, "<|user|>",
			        SP, "x", "<|end|>", "<|user|>", SP, "x", NULL);
			expect(x, "<|user|> \xC2", TOKENIZE_SPECIAL, "<|user|>", SP, "<0xC2>", NULL);
			expect(x, "<tool>  x</s> ", TOKENIZE_SPECIAL, "<tool>", SP, "x", "</s>", NULL);
		} else {
			expect(x, "<|user|>\nx", TOKENIZE_SPECIAL, "<|user|>", SP, "<0x0A>", "x", NULL);
		}
		expect(x, "<s> x<|endoftext|> x", TOKENIZE_SPECIAL, "<s>", SP SP, "x", "<|endoftext|>", SP SP,
		        "x", NULL);
		free(x);
	}
}
END_TEST

/* Gemma has tags of HTML as user-defined tokens, also </s>, which ends nothing there. */
START_TEST(tags_of_html) {
	struct small_vocab *x = small_new(VOCAB_SPM);
	x->v.unk = (int32_t)small_add(x, "<unk>", 0, VOCAB_UNKNOWN);
	x->v.bos = (int32_t)small_add(x, "<bos>", 0, VOCAB_CONTROL);
	x->v.eos = (int32_t)small_add(x, "<eos>", 0, VOCAB_CONTROL);
	small_add(x, "<s>", 0, VOCAB_USER_DEFINED);
	uint32_t id = small_add(x, "</s>", 0, VOCAB_USER_DEFINED);
	small_add(x, "x", 0, VOCAB_NORMAL);
	small_add(x, "  ", 0, VOCAB_USER_DEFINED);
	expect(x, "<s>x  x</s>", 0, "<s>", "x", "  ", "x", "</s>", NULL);
	struct tokenizer *t = make(&x->v);
	ck_assert(!tokenizer_is_end(t, id) && !tokenizer_is_control(t, id) &&
	          tokenizer_is_end(t, (uint32_t)x->v.eos));
	tokenizer_destroy(t);
	x->v.eos = (int32_t)id;
	t = make(&x->v);
	ck_assert(tokenizer_is_end(t, id));
	tokenizer_destroy(t);
	free(x);
}
END_TEST

/* Of gpt-oss: the end of a message is not the end of a turn.  In other models it is. */
START_TEST(messages_of_a_turn) {
	for (unsigned i = 0; i < 4; i++) {
		struct small_vocab *x = small_bpe("llama-bpe");
		uint32_t end = small_add(x, "<|end|>", 0, VOCAB_CONTROL), other = end;
		if (i & 1)
			other = small_add(x, "<|return|>", 0, VOCAB_CONTROL);
		if (i & 2)
			other = small_add(x, "<|call|>", 0, VOCAB_CONTROL);
		struct tokenizer *t = make(&x->v);
		ck_assert(tokenizer_is_end(t, end) == (i != 3) && tokenizer_is_control(t, end));
		ck_assert(i == 0 || tokenizer_is_end(t, other));
		tokenizer_destroy(t);
		free(x);
	}
}
END_TEST

/* Marks of fill in the middle count where control tokens do, whatever type a file gives them; where the next file begins, a text has
 * ended. */
START_TEST(marks_of_a_middle) {
	static const uint8_t types[] = {VOCAB_NORMAL, VOCAB_USER_DEFINED, VOCAB_CONTROL};
	for (size_t i = 0; i < sizeof types; i++) {
		struct small_vocab *x = small_bpe("llama-bpe");
		uint32_t pre = small_add(x, "<PRE>", 0, types[i]), sep = small_add(x, "<sep>", 0, types[i]);
		x->v.fim[VOCAB_FIM_PRE] = 1 + pre;
		x->v.fim[VOCAB_FIM_SEP] = 1 + sep;
		struct tokenizer *t = make(&x->v);
		const struct token_span span = {0, 5};
		uint32_t *ids;
		size_t n;
		ck_assert_int_eq(tokenizer_encode_spans(t, "<PRE><PRE>", 10, &span, 1, 0, &ids, &n), 0);
		ck_assert(n == 6 && ids[0] == pre && ids[1] == '<');
		free(ids);
		ck_assert(!tokenizer_is_end(t, pre) && tokenizer_is_end(t, sep));
		tokenizer_destroy(t);
		free(x);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("tokenizer");
	TCase *t = tcase_create("tokenizer");
	tcase_set_timeout(t, 300);
	tcase_add_test(t, llama2_vectors);
	tcase_add_test(t, llama3_vectors);
	tcase_add_test(t, llama2_special);
	tcase_add_test(t, llama3_special);
	tcase_add_test(t, spm_small);
	tcase_add_test(t, bos_is_not_doubled);
	tcase_add_test(t, spans_spm);
	tcase_add_test(t, spans_longest);
	tcase_add_test(t, spans_old_files);
	tcase_add_test(t, spans_real);
	tcase_add_test(t, spans_small_bpe);
	tcase_add_test(t, spm_scores);
	tcase_add_test(t, spm_unknown);
	tcase_add_test(t, bpe_small);
	tcase_add_test(t, bpe_letters);
	tcase_add_test(t, bpe_merges_twice);
	tcase_add_test(t, bpe_gpt2_words);
	tcase_add_test(t, ends);
	tcase_add_test(t, refusals);
	tcase_add_test(t, round_trip_spm);
	tcase_add_test(t, round_trip_bpe);
	tcase_add_test(t, messages_of_a_turn);
	tcase_add_test(t, tokens_that_strip);
	tcase_add_test(t, tags_of_html);
	tcase_add_test(t, marks_of_a_middle);
	tcase_add_test(t, round_trip_real);
	tcase_add_test(t, long_texts_spm);
	tcase_add_test(t, long_texts_bpe);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
