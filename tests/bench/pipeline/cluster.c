/* bench_pipeline/cluster: see cluster.h. */
#include "tests/bench/pipeline/cluster.h"
#include "tests/bench/bench.h"
#include "tests/bench/control_client.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct cluster *clusters;

void cluster_fail(const char *fmt, ...) {
	va_list args;
	fprintf(stderr, "bench_pipeline: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	cluster_destroy_all();
	exit(1);
}

static void nap(unsigned ms) {
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l}, NULL);
}

/* ---- programs ------------------------------------------------------------------------------------ */

static const char *build_dir(void) {
	const char *top = getenv("top_builddir");
	return top ? top : ".";
}

pid_t cluster_spawn(char *const *argv, int cpu, const char *log) {
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0)
		cluster_fail("fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	cpu_set_t set;
	CPU_ZERO(&set);
	if (cpu >= 0) {
		CPU_SET((unsigned)cpu, &set);
		sched_setaffinity(0, sizeof set, &set);
	}
	int null = open("/dev/null", O_RDWR);
	int out = log ? open(log, O_WRONLY | O_CREAT | O_APPEND, 0600) : null;
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	execv(argv[0], argv);
	_exit(127);
}

static void run(char *const *argv, const char *log) {
	int status;
	pid_t pid = cluster_spawn(argv, -1, log);
	if (waitpid(pid, &status, 0) < 0 || status)
		cluster_fail("%s %s failed; see %s (KEEP=1 keeps it)", argv[0], argv[1], log);
}

void cluster_end(pid_t *pid) {
	if (*pid <= 0)
		return;
	kill(*pid, SIGTERM);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

unsigned cluster_free_port(void) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 ||
	        getsockname(fd, (struct sockaddr *)&at, &len) != 0)
		cluster_fail("no port: %s", strerror(errno));
	close(fd);
	return ntohs(at.sin_port);
}

static int processor(unsigned i) {
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof set, &set) != 0)
		return -1;
	i %= (unsigned)CPU_COUNT(&set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set) && i-- == 0)
			return cpu;
	return -1;
}

/* ---- a daemon's control socket ------------------------------------------------------------------- */

static int open_control(const struct cluster *c, unsigned node) {
	char path[108];
	snprintf(path, sizeof path, "%.80s/n%u/control.sock", c->dir, node);
	for (int tries = 0; tries < 200; tries++, nap(50)) {
		int fd = control_client_connect(path);
		if (fd >= 0)
			return fd;
	}
	cluster_fail("a daemon does not answer; see %s/n%u.log", c->dir, node);
}

static void say(int fd, Caravan__Envelope *env, const void *payload, size_t len) {
	if (!control_client_say(fd, env, payload, len))
		cluster_fail("a daemon has gone");
}

/* The next message; *payload is the caller's. */
static Caravan__Envelope *hear(int fd, char **payload, size_t *len) {
	Caravan__Envelope *env = control_client_hear(fd, payload, len);
	if (!env)
		cluster_fail("a daemon has gone, or said what cannot be read");
	return env;
}

/* ---- questions ----------------------------------------------------------------------------------- */

static void *answer(int fd, struct ask *a) {
	Caravan__Sampling sampling = CARAVAN__SAMPLING__INIT;
	Caravan__CtlRun ctl_run = CARAVAN__CTL_RUN__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_RUN, ctl_run, &ctl_run);
	size_t have = 0, len;
	sampling.repeat_penalty = 1;
	sampling.undrafted = a->undrafted;
	sampling.temperature = a->temperature;
	sampling.top_p = 1;
	sampling.seed = 1;
	ctl_run.model = (char *)"m";
	ctl_run.limit = a->limit;
	ctl_run.sampling = &sampling;
	a->answer = calloc(1, 1);
	say(fd, &ask, a->text, strlen(a->text));
	for (bool over = false; !over;) {
		char *payload;
		Caravan__Envelope *env = hear(fd, &payload, &len);
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_TEXT) {
			a->answer = realloc(a->answer, have + len + 1);
			memcpy(a->answer + have, payload, len);
			have += len;
			a->answer[have] = 0;
		} else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END && env->ctl_end->finished) {
			a->generated = env->ctl_end->finished->generated;
			a->prompt_seconds = env->ctl_end->finished->prompt_seconds;
			a->generate_seconds = env->ctl_end->finished->generate_seconds;
			over = true;
		} else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR) {
			cluster_fail("a daemon: %s", env->ctl_error->message);
		}
		wire_free(env);
		free(payload);
	}
	if (a->generated != a->limit && !a->may_end)
		cluster_fail("the model ended after %u of %u tokens: no measure", a->generated, a->limit);
	return NULL;
}

