/* disk: how fast this node's disk delivers weights that do not stay in memory.
 * Owns nothing.  Threads: any that may wait for a disk; takes about a second. */
#ifndef DAEMON_CALIBRATION_DISK_H
#define DAEMON_CALIBRATION_DISK_H

/* Bytes a second, measured in this folder the way weights are streamed (shard/forward/weight_stream.h): a file is written there, read past the page
 * cache, and gone.  0 where that cannot be done, which the log then says. */
double disk_rate(const char *dir);

#endif
