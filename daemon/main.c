/* caravand: the order in which a node starts and ends, and its loop. */
#include "common/durable.h"
#include "common/fail.h"
#include "config.h"
#include "daemon/api/commands.h"
#include "daemon/api/control.h"
#include "daemon/api/http_api.h"
#include "daemon/calibration/calibrate.h"
#include "daemon/calibration/calibrate_request.h"
#include "daemon/calibration/health.h"
#include "daemon/core/log.h"
#include "daemon/core/machine.h"
#include "daemon/members/cluster_events.h"
#include "daemon/members/link_probe.h"
#include "daemon/options.h"
#include "daemon/scrub/scrub.h"
#include "kernels/kernels.h"
#include "proto/descriptors.h"
#include "shard/store/convert.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define REST_NS 10000000000ull            /* idle time after which the machine can be measured, */
#define REST_ASKED_NS 1000000000ull       /* or after which it is measured when somebody waits for it */
#define DISK_BELIEVED ((uint64_t)1 << 30) /* bytes read by a stage that give a reliable disk rate */
#define RESTART_MS 100                    /* time for the command that asked for it to get its answer */
#define LARGE (1 << 20)                   /* bytes: larger buffers are mappings of their own */

struct node {
	struct options options;
	struct keys keys;
	int lock;     /* of the state folder; -1: none */
	bool restart; /* with another key, when everything has been destroyed */
	struct loop *loop;
	struct journal *journal;
	struct members *members;
	struct cluster_events *events;
	struct executor *executor;
	struct store *store;
	struct compute *compute;
	struct serve *serve;
	struct deploy *deploy;
	struct scrub *scrub;
	struct calibration *calibration;
	struct machine *machine; /* NULL in a private daemon */
	uint64_t started_ns;
	struct calibrate_requests *calibrate_requests;
	struct link_probe *links;
	struct control *control;
	struct http_api *http; /* NULL: none */
	struct event *term, *interrupt, *hangup;
};

static void node_on_signal(evutil_socket_t sig, short what, void *arg) {
	struct node *n = arg;
	(void)what;
	const char *name = members_self(n->members)->name;
	journal_say(n->journal,
	        &(struct journal_event){.kind = EVENT_NODE_STOPPED, .level = LOG_LINE_INFO, .node = name},
	        "node %s ends on %s", name, sig == SIGTERM ? "SIGTERM" : "SIGINT");
	loop_stop(n->loop);
}

static void node_on_hangup(evutil_socket_t sig, short what, void *arg) {
	struct node *n = arg;
	(void)sig;
	(void)what;
	http_api_reload(n->http);
}

/* Compares the rates of this node with those of its stages.  Where weights are streamed from disk, stages say
 * nothing about them. */
static void node_calibrate_from_serving(struct node *n, const Caravan__NodeState *s) {
	struct timespec own;
	struct served_sum sum = {.wall = (double)loop_now_ns() * 1e-9};
	char err[WIRE_TEXT_MAX];
	if (!n->calibration || s->n_stages == 0 || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) != 0)
		return;
	sum.busy = kernel_rates_busy_seconds();
	sum.own = (double)own.tv_sec + (double)own.tv_nsec * 1e-9;
	for (size_t i = 0; i < s->n_stages; i++) {
		const Caravan__StageState *st = s->stages[i];
		const struct deploy_model *m = deploy_find(n->deploy, st->model, err, sizeof err);
		if (!m || !m->manifest || st->streamed_bytes ||
		        memcmp(st->manifest.data, m->manifest->id.b, sizeof m->manifest->id.b) != 0)
			continue;
		sum.rows = st->single_rows;
		sum.seconds = st->single_seconds;
		calibrate_served(n->calibration, members_self(n->members)->name, m->manifest, st->first,
		        st->last, SERVED_ONE, &sum);
		sum.rows = st->prompt_rows;
		sum.seconds = st->prompt_seconds;
		calibrate_served(n->calibration, members_self(n->members)->name, m->manifest, st->first,
		        st->last, SERVED_MANY, &sum);
	}
}

