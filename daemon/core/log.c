/* log_line: the daemon's messages on standard error.
 *
 * Owns: small tables of recent lines.  A line that was printed within the last minute is counted, and the
 * count is printed with its next appearance.  The total rate of lines is limited too.  Messages that others
 * can cause as often as they like, with a text that is partly theirs, have a separate table and rate:
 * outsiders cannot keep our own errors out of the log.
 * Threads: any; one lock. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/core/loop.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RECENT 64
#define QUIET_NS 60000000000u /* a line is not printed twice within this time */
#define BURST 100             /* lines printed without delay; */
#define REFILL_NS 200000000u  /* then one more per this time; separately for our own lines and others' */

struct allowance {
	const char *what;
	struct recent {
		char text[200]; /* enough to tell lines apart */
		uint64_t printed_ns, used_ns;
		unsigned repeats;
	} recent[RECENT];
	unsigned tokens, dropped;
	uint64_t refilled_ns;
};

static struct {
	pthread_mutex_t lock;
	struct allowance ours, others;
	enum log_level most; /* set before threads start */
	bool timed;          /* the same */
} log_state = {.lock = PTHREAD_MUTEX_INITIALIZER,
        .ours = {.what = "lines", .tokens = BURST},
        .others = {.what = "lines about other nodes and clients", .tokens = BURST},
        .most = LOG_LINE_INFO};

void log_up_to(enum log_level most) {
	log_state.most = most;
}

static bool log_burst_allows(struct allowance *a, uint64_t now) {
	uint64_t gained = (now - a->refilled_ns) / REFILL_NS;
	if (gained) {
		a->tokens = gained > BURST - a->tokens ? BURST : a->tokens + (unsigned)gained;
		a->refilled_ns = now;
	}
	if (!a->tokens)
		return false;
	a->tokens--;
	return true;
}

bool log_wants_time(int fd, const char *journal_stream) {
	struct stat st;
	unsigned long long device, inode;
	if (fstat(fd, &st) != 0 || S_ISCHR(st.st_mode)) /* a terminal: its user sees when a line appears */
		return false;
	return !journal_stream || sscanf(journal_stream, "%llu:%llu", &device, &inode) != 2 ||
	       (dev_t)device != st.st_dev || (ino_t)inode != st.st_ino;
}

void log_with_time(void) {
	log_state.timed = log_wants_time(STDERR_FILENO, getenv("JOURNAL_STREAM"));
}

void log_stamp(char out[LOG_STAMP], time_t at) {
	struct tm tm;
	size_t n = localtime_r(&at, &tm) ? strftime(out, LOG_STAMP, "%Y-%m-%dT%H:%M:%S%z", &tm) : 0;
	if (n < 5 || n + 1 >= LOG_STAMP) {
		snprintf(out, LOG_STAMP, "-");
		return;
	}
	/* strftime's offset has no colon */
	memmove(out + n - 1, out + n - 2, 3);
	out[n - 2] = ':';
}

/* Writes a whole line in one call, so that lines of several processes in one file do not mix. */
static void log_print_line(const char *level, const char *text, unsigned repeats) {
	char stamp[LOG_STAMP + 1] = "", more[48] = "";
	if (log_state.timed) {
		log_stamp(stamp, time(NULL));
		strcat(stamp, " ");
	}
	if (repeats)
		snprintf(more, sizeof more, " (repeated %u times)", repeats);
	fprintf(stderr, "%s%s: %s%s\n", stamp, level, text, more);
}

static void log_message(struct allowance *a, enum log_level level, const char *fmt, va_list ap) {
	static const char *const names[] = {"error", "warning", "info", "debug"};
	char text[1024];
	if (level > log_state.most && !getenv("CARAVAN_DEBUG"))
		return;
	vsnprintf(text, sizeof text, fmt, ap);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';

	pthread_mutex_lock(&log_state.lock);
	uint64_t now = loop_now_ns();
	struct recent *r = NULL, *oldest = &a->recent[0];
	for (struct recent *i = a->recent; !r && i < a->recent + RECENT; i++) {
		if (i->used_ns && strncmp(i->text, text, sizeof i->text - 1) == 0)
			r = i;
		else if (i->used_ns < oldest->used_ns)
			oldest = i;
	}
	if (r && now - r->printed_ns < QUIET_NS) {
		r->repeats++;
		r->used_ns = now;
	} else if (!log_burst_allows(a, now)) {
		a->dropped++;
	} else {
		if (a->dropped) {
			char out[80];
			snprintf(
			        out, sizeof out, "%u %s were dropped, too many at once", a->dropped, a->what);
			log_print_line("warning", out, 0);
		}
		a->dropped = 0;
		log_print_line(names[level], text, r ? r->repeats : 0);
		if (!r) {
			r = oldest;
			snprintf(r->text, sizeof r->text, "%.*s", (int)sizeof r->text - 1, text);
		}
		r->printed_ns = r->used_ns = now;
		r->repeats = 0;
	}
	pthread_mutex_unlock(&log_state.lock);
}

void log_line(enum log_level level, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	log_message(&log_state.ours, level, fmt, ap);
	va_end(ap);
}

void log_others(enum log_level level, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	log_message(&log_state.others, level, fmt, ap);
	va_end(ap);
}
