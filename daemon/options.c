/* options: see options.h. */
#include "daemon/options.h"
#include "common/paths.h"
#include "common/suggest.h"
#include "config.h"
#include "proto/wire.h"
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_LISTEN "tcp://*:7070" /* IPv6 and IPv4 */
#define DEFAULT_HTTP "127.0.0.1:8080"
#define DEFAULT_MEMORY_PERCENT 80
#define DEFAULT_RESUME_S 60
#define RESUME_MAX_S 86400

enum {
	OPT_STATE = 256,
	OPT_NAME,
	OPT_LISTEN,
	OPT_ADVERTISE,
	OPT_CONTROL,
	OPT_MEMORY,
	OPT_THREADS,
	OPT_CACHE,
	OPT_BORROW,
	OPT_MODELS,
	OPT_HTTP,
	OPT_HTTP_HOST,
	OPT_HTTP_ORIGIN,
	OPT_HTTP_OPEN,
	OPT_ALIAS,
	OPT_HTTP_LOG,
	OPT_RESUME,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_HELP,
	OPT_VERSION
};

static const struct option longs[] = {
        {"state", required_argument, NULL, OPT_STATE},
        {"name", required_argument, NULL, OPT_NAME},
        {"listen", required_argument, NULL, OPT_LISTEN},
        {"advertise", required_argument, NULL, OPT_ADVERTISE},
        {"control", required_argument, NULL, OPT_CONTROL},
        {"memory", required_argument, NULL, OPT_MEMORY},
        {"threads", required_argument, NULL, OPT_THREADS},
        {"cache", required_argument, NULL, OPT_CACHE},
        {"borrow", required_argument, NULL, OPT_BORROW},
        {"models", required_argument, NULL, OPT_MODELS},
        {"http", required_argument, NULL, OPT_HTTP},
        {"http-host", required_argument, NULL, OPT_HTTP_HOST},
        {"http-origin", required_argument, NULL, OPT_HTTP_ORIGIN},
        {"alias", required_argument, NULL, OPT_ALIAS},
        {"http-open", no_argument, NULL, OPT_HTTP_OPEN},
        {"http-log", required_argument, NULL, OPT_HTTP_LOG},
        {"resume", required_argument, NULL, OPT_RESUME},
        {"tls-cert", required_argument, NULL, OPT_TLS_CERT},
        {"tls-key", required_argument, NULL, OPT_TLS_KEY},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {0},
};

static const char help[] = "usage: caravand [OPTION]...\n"
                           "\n"
                           "A node of a Caravan cluster.  It stays in the foreground and logs to standard\n"
                           "error; SIGTERM or SIGINT ends it.\n"
                           "\n"
                           "Where things are:\n"
                           "  --state DIR            keys, roster and packed weights\n"
                           "                         (~/.local/state/caravan, or /var/lib/caravan as a\n"
                           "                         service)\n"
                           "  --control PATH         socket for the command caravan (DIR/control.sock with\n"
                           "                         --state DIR, else CARAVAN_CONTROL, else\n"
                           "                         caravan/control.sock in XDG_RUNTIME_DIR, else\n"
                           "                         control.sock in the state folder;\n"
                           "                         /run/caravan/control.sock as a service)\n"
                           "  --models DIR           a folder with GGUF files: the parts of a model that\n"
                           "                         this node needs are read from there instead of being\n"
                           "                         fetched from other nodes (none)\n"
                           "\n"
                           "The network:\n"
                           "  --name NAME            name of this node, for people (the host name)\n"
                           "  --listen tcp://ADDR:PORT\n"
                           "                         where it listens for other nodes, or 'off'\n"
                           "                         (" DEFAULT_LISTEN ")\n"
                           "  --advertise tcp://HOST:PORT\n"
                           "                         where other nodes connect to it (its addresses)\n"
                           "\n"
                           "The HTTP API:\n"
                           "  --http ADDR:PORT       where clients such as chat programs reach it, or 'off'\n"
                           "                         (" DEFAULT_HTTP ", if that is free)\n"
                           "  --http-host NAME       a name by which clients call this node, besides its\n"
                           "                         addresses, its name and the host name; several with\n"
                           "                         commas (none)\n"
                           "  --http-origin ORIGIN   web pages of this origin, such as https://a.example,\n"
                           "                         may use the API; several with commas (none)\n"
                           "  --alias NAME=MODEL     another name of a model, for programs that insist on\n"
                           "                         one; may be given several times (none)\n"
                           "  --http-open            while no API key is valid, serve everybody: other\n"
                           "                         machines, and after the last key too\n"
                           "  --http-log FILE        an access log in the common log format (none)\n"
                           "  --resume DURATION      how long a streamed answer may go on without its\n"
                           "                         client, if the request asks for it, such as 90s or\n"
                           "                         5m; or 'off' (60s)\n"
                           "  --tls-cert FILE        serve HTTPS with this certificate and its chain (none)\n"
                           "  --tls-key FILE         the key of the certificate; SIGHUP reads both again\n"
                           "\n"
                           "Resources:\n"
                           "  --memory SIZE          limit for weights, KV cache and buffers, such as 12G\n"
                           "                         (80% of what is free)\n"
                           "  --threads N            compute threads (one per physical core)\n"
                           "  --cache SIZE           limit for packed weights on disk; the least recently\n"
                           "                         used are evicted first (no limit)\n"
                           "  --borrow DIR           the store of another daemon on this machine: packed\n"
                           "                         weights that this one lacks are read from it (none)\n"
                           "\n"
                           "  -h, --help             print this help\n"
                           "  --version              print the version\n";