static void node_fill_machine(struct node *n, Caravan__NodeState *out) {
	static Caravan__Machine machine; /* valid until the next call, as members asks for */
	struct machine_state s = n->machine ? machine_state(n->machine) : (struct machine_state){0};
	struct timespec now;
	caravan__machine__init(&machine);
	machine.memory_size = s.last.memory_size;
	machine.memory_free = s.last.memory_free;
	machine.swapped = s.last.swapped;
	machine.temperature = s.last.temperature;
	machine.clock = s.last.clock;
	machine.clock_max = s.last.clock_max;
	machine.hot = s.hot;
	machine.weak_power = s.weak;
	machine.uptime = (double)(loop_now_ns() - n->started_ns) * 1e-9;
	if (clock_gettime(CLOCK_REALTIME, &now) == 0 && now.tv_sec > 0)
		machine.time = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
	out->machine = &machine;
}

/* The state of this node for pings and status. */
static void node_fill_state(void *arg, Caravan__NodeState *out) {
	struct node *n = arg;
	node_fill_machine(n, out);
	out->version = wire_string(PACKAGE_VERSION);
	out->cpu = wire_string(kern_ops()->name);
	out->memory_allowed = n->options.memory;
	out->kv_types = (1u << KERN_KVS) - 1;
	out->threads = n->compute ? compute_threads(n->compute) : 0;
	calibrate_fill(n->calibration, out);
	if (n->deploy) {
		out->memory_used = deploy_memory_used(n->deploy);
		deploy_disk(n->deploy, out);
		deploy_work(n->deploy, out);
		out->content_received = deploy_moved(n->deploy);
		out->content_sent = deploy_served(n->deploy);
	}
	if (n->serve)
		serve_state(n->serve, out);
	node_calibrate_from_serving(n, out);
	/* the rate of a stage's reads is better than that of a short measurement */
	for (size_t i = 0; i < out->n_stages; i++)
		if (out->stages[i]->read_bytes >= DISK_BELIEVED && out->stages[i]->read_seconds > 0)
			out->disk_rate = (double)out->stages[i]->read_bytes / out->stages[i]->read_seconds;
}

static bool node_is_computing(void *arg) {
	struct node *n = arg;
	return n->compute && compute_busy(n->compute);
}

/* Measure only after some seconds without computing: it competes with requests, and they distort it. */
static const char *node_why_busy(void *arg, bool asked) {
	struct node *n = arg;
	if (n->compute && compute_idle_ns(n->compute) < (asked ? REST_ASKED_NS : REST_NS))
		return "it is serving";
	if (n->executor && executor_open(n->executor) > 0)
		return "it is hashing or packing a model";
	if (deploy_memory_used(n->deploy) + calibrate_memory(n->calibration) > n->options.memory)
		return "models use the memory that measuring needs";
	return NULL;
}

/* The manifests of the models that this node knows. */
static const struct manifest *node_model_at(void *arg, size_t i) {
	struct node *n = arg;
	const struct deploy_model *m;
	for (size_t k = 0; (m = deploy_at(n->deploy, k)); k++)
		if (m->manifest && i-- == 0)
			return m->manifest;
	return NULL;
}

static void node_models_changed(void *arg) {
	struct node *n = arg;
	scrub_models_changed(n->scrub);
	http_api_models_changed(n->http);
}

/* Notifies systemd, or another supervisor with the same protocol. */
static void node_notify_systemd(const char *state) {
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	if (len == 0 || len >= sizeof addr.sun_path)
		return;
	memcpy(addr.sun_path, path, len);
	if (*path == '@')
		addr.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		(void)!sendto(fd, state, strlen(state), 0, (struct sockaddr *)&addr,
		        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
		close(fd);
	}
}

/* Reports the conversion of an older store, before anything uses it: ten times on the way. */
static void node_on_converted(void *arg, const struct store_convert *p) {
	unsigned *tenths = arg;
	char hex[CONTENT_HEX];
	node_notify_systemd("EXTEND_TIMEOUT_USEC=60000000");
	if (!p->tensor)
		log_line(LOG_LINE_INFO,
		        "converting %zu tensors (%" PRIu64 " MiB) to the packed layout of this version",
		        p->count, p->bytes >> 20);
	if (p->error)
		log_line(LOG_LINE_WARN, "tensor %.16s is of an older layout and could not be converted: %s",
		        content_hex(p->tensor, hex),
		        p->error == -EBADMSG ? "its bytes are damaged; it is dropped"
		        : p->error == -EBUSY ? "another process uses it"
		                             : strerror(-p->error));
	if (p->bytes && p->bytes_done * 10 / p->bytes > *tenths) {
		*tenths = (unsigned)(p->bytes_done * 10 / p->bytes);
		log_line(LOG_LINE_INFO, "converted %u%% of the store", *tenths * 10);
	}
}

