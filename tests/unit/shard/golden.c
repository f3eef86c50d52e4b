/* golden: SHA-256 of the float32 logits that a model gives, as tests/data/golden.txt has them.
 *
 *   golden --levels     the levels that this machine has, a line each
 *   golden [--kv TYPE] MODEL...    a line for each: hash, two spaces, path, and the type of KV cache where it is not f16;
 *                                  on the level that CARAVAN_CPU names
 *
 * The sequence is token (1 + 7919 i) mod vocabulary at position i, up to 600 positions or the context; the
 * hash is over the logits at each, in order.  golden.txt is made by running this in the source folder. */
#include "shard/model/content.h"
#include "tests/support/loaded.h"
#include "tests/support/synth.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSITIONS = 600, BLOCKS = (POSITIONS + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK };

static void print_hash(const char *path, enum kern_kv kv) {
	struct loaded *m = loaded_create(path);
	const struct hparams *hp = &m->whole->manifest->hp;
	uint32_t n = hp->context < POSITIONS ? hp->context : POSITIONS, tokens[POSITIONS], blocks[BLOCKS];
	size_t bytes = (size_t)n * hp->vocab * sizeof(float);
	float *logits = malloc(bytes);
	char hex[CONTENT_HEX];
	if (!logits)
		abort();
	for (uint32_t i = 0; i < n; i++)
		tokens[i] = (1 + 7919 * i) % hp->vocab;
	for (uint32_t i = 0; i < BLOCKS; i++)
		blocks[i] = i;
	struct line *l = line_create(m->whole, kv, 2, 1, NULL, 100, BLOCKS);
	line_logits(l, tokens, n, 100, blocks, logits);
	struct content_id hash = content_hash(logits, bytes);
	printf("%s  %s%s%s\n", content_hex(&hash, hex), path, kv ? "  " : "", kv ? kern_kv_name(kv) : "");
	line_destroy(l);
	free(logits);
	loaded_destroy(m);
}

int main(int argc, char **argv) {
	char err[256];
	if (argc < 2) {
		fprintf(stderr, "usage: golden --levels | [--kv TYPE] MODEL...\n");
		return 2;
	}
	if (!strcmp(argv[1], "--levels")) {
		for (size_t i = 0; kern_level(i); i++)
			puts(kern_level(i)->name);
		return 0;
	}
	if (kern_init(err, sizeof err)) {
		fprintf(stderr, "golden: %s\n", err);
		return 1;
	}
	int first = 1;
	enum kern_kv kv = KERN_KV_F16;
	if (argc > 3 && !strcmp(argv[1], "--kv")) {
		while (kv < KERN_KVS && strcmp(argv[2], kern_kv_name(kv)) != 0)
			kv++;
		if (kv == KERN_KVS) {
			fprintf(stderr, "golden: %s is no type of KV cache\n", argv[2]);
			return 2;
		}
		first = 3;
	}
	for (int i = first; i < argc; i++)
		print_hash(argv[i], kv);
	return 0;
}
