/* The whole way of a foreign file: tables, shape, vocabulary, names. */
#include "shard/gguf/gguf.h"
#include "shard/import/import.h"
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_everything(const struct gguf *g) {
	char err[256];
	struct hparams hp;
	struct vocab *v = NULL;
	volatile uint8_t sum = 0;
	for (size_t i = 0; i < gguf_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor(g, i);
		uint8_t byte;
		if (t->bytes && (gguf_read(t, 0, &byte, 1) != 0 || gguf_read(t, t->bytes - 1, &byte, 1) != 0))
			abort();
		sum = (uint8_t)(sum + byte);
	}
	hparams_from_gguf(&hp, g, 0, err, sizeof err);
	/* as it is, and with a pre-tokenizer that the user has named */
	for (int i = 0; i < 2; i++) {
		struct vocab_reading r = {.pre = i ? "gpt-2" : NULL};
		if (vocab_from_gguf(&v, g, &r, err, sizeof err) == 0)
			vocab_destroy(v);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	static int fd = -1;
	struct gguf *g = NULL;
	struct import *im = NULL;
	char err[256];
	if (fd < 0)
		fd = memfd_create("fuzz_gguf", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)len) < 0 || pwrite(fd, data, len, 0) != (ssize_t)len)
		abort();
	if (gguf_open(&g, &fd, 1, "fuzz", err, sizeof err) == 0) {
		read_everything(g);
		gguf_close(g);
	}
	if (import_open(&im, &fd, 1, "fuzz", NULL, NULL, NULL, NULL, err, sizeof err) == 0)
		import_close(im);
	return 0;
}
