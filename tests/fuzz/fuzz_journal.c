/* Whatever a journal's file is, its events are such as other nodes take, no byte counts twice, and they survive a new file. */
#include "daemon/core/journal_file.h"
#include "proto/schema.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct taken {
	struct journal_bytes again;
	size_t count, bytes;
};

static void take(void *arg, Caravan__Event *e) {
	struct taken *t = arg;
	char err[200];
	if (!schema_check(&e->base, err, sizeof err) || journal_encode(&t->again, e) != 0)
		abort();
	t->count++;
	caravan__event__free_unpacked(e, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	struct taken first = {0}, second = {0};
	size_t damaged;
	(void)journal_decode(data, len, take, &first, &damaged);
	if (damaged > len)
		abort();
	(void)journal_decode(first.again.data, first.again.len, take, &second, &damaged);
	if (first.count != second.count || damaged != 0)
		abort();
	journal_bytes_free(&first.again);
	journal_bytes_free(&second.again);
	return 0;
}
