/* calibration_file: see calibration_file.h.  Lines of text: the stamp, then
 *
 *     read BEST LOW HIGH
 *     disk RATE
 *     pages TIMES
 *     looks N
 *     type T ONE LOW HIGH MANY LOW HIGH
 *     served T ONE AT MANY AT
 *     tuned STAMP
 *     way T CLASS GAIN NAME
 */
#include "daemon/calibration/calibration_file.h"

#include "common/durable.h"
#include "daemon/calibration/page_rates.h"
#include "proto/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VERSION 4
#define FILE_MAX_BYTES 65536
#define RATE_MOST 1e18 /* the bound of proto/schema.c */

static void calibration_file_stamp(unsigned threads, char *out, size_t len) {
	snprintf(out, len, "rates %d cpu %s threads %u arithmetic %d layout %d", VERSION, kern_ops()->name,
	        threads, KERN_ARITHMETIC, KERN_LAYOUT);
}

static bool calibration_file_is_rate(double v) {
	return isfinite(v) && v > 0 && v <= RATE_MOST;
}

static bool calibration_file_is_spread(double best, double low, double high) {
	return calibration_file_is_rate(best) && calibration_file_is_rate(low) &&
	       calibration_file_is_rate(high) && low <= best && best <= high;
}

static bool calibration_file_take_served(struct served_rate *to, double rate, long long at) {
	if (!(rate == 0 || calibration_file_is_rate(rate)) || at < 0)
		return false;
	*to = (struct served_rate){rate, at};
	return true;
}

static bool calibration_file_take_way(struct tuning *tuning, const char *line) {
	unsigned t, class;
	double gain;
	int name = 0;
	if (sscanf(line, "way %u %u %lf %n", &t, &class, &gain, &name) != 3 || !name)
		return false;
	if (!tuning->known) /* of another build, whose names may have been others */
		return true;
	if (!kern_traits(t) || class >= KERN_CLASSES || !(gain > 0 && gain <= WIRE_GAIN_MAX))
		return false;
	struct tuned_way *to = &tuning->of[t][class];
	*to = (struct tuned_way){tuning_way_named(t, (enum kern_class) class, line + name), gain};
	return to->way;
}

static bool calibration_file_take_line(struct calibration_kept *k, const char *line) {
	struct kernel_rates *best = &k->known.best, *low = &k->known.low, *high = &k->known.high;
	double v[6];
	unsigned t;
	long long at[2];
	if (sscanf(line, "read %lf %lf %lf", &v[0], &v[1], &v[2]) == 3) {
		best->read = v[0];
		low->read = v[1];
		high->read = v[2];
		return calibration_file_is_spread(v[0], v[1], v[2]);
	}
	if (sscanf(line, "disk %lf", &v[0]) == 1) {
		k->disk = v[0];
		return v[0] == 0 || calibration_file_is_rate(v[0]);
	}
	if (sscanf(line, "pages %lf", &v[0]) == 1) {
		k->pages = v[0];
		return v[0] >= 0 && v[0] <= PAGE_RATES_MOST;
	}
	if (sscanf(line, "looks %u", &t) == 1) {
		k->known.runs = t;
		return true;
	}
	if (sscanf(line, "type %u %lf %lf %lf %lf %lf %lf", &t, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]) ==
	        7) {
		if (!kern_traits(t) || !calibration_file_is_spread(v[0], v[1], v[2]) ||
		        !calibration_file_is_spread(v[3], v[4], v[5]))
			return false;
		best->one[t] = v[0];
		low->one[t] = v[1];
		high->one[t] = v[2];
		best->many[t] = v[3];
		low->many[t] = v[4];
		high->many[t] = v[5];
		return true;
	}
	if (strncmp(line, "tuned ", 6) == 0) {
		char now[TUNING_STAMP_MAX];
		tuning_stamp(now, sizeof now);
		k->tuning.known = !tuning_is_off() && strcmp(line + 6, now) == 0;
		return true;
	}
	if (strncmp(line, "way ", 4) == 0)
		return calibration_file_take_way(&k->tuning, line);
	return sscanf(line, "served %u %lf %lld %lf %lld", &t, &v[0], &at[0], &v[1], &at[1]) == 5 &&
	       kern_traits(t) && calibration_file_take_served(&k->served.one[t], v[0], at[0]) &&
	       calibration_file_take_served(&k->served.many[t], v[1], at[1]);
}

