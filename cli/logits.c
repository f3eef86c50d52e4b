/* caravan logits: the logits at each position of a list of tokens, as a file. */
#include "cli/args.h"
#include "cli/client.h"
#include "cli/command.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPT_THREADS = OPT_OWN, OPT_BATCH, OPT_OUT };

static const struct option longs[] = {
        {"threads", required_argument, NULL, OPT_THREADS},
        {"batch", required_argument, NULL, OPT_BATCH},
        {"out", required_argument, NULL, OPT_OUT},
        ARGS_COMMON,
};

static const char help[] =
        "Writes the logits at each position as float32, one row after another.  Token ids\n"
        "are used exactly as given.\n"
        "\n"
        "  -m MODEL               a model that the cluster serves, or a path (default:\n"
        "                         the only model that is served)\n"
        "  --out FILE             the file to write (required)\n"
        "\n"
        "Only with a path:\n"
        "  --threads N            compute threads (default: one per physical core)\n"
        "  --batch N              rows per step at most (default: 512, or what fits a\n"
        "                         message)\n";

static int logits_write_rows(int fd, const uint8_t *data, size_t len, off_t at, const char *out) {
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail("cannot write %s: %s", out, strerror(errno));
		data += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int logits_receive(struct client *c, int fd, const char *out) {
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	while ((env = client_next(c, &payload, &len))) {
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END)
			return EXIT_OK;
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR)
			return fail("%s", env->ctl_error->message);
		if (env->body_case != CARAVAN__ENVELOPE__BODY_LOGITS)
			continue;
		off_t at = (off_t)env->logits->position * env->logits->vocab * (off_t)sizeof(float);
		if (logits_write_rows(fd, payload, len, at, out) != 0)
			break;
	}
	return EXIT_FAILED;
}

static int logits_run(int argc, char **argv) {
	struct args a;
	struct client c;
	const char *model = NULL, *out = NULL;
	unsigned threads = 0;
	Caravan__CtlLoad how = CARAVAN__CTL_LOAD__INIT;
	Caravan__CtlLogits cmd = CARAVAN__CTL_LOGITS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_LOGITS, ctl_logits, &cmd);
	args_begin(&a, &command_logits, argc, argv);
	for (int o; (o = args_next(&a, "m:", longs)) != -1;)
		switch (o) {
		case 'm':
			model = optarg;
			break;
		case OPT_THREADS:
			threads = (unsigned)args_uint("--threads", optarg, 1, 256);
			break;
		case OPT_BATCH:
			how.max_rows = (uint32_t)args_uint("--batch", optarg, 1, WIRE_ROWS_MAX);
			break;
		case OPT_OUT:
			out = optarg;
			break;
		}
	args_operands(&a, 1, INT32_MAX, "ID");
	if (!out)
		args_usage(&a, "--out FILE is missing");
	if ((threads || how.max_rows) && (!model || !client_is_path(model)))
		args_usage(&a, "--threads and --batch need a path as MODEL");
	size_t n = (size_t)(argc - optind);
	uint32_t *ids = calloc(n, sizeof *ids);
	if (!ids)
		return fail("out of memory");
	for (size_t i = 0; i < n; i++)
		ids[i] = (uint32_t)args_uint("ID", argv[optind + (int)i], 0, UINT32_MAX);
	int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int rc = fd < 0 ? fail("cannot write %s: %s", out, strerror(errno)) : 0;
	struct stat st;
	bool regular = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	if (rc == 0)
		rc = client_for_model(&c, a.control, &model, threads, &how);
	if (rc == 0) {
		cmd.model = wire_string(model ? model : "");
		rc = client_send(&c, &env, ids, n * sizeof *ids, NULL, 0);
		if (rc == 0)
			rc = logits_receive(&c, fd, out);
		client_close(&c);
	}
	if (fd >= 0 && close(fd) != 0 && rc == 0)
		rc = fail("cannot write %s: %s", out, strerror(errno));
	/* half a result is useless; but only a regular file that we wrote is removed */
	if (rc != 0 && regular)
		unlink(out);
	free(ids);
	return rc;
}

const struct command command_logits = {.name = "logits",
        .usage = "[-m MODEL] [--threads N] [--batch N] --out FILE ID...",
        .summary = "write the logits at each position of a list of tokens",
        .help = help,
        .run = logits_run};
