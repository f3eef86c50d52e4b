/* A vocabulary that is taken encodes to the bytes that it came from. */
#include "shard/model/vocab.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	struct vocab *v = NULL;
	char err[256];
	uint8_t *again;
	size_t n;
	if (vocab_decode(&v, data, len, err, sizeof err) < 0)
		return 0;
	if (vocab_encode(v, &again, &n) < 0 || n != len || memcmp(again, data, n) != 0)
		abort();
	free(again);
	vocab_destroy(v);
	return 0;
}
