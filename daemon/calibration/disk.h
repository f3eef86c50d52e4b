/* disk: measures how fast this node streams weights from its disk.
 * Owns: nothing.  Threads: any that may wait for a disk; takes about a second. */
#ifndef DAEMON_CALIBRATION_DISK_H
#define DAEMON_CALIBRATION_DISK_H

/* Bytes a second: writes a file in this folder, reads it past the page cache as weights are streamed
 * (shard/forward/weight_stream.h), and deletes it.  0 if that fails, with a line in the log. */
double disk_rate(const char *dir);

#endif
