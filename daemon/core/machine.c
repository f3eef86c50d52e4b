/* machine: see machine.h. */
#include "daemon/core/machine.h"

#include "daemon/core/loop.h"
#include "kernels/thread.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024u
/* The firmware of a Raspberry Pi. */
#define PI_THROTTLED "/sys/devices/platform/soc/soc:firmware/get_throttled"
#define PI_VOLTAGE 0x1ul /* bits of it: the voltage is too low now; */
#define PI_HEAT 0xeul    /* the clock is capped, throttled, or at the soft limit of temperature */

struct machine {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool end; /* under lock, like state */
	struct machine_state state;
	struct machine_history history; /* of the thread, once it runs */
	const char *root;
};

/* ---- files ---- */

/* The first line of a file; false where there is none. */
static bool machine_read_line(char *line, size_t len, const char *root, const char *path) {
	char whole[PATH_MAX];
	if ((size_t)snprintf(whole, sizeof whole, "%s%s", root, path) >= sizeof whole)
		return false;
	FILE *f = fopen(whole, "re");
	bool read = f && fgets(line, (int)len, f);
	if (f)
		fclose(f);
	if (read)
		line[strcspn(line, "\n")] = '\0';
	return read;
}

/* The number in a file, in any notation of strtoul; false where there is none. */
static bool machine_read_number(uint64_t *out, const char *root, const char *path, int base) {
	char line[64], *end;
	if (!machine_read_line(line, sizeof line, root, path))
		return false;
	errno = 0;
	*out = strtoull(line, &end, base);
	return end != line && errno == 0 && line[0] != '-';
}

/* The line "NAME: 123 kB" of a file, in bytes; 0 if none. */
static uint64_t machine_read_kib(const char *root, const char *path, const char *name) {
	char whole[PATH_MAX], line[256];
	size_t len = strlen(name);
	uint64_t bytes = 0;
	if ((size_t)snprintf(whole, sizeof whole, "%s%s", root, path) >= sizeof whole)
		return 0;
	FILE *f = fopen(whole, "re");
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			bytes = strtoull(line + len + 1, NULL, 10) * KIB;
	if (f)
		fclose(f);
	return bytes;
}

/* Calls fn for each entry of a folder whose name begins with prefix: path is that entry's, without root. */
static void machine_each(const char *root, const char *folder, const char *prefix,
        void (*fn)(struct machine_look *look, const char *root, const char *path),
        struct machine_look *look) {
	char whole[PATH_MAX], path[PATH_MAX];
	if ((size_t)snprintf(whole, sizeof whole, "%s%s", root, folder) >= sizeof whole)
		return;
	DIR *d = opendir(whole);
	for (struct dirent *e; d && (e = readdir(d));)
		if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 &&
		        (size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < sizeof path)
			fn(look, root, path);
	if (d)
		closedir(d);
}