int calibration_file_load(const char *dir, unsigned threads, struct calibration_kept *out, long long *age) {
	char want[128], *save = NULL;
	uint8_t *data = NULL;
	size_t len;
	struct stat st;
	*out = (struct calibration_kept){0};
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : durable_read(fd, "rates", FILE_MAX_BYTES, &data, &len);
	if (rc == 0 && fstatat(fd, "rates", &st, AT_SYMLINK_NOFOLLOW))
		rc = -errno;
	if (fd >= 0)
		close(fd);
	char *text = rc == 0 ? malloc(len + 1) : NULL;
	if (!text) {
		free(data);
		return rc ? rc : -ENOMEM;
	}
	memcpy(text, data, len);
	text[len] = 0;
	free(data);
	calibration_file_stamp(threads, want, sizeof want);
	out->disk = -1; /* no line for it so far */
	char *line = strtok_r(text, "\n", &save);
	bool good = line && strcmp(line, want) == 0;
	while (good && (line = strtok_r(NULL, "\n", &save)))
		good = calibration_file_take_line(out, line);
	free(text);
	if (!good || !(out->known.best.read > 0) || out->disk < 0) {
		*out = (struct calibration_kept){0};
		return -ESTALE;
	}
	*age = (long long)time(NULL) - (long long)st.st_mtime;
	return 0;
}

static size_t calibration_file_put_ways(const struct tuning *tuning, char *text, size_t len) {
	char stamp[TUNING_STAMP_MAX];
	size_t at = 0;
	if (!tuning->known)
		return 0;
	tuning_stamp(stamp, sizeof stamp);
	at += (size_t)snprintf(text, len, "tuned %s\n", stamp);
	for (unsigned t = 0; t < KERN_TYPES; t++)
		for (unsigned c = 0; c < KERN_CLASSES; c++)
			if (tuning->of[t][c].way)
				at += (size_t)snprintf(text + at, len - at, "way %u %u %.6e %s\n", t, c,
				        tuning->of[t][c].gain, tuning->of[t][c].way->name);
	return at;
}

int calibration_file_save(const char *dir, unsigned threads, const struct calibration_kept *k) {
	char text[FILE_MAX_BYTES];
	const struct kernel_rates *best = &k->known.best, *low = &k->known.low, *high = &k->known.high;
	calibration_file_stamp(threads, text, sizeof text);
	size_t at = strlen(text);
	at += (size_t)snprintf(text + at, sizeof text - at,
	        "\nread %.6e %.6e %.6e\ndisk %.6e\npages %.4f\nlooks %u\n", best->read, low->read, high->read,
	        k->disk, k->pages, k->known.runs);
	for (unsigned t = 0; t < KERN_TYPES; t++)
		if (best->one[t] > 0 && best->many[t] > 0)
			at += (size_t)snprintf(text + at, sizeof text - at,
			        "type %u %.6e %.6e %.6e %.6e %.6e %.6e\n", t, best->one[t], low->one[t],
			        high->one[t], best->many[t], low->many[t], high->many[t]);
	for (unsigned t = 0; t < KERN_TYPES; t++)
		if (k->served.one[t].rate > 0 || k->served.many[t].rate > 0)
			at += (size_t)snprintf(text + at, sizeof text - at, "served %u %.6e %lld %.6e %lld\n",
			        t, k->served.one[t].rate, k->served.one[t].at, k->served.many[t].rate,
			        k->served.many[t].at);
	at += calibration_file_put_ways(&k->tuning, text + at, sizeof text - at);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : durable_write(fd, "rates", text, at);
	if (fd >= 0)
		close(fd);
	return rc;
}
