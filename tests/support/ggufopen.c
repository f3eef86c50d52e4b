/* ggufopen: see ggufopen.h. */
#include "tests/support/ggufopen.h"
#include "shard/import/import.h"
#include <check.h>
#include <stdlib.h>
#include <unistd.h>

char err[256];

const struct ggufgen_model small_model = {.type = KERN_Q8_0,
        .head = KERN_Q8_0,
        .dim = 64,
        .layers = 2,
        .heads = 4,
        .kv_heads = 2,
        .ffn = 96,
        .vocab = 40,
        .context = 128,
        .seed = 3};

int open_gen(struct ggufgen *gen, struct gguf **out) {
	size_t len;
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	err[0] = '\0';
	int rc = gguf_open(out, &fd, 1, "model", err, sizeof err);
	close(fd);
	free(data);
	ggufgen_destroy(gen);
	return rc;
}

int hparams_gen(struct ggufgen *gen, struct hparams *hp) {
	struct gguf *g;
	ck_assert_int_eq(open_gen(gen, &g), 0);
	int rc = hparams_from_gguf(hp, g, 0, err, sizeof err);
	gguf_close(g);
	return rc;
}

int import_gen(struct ggufgen *gen) {
	size_t len;
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	struct import *im = NULL;
	err[0] = '\0';
	int rc = import_open(&im, &fd, 1, "model", NULL, NULL, NULL, NULL, err, sizeof err);
	import_close(im);
	close(fd);
	free(data);
	ggufgen_destroy(gen);
	return rc;
}

int vocab_gen(struct ggufgen *gen, struct vocab **v) {
	return vocab_gen_read(gen, NULL, v);
}

int vocab_gen_read(struct ggufgen *gen, struct vocab_reading *r, struct vocab **v) {
	struct gguf *g;
	ck_assert_int_eq(open_gen(gen, &g), 0);
	int rc = vocab_from_gguf(v, g, r, err, sizeof err);
	gguf_close(g);
	return rc;
}
