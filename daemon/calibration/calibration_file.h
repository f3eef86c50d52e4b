/* calibration_file: STATE/rates, the figures and what they depend on.
 * Owns: the format.  A file of another version, ISA level or number of threads, or with an impossible figure
 * or way, is ignored, and the machine is measured again.  Only its ways are where version, kernel or processor changed (tuning_stamp).
 * Threads: any that may wait for a disk. */
#ifndef DAEMON_CALIBRATION_CALIBRATION_FILE_H
#define DAEMON_CALIBRATION_CALIBRATION_FILE_H
#include "daemon/calibration/served_rates.h"
#include "daemon/calibration/tuning.h"

struct calibration_kept {
	struct kernel_rates_known known;
	double disk;                /* bytes a second, 0: not measured */
	double pages;               /* of page_rates, 0: not measured */
	struct served_rates served; /* only its rates */
	struct tuning tuning;       /* not known: none was kept, or it was found under other conditions */
};

/* 0, -ENOENT, -ESTALE for a file that is ignored, or another negative errno.  *age: seconds since it was written; negative if
 * written in the future. */
int calibration_file_load(const char *dir, unsigned threads, struct calibration_kept *out, long long *age);
int calibration_file_save(const char *dir, unsigned threads, const struct calibration_kept *k);

#endif
