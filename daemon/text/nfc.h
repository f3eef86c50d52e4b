/* nfc: Unicode's normal form C (UAX #15): characters that have marks in one piece where there is such a piece, marks in the order of
 * their classes.
 * Pure; any thread. */
#ifndef DAEMON_TEXT_NFC_H
#define DAEMON_TEXT_NFC_H
#include <stddef.h>

/* *out: the text (UTF-8 throughout) in normal form C, malloc'd, with its length; NULL where nothing needs a look, the usual case.
 * Linear in the length, whatever the text.  0 or -ENOMEM. */
int nfc_normalize(const char *text, size_t len, char **out, size_t *outlen);

#endif
