/* load: streaming clients of daemons over HTTP, and the same load through their control sockets, in turn: when the first
 * text of an answer comes, and the next ones.
 *
 *     load [-c CLIENTS] [-s SECONDS] [-r ROUNDS] CONTROL PORT [CONTROL PORT]...
 *
 * For each node its control socket and its port of HTTP, without TLS.  SECONDS: of each way, in ROUNDS turns.  First every
 * client asks one question both ways, and the answers must be the same bytes, if they are ASCII.  Each client is at one node, has a connection, and
 * asks one question after the other; what comes after the end of its turn does not count.
 * Fails when an answer is an error, or when a client gets less than half as many texts as the mean, if that is 100 or more: nobody
 * starves.
 * Threads: one a client. */
#include "tests/bench/bench.h"
#include "tests/bench/load/load.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 256, NODES_MAX = 16, WAYS = 2, ENOUGH = 100 };

struct numbers {
	double *at;
	size_t n, room;
};

struct client {
	unsigned index;
	uint64_t asked[WAYS]; /* questions, so that both ways have the same */
	const struct load_way *way;
	bool check; /* one question both ways; else until the end of the turn */
	double until;
	struct numbers first, next; /* seconds of this turn */
	size_t texts;
};

static struct {
	const char *where[NODES_MAX][WAYS];
	unsigned nodes;
	atomic_uint failed, compared;
} load;

static const struct load_way *const ways[WAYS] = {&load_control, &load_http};

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *grown(void *p, size_t bytes) {
	if (!(p = realloc(p, bytes)))
		abort();
	return p;
}

static void numbers_add(struct numbers *s, double v) {
	if (s->n == s->room)
		s->at = grown(s->at, (s->room = s->room * 2 + 64) * sizeof *s->at);
	s->at[s->n++] = v;
}

static void numbers_add_all(struct numbers *s, const struct numbers *more) {
	for (size_t i = 0; i < more->n; i++)
		numbers_add(s, more->at[i]);
}

/* ---- answers ------------------------------------------------------------------------------------- */

void load_came(struct load_answer *a) {
	if (a->n == a->room)
		a->came = grown(a->came, (a->room = a->room * 2 + 64) * sizeof *a->came);
	a->came[a->n++] = now();
}

void load_keep(struct load_answer *a, const char *text, size_t len) {
	if (!a->keep)
		return;
	if (a->len + len + 1 > a->text_room)
		a->text = grown(a->text, a->text_room = (a->len + len) * 2 + 64);
	memcpy(a->text + a->len, text, len);
	a->len += len;
	a->text[a->len] = '\0';
}

static void answer_clear(struct load_answer *a) {
	free(a->came);
	free(a->text);
}

/* A question is all of its number and its words; no two begin alike for long.  Those of the same number are as long as each other: each
 * way has words of its own, or the second would find the first one's prompts in the cache. */
static void question(struct load_question *q, uint64_t number, unsigned words) {
	uint64_t x = (number + 1) * 0x9e3779b97f4a7c15u;
	unsigned len = 20 + (unsigned)(x >> 60) * 10;
	x ^= words;
	for (unsigned i = 0; i < len; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		q->prompt[i] = (char)(i % 6 == 5 ? ' ' : 'a' + (x >> 33) % 26);
	}
	q->prompt[len] = '\0';
	q->limit = 128;
	q->seed = number;
}

/* ---- clients ------------------------------------------------------------------------------------- */

static void client_fail(const struct client *c, const char *what) {
	fprintf(stderr, "load: client %u by %s: %s\n", c->index, c->way->name, what);
	atomic_fetch_add(&load.failed, 1);
}

static unsigned way_index(const struct load_way *way) {
	return way == ways[1];
}

static int client_open(const struct client *c) {
	int fd = c->way->open(load.where[c->index % load.nodes][way_index(c->way)], c->index);
	if (fd < 0)
		client_fail(c, strerror(errno));
	return fd;
}

/* One question; false: it failed. */
static bool client_ask(struct client *c, int fd, uint64_t number, unsigned words, struct load_answer *a) {
	struct load_question q;
	question(&q, (uint64_t)c->index << 32 | number, words);
	a->asked = now();
	c->way->ask(fd, &q, a);
	if (*a->error)
		client_fail(c, a->error);
	return !*a->error;
}

static void client_count(struct client *c, const struct load_answer *a) {
	for (size_t i = 0; i < a->n && a->came[i] < c->until; i++) {
		double before = i ? a->came[i - 1] : a->asked;
		numbers_add(i ? &c->next : &c->first, a->came[i] - before);
		c->texts++;
	}
}