static void node_stop(void *arg) {
	struct node *n = arg;
	loop_stop(n->loop);
}

/* The node has left its cluster: the same process becomes another node. */
static void node_restart(void *arg) {
	struct node *n = arg;
	n->restart = true;
	if (!loop_timer_start(n->loop, RESTART_MS, false, node_stop, n))
		loop_stop(n->loop);
}

/* Removes what belongs to the previous node: its roster, plans and keys. */
static void node_forget_cluster(const struct node *n) {
	static const char *const names[] = {"roster", "plans", "api-keys", JOURNAL_FILE};
	char path[PATH_MAX + 8];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", n->options.state, names[i]);
		unlink(path);
	}
}

static int node_start_http(struct node *n, char *err, size_t errlen) {
	const struct options_http *h = &n->options.http;
	int rc = http_api_create(&n->http,
	        &(struct http_api_config){.loop = n->loop,
	                .serve = n->serve,
	                .members = n->members,
	                .events = n->events,
	                .address = h->address,
	                .required = h->required,
	                .open = h->open,
	                .tls_cert = h->tls_cert,
	                .tls_key = h->tls_key,
	                .log = h->log,
	                .hosts = h->hosts,
	                .nhosts = h->nhosts,
	                .origins = h->origins,
	                .norigins = h->norigins,
	                .aliases = h->aliases,
	                .naliases = h->naliases,
	                .resume = h->resume},
	        err, errlen);
	/* without files to reopen, SIGHUP ends the daemon as usual */
	if (rc == 0 && n->http && (h->tls_cert || h->log) &&
	        (!(n->hangup = evsignal_new(loop_base(n->loop), SIGHUP, node_on_hangup, n)) ||
	                event_add(n->hangup, NULL) != 0)) {
		snprintf(err, errlen, "cannot watch signals");
		rc = -ENOMEM;
	}
	return rc;
}

/* The state folder, the keys, the loop. */
static int node_open_state(struct node *n, char *err, size_t errlen) {
	const struct options *o = &n->options;
	int rc = durable_mkdirs(o->state);
	if (rc != 0)
		return fail_with(
		        rc, err, errlen, "cannot create the state folder %s: %s", o->state, strerror(-rc));
	if (o->private) {
		if ((rc = keys_generate(&n->keys)) != 0)
			return fail_with(rc, err, errlen, "cannot create keys: %s", strerror(-rc));
	} else {
		if ((n->lock = keys_lock(o->state, err, errlen)) < 0)
			return n->lock;
		if ((rc = keys_load(&n->keys, o->state, err, errlen)) != 0)
			return rc;
	}
	if ((rc = loop_create(&n->loop)) != 0)
		return fail_with(rc, err, errlen, "cannot create an event loop: %s", strerror(-rc));
	return journal_create(&n->journal,
	        &(struct journal_config){.loop = n->loop, .state_dir = o->private ? NULL : o->state}, err,
	        errlen);
}

static int node_open_store(struct node *n, char *err, size_t errlen) {
	const struct options *o = &n->options;
	char dir[PATH_MAX + 8];
	snprintf(dir, sizeof dir, "%s/store", o->state);
	int rc = store_open(&n->store, dir, err, errlen);
	if (rc != 0)
		return rc;
	/* Before the loop takes over signals: a conversion can be killed, and continues at the next start.  A
	 * private daemon runs for one command, perhaps beside another daemon with the same store, and
	 * converts nothing. */
	if (!o->private)
		(void)store_convert(n->store, node_on_converted, &(unsigned){0});
	/* scrub enforces it later; the limit itself counts at once */
	store_set_limit(n->store, &(struct store_limit){.bytes = o->cache});
	if (o->borrow)
		(void)store_borrow(n->store, o->borrow); /* what cannot be read there is made here */
	return 0;
}

static int node_watch_signals(struct node *n, char *err, size_t errlen) {
	n->term = evsignal_new(loop_base(n->loop), SIGTERM, node_on_signal, n);
	n->interrupt = evsignal_new(loop_base(n->loop), SIGINT, node_on_signal, n);
	if (!n->term || !n->interrupt || event_add(n->term, NULL) != 0 || event_add(n->interrupt, NULL) != 0)
		return fail_with(-ENOMEM, err, errlen, "cannot watch signals");
	return 0;
}