static void options_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void options_fail(const char *fmt, ...) {
	va_list ap;
	fprintf(stderr, "caravand: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\ncaravand --help lists the options\n");
	exit(2);
}

/* Reports an unknown option `word` (with its dashes), with a suggestion. */
static void options_unknown(const char *word) __attribute__((noreturn));
static void options_unknown(const char *word) {
	const char *names[sizeof longs / sizeof *longs], *nearest = NULL;
	char typed[SUGGEST_LENGTH_MAX + 1];
	size_t count = 0;
	while (longs[count].name) {
		names[count] = longs[count].name;
		count++;
	}
	snprintf(typed, sizeof typed, "%.*s", (int)strcspn(word, "="), word);
	if (strncmp(typed, "--", 2) == 0)
		nearest = suggest_nearest(typed + 2, names, count);
	if (nearest)
		options_fail("unknown option %s; did you mean --%s?", typed, nearest);
	options_fail("unknown option %s", word);
}

static uint64_t options_parse_size(const char *option, const char *text) {
	char *stop;
	errno = 0;
	unsigned long long v = strtoull(text, &stop, 10);
	unsigned shift = *stop == 'K' ? 10 : *stop == 'M' ? 20 : *stop == 'G' ? 30 : *stop == 'T' ? 40 : 0;
	if (errno || stop == text || strchr(text, '-') || v == 0 || (shift ? stop[1] : *stop) ||
	        v > UINT64_MAX >> shift)
		options_fail("%s: '%s' is not a size such as 512M or 12G", option, text);
	return (uint64_t)v << shift;
}

static unsigned options_parse_resume(const char *text) {
	char *stop;
	if (strcmp(text, "off") == 0)
		return 0;
	unsigned long v = strtoul(text, &stop, 10);
	unsigned unit = *stop == 'm' ? 60 : *stop == 'h' ? 3600 : 1;
	if (stop == text || strchr(text, '-') || (*stop && (!strchr("smh", *stop) || stop[1])) || v < 1 ||
	        v > RESUME_MAX_S / unit)
		options_fail("--resume: '%s' is neither 'off' nor a time up to 24h, such as 90s or 5m", text);
	return (unsigned)v * unit;
}

static unsigned options_parse_threads(const char *text) {
	char *stop;
	unsigned long v = strtoul(text, &stop, 10);
	if (stop == text || *stop || strchr(text, '-') || v < 1 || v > 256)
		options_fail("--threads: '%s' is not a number from 1 to 256", text);
	return (unsigned)v;
}

