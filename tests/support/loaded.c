/* loaded: see loaded.h. */
#include "tests/support/loaded.h"
#include "shard/gguf/gguf.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(int rc, const char *what, const char *err) {
	if (rc) {
		fprintf(stderr, "%s: %s: %s\n", what, strerror(-rc), err);
		abort();
	}
}

static void put_tensor(struct loaded *l, const struct manifest_tensor *mt) {
	char err[256] = "";
	if (store_has_tensor(l->store, &mt->id))
		return;
	struct store_writer *w;
	const struct content_tensor *t = import_tensor(l->import, &mt->id);
	check(t ? 0 : -ENOENT, "import_tensor", err);
	check(store_writer_create(&w, l->store, t, err, sizeof err), "store_writer_create", err);
	for (uint32_t i = 0; i < t->chunks; i++) {
		size_t len;
		uint8_t *bytes;
		check(import_chunk(l->import, &mt->id, i, &bytes, &len, err, sizeof err), "import_chunk",
		        err);
		check(store_writer_chunk(w, i, bytes, len), "store_writer_chunk", err);
		free(bytes);
	}
	check(store_writer_commit(w), "store_writer_commit", err);
	store_writer_destroy(w);
}

struct loaded *loaded_create(const char *path) {
	char err[512] = "";
	struct loaded *l = calloc(1, sizeof *l);
	int fds[8];
	char **parts;
	size_t count;
	check(l ? 0 : -ENOMEM, path, err);
	check(gguf_parts(path, &parts, &count, err, sizeof err), path, err);
	check(count <= sizeof fds / sizeof *fds ? 0 : -E2BIG, path, err);
	for (size_t i = 0; i < count; i++) {
		fds[i] = open(parts[i], O_RDONLY | O_CLOEXEC);
		check(fds[i] >= 0 ? 0 : -errno, parts[i], err);
		free(parts[i]);
	}
	free(parts);
	const char *tmp = getenv("TMPDIR");
	snprintf(l->dir, sizeof l->dir, "%s/caravan-test-XXXXXX", tmp ? tmp : "/tmp");
	check(mkdtemp(l->dir) ? 0 : -errno, l->dir, err);
	check(import_open(&l->import, fds, count, path, NULL, NULL, NULL, NULL, err, sizeof err), path, err);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	check(store_open(&l->store, l->dir, err, sizeof err), "store_open", err);
	const struct manifest *m = import_manifest(l->import);
	for (size_t i = 0; i < manifest_tensors(m); i++)
		put_tensor(l, manifest_tensor_at(m, i));
	check(slice_create(&l->whole, l->store, m, 0, m->hp.layers, true, 0, err, sizeof err), "slice_create",
	        err);
	return l;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
	(void)st, (void)type, (void)at;
	return remove(path);
}

void loaded_destroy(struct loaded *l) {
	slice_destroy(l->whole);
	store_close(l->store);
	import_close(l->import);
	nftw(l->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(l);
}