/* The threads that compute, measure and use the disk. */
static int node_start_threads(struct node *n, char *err, size_t errlen) {
	const struct options *o = &n->options;
	int rc = compute_create(&n->compute, n->loop, o->threads, err, errlen);
	if (rc != 0)
		return rc;
	/* a node without a network plans only for itself: its rates change nothing */
	if (o->listen &&
	        (rc = calibrate_start(&n->calibration, &(struct calibrate_config){.loop = n->loop,
	                                                       .state_dir = o->state,
	                                                       .memory = o->memory,
	                                                       .threads = compute_threads(n->compute),
	                                                       .busy = node_why_busy,
	                                                       .arg = n})) != 0)
		return fail_with(rc, err, errlen, "cannot measure what this node can do: %s", strerror(-rc));
	if ((rc = executor_create(&n->executor, n->loop)) != 0)
		return fail_with(rc, err, errlen, "cannot start a thread for disk work: %s", strerror(-rc));
	if (!o->private && (rc = machine_watch(&n->machine, "")) != 0)
		return fail_with(
		        rc, err, errlen, "cannot watch this machine's memory and heat: %s", strerror(-rc));
	return 0;
}

static int node_start_members(struct node *n, char *err, size_t errlen) {
	const struct options *o = &n->options;
	int rc = members_create(&n->members,
	        &(struct members_config){.loop = n->loop,
	                .state_dir = o->private ? NULL : o->state,
	                .keys = &n->keys,
	                .name = o->name,
	                .listen = o->listen,
	                .advertise = o->advertise,
	                .journal = n->journal,
	                .state = node_fill_state,
	                .arg = n},
	        err, errlen);
	if (rc != 0)
		return rc;
	if ((rc = link_probe_create(&n->links, n->loop, n->members, 0, node_is_computing, n)) != 0)
		return fail_with(rc, err, errlen, "cannot measure links: %s", strerror(-rc));
	if ((rc = cluster_events_create(&n->events, n->loop, n->members, n->journal)) != 0)
		return fail_with(rc, err, errlen, "cannot gather events: %s", strerror(-rc));
	if ((rc = calibrate_requests_create(&n->calibrate_requests, n->loop, n->members, n->calibration)) !=
	        0)
		return fail_with(rc, err, errlen, "cannot measure on request: %s", strerror(-rc));
	return 0;
}

static bool node_wants_huge_pages(void *arg, uint64_t bytes) {
	const struct node *n = arg;
	if (!calibrate_huge_pages(n->calibration))
		return false;
	struct machine_state now = machine_state(n->machine);
	uint64_t spare = (uint64_t)(HEALTH_MEMORY_SHARE * (double)now.last.memory_size);
	return now.last.memory_size == 0 || bytes + spare < now.last.memory_free;
}

static int node_start_models(struct node *n, char *err, size_t errlen) {
	const struct options *o = &n->options;
	int rc = serve_create(&n->serve, n->members, n->compute, err, errlen);
	if (rc == 0)
		rc = deploy_create(&n->deploy,
		        &(struct deploy_config){.loop = n->loop,
		                .members = n->members,
		                .executor = n->executor,
		                .store = n->store,
		                .memory = o->memory,
		                .cache = o->cache,
		                .team = compute_threads(n->compute),
		                .models = o->models,
		                .state_dir = o->private ? NULL : o->state,
		                .huge_pages = node_wants_huge_pages,
		                .huge_pages_arg = n,
		                .hooks = serve_hooks(n->serve)},
		        err, errlen);
	if (rc == 0)
		rc = scrub_create(&n->scrub,
		        &(struct scrub_config){.loop = n->loop,
		                .members = n->members,
		                .executor = n->executor,
		                .transfer = deploy_transfer(n->deploy),
		                .store = n->store,
		                .cache = o->cache,
		                .model = node_model_at,
		                .arg = n},
		        err, errlen);
	if (rc != 0)
		return rc;
	deploy_watch(n->deploy, node_models_changed, n);
	serve_attach(n->serve, n->deploy);
	return 0;
}

static int node_start_control(struct node *n, char *err, size_t errlen) {
	return control_create(&n->control,
	        &(struct control_config){.loop = n->loop,
	                .serve = n->serve,
	                .executor = n->executor,
	                .calibrate_requests = n->calibrate_requests,
	                .events = n->events,
	                .restart = node_restart,
	                .arg = n,
	                .path = n->options.control},
	        err, errlen);
}