struct stream {
	int fd;
	struct ask *ask;
};

static void *stream(void *arg) {
	struct stream *s = arg;
	return answer(s->fd, s->ask);
}

void cluster_ask(struct cluster *c, struct ask *a) {
	int fd = open_control(c, 0);
	answer(fd, a);
	close(fd);
}

double cluster_ask_all(struct cluster *c, struct ask *a, unsigned n) {
	pthread_t thread[CLUSTER_STREAMS_MAX];
	struct stream s[CLUSTER_STREAMS_MAX];
	for (unsigned i = 0; i < n; i++)
		s[i] = (struct stream){.fd = open_control(c, 0), .ask = &a[i]};
	double begin = bench_now();
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, stream, &s[i]) != 0)
			cluster_fail("no thread");
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	double took = bench_now() - begin;
	for (unsigned i = 0; i < n; i++)
		close(s[i].fd);
	return took;
}

static void count_threads(const struct cluster *c, unsigned node, struct counts *out) {
	char path[128];
	struct dirent *e;
	snprintf(path, sizeof path, "/proc/%ld/task", (long)c->daemon[node]);
	DIR *d = opendir(path);
	while (d && (e = readdir(d)) && out->node[node].threads < CLUSTER_THREADS_MAX) {
		unsigned long long ns;
		snprintf(path, sizeof path, "/proc/%ld/task/%.20s/schedstat", (long)c->daemon[node],
		        e->d_name);
		FILE *f = fopen(path, "r");
		if (f && fscanf(f, "%llu", &ns) == 1) {
			unsigned at = out->node[node].threads++;
			out->node[node].id[at] = atol(e->d_name);
			out->node[node].seconds[at] = (double)ns * 1e-9;
		}
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
}

struct counts cluster_counts(struct cluster *c) {
	Caravan__CtlStatus status = CARAVAN__CTL_STATUS__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_STATUS, ctl_status, &status);
	struct counts out = {0};
	nap(1300); /* two heartbeats and more */
	int fd = open_control(c, 0);
	say(fd, &ask, NULL, 0);
	for (bool over = false; !over;) {
		char *payload;
		size_t len;
		Caravan__Envelope *env = hear(fd, &payload, &len);
		over = env->body_case != CARAVAN__ENVELOPE__BODY_CTL_REPORT;
		const Caravan__CtlReport *r = over ? NULL : env->ctl_report;
		for (size_t i = 0; r && i < r->n_models; i++) {
			const Caravan__ModelState *s = r->models[i]->state;
			out.steps += s ? s->steps : 0;
			out.drafted += s ? s->drafted : 0;
			out.accepted += s ? s->accepted : 0;
		}
		wire_free(env);
		free(payload);
	}
	close(fd);
	for (unsigned i = 0; i < c->nodes; i++)
		count_threads(c, i, &out);
	return out;
}

double cluster_computed(const struct counts *before, const struct counts *after, unsigned node) {
	double most = 0;
	for (unsigned i = 0; i < before->node[node].threads; i++)
		for (unsigned k = 0; k < after->node[node].threads; k++)
			if (before->node[node].id[i] == after->node[node].id[k])
				most = fmax(
				        most, after->node[node].seconds[k] - before->node[node].seconds[i]);
	return most;
}

