/* options: the command line of caravand.
 * Owns: its strings.  Read before threads start. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

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
	bool private;          /* one client on an inherited descriptor */
};

/* Fills o, or reports the error and exits 2; --help and --version print and exit 0. */
void options_parse(struct options *o, int argc, char **argv);

#endif
