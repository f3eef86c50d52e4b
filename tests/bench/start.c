/* bench/start: from the command to the first token of a model whose packed slice lies in the store. */
#include "tests/bench/bench.h"
#include "tests/support/ggufgen.h"
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `caravan run -m FILE -n 1` with a home of its own; seconds until it has ended, negative if it failed. */
static double first_token(const char *caravan, const char *home, const char *file) {
	double t0 = bench_now();
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		setenv("HOME", home, 1);
		unsetenv("XDG_STATE_HOME");
		unsetenv("XDG_RUNTIME_DIR");
		unsetenv("CARAVAN_CONTROL");
		execl(caravan, "caravan", "run", "-m", file, "--temp", "0", "-n", "1", "a", (char *)NULL);
		_exit(127);
	}
	int status;
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		return -1;
	return bench_now() - t0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
	(void)st, (void)type, (void)at;
	return remove(path);
}

void bench_start(struct bench *b, const char *caravan) {
	char home[256], file[300];
	double t[BENCH_ROUNDS_MAX];
	const char *tmp = getenv("TMPDIR");
	struct ggufgen_model m = {.type = KERN_Q4_0,
	        .head = KERN_Q4_0,
	        .dim = 4096,
	        .layers = 4,
	        .heads = 32,
	        .ffn = 11008,
	        .vocab = 32000,
	        .seed = 1};
	snprintf(home, sizeof home, "%s/caravan-bench-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(home)) {
		perror(home);
		exit(1);
	}
	snprintf(file, sizeof file, "%s/model.gguf", home);
	struct ggufgen *g = ggufgen_model(&m);
	ggufgen_write_path(g, file);
	ggufgen_destroy(g);
	double cold = first_token(caravan, home, file);
	for (unsigned i = 0; i < b->rounds; i++)
		t[i] = first_token(caravan, home, file);
	nftw(home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	if (cold < 0) {
		fprintf(stderr, "bench: %s cannot run a model\n", caravan);
		return;
	}
	double median = bench_median(t, b->rounds);
	printf("\nStart to first token, 0.6 GB: %.2f s when it is new, %.2f s (%.2f to %.2f) from the store\n",
	        cold, median, t[0], t[b->rounds - 1]);
	bench_row(b, "s", median, NAN, 0.5, true, "start.cached");
	bench_row(b, "s", cold, NAN, NAN, true, "start.new");
}