double cluster_proxied(const struct cluster *c) {
	double seconds = 0;
	for (unsigned i = 0; i < c->nodes; i++) {
		char path[64];
		unsigned long long ns;
		snprintf(path, sizeof path, "/proc/%ld/schedstat", (long)c->proxy[i]);
		FILE *f = c->proxy[i] > 0 ? fopen(path, "r") : NULL;
		if (f && fscanf(f, "%llu", &ns) == 1)
			seconds += (double)ns * 1e-9;
		if (f)
			fclose(f);
	}
	return seconds;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void proxy_start(struct cluster *c, unsigned i, unsigned front, unsigned back, double delay_ms) {
	char program[512], port[16], to[64], delay[32];
	snprintf(program, sizeof program, "%s/tests/tools/proxy", build_dir());
	snprintf(port, sizeof port, "%u", front);
	snprintf(to, sizeof to, "127.0.0.1:%u", back);
	snprintf(delay, sizeof delay, "%g", delay_ms);
	char *argv[] = {program, port, to, "--delay", delay, NULL};
	c->proxy[i] = cluster_spawn(argv, -1, NULL);
}

static void *echo(void *arg) {
	int fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC), one = 1;
	char byte[64];
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	for (ssize_t n; (n = read(fd, byte, sizeof byte)) > 0;)
		if (write(fd, byte, (size_t)n) != n)
			break;
	close(fd);
	return NULL;
}

double cluster_link_seconds(double delay_ms) {
	enum { TIMES = 60 };
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, near;
	struct cluster c = {.nodes = 1};
	socklen_t len = sizeof at;
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, one = 1;
	char bytes[64] = {0};
	pthread_t thread;
	double took[TIMES];
	if (server < 0 || bind(server, (struct sockaddr *)&at, len) != 0 || listen(server, 1) != 0 ||
	        getsockname(server, (struct sockaddr *)&at, &len) != 0 ||
	        pthread_create(&thread, NULL, echo, &server) != 0)
		cluster_fail("no echo: %s", strerror(errno));
	near = at;
	unsigned front = cluster_free_port();
	near.sin_port = htons((uint16_t)front);
	proxy_start(&c, 0, front, ntohs(at.sin_port), delay_ms);
	for (int tries = 0;; tries++, nap(20)) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&near, sizeof near) == 0)
			break;
		close(fd);
		if (tries == 100) {
			cluster_end(&c.proxy[0]);
			cluster_fail("the proxy does not listen");
		}
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	for (int i = 0; i < TIMES; i++) {
		double begin = bench_now();
		if (!socket_put(fd, bytes, sizeof bytes) || !socket_get(fd, bytes, sizeof bytes))
			cluster_fail("the proxy has gone");
		took[i] = (bench_now() - begin) / 2;
	}
	close(fd);
	pthread_join(thread, NULL);
	close(server);
	cluster_end(&c.proxy[0]);
	return bench_median(took, TIMES);
}

static void daemon_start(struct cluster *c, unsigned i, unsigned threads, bool spread, double delay_ms) {
	char program[512], state[200], log[200], name[16], listen[64], advertise[64], count[16];
	unsigned back = cluster_free_port(), front = delay_ms > 0 ? cluster_free_port() : back;
	if (delay_ms > 0)
		proxy_start(c, i, front, back, delay_ms);
	snprintf(program, sizeof program, "%s/caravand", build_dir());
	snprintf(state, sizeof state, "%s/n%u", c->dir, i);
	snprintf(log, sizeof log, "%s/n%u.log", c->dir, i);
	snprintf(name, sizeof name, "n%u", i);
	snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", back);
	snprintf(advertise, sizeof advertise, "tcp://127.0.0.1:%u", front);
	snprintf(count, sizeof count, "%u", threads);
	char *argv[] = {program, "--state", state, "--name", name, "--listen", listen, "--advertise",
	        advertise, "--memory", "4G", "--threads", count, NULL};
	c->daemon[i] = cluster_spawn(argv, spread ? processor(i) : -1, log);
	close(open_control(c, i));
}

