/* size: numbers as people read them, for whatever speaks to people: bytes ("812 B", "4.27 MiB", "38.6 GiB"), times
 * ("40.0 µs", "1.75 s"), rates ("0.571", "19.1", "9090"), layers ("0-3").
 * Of bytes three significant digits; what is more than 999 GiB stays in GiB.
 * Pure; any thread. */
#ifndef COMMON_SIZE_H
#define COMMON_SIZE_H

struct size_text {
	char s[24];
};
struct size_text size_text(
        double bytes); /* used as size_text(n).s, which lives to the end of the expression */

/* A part and its whole: "10.6 of 12.0 GiB", "412 MiB of 12.0 GiB". */
struct size_text size_of(double part, double whole);

/* What takes a moment: "772 µs", "12.3 ms", "1.90 s". */
struct size_text size_duration(double seconds);
struct size_text size_rate(double per_second);
/* The rate of a link, as networks are sold: "512 kbit/s", "94.1 Mbit/s", "2.35 Gbit/s". */
struct size_text size_link(double bytes_per_second);

/* A time of seconds and more, rounded up: "43 s", "3 min", "2 h 10 min", "9 days". */
struct size_text size_time(double seconds);

/* The layers of a slice, from `first` to before `end`: "2", "0-3"; named "layer 2", "layers 0-3". */
struct size_text size_layers(unsigned first, unsigned end);
struct size_text size_layers_named(unsigned first, unsigned end);

#endif
