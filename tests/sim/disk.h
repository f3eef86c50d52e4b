/* sim/disk: a disk that loses what was not synced.  It stands before the C library's calls that change files (linked with
 * --wrap, WRAP_DISK); the files themselves are real ones, in a folder of the test.
 *
 * What is certain after a crash: of a file, what it held when it was last synced; of a folder, the names that it had when it
 * was last synced.  Later changes of a folder's names are there up to some point, in order; what was written to a file later is there,
 * or not, or in part.  The seed of sim_begin decides.
 * Threads: one. */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H
#include <stdint.h>

/* folder: absolute, of the test's files; what lies there already is certain. */
void disk_begin(const char *folder);
void disk_end(void);

/* The power fails for everything below this folder.  Descriptors of before are of no use then. */
void disk_crash(const char *folder);

/* After so many further calls that change something all of them fail with this errno (EIO, ENOSPC) and change nothing;
 * UINT64_MAX: none does. */
void disk_fail_after(uint64_t calls, int error);
uint64_t disk_calls(void); /* that changed something, or would have, since disk_begin */

/* Turns one bit of a file over, at a place that the seed chooses. */
void disk_flip(const char *path);

#endif
