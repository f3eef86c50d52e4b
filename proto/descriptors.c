/* descriptors: see descriptors.h. */
#include "proto/descriptors.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static unsigned long descriptors_limit(void) {
	struct rlimit r;
	return getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur != RLIM_INFINITY ? (unsigned long)r.rlim_cur
	                                                                        : 1ul << 20;
}

void descriptors_raise(void) {
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r); /* if not, what there is has to do */
	}
}

bool descriptors_short(unsigned reserve) {
	unsigned long most = descriptors_limit();
	if (reserve > most / 4)
		reserve = (unsigned)(most / 4);
	int next = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	if (next < 0)
		return errno == EMFILE;
	close(next);
	return (unsigned long)next + reserve >= most;
}

/* How many are open; when there is none for looking, all of them are. */
static unsigned long descriptors_in_use(void) {
	DIR *d = opendir("/proc/self/fd");
	unsigned long n = 0;
	if (!d)
		return descriptors_limit();
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* two folders and this one */
}

struct descriptors_text descriptors_strerror(int err) {
	struct descriptors_text t;
	if (err == EMFILE)
		snprintf(t.s, sizeof t.s,
		        "out of file descriptors: %lu of %lu in use; raise LimitNOFILE (or ulimit -n)",
		        descriptors_in_use(), descriptors_limit());
	else if (err == ENFILE)
		snprintf(t.s, sizeof t.s, "this machine is out of file descriptors: raise fs.file-max");
	else
		snprintf(t.s, sizeof t.s, "%s", strerror(err));
	return t;
}