static bool machine_read_in(uint64_t *out, const char *root, const char *folder, const char *name) {
	char path[PATH_MAX];
	return (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path &&
	       machine_read_number(out, root, path, 10);
}

static bool machine_read_name(
        char *line, size_t len, const char *root, const char *folder, const char *name) {
	char path[PATH_MAX];
	return (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path &&
	       machine_read_line(line, len, root, path);
}

static bool machine_is_one_of(const char *name, const char *const *list) {
	for (; *list; list++)
		if (strstr(name, *list))
			return true;
	return false;
}

/* ---- heat and clock ---- */

static void machine_add_temperature(struct machine_look *look, uint64_t millidegrees) {
	double t = (double)millidegrees / 1000;
	/* a sensor that is not connected says 0, 127 or worse */
	if (t > look->temperature && t < 125)
		look->temperature = t;
}

/* A sensor of the processor under /sys/class/hwmon.  Boards, disks and wireless cards have others. */
static void machine_look_sensor(struct machine_look *look, const char *root, const char *path) {
	static const char *const drivers[] = {"coretemp", "k10temp", "zenpower", "cpu", "soc", NULL};
	char name[64], file[32];
	uint64_t t;
	if (!machine_read_name(name, sizeof name, root, path, "name") || !machine_is_one_of(name, drivers))
		return;
	for (int i = 1; i <= 32; i++) {
		snprintf(file, sizeof file, "temp%d_input", i);
		if (machine_read_in(&t, root, path, file))
			machine_add_temperature(look, t);
		else if (i > 2)
			break;
	}
}

static void machine_look_zone(struct machine_look *look, const char *root, const char *path) {
	static const char *const types[] = {"x86_pkg", "cpu", "soc", "bigcore", "littlecore", "TCPU", NULL};
	char type[64];
	uint64_t t;
	if (machine_read_name(type, sizeof type, root, path, "type") && machine_is_one_of(type, types) &&
	        machine_read_in(&t, root, path, "temp"))
		machine_add_temperature(look, t);
}

/* A cooling device that slows the processor down, as on most ARM boards. */
static void machine_look_cooling(struct machine_look *look, const char *root, const char *path) {
	static const char *const types[] = {"cpufreq", "cpuidle", "Processor", NULL};
	char type[64];
	uint64_t state;
	if (machine_read_name(type, sizeof type, root, path, "type") && machine_is_one_of(type, types) &&
	        machine_read_in(&state, root, path, "cur_state") && state > 0)
		look->slowed_by_heat = true;
}

static void machine_look_clock(struct machine_look *look, const char *root, const char *path) {
	uint64_t khz;
	if (machine_read_in(&khz, root, path, "scaling_cur_freq") && (double)khz * 1e3 > look->clock)
		look->clock = (double)khz * 1e3;
	if (machine_read_in(&khz, root, path, "cpuinfo_max_freq") && (double)khz * 1e3 > look->clock_max)
		look->clock_max = (double)khz * 1e3;
}

/* Intel counts how often a package or a core was slowed down. */
static void machine_look_core(struct machine_look *look, const char *root, const char *path) {
	uint64_t n;
	if (machine_read_in(&n, root, path, "thermal_throttle/package_throttle_count"))
		look->slowed += n;
	if (machine_read_in(&n, root, path, "thermal_throttle/core_throttle_count"))
		look->slowed += n;
}

void machine_look(struct machine_look *out, const char *root) {
	uint64_t bits;
	*out = (struct machine_look){.memory_size = machine_read_kib(root, "/proc/meminfo", "MemTotal"),
	        .memory_free = machine_read_kib(root, "/proc/meminfo", "MemAvailable"),
	        .swapped = machine_read_kib(root, "/proc/self/status", "VmSwap")};
	machine_each(root, "/sys/class/hwmon", "hwmon", machine_look_sensor, out);
	machine_each(root, "/sys/class/thermal", "thermal_zone", machine_look_zone, out);
	machine_each(root, "/sys/class/thermal", "cooling_device", machine_look_cooling, out);
	machine_each(root, "/sys/devices/system/cpu/cpufreq", "policy", machine_look_clock, out);
	machine_each(root, "/sys/devices/system/cpu", "cpu", machine_look_core, out);
	if (machine_read_number(&bits, root, PI_THROTTLED, 16)) {
		out->slowed_by_voltage = bits & PI_VOLTAGE;
		out->slowed_by_heat = out->slowed_by_heat || (bits & PI_HEAT && !out->slowed_by_voltage);
	}
}

/* ---- the row of looks ---- */

static void machine_note(double *when, bool *ever, double now) {
	*when = now;
	*ever = true;
}

struct machine_state machine_add(struct machine_history *h, const struct machine_look *look, double now) {
	if (look->slowed_by_heat || (h->seen && look->slowed > h->last.slowed))
		machine_note(&h->hot, &h->was_hot, now);
	if (look->slowed_by_voltage)
		machine_note(&h->weak, &h->was_weak, now);
	h->last = *look;
	h->seen = true;
	return (struct machine_state){.last = *look,
	        .hot = h->was_hot && now - h->hot < MACHINE_THROTTLED_S,
	        .weak = h->was_weak && now - h->weak < MACHINE_THROTTLED_S};
}

static void machine_look_again(struct machine *m) {
	struct machine_look look;
	machine_look(&look, m->root);
	struct machine_state state = machine_add(&m->history, &look, (double)loop_now_ns() * 1e-9);
	pthread_mutex_lock(&m->lock);
	m->state = state;
	pthread_mutex_unlock(&m->lock);
}

static void *machine_thread(void *arg) {
	struct machine *m = arg;
	for (;;) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += MACHINE_EVERY_MS / 1000;
		pthread_mutex_lock(&m->lock);
		while (!m->end && pthread_cond_timedwait(&m->wake, &m->lock, &until) != ETIMEDOUT)
			;
		bool end = m->end;
		pthread_mutex_unlock(&m->lock);
		if (end)
			return NULL;
		machine_look_again(m);
	}
}

int machine_watch(struct machine **out, const char *root) {
	struct machine *m = calloc(1, sizeof *m);
	pthread_condattr_t attr;
	*out = NULL;
	if (!m)
		return -ENOMEM;
	m->root = root;
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->wake, &attr);
	pthread_condattr_destroy(&attr);
	machine_look_again(m);
	int rc = thread_start(&m->thread, NULL, machine_thread, m);
	if (rc != 0) {
		pthread_cond_destroy(&m->wake);
		pthread_mutex_destroy(&m->lock);
		free(m);
		return rc;
	}
	*out = m;
	return 0;
}

void machine_unwatch(struct machine *m) {
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->end = true;
	pthread_cond_signal(&m->wake);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	pthread_cond_destroy(&m->wake);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

struct machine_state machine_state(struct machine *m) {
	pthread_mutex_lock(&m->lock);
	struct machine_state state = m->state;
	pthread_mutex_unlock(&m->lock);
	return state;
}
