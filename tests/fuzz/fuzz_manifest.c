/* A manifest that is taken encodes to the bytes that it came from. */
#include "shard/model/manifest.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	struct manifest *m = NULL;
	char err[256];
	uint8_t *again;
	size_t n;
	if (manifest_decode(&m, data, len, err, sizeof err) < 0)
		return 0;
	if (manifest_encode(m, &again, &n) < 0 || n != len || memcmp(again, data, n) != 0)
		abort();
	free(again);
	manifest_destroy(m);
	return 0;
}