static void caravan(const struct cluster *c, unsigned node, const char *command, const char *more) {
	char line[2048], log[200];
	snprintf(line, sizeof line, "'%s/caravan' %s --control '%s/n%u/control.sock' %s", build_dir(),
	        command, c->dir, node, more);
	snprintf(log, sizeof log, "%s/commands.log", c->dir);
	char *argv[] = {"/bin/sh", "-c", line, NULL};
	run(argv, log);
}

/* A folder for so many nodes, each with its own in it, where `rates` (NULL: nothing) is what it knows of its machine. */
static struct cluster *folders(unsigned nodes, const char *rates) {
	const char *tmp = getenv("TMPDIR");
	struct cluster *c = calloc(1, sizeof *c);
	char path[200];
	if (!c)
		cluster_fail("no memory");
	snprintf(c->dir, sizeof c->dir, "%.60s/caravan-pipeline-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(c->dir))
		cluster_fail("%s: %s", c->dir, strerror(errno));
	c->nodes = nodes;
	c->next = clusters;
	clusters = c;
	for (unsigned i = 0; i < nodes; i++) {
		snprintf(path, sizeof path, "%s/n%u", c->dir, i);
		bool ok = mkdir(path, 0700) == 0;
		snprintf(path, sizeof path, "%s/n%u/rates", c->dir, i);
		FILE *f = ok && rates ? fopen(path, "w") : NULL;
		if (f)
			fputs(rates, f);
		if (!ok || (rates && (!f || fclose(f))))
			cluster_fail("%s: %s", path, strerror(errno));
	}
	return c;
}

/* What a daemon of so many threads, wherever they may run, measures of this machine when it is let alone: until its figures
 * are those that it keeps.
 * Every daemon begins with them.  So nodes are alike, as their processors are, a plan cuts evenly, and nobody measures while
 * something else is being measured. */
static const char *measured(unsigned threads, bool spread) {
	static char *known[CLUSTER_THREADS_MAX + 1];
	char path[200], text[8192] = "";
	if (known[threads])
		return known[threads];
	struct cluster *c = folders(1, NULL);
	daemon_start(c, 0, threads, spread, 0);
	snprintf(path, sizeof path, "%s/n0/rates", c->dir);
	for (int tries = 0; !strstr(text, "\nlooks 4\n"); tries++, nap(500)) {
		if (tries == 400)
			cluster_fail("%s: not all has been measured", path);
		FILE *f = fopen(path, "r");
		size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
		text[n] = 0;
		if (f)
			fclose(f);
	}
	cluster_destroy(c);
	if (!(known[threads] = strdup(text)))
		cluster_fail("no memory");
	return known[threads];
}

struct cluster *cluster_create(unsigned nodes, unsigned threads, bool spread, double delay_ms) {
	struct cluster *c = folders(nodes, measured(threads, spread));
	char join[1024];
	for (unsigned i = 0; i < nodes; i++)
		daemon_start(c, i, threads, spread, delay_ms);
	snprintf(join, sizeof join, "\"$('%s/caravan' invite --control '%s/n0/control.sock')\"", build_dir(),
	        c->dir);
	for (unsigned i = 1; i < nodes; i++)
		caravan(c, i, "join", join);
	return c;
}

void cluster_load(
        struct cluster *c, const char *file, unsigned parallel, unsigned context, const char *draft) {
	char more[1024];
	int n = draft ? snprintf(more, sizeof more, "--draft '%s' ", draft) : 0;
	snprintf(more + n, sizeof more - (size_t)n, "--nodes all --name m --parallel %u --context %u '%s'",
	        parallel, context, file);
	caravan(c, 0, "load", more);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
	(void)st, (void)type, (void)at;
	return remove(path);
}

void cluster_destroy(struct cluster *c) {
	for (struct cluster **at = &clusters; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	for (unsigned i = 0; i < c->nodes; i++) {
		cluster_end(&c->daemon[i]);
		cluster_end(&c->proxy[i]);
	}
	if (!getenv("KEEP"))
		nftw(c->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(c);
}

void cluster_destroy_all(void) {
	while (clusters)
		cluster_destroy(clusters);
}
