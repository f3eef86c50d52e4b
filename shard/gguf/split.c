/* split: finds the files of a model whose parts are named NAME-00001-of-0000N.gguf. */
#include "common/fail.h"
#include "shard/gguf/gguf_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool gguf_split_number(const char *s, unsigned *out) {
	*out = 0;
	for (int i = 0; i < 5; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		*out = *out * 10 + (unsigned)(s[i] - '0');
	}
	return true;
}

static void gguf_free_paths(char **path, size_t count) {
	for (size_t i = 0; path && i < count; i++)
		free(path[i]);
	free(path);
}

/* Whether a path is NAME-0000i-of-0000n.gguf; if so, *stem is the length of NAME. */
static bool gguf_is_part(const char *path, size_t *stem, unsigned *i, unsigned *n) {
	static const char tail[] = "-00001-of-00001.gguf";
	size_t len = strlen(path), tail_len = sizeof tail - 1;
	if (len <= tail_len)
		return false;
	const char *t = path + len - tail_len;
	*stem = len - tail_len;
	return t[0] == '-' && gguf_split_number(t + 1, i) && memcmp(t + 6, "-of-", 4) == 0 &&
	       gguf_split_number(t + 10, n) && strcmp(t + 15, ".gguf") == 0;
}

char *gguf_part_name(const char *name, size_t at, size_t count) {
	size_t stem, len = strlen(name);
	unsigned i, n;
	char *path = malloc(len + 1), end[40];
	if (!path)
		return NULL;
	memcpy(path, name, len + 1);
	if (gguf_is_part(name, &stem, &i, &n) && n == count) {
		/* as long as the text it replaces, since n has at most five digits */
		snprintf(end, sizeof end, "-%05u-of-%05u.gguf", (unsigned)at + 1, n);
		memcpy(path + stem, end, len - stem);
	}
	return path;
}

int gguf_parts(const char *path, char ***out, size_t *count, char *err, size_t errlen) {
	size_t stem;
	unsigned no = 1, n = 1;
	bool split = gguf_is_part(path, &stem, &no, &n);
	char **paths;

	if (!split)
		n = 1;
	if (split && (no < 1 || no > n || n > GGUF_MAX_PARTS))
		return fail_with(-EINVAL, err, errlen, "%s: part %u of %u is impossible", path, no, n);
	paths = calloc(n, sizeof *paths);
	if (!paths)
		goto nomem;
	for (unsigned i = 0; i < n; i++) {
		paths[i] = gguf_part_name(path, i, n);
		if (!paths[i])
			goto nomem;
		if (split && access(paths[i], F_OK) < 0 && errno == ENOENT) {
			snprintf(err, errlen, "%s: part %u of %u is missing: there is no %s", path, i + 1, n,
			        paths[i]);
			gguf_free_paths(paths, n);
			return -ENOENT;
		}
	}
	*out = paths;
	*count = n;
	return 0;
nomem:
	gguf_free_paths(paths, n);
	return fail_memory(err, errlen, path);
}

int gguf_open_path(struct gguf **out, const char *path, char *err, size_t errlen) {
	char **paths = NULL;
	int *fds = NULL;
	size_t count = 0, opened = 0;
	int rc = gguf_parts(path, &paths, &count, err, errlen);
	if (rc < 0)
		return rc;
	fds = calloc(count, sizeof *fds);
	if (!fds) {
		rc = fail_memory(err, errlen, path);
		goto done;
	}
	for (; opened < count; opened++) {
		fds[opened] = open(paths[opened], O_RDONLY | O_CLOEXEC);
		if (fds[opened] < 0) {
			rc = -errno;
			snprintf(err, errlen, "%s: %s", paths[opened], strerror(-rc));
			goto done;
		}
	}
	rc = gguf_open(out, fds, count, path, err, errlen);
done:
	for (size_t i = 0; i < opened; i++)
		close(fds[i]);
	free(fds);
	gguf_free_paths(paths, count);
	return rc;
}
