/* size: see size.h. */
#include "common/size.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LARGEST 1e15 /* in GiB: nobody has that, and a number stays a number */

struct size_text size_text(double bytes) {
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB"};
	struct size_text out;
	size_t u = 0;
	while (bytes >= 999.5 && u + 1 < sizeof unit / sizeof *unit) {
		bytes /= 1024;
		u++;
	}
	if (!(bytes < LARGEST))
		bytes = LARGEST;
	int digits = u == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : bytes >= 0.9995 ? 2 : 3;
	snprintf(out.s, sizeof out.s, "%.*f %s", digits, bytes, unit[u]);
	return out;
}

struct size_text size_of(double part, double whole) {
	struct size_text out, a = size_text(part), b = size_text(whole);
	char *unit = strchr(a.s, ' '), *other = strchr(b.s, ' ');
	if (unit && other && strcmp(unit, other) == 0)
		*unit = '\0';
	snprintf(out.s, sizeof out.s, "%.10s of %.9s", a.s, b.s);
	return out;
}

/* Three digits, or all that stand before the point. */
static struct size_text size_three_digits(double v, const char *unit) {
	struct size_text out;
	if (!(v < LARGEST))
		v = LARGEST;
	int digits = v >= 99.95 ? 0 : v >= 9.995 ? 1 : v >= 0.9995 ? 2 : 3;
	snprintf(out.s, sizeof out.s, "%.*f%s", digits, v, unit);
	return out;
}

struct size_text size_duration(double seconds) {
	if (seconds < 1e-6)
		return (struct size_text){"< 1 µs"};
	if (seconds < 0.9995e-3)
		return size_three_digits(seconds * 1e6, " µs");
	if (seconds < 0.9995)
		return size_three_digits(seconds * 1e3, " ms");
	return size_three_digits(seconds, " s");
}

struct size_text size_link(double bytes_per_second) {
	double bits = 8 * bytes_per_second;
	if (bits < 0.9995e6)
		return size_three_digits(bits / 1e3, " kbit/s");
	if (bits < 0.9995e9)
		return size_three_digits(bits / 1e6, " Mbit/s");
	return size_three_digits(bits / 1e9, " Gbit/s");
}

struct size_text size_rate(double per_second) {
	return size_three_digits(per_second, "");
}

struct size_text size_time(double seconds) {
	struct size_text out;
	double minutes = ceil(seconds / 60), hours = floor(minutes / 60);
	if (!(seconds < 1e7))
		snprintf(out.s, sizeof out.s, "more than 100 days");
	else if (seconds < 100)
		snprintf(out.s, sizeof out.s, "%.0f s", ceil(seconds < 1 ? 1 : seconds));
	else if (minutes < 100)
		snprintf(out.s, sizeof out.s, "%.0f min", minutes);
	else if (hours < 48)
		snprintf(out.s, sizeof out.s, "%.0f h %.0f min", hours, minutes - 60 * hours);
	else
		snprintf(out.s, sizeof out.s, "%.0f days", ceil(hours / 24));
	return out;
}

struct size_text size_layers(unsigned first, unsigned end) {
	struct size_text out;
	if (end - first == 1)
		snprintf(out.s, sizeof out.s, "%u", first);
	else
		snprintf(out.s, sizeof out.s, "%u-%u", first, end - 1);
	return out;
}

struct size_text size_layers_named(unsigned first, unsigned end) {
	struct size_text out;
	snprintf(
	        out.s, sizeof out.s, "layer%s %.14s", end - first == 1 ? "" : "s", size_layers(first, end).s);
	return out;
}
