/* A tensor record that is taken encodes to the bytes that it came from, and its chunks cover it. */
#include "shard/model/content.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	struct content_tensor t;
	uint8_t *again;
	size_t n;
	uint64_t total = 0;
	if (content_tensor_decode(&t, data, len) < 0)
		return 0;
	if (content_tensor_encode(&t, &again, &n) < 0 || n != len || memcmp(again, data, n) != 0)
		abort();
	for (uint32_t i = 0; i < t.chunks; i++) {
		uint64_t first, rows, bytes;
		content_chunk_extent(&t, i, &first, &rows, &bytes);
		if (first != total || content_chunk_of(&t, first) != i ||
		        content_chunk_of(&t, first + rows - 1) != i)
			abort();
		total += rows;
	}
	if (total != t.rows)
		abort();
	free(again);
	content_tensor_clear(&t);
	return 0;
}
