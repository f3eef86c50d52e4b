/* bench_pipeline: what its parts share. */
#ifndef TESTS_BENCH_PIPELINE_PIPELINE_H
#define TESTS_BENCH_PIPELINE_PIPELINE_H

/* Seconds that a Step with so many bytes takes from one node's loop to another's, over loopback and encrypted: half
 * of the median round trip of `times`.  Ends the program with a sentence when there is no link. */
double hop_seconds(unsigned bytes, unsigned times);

#endif