/* In this order: each part uses those before it.  node_end takes down as much as there is. */
static int node_start(struct node *n, char *err, size_t errlen) {
	static int (*const parts[])(struct node *, char *, size_t) = {node_open_state, node_open_store,
	        node_watch_signals, node_start_threads, node_start_members, node_start_models,
	        node_start_control};
	int rc = kern_init(err, errlen);
	n->started_ns = loop_now_ns();
	for (size_t i = 0; i < sizeof parts / sizeof *parts && rc == 0; i++)
		rc = parts[i](n, err, errlen);
	if (rc == 0 && n->options.http.address)
		rc = node_start_http(n, err, errlen);
	return rc;
}

static void node_end(struct node *n) {
	http_api_destroy(n->http);
	n->http = NULL;
	control_destroy(n->control);
	calibrate_stop(n->calibration);
	n->calibration = NULL;
	/* its jobs' callbacks use what follows, so it is destroyed before everything that submits to it */
	executor_destroy(n->executor);
	if (n->deploy)
		deploy_watch(n->deploy, NULL, NULL);
	scrub_destroy(n->scrub);
	/* sequences end first, then the compute thread that computes them, then what it read */
	serve_destroy(n->serve);
	n->serve = NULL;
	compute_destroy(n->compute);
	n->compute = NULL;
	deploy_destroy(n->deploy);
	n->deploy = NULL;
	calibrate_requests_destroy(n->calibrate_requests);
	link_probe_destroy(n->links);
	cluster_events_destroy(n->events);
	members_destroy(n->members);
	commands_end();
	store_close(n->store);
	if (n->term)
		event_free(n->term);
	if (n->interrupt)
		event_free(n->interrupt);
	if (n->hangup)
		event_free(n->hangup);
	machine_unwatch(n->machine);
	n->machine = NULL;
	journal_destroy(n->journal);
	n->journal = NULL;
	loop_destroy(n->loop);
	keys_wipe(&n->keys);
	if (n->lock >= 0)
		close(n->lock);
}

int main(int argc, char **argv) {
	static struct node n = {.lock = -1};
	char err[PATH_MAX + 512] = "";
	/* a closed standard descriptor must not become a socket: the log would be written there */
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY);
	signal(SIGPIPE, SIG_IGN);
	descriptors_raise();
#ifdef M_MMAP_THRESHOLD
	/* large buffers must be returned to the system when freed: by default, once one was freed, the C
	 * library allocates such buffers from its heaps, and keeps memory there that was counted for a
	 * model */
	mallopt(M_MMAP_THRESHOLD, LARGE);
#endif
	options_parse(&n.options, argc, argv);
	if (n.options.private)
		log_up_to(LOG_LINE_ERROR); /* the command reports what it does */
	else
		log_with_time();
	int rc = node_start(&n, err, sizeof err);
	if (rc == 0) {
		if (!n.options.private) {
			const struct member *self = members_self(n.members);
			unsigned threads = compute_threads(n.compute);
			journal_say(n.journal,
			        &(struct journal_event){.kind = EVENT_NODE_STARTED,
			                .level = LOG_LINE_INFO,
			                .node = self->name},
			        "node %s is up, version %s, %u thread%s, kernels %s", self->name,
			        PACKAGE_VERSION, threads, threads == 1 ? "" : "s", kern_ops()->name);
			log_line(LOG_LINE_INFO, "its control socket is %s", n.options.control);
			if (n.http)
				log_line(LOG_LINE_INFO, "its HTTP API is at %s", http_api_url(n.http));
			for (size_t i = 0; n.http && i < n.options.http.naliases; i++)
				log_line(LOG_LINE_INFO, "requests for %s go to model %s, if there is one",
				        n.options.http.aliases[i].name, n.options.http.aliases[i].model);
			node_notify_systemd("READY=1"); /* it answers */
		}
		rc = loop_run(n.loop);
	} else {
		fprintf(stderr, "caravand: %s\n", *err ? err : strerror(-rc));
	}
	node_end(&n);
	if (n.restart) {
		node_forget_cluster(&n);
		execv("/proc/self/exe", argv);
		fprintf(stderr, "caravand: cannot restart: %s\n", strerror(errno));
		rc = -errno;
	}
	return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
