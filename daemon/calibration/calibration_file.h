/* calibration_file: STATE/rates, where figures are kept with what they depend on.
 * Owns: the format.  A file of another version, ISA level or number of threads, or with an impossible figure, is
 * ignored: the machine is measured again.
 * Threads: any that may wait for a disk. */
#ifndef DAEMON_CALIBRATION_CALIBRATION_FILE_H
#define DAEMON_CALIBRATION_CALIBRATION_FILE_H
#include "daemon/calibration/served_rates.h"

struct calibration_kept {
	struct kernel_rates_known known;
	double disk;                /* bytes a second, 0: not measured */
	struct served_rates served; /* its rates alone */
};

/* 0, -ENOENT, -ESTALE for what is taken for none, or another negative errno.  *age: seconds since it was written, negative if
 * that is in the future. */
int calibration_file_load(const char *dir, unsigned threads, struct calibration_kept *out, long long *age);
int calibration_file_save(const char *dir, unsigned threads, const struct calibration_kept *k);

#endif
