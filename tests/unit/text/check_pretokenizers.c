/* Pre-tokenizers: the ids that Hugging Face's tokenizers has for 46 texts and a megabyte of mixed text with each of the rules
 * (tests/tools/pretokenizers.mjs), and hostile texts, which must not take long. */
#include "daemon/text/tokenizer.h"
#include "shard/model/pretokenizer.h"
#include "tests/support/where.h"
#include "tests/unit/text/mixed_text.h"
#include "tests/unit/text/text_vocab.h"
#include <check.h>
#include <inttypes.h>

/* ---- a vocabulary that tells wherever a text is cut: every byte, every pair of bytes, words that no merge makes ---- */

static const char *const whole_words[] = {
        "Hello", " world", "token", " international", "中文", "123", " the", "...", " й", " naïve", "\n\n\n"};
#define PAIRS 65536u
#define WHOLE_WORDS (sizeof whole_words / sizeof *whole_words)

struct pairs {
	struct vocab v;
	struct vocab_token token[256 + PAIRS + WHOLE_WORDS];
	struct vocab_string merge[PAIRS];
	char text[PAIRS * 10 + 4096];
	size_t used;
};

static struct vocab_string pairs_letters(
        struct pairs *x, const char *bytes, size_t len, const char *between) {
	char *s = x->text + x->used, letter[3];
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		small_letter((uint8_t)bytes[i], letter);
		n += (size_t)sprintf(s + n, "%s%s", i ? between : "", letter);
	}
	x->used += n + 1;
	if (x->used > sizeof x->text)
		ck_abort_msg("no room for the letters");
	return (struct vocab_string){s, (uint32_t)n};
}

static struct pairs *pairs_new(void) {
	struct pairs *x = calloc(1, sizeof *x);
	ck_assert_ptr_nonnull(x);
	x->v = (struct vocab){.model = VOCAB_BPE,
	        .token = x->token,
	        .merge = x->merge,
	        .bos = -1,
	        .eos = -1,
	        .eot = -1,
	        .unk = -1};
	for (unsigned i = 0; i < 256 + PAIRS; i++) {
		const char bytes[2] = {(char)((i - 256) >> 8), (char)(i - (i < 256 ? 0 : 256))};
		x->token[i] = (struct vocab_token){
		        pairs_letters(x, i < 256 ? bytes + 1 : bytes, i < 256 ? 1 : 2, ""), 0, VOCAB_NORMAL};
	}
	for (size_t i = 0; i < WHOLE_WORDS; i++)
		x->token[256 + PAIRS + i] = (struct vocab_token){
		        pairs_letters(x, whole_words[i], strlen(whole_words[i]), ""), 0, VOCAB_NORMAL};
	x->v.tokens = 256 + PAIRS + WHOLE_WORDS;
	for (unsigned rank = 0; rank < PAIRS; rank++) {
		unsigned pair = (rank * 40503 + 12345) % PAIRS;
		const char bytes[2] = {(char)(pair >> 8), (char)pair};
		x->merge[rank] = pairs_letters(x, bytes, 2, " ");
	}
	x->v.merges = PAIRS;
	return x;
}

static struct tokenizer *make(struct pairs *x, const char *pre) {
	struct tokenizer *t;
	char err[200];
	x->v.pre = (struct vocab_string){pre, (uint32_t)strlen(pre)};
	ck_assert_msg(tokenizer_create(&t, &x->v, err, sizeof err) == 0, "%s", err);
	return t;
}

/* ---- the vectors ---- */

static char *read_file(const char *path) {
	FILE *f = fopen(path, "rb");
	char *s = calloc(1, 1 << 16);
	if (!f) {
		free(s);
		return NULL;
	}
	ck_assert_uint_lt(fread(s, 1, 1 << 16, f), 1 << 16);
	fclose(f);
	return s;
}

static char *read_vectors(const char *name, const char *ending) {
	char path[512], file[128];
	snprintf(file, sizeof file, "tests/data/pretokenizers/%s%s", name, ending);
	char *s = read_file(source_path(path, file));
	ck_assert_msg(s != NULL, "%s", path);
	return s;
}

