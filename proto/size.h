/* size: counts of bytes as people read them, for whatever speaks to people: "812 B", "4.27 MiB", "38.6 GiB".
 * Three significant digits; what is more than 999 GiB stays in GiB.
 * Pure; any thread. */
#ifndef PROTO_SIZE_H
#define PROTO_SIZE_H

struct size_text {
	char s[24];
};
struct size_text size_text(
        double bytes); /* used as size_text(n).s, which lives to the end of the expression */

#endif
