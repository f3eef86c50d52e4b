/* weight_copy: see weight_copy.h. */
#include "shard/forward/weight_copy.h"
#include "kernels/thread.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define AGAIN_S 1 /* until tensors that could not be copied, or have been renewed, are looked for */

struct weight_copy {
	struct store *store;
	struct store_tensor *const *tensor;
	size_t tensors;
	pthread_t thread;
	atomic_bool stop; /* and, for those who wait: */
	pthread_mutex_t lock;
	pthread_cond_t wake;
};

static bool weight_copy_wants(const struct store_tensor *t) {
	return store_can_copy(t) && !t->streamed;
}

/* Tries each one that is left: 0, or a negative errno that is no use trying again after. */
static int weight_copy_pass(struct weight_copy *c) {
	for (size_t i = 0; i < c->tensors; i++) {
		if (!weight_copy_wants(c->tensor[i]) || store_tensor_copied(c->tensor[i]) ||
		        store_tensor_damaged(c->tensor[i]))
			continue;
		int one = store_copy_tensor(c->store, c->tensor[i], &c->stop);
		if (one && one != -EAGAIN)
			return one;
	}
	return 0;
}

static void weight_copy_rest(struct weight_copy *c) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += AGAIN_S;
	pthread_mutex_lock(&c->lock);
	while (!atomic_load(&c->stop) && pthread_cond_timedwait(&c->wake, &c->lock, &t) == 0)
		;
	pthread_mutex_unlock(&c->lock);
}

static void *weight_copy_run(void *arg) {
	struct weight_copy *c = arg;
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10); /* steps go first */
	while (weight_copy_pass(c) == 0 && !atomic_load(&c->stop))
		weight_copy_rest(c);
	return NULL;
}

int weight_copy_start(
        struct weight_copy **out, struct store *s, struct store_tensor *const *tensors, size_t count) {
	pthread_condattr_t monotonic;
	struct weight_copy *c = calloc(1, sizeof *c);
	int rc = c ? 0 : -ENOMEM;
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = weight_copy_wants(tensors[i]) ? store_align_map(tensors[i]) : 0;
	if (rc) {
		free(c);
		return rc;
	}
	c->store = s;
	c->tensor = tensors;
	c->tensors = count;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	rc = thread_start(&c->thread, NULL, weight_copy_run, c);
	if (rc) {
		pthread_cond_destroy(&c->wake);
		pthread_mutex_destroy(&c->lock);
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void weight_copy_stop(struct weight_copy *c) {
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->stop, true);
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct weight_copied weight_copy_progress(const struct weight_copy *c) {
	struct weight_copied sum = {0};
	for (size_t i = 0; c && i < c->tensors; i++)
		if (weight_copy_wants(c->tensor[i])) {
			sum.bytes += c->tensor[i]->packed_bytes;
			sum.copied += store_tensor_copied(c->tensor[i]) ? c->tensor[i]->packed_bytes : 0;
		}
	return sum;
}