static void *client_turn(void *arg) {
	struct client *c = arg;
	int fd = client_open(c);
	while (fd >= 0 && now() < c->until && atomic_load(&load.failed) == 0) {
		struct load_answer a = {0};
		unsigned way = way_index(c->way);
		if (client_ask(c, fd, 1 + c->asked[way]++, way, &a))
			client_count(c, &a);
		answer_clear(&a);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* A model with random weights says what is not UTF-8, which HTTP has to replace. */
static bool answer_is_ascii(const struct load_answer *a) {
	for (size_t i = 0; i < a->len; i++)
		if ((unsigned char)a->text[i] & 0x80)
			return false;
	return true;
}

static void *client_check(void *arg) {
	struct client *c = arg;
	struct load_answer a[WAYS] = {{.keep = true}, {.keep = true}};
	for (unsigned i = 0; i < WAYS; i++)
		load_keep(&a[i], "", 0);
	bool good = true;
	for (unsigned i = 0; i < WAYS && good; i++) {
		c->way = ways[i];
		int fd = client_open(c);
		good = fd >= 0 && client_ask(c, fd, 0, 0, &a[i]);
		if (fd >= 0)
			close(fd);
	}
	bool comparable = good && answer_is_ascii(&a[0]);
	atomic_fetch_add(&load.compared, comparable);
	if (comparable && (a[0].len != a[1].len || memcmp(a[0].text, a[1].text, a[0].len) != 0))
		client_fail(c, "the answer is not what it is by the control socket");
	for (unsigned i = 0; i < WAYS; i++)
		answer_clear(&a[i]);
	return NULL;
}

static void all(struct client *clients, unsigned n, void *(*fn)(void *)) {
	pthread_t thread[CLIENTS_MAX];
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, fn, &clients[i]) != 0)
			abort();
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
}

/* ---- figures ------------------------------------------------------------------------------------- */

struct figures {
	struct numbers first, next;
	double seconds;
	size_t texts[CLIENTS_MAX];
};

static int by_size(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Of numbers in order; p: 0 to 1. */
static double percentile(const struct numbers *s, double p) {
	return s->n ? s->at[(size_t)(p * (double)(s->n - 1) + 0.5)] : 0;
}

static double mean(const struct numbers *s) {
	double sum = 0;
	for (size_t i = 0; i < s->n; i++)
		sum += s->at[i];
	return s->n ? sum / (double)s->n : 0;
}

static void texts_of(const struct figures *f, unsigned clients, size_t *least, double *each) {
	*least = f->texts[0];
	*each = 0;
	for (unsigned i = 0; i < clients; i++) {
		*least = f->texts[i] < *least ? f->texts[i] : *least;
		*each += (double)f->texts[i] / clients;
	}
}

static void print_numbers(const struct numbers *s) {
	printf(" %7.2f %7.2f %7.2f %7.2f %8.2f ", mean(s) * 1e3, percentile(s, 0.5) * 1e3,
	        percentile(s, 0.9) * 1e3, percentile(s, 0.99) * 1e3, percentile(s, 1) * 1e3);
}

static void print_figures(const char *name, struct figures *f, unsigned clients) {
	size_t least;
	double each;
	qsort(f->first.at, f->first.n, sizeof *f->first.at, by_size);
	qsort(f->next.at, f->next.n, sizeof *f->next.at, by_size);
	texts_of(f, clients, &least, &each);
	printf("%-10s", name);
	print_numbers(&f->first);
	print_numbers(&f->next);
	printf(" %8.1f %7zu %9.1f\n", each * clients / f->seconds, least, each);
}

static double ratio(const struct numbers *of, const struct numbers *to, double p) {
	double base = percentile(to, p);
	return base > 0 ? percentile(of, p) / base : 0;
}

static void print_ratio(const struct figures *control, const struct figures *http, unsigned clients) {
	size_t least;
	double a, b;
	texts_of(control, clients, &least, &a);
	texts_of(http, clients, &least, &b);
	printf("\nHTTP, times the control socket:\n");
	printf("  first text   mean %.3f, p50 %.3f, p90 %.3f, p99 %.3f\n",
	        mean(&http->first) / mean(&control->first), ratio(&http->first, &control->first, 0.5),
	        ratio(&http->first, &control->first, 0.9), ratio(&http->first, &control->first, 0.99));
	printf("  next text    mean %.3f, p50 %.3f, p90 %.3f, p99 %.3f\n",
	        mean(&http->next) / mean(&control->next), ratio(&http->next, &control->next, 0.5),
	        ratio(&http->next, &control->next, 0.9), ratio(&http->next, &control->next, 0.99));
	printf("  texts/s      %.3f\n", b / http->seconds / (a / control->seconds));
}

/* The figures of a way as rows: its name, and what they are of. */
static void add_rows(struct bench *b, const char *name, const struct figures *f, unsigned clients) {
	static const struct {
		const char *name;
		double p;
	} of[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};
	size_t least;
	double each;
	for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
		bench_row(b, "s", percentile(&f->first, of[i].p), NAN, NAN, true, "%s.first.%s", name,
		        of[i].name);
		bench_row(b, "s", percentile(&f->next, of[i].p), NAN, NAN, true, "%s.next.%s", name,
		        of[i].name);
	}
	texts_of(f, clients, &least, &each);
	bench_row(b, "texts a second", each * clients / f->seconds, NAN, NAN, false, "%s.texts", name);
}