static uint64_t hash_ids(const uint32_t *ids, size_t n) { /* FNV-1a */
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < n; i++)
		for (unsigned byte = 0; byte < 4; byte++)
			h = (h ^ (ids[i] >> 8 * byte & 255)) * 0x100000001b3u;
	return h;
}

/* Two names have the same rules: all that differs is whether BOS comes first, which is said elsewhere. */
static void check_same_rules(const char *name, const char *rule) {
	const struct pretokenizer *a = pretokenizer_find(name, strlen(name)),
	                          *b = pretokenizer_find(rule, strlen(rule));
	ck_assert_msg(a && b, "%s, %s", name, rule);
	ck_assert_msg(
	        (a->flags | PRETOKENIZER_BOS) == (b->flags | PRETOKENIZER_BOS), "%s is not %s", name, rule);
	for (size_t i = 0; a->split[i] || b->split[i]; i++)
		ck_assert_msg(a->split[i] && b->split[i] && strcmp(a->split[i], b->split[i]) == 0,
		        "%s is not %s", name, rule);
}

static void check_short_texts(const struct tokenizer *t, const char *rule, const char *texts) {
	static const char mark[] = "\n__ggml_vocab_test__\n";
	char *lines = read_vectors(rule, ".ids"), *line = lines;
	unsigned cases = 0;
	for (const char *text = texts, *end; (end = strstr(text, mark)); text = end + strlen(mark), cases++) {
		uint32_t *ids;
		size_t n;
		ck_assert_int_eq(tokenizer_encode(t, text, (size_t)(end - text), 0, &ids, &n), 0);
		for (size_t i = 0; i < n; i++) {
			uint32_t want = (uint32_t)strtoul(line, &line, 10);
			if (ids[i] != want)
				ck_abort_msg("%s: text %u: id %zu is %" PRIu32 ", not %" PRIu32, rule, cases,
				        i, ids[i], want);
			line += *line == ' ';
		}
		ck_assert_msg(*line == '\n', "%s: text %u has too few ids", rule, cases);
		line++;
		free(ids);
	}
	ck_assert_uint_eq(cases, 46);
	ck_assert(*line == 0);
	free(lines);
}

static void check_mixed_text(const struct tokenizer *t, const char *rule, size_t want, uint64_t hash) {
	size_t len, n;
	char *text = mixed_text(&len);
	uint32_t *ids;
	ck_assert_int_eq(tokenizer_encode(t, text, len, 0, &ids, &n), 0);
	ck_assert_msg(n == want, "%s: %zu ids, not %zu", rule, n, want);
	ck_assert_msg(hash_ids(ids, n) == hash, "%s: other ids", rule);
	free(ids);
	free(text);
}

/* Every name that Caravan knows has a line in the file of the mixed text, and no other. */
START_TEST(vectors) {
	char path[512], name[64], rule[64];
	char *texts = shared_or_skip(path, "vocab/llama-bpe.inp") ? read_file(path) : NULL;
	char *lines = read_vectors("mixed", "");
	struct pairs *x = pairs_new();
	size_t names = 0, known = 1, want;
	uint64_t hash;
	for (const char *s = pretokenizer_names(); (s = strchr(s, ',')); s++)
		known++;
	for (const char *line = lines; *line; line = strchr(line, '\n') + 1, names++) {
		ck_assert_int_eq(sscanf(line, "%63s %63s %zu %" SCNx64, name, rule, &want, &hash), 4);
		check_same_rules(name, rule);
		if (strcmp(name, rule) != 0)
			continue;
		struct tokenizer *t = make(x, name);
		check_mixed_text(t, rule, want, hash);
		if (texts)
			check_short_texts(t, rule, texts);
		tokenizer_destroy(t);
	}
	ck_assert_uint_eq(names, known);
	free(lines);
	free(texts);
	free(x);
}
END_TEST

/* ---- what has no vectors ---- */

static void expect_bytes(const struct tokenizer *t, const char *text, size_t len) {
	uint32_t *ids;
	size_t n, at = 0, plen;
	ck_assert_int_eq(tokenizer_encode(t, text, len, 0, &ids, &n), 0);
	for (size_t i = 0; i < n; i++, at += plen) {
		const char *p = tokenizer_piece(t, ids[i], &plen);
		if (plen > len - at || memcmp(p, text + at, plen) != 0) /* an assertion that holds is slow */
			ck_abort_msg("other bytes at %zu", at);
	}
	ck_assert_uint_eq(at, len);
	free(ids);
}