static const char *options_parse_endpoint(const char *option, const char *text) {
	const char *port = strrchr(text, ':');
	char *stop;
	if (strncmp(text, "tcp://", 6) != 0 || !port || port == text + 3 || strlen(text) > WIRE_TEXT_MAX)
		options_fail("%s: '%s' is not of the form tcp://ADDR:PORT", option, text);
	if (text[6] != '[' && memchr(text + 6, ':', (size_t)(port - text - 6)))
		options_fail("%s: an IPv6 address must be in brackets, as in tcp://[fe80::1]:7070", option);
	unsigned long v = strtoul(port + 1, &stop, 10);
	if (stop == port + 1 || *stop || v > 65535)
		options_fail("%s: '%s' has no port from 0 to 65535", option, text);
	return text;
}

static const char *options_parse_http(const char *text) {
	const char *port = strrchr(text, ':');
	if (strcmp(text, "off") == 0)
		return NULL;
	if (!port || port == text || (*text != '[' && memchr(text, ':', (size_t)(port - text))))
		options_fail(
		        "--http: '%s' is not of the form ADDR:PORT, as 192.168.1.5:8080, [::1]:8080 or *:8080",
		        text);
	size_t digits = strspn(port + 1, "0123456789");
	if (digits < 1 || digits > 5 || port[1 + digits] || atoi(port + 1) > 65535)
		options_fail("--http: '%s' has no port from 0 to 65535", text);
	return text;
}

/* Splits a comma-separated list; modifies text. */
static void options_parse_names(const char *option, char *text, const char **names, size_t *count) {
	for (char *rest = text, *name; (name = strsep(&rest, ","));) {
		if (!*name || strlen(name) > 255)
			options_fail("%s: a name is empty, or too long", option);
		if (*count == OPTIONS_NAMES_MAX)
			options_fail("%s: more than %d names", option, OPTIONS_NAMES_MAX);
		names[(*count)++] = name;
	}
}

static void options_add_alias(struct options_http *h, const char *text) {
	const char *equals = strrchr(text, '=');
	if (!equals || equals == text || !wire_name_ok(equals + 1))
		options_fail("--alias: '%s' is not of the form NAME=MODEL", text);
	if (h->naliases == OPTIONS_NAMES_MAX)
		options_fail("--alias: more than %d of them", OPTIONS_NAMES_MAX);
	char *name =
	        strndup(text, (size_t)(equals - text)); /* a copy: a restart needs the arguments unchanged */
	if (!name)
		options_fail("--alias: out of memory");
	h->aliases[h->naliases++] = (struct model_alias){name, equals + 1};
}

static void options_check_http(struct options_http *h) {
	if (!h->tls_cert != !h->tls_key)
		options_fail("--tls-cert and --tls-key belong together");
	for (size_t i = 0; i < h->norigins; i++) {
		const char *o = h->origins[i], *host = strstr(o, "://");
		if (!host || !host[3] || strchr(host + 3, '/') || strchr(o, '*'))
			options_fail("--http-origin: '%s' is not an origin such as https://chat.example", o);
	}
	for (size_t i = 0; i < h->nhosts; i++)
		if (strpbrk(h->hosts[i], "/:* "))
			options_fail("--http-host: '%s' is not a name such as node1.example", h->hosts[i]);
}

/* The number in a one-line file; 0 if it has none (such as a cgroup's "max"). */
static uint64_t options_read_number(const char *path) {
	unsigned long long v = 0;
	FILE *f = fopen(path, "r");
	if (f && fscanf(f, "%llu", &v) != 1)
		v = 0;
	if (f)
		fclose(f);
	return v;
}

/* The available memory: MemAvailable, or what the cgroup leaves if that is less. */
static uint64_t options_available_memory(void) {
	char line[256], path[PATH_MAX + 64], group[PATH_MAX];
	unsigned long long kib = 0;
	FILE *f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
		;
	if (f)
		fclose(f);
	uint64_t free_bytes = (uint64_t)kib << 10;
	f = fopen("/proc/self/cgroup", "r");
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "0::%4000s", group) != 1)
			continue;
		snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
		uint64_t max = options_read_number(path);
		snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", group);
		uint64_t used = options_read_number(path);
		if (max && (max > used ? max - used : 0) < free_bytes)
			free_bytes = max > used ? max - used : 0;
	}
	if (f)
		fclose(f);
	return free_bytes;
}