static void write_json(const struct figures sum[WAYS], unsigned clients) {
	const char *path = getenv("BENCH_JSON");
	struct bench b = {0};
	char cpu[256];
	if (!path || !*path)
		return;
	bench_cpu_name(cpu, sizeof cpu);
	for (unsigned w = 0; w < WAYS; w++)
		add_rows(&b, ways[w]->name, &sum[w], clients);
	if (bench_write_json(&b, "http", path, cpu) != 0)
		atomic_fetch_add(&load.failed, 1);
	free(b.rows);
}

static void starved(const char *name, const struct figures *f, unsigned clients) {
	size_t least;
	double each;
	texts_of(f, clients, &least, &each);
	if ((double)least * 2 >= each || each < ENOUGH)
		return;
	fprintf(stderr, "load: by %s a client got %zu texts, of %.1f in the mean\n", name, least, each);
	atomic_fetch_add(&load.failed, 1);
}

/* ---- the program --------------------------------------------------------------------------------- */

static void turn(struct client *clients, unsigned n, unsigned way, double seconds, struct figures *sum) {
	struct figures f = {.seconds = seconds};
	double until = now() + seconds;
	for (unsigned i = 0; i < n; i++) {
		clients[i].way = ways[way];
		clients[i].until = until;
	}
	all(clients, n, client_turn);
	for (unsigned i = 0; i < n; i++) {
		struct client *c = &clients[i];
		numbers_add_all(&f.first, &c->first);
		numbers_add_all(&f.next, &c->next);
		f.texts[i] = c->texts;
		sum->texts[i] += c->texts;
		c->first.n = c->next.n = c->texts = 0;
	}
	numbers_add_all(&sum->first, &f.first);
	numbers_add_all(&sum->next, &f.next);
	sum->seconds += seconds;
	print_figures(ways[way]->name, &f, n);
	free(f.first.at);
	free(f.next.at);
}

static void measure(struct client *clients, unsigned n, unsigned rounds, double seconds) {
	static struct figures sum[WAYS];
	printf("%10s %-41s %-41s %8s %17s\n%-10s", "", "first text, ms", "next text, ms", "texts/s",
	        "texts a client", "");
	for (unsigned i = 0; i < 2; i++)
		printf(" %7s %7s %7s %7s %8s ", "mean", "p50", "p90", "p99", "max");
	printf(" %8s %7s %9s\n", "", "least", "mean");
	for (unsigned i = 0; i < rounds && !atomic_load(&load.failed); i++)
		for (unsigned w = 0; w < WAYS && !atomic_load(&load.failed); w++)
			turn(clients, n, w, seconds / rounds, &sum[w]);
	printf("together:\n");
	for (unsigned w = 0; w < WAYS; w++)
		print_figures(ways[w]->name, &sum[w], n);
	print_ratio(&sum[0], &sum[1], n);
	write_json(sum, n);
	for (unsigned w = 0; w < WAYS; w++) {
		starved(ways[w]->name, &sum[w], n);
		free(sum[w].first.at);
		free(sum[w].next.at);
	}
}

int main(int argc, char **argv) {
	static struct client clients[CLIENTS_MAX];
	unsigned long n = 64, rounds = 5;
	double seconds = 300;
	for (int option; (option = getopt(argc, argv, "c:s:r:")) != -1;)
		switch (option) {
		case 'c':
			n = strtoul(optarg, NULL, 10);
			break;
		case 's':
			seconds = atof(optarg);
			break;
		case 'r':
			rounds = strtoul(optarg, NULL, 10);
			break;
		default:
			n = 0;
		}
	unsigned nodes = (unsigned)(argc - optind) / WAYS;
	if (n < 1 || n > CLIENTS_MAX || rounds < 1 || !(seconds > 0) || nodes < 1 || nodes > NODES_MAX ||
	        (argc - optind) % WAYS) {
		fprintf(stderr,
		        "usage: load [-c CLIENTS] [-s SECONDS] [-r ROUNDS] CONTROL PORT [CONTROL PORT]...\n");
		return 2;
	}
	load.nodes = nodes;
	for (unsigned i = 0; i < nodes * WAYS; i++)
		load.where[i / WAYS][i % WAYS] = argv[optind + (int)i];
	for (unsigned i = 0; i < n; i++)
		clients[i].index = i;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%lu clients of %u nodes, %g s each way in %lu turns\n", n, nodes, seconds, rounds);
	all(clients, (unsigned)n, client_check);
	printf("the first answers of %u clients are the same bytes both ways\n",
	        atomic_load(&load.failed) ? 0 : atomic_load(&load.compared));
	if (!atomic_load(&load.failed))
		measure(clients, (unsigned)n, (unsigned)rounds, seconds);
	for (unsigned i = 0; i < n; i++) {
		free(clients[i].first.at);
		free(clients[i].next.at);
	}
	return atomic_load(&load.failed) > 0;
}
