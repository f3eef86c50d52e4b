/* Runs files (and the files of folders) through a fuzzer's entry in a build without libFuzzer, so that
 * seeds and past crashes are tests of every build.  Prints TAP, one line a fuzzer. */
#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int run_file(const char *path) {
	FILE *f = fopen(path, "rb");
	struct stat st;
	if (!f || fstat(fileno(f), &st) != 0) {
		perror(path);
		if (f)
			fclose(f);
		return -1;
	}
	size_t len = (size_t)st.st_size;
	/* exactly as long as the input, so that an overrun is one */
	uint8_t *data = malloc(len ? len : 1);
	if (!data || fread(data, 1, len, f) != len) {
		fprintf(stderr, "%s: cannot read it\n", path);
		free(data);
		fclose(f);
		return -1;
	}
	fclose(f);
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	return 0;
}

static int run_path(const char *path, int *count) {
	struct stat st;
	if (stat(path, &st) != 0) {
		perror(path);
		return -1;
	}
	if (!S_ISDIR(st.st_mode)) {
		++*count;
		return run_file(path);
	}
	DIR *d = opendir(path);
	if (!d) {
		perror(path);
		return -1;
	}
	int rc = 0;
	for (struct dirent *e; rc == 0 && (e = readdir(d));) {
		char sub[PATH_MAX];
		if (e->d_name[0] == '.')
			continue;
		snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
		rc = run_path(sub, count);
	}
	closedir(d);
	return rc;
}

int main(int argc, char **argv) {
	int count = 0, rc = 0;
	const char *name = strrchr(argv[0], '/');
	name = name ? name + 1 : argv[0];
	printf("1..1\n");
	if (argc > 1) {
		for (int i = 1; rc == 0 && i < argc; i++)
			rc = run_path(argv[i], &count);
	} else {
		/* as a test: the corpus beside the sources */
		const char *src = getenv("top_srcdir");
		char dir[PATH_MAX];
		snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s", src ? src : ".",
		        strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name);
		rc = run_path(dir, &count);
	}
	if (count == 0)
		rc = -1;
	printf("%s 1 - %s: %d inputs\n", rc ? "not ok" : "ok", name, count);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
