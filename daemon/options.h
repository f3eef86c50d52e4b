/* options: the command line of caravand.
 * Owns: its strings.  Read before threads start. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H
#include "daemon/api/model_list.h"
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_NAMES_MAX 32

struct options_http {
	const char *address;                  /* ADDR:PORT; NULL: no HTTP */
	bool required;                        /* requested explicitly: a port in use is then an error */
	bool open;                            /* served beyond loopback even without keys */
	const char *tls_cert, *tls_key, *log; /* NULL: none */
	const char *hosts[OPTIONS_NAMES_MAX], *origins[OPTIONS_NAMES_MAX];
	size_t nhosts, norigins;
	struct model_alias aliases[OPTIONS_NAMES_MAX];
	size_t naliases;
	unsigned resume; /* seconds that a stream may go on without its client; 0: none does */
};

struct options {
	char state[PATH_MAX];
	char control[PATH_MAX];
	const char *name;      /* NULL: the name in the roster, or the host's name */
	const char *listen;    /* NULL: no network */
	const char *models;    /* a folder of model files; NULL: none */
	const char *advertise; /* NULL: the addresses of this machine */
	uint64_t memory;       /* bytes */
	uint64_t cache;        /* bytes; 0: no limit */
	unsigned threads;      /* 0: one per physical core */
	const char *borrow;    /* another store to read from; NULL: none */
	struct options_http http;
	bool private; /* one client on an inherited descriptor */
};

/* Fills o, or reports the error and exits 2; --help and --version print and exit 0. */
void options_parse(struct options *o, int argc, char **argv);

#endif
