/* where: the paths of what tests read. */
#ifndef TESTS_SUPPORT_WHERE_H
#define TESTS_SUPPORT_WHERE_H

/* Of a file in the shared folder, which may be missing; of one beside the sources. */
char *shared_path(char out[512], const char *name);
char *source_path(char out[512], const char *name);

/* Of a file in the shared folder that is there; NULL after saying that it is not. */
const char *shared_or_skip(char out[512], const char *name);

#endif
