/* thread: see thread.h. */
#include "config.h"

#include "kernels/thread.h"

#include <signal.h>

int thread_start(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *arg), void *arg) {
	static const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL};
	sigset_t blocked, before;
	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		sigdelset(&blocked, own[i]);
	/* set, not added: a creator that blocks one of the four must not hand that on */
	pthread_sigmask(SIG_SETMASK, &blocked, &before);
	int rc = pthread_create(out, attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -rc;
}