/* Bytes that are no text are a word for themselves, and what is around them is cut as if it were all there is. */
static void check_no_text(const struct tokenizer *t) {
	static const char *const parts[] = {
	        "don't  12", "\xFF\xC3", " x ", "\xF0\x9F\x98", "\r\n中文  ", "\xED\xA0\x80", "\xC0"};
	char text[64] = "";
	uint32_t *ids, *part;
	size_t n, at = 0;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		strcat(text, parts[i]);
	expect_bytes(t, text, strlen(text));
	ck_assert_int_eq(tokenizer_encode(t, text, strlen(text), 0, &ids, &n), 0);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		size_t k;
		const char *s = parts[i];
		if (i == 5) /* joins the next, which is no text either */
			s = "\xED\xA0\x80\xC0";
		if (i == 6)
			break;
		ck_assert_int_eq(tokenizer_encode(t, s, strlen(s), 0, &part, &k), 0);
		ck_assert(k <= n - at && memcmp(part, ids + at, k * sizeof *part) == 0);
		at += k;
		free(part);
	}
	ck_assert_uint_eq(at, n);
	free(ids);
}

/* Runs through which an expression might go again and again: a quarter of a million steps squared do not end. */
static void check_runs(const struct tokenizer *t) {
	static const char *const units[] = {" ", "\n", "a", "A", "1", "!", "\u0300", "\u4E00", " \r"};
	static const char *const ends[] = {"", "x", "1", "\u4E00"};
	size_t most = 1 << 18;
	char *text = malloc(most + 8);
	ck_assert_ptr_nonnull(text);
	for (size_t u = 0; u < sizeof units / sizeof *units; u++)
		for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
			size_t n = strlen(units[u]), len = u == 0 && e > 0 ? most : 8192;
			len -= len % n;
			for (size_t i = 0; i < len; i++)
				text[i] = units[u][i % n];
			strcpy(text + len, ends[e]);
			expect_bytes(t, text, len + strlen(ends[e]));
		}
	free(text);
}

START_TEST(hostile_texts) {
	static const char *const names[] = {"llama-bpe", "qwen35", "gpt-4o", "tekken", "kimi-k2",
	        "deepseek-llm", "deepseek-coder", "deepseek-v3", "smollm", "gpt-2", "seed-coder", "minicpm5",
	        "default"};
	struct pairs *x = pairs_new();
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct tokenizer *t = make(x, names[i]);
		check_no_text(t);
		check_runs(t);
		tokenizer_destroy(t);
	}
	free(x);
}
END_TEST

/* Marks in the wrong order, without end, take no longer than others. */
START_TEST(marks) {
	struct pairs *x = pairs_new();
	struct tokenizer *t = make(x, "qwen2");
	const size_t pairs = 1 << 18;
	char *text = malloc(4 * pairs + 1), *sorted = malloc(4 * pairs + 1);
	uint32_t *a, *b;
	size_t na, nb;
	ck_assert(text && sorted);
	text[0] = sorted[0] = 'q';
	for (size_t i = 0; i < pairs; i++) { /* U+0315 has class 232, U+0316 has 220 */
		memcpy(text + 1 + 4 * i, "\u0315\u0316", 4);
		memcpy(sorted + 1 + 2 * i, "\u0316", 2);
		memcpy(sorted + 1 + 2 * pairs + 2 * i, "\u0315", 2);
	}
	ck_assert_int_eq(tokenizer_encode(t, text, 4 * pairs + 1, 0, &a, &na), 0);
	ck_assert_int_eq(tokenizer_encode(t, sorted, 4 * pairs + 1, 0, &b, &nb), 0);
	ck_assert(na == nb && memcmp(a, b, na * sizeof *a) == 0);
	free(a);
	free(b);
	free(text);
	free(sorted);
	tokenizer_destroy(t);
	free(x);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("pretokenizers");
	TCase *t = tcase_create("pretokenizers");
	tcase_set_timeout(t, 600);
	tcase_add_test(t, vectors);
	tcase_add_test(t, hostile_texts);
	tcase_add_test(t, marks);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
