/* mkchain: writes a small model that says what it is told to, for tests of text: after any token comes the first TEXT, after each
 * TEXT the next, after the last one the end.  A TEXT that begins with <| is a control token.  The vocabulary is a BPE: the 256
 * bytes, the TEXTs, <|begin_of_text|> and <|end_of_text|>.
 *
 * Options: pre=NAME (the pre-tokenizer; without it the file names none), nobos (adds no BOS), eos (adds EOS to texts),
 * eom (what ends is a token of no known name, which the file calls EOM), padded (rows beyond the tokens, likelier
 * than any), noeot (the file names an EOT beyond the tokens).
 *
 * The embedding of a token is a one at its place, the layer adds nothing, and the head has a two where it follows. */
#include "tests/support/ggufgen.h"
#include "tests/unit/text/text_vocab.h"

#define PADDING 7

struct options {
	const char *pre;
	bool nobos, eos, eom, padded, noeot;
};

/* A text as the file spells it: spaces as the letter of the space. */
static const char *spell(const char *text) {
	char *out = calloc(1, 2 * strlen(text) + 1), *p = out;
	if (!out)
		abort();
	for (; *text; text++) {
		if (*text == ' ') {
			memcpy(p, "\u0120", 2);
			p += 2;
		} else {
			*p++ = *text;
		}
	}
	return out;
}

static void put_types(struct ggufgen *g, const int32_t *type, uint64_t n) {
	uint8_t *list = calloc(1, 12 + n * sizeof *type);
	uint32_t kind = GGUF_I32;
	if (!list)
		abort();
	memcpy(list, &kind, sizeof kind);
	memcpy(list + 4, &n, sizeof n);
	memcpy(list + 12, type, n * sizeof *type);
	ggufgen_raw(g, "tokenizer.ggml.token_type", GGUF_ARRAY, list, 12 + n * sizeof *type);
	free(list);
}

static void write_model(const char *path, const struct options *o, char *const *text, uint32_t texts) {
	uint32_t tokens = 256 + texts + 3, bos = tokens - 3, eos = tokens - 2, eom = tokens - 1;
	uint32_t rows = tokens + (o->padded ? PADDING : 0), dim = (rows + 31) / 32 * 32;
	const char **name = calloc(tokens, sizeof *name);
	int32_t *type = calloc(tokens, sizeof *type);
	float *embed = calloc((size_t)rows * dim, sizeof *embed),
	      *head = calloc((size_t)rows * dim, sizeof *head);
	if (!name || !type || !embed || !head)
		abort();
	for (uint32_t i = 0; i < tokens; i++) {
		static char letter[256][3];
		if (i < 256)
			small_letter(i, letter[i]);
		name[i] = i < 256    ? letter[i]
		          : i < bos  ? spell(text[i - 256])
		          : i == bos ? "<|begin_of_text|>"
		          : i == eos ? "<|end_of_text|>"
		                     : "<no more>";
		type[i] = i < bos && strncmp(name[i], "<|", 2) != 0 ? VOCAB_NORMAL : VOCAB_CONTROL;
		uint32_t next = i < 256 || i == bos ? 256 : i + 1 < bos ? i + 1 : o->eom ? eom : eos;
		embed[(size_t)i * dim + i] = 1;
		head[(size_t)next * dim + i] = 2;
		for (uint32_t k = tokens; k < rows; k++)
			head[(size_t)k * dim + i] = 9;
	}
	struct ggufgen_model m = {
	        .dim = dim, .layers = 1, .heads = dim / 32, .ffn = 32, .vocab = rows, .context = 64};
	struct ggufgen *g = ggufgen_create();
	ggufgen_model_keys(g, &m);
	ggufgen_string(g, "tokenizer.ggml.model", "gpt2");
	ggufgen_strings(g, "tokenizer.ggml.tokens", name, tokens);
	put_types(g, type, tokens);
	ggufgen_strings(g, "tokenizer.ggml.merges", (const char *const[]){"h e"}, 1);
	ggufgen_u32(g, "tokenizer.ggml.bos_token_id", bos);
	ggufgen_u32(g, "tokenizer.ggml.eos_token_id", eos);
	ggufgen_bool(g, "tokenizer.ggml.add_bos_token", !o->nobos);
	ggufgen_bool(g, "tokenizer.ggml.add_eos_token", o->eos);
	if (o->pre)
		ggufgen_string(g, "tokenizer.ggml.pre", o->pre);
	if (o->noeot)
		ggufgen_u32(g, "tokenizer.ggml.eot_token_id", 128009);
	if (o->eom)
		ggufgen_u32(g, "tokenizer.ggml.eom_token_id", eom);
	ggufgen_floats(g, "token_embd.weight", dim, rows, embed);
	ggufgen_floats(g, "output.weight", dim, rows, head);
	ggufgen_tensor(g, "output_norm.weight", KERN_F32, dim, 0, GGUFGEN_ONES);
	ggufgen_tensor(g, "blk.0.attn_norm.weight", KERN_F32, dim, 0, GGUFGEN_ONES);
	ggufgen_tensor(g, "blk.0.ffn_norm.weight", KERN_F32, dim, 0, GGUFGEN_ONES);
	ggufgen_floats(g, "blk.0.attn_q.weight", dim, dim, NULL);
	ggufgen_alias(g, "blk.0.attn_k.weight", 5);
	ggufgen_alias(g, "blk.0.attn_v.weight", 5);
	ggufgen_alias(g, "blk.0.attn_output.weight", 5);
	ggufgen_floats(g, "blk.0.ffn_gate.weight", dim, 32, NULL);
	ggufgen_alias(g, "blk.0.ffn_up.weight", 9);
	ggufgen_floats(g, "blk.0.ffn_down.weight", 32, dim, NULL);
	ggufgen_write_path(g, path);
	ggufgen_destroy(g);
	for (uint32_t i = 256; i < bos; i++)
		free((char *)name[i]);
	free(name);
	free(type);
	free(embed);
	free(head);
}

int main(int argc, char **argv) {
	struct options o = {.pre = NULL};
	int i = 2;
	for (; i < argc; i++) {
		if (strncmp(argv[i], "pre=", 4) == 0)
			o.pre = argv[i] + 4;
		else if (strcmp(argv[i], "nobos") == 0)
			o.nobos = true;
		else if (strcmp(argv[i], "eos") == 0)
			o.eos = true;
		else if (strcmp(argv[i], "eom") == 0)
			o.eom = true;
		else if (strcmp(argv[i], "padded") == 0)
			o.padded = true;
		else if (strcmp(argv[i], "noeot") == 0)
			o.noeot = true;
		else
			break;
	}
	if (i >= argc) {
		fprintf(stderr,
		        "usage: mkchain OUT [pre=NAME] [nobos] [eos] [eom] [padded] [noeot] TEXT...\n");
		return 1;
	}
	write_model(argv[1], &o, argv + i, (uint32_t)(argc - i));
	return 0;
}
