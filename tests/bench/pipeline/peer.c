/* bench_pipeline/peer: see peer.h. */
#include "tests/bench/pipeline/peer.h"
#include "tests/bench/bench.h"
#include "tests/bench/pipeline/cluster.h"
#include "tests/support/ggufgen.h"
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MAX = 1 << 20, ARGUMENTS = 32, TRIES = 1200 };

struct peer {
	pid_t pid;
	unsigned port;
	char log[200];
	char options[512];
};

static struct peer *running; /* the one there is, for the end of the program */

static void end_running(void) {
	if (running)
		cluster_end(&running->pid);
}

/* Sends a request and takes the whole answer, of which the body begins at the returned place; NULL: nobody answers. */
static const char *ask(
        const struct peer *p, const char *method, const char *path, const char *body, char *answer) {
	struct sockaddr_in to = {.sin_family = AF_INET,
	        .sin_port = htons((uint16_t)p->port),
	        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	size_t len = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const char *at = NULL;
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
		goto out;
	if (dprintf(fd,
	            "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
	            "Content-Length: %zu\r\n\r\n%s",
	            method, path, strlen(body), body) < 0)
		goto out;
	for (ssize_t n; len < ANSWER_MAX - 1 && (n = recv(fd, answer + len, ANSWER_MAX - 1 - len, 0)) > 0;)
		len += (size_t)n;
	answer[len] = 0;
	at = strncmp(answer, "HTTP/1.1 200", 12) == 0 ? strstr(answer, "\r\n\r\n") : NULL;
out:
	if (fd >= 0)
		close(fd);
	return at ? at + 4 : NULL;
}

struct peer *peer_create(const char *model, unsigned threads, unsigned streams, unsigned context) {
	const char *program = getenv("PEER_LLAMA_SERVER"), *more = getenv("PEER_LLAMA_SERVER_ARGS");
	const char *tmp = getenv("TMPDIR");
	if (!program || !*program)
		return NULL;
	struct peer *p = calloc(1, sizeof *p);
	char port[16], n_threads[16], n_streams[16], n_context[16], *answer = malloc(ANSWER_MAX);
	if (!p || !answer)
		cluster_fail("no memory");
	p->port = cluster_free_port();
	snprintf(p->log, sizeof p->log, "%.100s/caravan-peer-%ld.log", tmp ? tmp : "/tmp", (long)getpid());
	snprintf(p->options, sizeof p->options, "%s", more ? more : "");
	snprintf(port, sizeof port, "%u", p->port);
	snprintf(n_threads, sizeof n_threads, "%u", threads);
	snprintf(n_streams, sizeof n_streams, "%u", streams);
	snprintf(n_context, sizeof n_context, "%u", context * streams); /* its slots share it */
	const char *argv[ARGUMENTS] = {program, "-m", model, "--host", "127.0.0.1", "--port", port, "-t",
	        n_threads, "-np", n_streams, "-c", n_context};
	char *save = NULL;
	unsigned n = 13;
	for (char *word = strtok_r(p->options, " ", &save); word && n < ARGUMENTS - 1;
	        word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	p->pid = cluster_spawn((char *const *)argv, -1, p->log);
	if (!running)
		atexit(end_running);
	running = p;
	for (int tries = 0; !ask(p, "GET", "/health", "", answer); tries++) {
		if (tries == TRIES)
			cluster_fail("%s does not serve; see %s", program, p->log);
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	}
	free(answer);
	return p;
}

struct stream {
	struct peer *peer;
	const char *prompt;
	unsigned limit, got;
};

/* A random model says bytes that are no UTF-8, which the server cannot answer with: those pieces are barred. */
static json_t *no_bytes(void) {
	json_t *list = json_array();
	for (int i = GGUFGEN_BYTES; list && i < GGUFGEN_BYTES + 256; i++)
		json_array_append_new(list, json_pack("[i, b]", i, 0));
	return list;
}

static void *complete(void *arg) {
	struct stream *s = arg;
	char *answer = malloc(ANSWER_MAX);
	json_t *question = json_pack("{s:s, s:i, s:i, s:b, s:b, s:b, s:o}", "prompt", s->prompt, "n_predict",
	        (int)s->limit, "temperature", 0, "ignore_eos", 1, "cache_prompt", 0, "stream", 0,
	        "logit_bias", no_bytes());
	char *body = question ? json_dumps(question, JSON_COMPACT) : NULL;
	const char *text = body && answer ? ask(s->peer, "POST", "/completion", body, answer) : NULL;
	json_t *said = text ? json_loads(text, 0, NULL) : NULL;
	s->got = (unsigned)json_integer_value(json_object_get(said, "tokens_predicted"));
	json_decref(said);
	json_decref(question);
	free(body);
	free(answer);
	return NULL;
}

double peer_tokens(struct peer *p, const char *const *prompt, unsigned streams, unsigned limit) {
	pthread_t thread[CLUSTER_STREAMS_MAX];
	struct stream s[CLUSTER_STREAMS_MAX];
	unsigned sum = 0;
	double begin = bench_now();
	for (unsigned i = 0; i < streams; i++) {
		s[i] = (struct stream){.peer = p, .prompt = prompt[i], .limit = limit};
		if (pthread_create(&thread[i], NULL, complete, &s[i]) != 0)
			cluster_fail("no thread");
	}
	for (unsigned i = 0; i < streams; i++) {
		pthread_join(thread[i], NULL);
		if (s[i].got == 0)
			cluster_fail("the peer's server did not answer; see %s", p->log);
		sum += s[i].got;
	}
	return sum / (bench_now() - begin);
}

void peer_destroy(struct peer *p) {
	if (!p)
		return;
	cluster_end(&p->pid);
	unlink(p->log);
	running = NULL;
	free(p);
}