void options_parse(struct options *o, int argc, char **argv) {
	const char *state = NULL, *control = NULL;
	char letter[3] = "-";
	*o = (struct options){
	        .listen = DEFAULT_LISTEN, .http.address = DEFAULT_HTTP, .http.resume = DEFAULT_RESUME_S};
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;)
		switch (c) {
		case OPT_STATE:
			state = optarg;
			break;
		case OPT_NAME:
			if (!wire_name_ok(optarg))
				options_fail(
				        "--name: '%s' is not a name: 1 to %d letters, digits, '.', '_' and '-'",
				        optarg, WIRE_NAME_MAX);
			o->name = optarg;
			break;
		case OPT_LISTEN:
			o->listen = strcmp(optarg, "off") == 0 ? NULL
			                                       : options_parse_endpoint("--listen", optarg);
			break;
		case OPT_ADVERTISE:
			o->advertise = options_parse_endpoint("--advertise", optarg);
			break;
		case OPT_CONTROL:
			control = optarg;
			break;
		case OPT_MEMORY:
			o->memory = options_parse_size("--memory", optarg);
			break;
		case OPT_BORROW:
			o->borrow = optarg;
			break;
		case OPT_CACHE:
			o->cache = options_parse_size("--cache", optarg);
			break;
		case OPT_MODELS: {
			struct stat st;
			if (stat(optarg, &st) != 0 || !S_ISDIR(st.st_mode))
				options_fail("--models: '%s' is not a folder", optarg);
			o->models = optarg;
			break;
		}
		case OPT_THREADS:
			o->threads = options_parse_threads(optarg);
			break;
		case OPT_HTTP:
			o->http.address = options_parse_http(optarg);
			o->http.required = true;
			break;
		case OPT_HTTP_HOST:
			options_parse_names("--http-host", optarg, o->http.hosts, &o->http.nhosts);
			break;
		case OPT_HTTP_ORIGIN:
			options_parse_names("--http-origin", optarg, o->http.origins, &o->http.norigins);
			break;
		case OPT_ALIAS:
			options_add_alias(&o->http, optarg);
			break;
		case OPT_HTTP_OPEN:
			o->http.open = true;
			break;
		case OPT_HTTP_LOG:
			o->http.log = optarg;
			break;
		case OPT_RESUME:
			o->http.resume = options_parse_resume(optarg);
			break;
		case OPT_TLS_CERT:
			o->http.tls_cert = optarg;
			break;
		case OPT_TLS_KEY:
			o->http.tls_key = optarg;
			break;
		case OPT_HELP:
		case 'h':
			fputs(help, stdout);
			exit(0);
		case OPT_VERSION:
			printf("caravand %s\n", PACKAGE_VERSION);
			exit(0);
		case ':':
			options_fail("option %s needs a value", argv[optind - 1]);
		default: /* the letter may be one of several in an argument */
			letter[1] = optopt > 0 && optopt < OPT_STATE ? (char)optopt : '\0';
			if (optopt >= OPT_STATE)
				options_fail("option %.*s takes no value",
				        (int)strcspn(argv[optind - 1], "="), argv[optind - 1]);
			options_unknown(letter[1] ? letter : argv[optind - 1]);
		}
	if (optind < argc)
		options_fail("unexpected argument '%s'", argv[optind]);
	if (paths_state(state, o->state, sizeof o->state) != 0 ||
	        paths_control(control, state, o->control, sizeof o->control) != 0)
		options_fail("a path is too long");
	o->private = strncmp(o->control, "fd:", 3) == 0;
	if (o->private)
		o->http.address = NULL;
	options_check_http(&o->http);
	if (!o->memory)
		o->memory = options_available_memory() / 100 * DEFAULT_MEMORY_PERCENT;
}
