/* Any text through both tokenizers over the small vocabularies: what comes out stands for the same bytes,
 * unless control tokens were asked for, and the stream makes text of it, however it is cut.
 * The first byte chooses flags and pre-tokenizer, the second how long a stop text at the end is. */
#include "daemon/text/stream.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/utf8.h"
#include "tests/unit/text/text_vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void expect(bool what) {
	if (!what)
		abort();
}

/* The bytes of ids are the text, behind a space where the vocabulary puts one. */
static void check_bytes(
        const struct tokenizer *t, const uint32_t *ids, size_t n, const char *text, size_t len) {
	size_t at = 0;
	bool prefix = tokenizer_has_space_prefix(t) && len > 0;
	for (size_t i = 0; i < n; i++) {
		size_t plen;
		const char *p = tokenizer_piece(t, ids[i], &plen);
		if (i == 0 && prefix && plen > 0 && p[0] == ' ') {
			p++;
			plen--;
		}
		expect(!tokenizer_is_control(t, ids[i]) && plen <= len - at &&
		        memcmp(p, text + at, plen) == 0);
		at += plen;
	}
	expect(at == len);
}

static void check_stream(const struct tokenizer *t, const uint32_t *ids, size_t n,
        const struct text_stop *stop, unsigned flags) {
	struct text_stream *s;
	if (text_stream_create(&s, t, stop, stop->len > 0, flags) < 0)
		return;
	for (size_t i = 0; i <= n; i++) {
		const char *out;
		expect((i < n ? text_stream_push(s, ids[i]) : text_stream_finish(s)) == 0);
		size_t got = text_stream_take(s, &out);
		expect(utf8_valid(out, got));
		if (stop->len > 0)
			expect(!memmem(out, got, stop->s, stop->len));
	}
	text_stream_destroy(s);
}

static bool has_user_defined(const char *text, size_t len) {
	return memmem(text, len, "<tool>", 6);
}

static bool has_block(const char *text, size_t len) {
	return memmem(text, len, "\xE2\x96\x81", 3);
}

/* exact: what comes out is the text, not its normal form */
static void check_all(struct tokenizer *t, bool spm, bool exact, unsigned flags, const struct text_stop *stop,
        const char *text, size_t len) {
	uint32_t *ids;
	size_t n;
	expect(tokenizer_encode(t, text, len, flags, &ids, &n) == 0);
	/* SPM puts spaces behind special tokens, and has one sign for a space and for U+2581 */
	if (exact && flags == 0 && !(spm && (has_user_defined(text, len) || has_block(text, len))))
		check_bytes(t, ids, n, text, len);
	for (unsigned f = 0; f < 4; f++)
		check_stream(t, ids, n, stop, f);
	free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	/* by bits 2 to 5 of the first byte; the last three have normal forms */
	static const char *const pre[16] = {"llama-bpe", "gpt-2", "gpt-4o", "tekken", "deepseek-llm",
	        "deepseek-coder", "deepseek-v3", "smollm", "seed-coder", "default", "stablelm2", "dbrx",
	        "minimax-m2", "qwen2", "qwen35", "command-r"};
	static struct tokenizer *spm, *bpe[16];
	if (!spm) {
		char err[200];
		expect(tokenizer_create(&spm, &small_spm()->v, err, sizeof err) == 0);
		for (unsigned i = 0; i < 16; i++)
			expect(tokenizer_create(&bpe[i], &small_bpe(pre[i])->v, err, sizeof err) == 0);
	}
	if (len < 2)
		return 0;
	const char *text = (const char *)data + 2;
	unsigned flags = data[0] & 3;
	size_t nstop = data[1] % 8;
	len -= 2;
	nstop = nstop < len ? nstop : len;
	const struct text_stop stop = {text + len - nstop, nstop};
	check_all(spm, true, true, flags, &stop, text, len);
	unsigned chosen = data[0] >> 2 & 15;
	check_all(bpe[chosen], false, chosen < 13, flags, &stop, text, len);
	return 0;
}
