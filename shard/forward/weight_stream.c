/* weight_stream: see weight_stream.h.
 *
 * Several threads fill a buffer in blocks, because disks need several requests at once to reach their bandwidth.  A thread that
 * finds no block left in a group starts on the next group as soon as its buffer is free. */
#include "shard/forward/weight_stream.h"
#include "kernels/thread.h"
#include "shard/forward/weight_read.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define READERS 4
#define PARTS 3 /* most tensors in a group */

struct part {
	int fd;
	enum layer_role role;
	uint64_t at, bytes; /* in the file */
	uint64_t to;        /* in the buffer */
};

struct group {
	uint32_t layer;
	unsigned parts;
	uint64_t blocks, bytes;
	struct part part[PARTS];
	struct store_tensor view[2][PARTS]; /* the tensors in each buffer */
};

struct weight_stream {
	struct group *group;
	size_t groups;
	uint8_t *streamed; /* [layers], as in weight_stream_plan */
	uint32_t first;
	uint8_t *buffer[2];
	size_t buffer_bytes;
	uint64_t base; /* the first group of the step; used only by the member that leads it */
	pthread_t thread[READERS];
	unsigned threads;

	pthread_mutex_t lock; /* for all below */
	pthread_cond_t work;  /* there is something to read, or the stream ends */
	pthread_cond_t ready; /* a group has been read or has failed, or no read is under way any more */
	uint64_t filling;     /* the group whose blocks are being read */
	uint64_t block;       /* the next block of it */
	uint64_t left[2];     /* blocks of each buffer's group that are still missing */
	uint64_t given;       /* groups that were released */
	unsigned busy;        /* reads under way */
	bool paused, stop, direct;
	int error;       /* reading has stopped, */
	uint64_t broken; /* and this is the first group that is missing */
	struct weight_stream_stats stats;
	uint64_t busy_since;
	uint64_t taken; /* groups whose waiting time has been counted */
};

static uint64_t weight_stream_now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct group *weight_stream_group_of(struct weight_stream *s, uint64_t n) {
	return &s->group[n % s->groups];
}

/* ---- reading ---- */

/* Reads a block of a group. */
static int weight_stream_read_block(
        const struct group *g, uint64_t block, uint8_t *buffer, bool direct, const struct part **of) {
	const struct part *p = g->part;
	uint64_t blocks = (p->bytes + WEIGHT_READ_BLOCK - 1) / WEIGHT_READ_BLOCK;
	while (block >= blocks) {
		block -= blocks;
		p++;
		blocks = (p->bytes + WEIGHT_READ_BLOCK - 1) / WEIGHT_READ_BLOCK;
	}
	*of = p;
	uint64_t from = block * WEIGHT_READ_BLOCK;
	uint64_t bytes = p->bytes - from < WEIGHT_READ_BLOCK ? p->bytes - from : WEIGHT_READ_BLOCK;
	return weight_read(p->fd, buffer + p->to + from, bytes, p->at + from, direct);
}

static bool weight_stream_has_work(const struct weight_stream *s) {
	return !s->paused && !s->error && s->filling < s->given + 2;
}

/* Called under the lock, which it releases while it reads. */
static void weight_stream_fill(struct weight_stream *s) {
	uint64_t n = s->filling, block = s->block++;
	struct group *g = weight_stream_group_of(s, n);
	if (block == 0)
		s->left[n % 2] = g->blocks;
	if (s->block == g->blocks) {
		s->filling++;
		s->block = 0;
	}
	if (s->busy++ == 0)
		s->busy_since = weight_stream_now_ns();
	pthread_mutex_unlock(&s->lock);
	const struct part *p;
	int rc = weight_stream_read_block(g, block, s->buffer[n % 2], s->direct, &p);
	if (rc)
		store_tensor_damage(&g->view[0][p - g->part]);
	pthread_mutex_lock(&s->lock);
	if (--s->busy == 0)
		s->stats.read_seconds += (double)(weight_stream_now_ns() - s->busy_since) * 1e-9;
	if (rc && (!s->error || n < s->broken)) {
		s->error = rc;
		s->broken = n;
	}
	if (--s->left[n % 2] == 0)
		s->stats.read += g->bytes;
	if (s->left[n % 2] == 0 || s->error || s->paused)
		pthread_cond_broadcast(&s->ready);
}

static void *weight_stream_thread(void *arg) {
	struct weight_stream *s = arg;
	pthread_mutex_lock(&s->lock);
	while (!s->stop)
		if (weight_stream_has_work(s))
			weight_stream_fill(s);
		else
			pthread_cond_wait(&s->work, &s->lock);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- the step ---- */

uint64_t weight_stream_begin(struct weight_stream *s) {
	pthread_mutex_lock(&s->lock);
	uint64_t end = s->base + s->groups;
	if (s->error || (s->given != end && s->given != s->base)) {
		/* what was read is incomplete, or belongs to other groups */
		s->paused = true;
		while (s->busy)
			pthread_cond_wait(&s->ready, &s->lock);
		s->base = s->given = s->filling = s->block = s->taken = 0;
		s->error = 0;
		s->paused = false;
		pthread_cond_broadcast(&s->work);
	} else if (s->given == end) {
		s->base = end;
	}
	uint64_t base = s->base;
	pthread_mutex_unlock(&s->lock);
	return base;
}

bool weight_stream_has(const struct weight_stream *s, uint32_t layer, enum weight_group g) {
	return s->streamed[layer] >> g & 1;
}

int weight_stream_wait(struct weight_stream *s, uint64_t n, const struct store_tensor *w[LAYER_ROLES]) {
	const struct group *g = weight_stream_group_of(s, n);
	pthread_mutex_lock(&s->lock);
	uint64_t since = 0;
	/* groups before the broken one will be complete: all their blocks are being read */
	while (!(n < s->filling && s->left[n % 2] == 0) && !(s->error && n >= s->broken)) {
		since = since ? since : weight_stream_now_ns();
		pthread_cond_wait(&s->ready, &s->lock);
	}
	int rc = s->error && n >= s->broken ? -EIO : 0;
	if (n >= s->taken) { /* one of the members counts it */
		s->taken = n + 1;
		s->stats.wait_seconds += since ? (double)(weight_stream_now_ns() - since) * 1e-9 : 0;
	}
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < g->parts && rc == 0; i++)
		w[g->part[i].role] = &g->view[n % 2][i];
	return rc;
}

void weight_stream_release(struct weight_stream *s, uint64_t n) {
	pthread_mutex_lock(&s->lock);
	s->given = n + 1;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
}

void weight_stream_error(struct weight_stream *s, char *err, size_t errlen) {
	pthread_mutex_lock(&s->lock);
	snprintf(err, errlen, "layer %" PRIu32 ": its weights cannot be read from disk: %s",
	        s->first + weight_stream_group_of(s, s->broken)->layer, strerror(s->error ? -s->error : EIO));
	pthread_mutex_unlock(&s->lock);
}

void weight_stream_stats(struct weight_stream *s, struct weight_stream_stats *out) {
	pthread_mutex_lock(&s->lock);
	*out = s->stats;
	out->direct = s->direct;
	if (s->busy)
		out->read_seconds += (double)(weight_stream_now_ns() - s->busy_since) * 1e-9;
	pthread_mutex_unlock(&s->lock);
}

/* ---- creation ---- */

static const enum layer_role roles[WEIGHT_GROUPS][PARTS] = {[WEIGHTS_QKV] = {LAYER_Q, LAYER_K, LAYER_V},
        [WEIGHTS_OUT] = {LAYER_OUT},
        [WEIGHTS_UP] = {LAYER_GATE, LAYER_UP},
        [WEIGHTS_DOWN] = {LAYER_DOWN}};
static const unsigned parts[WEIGHT_GROUPS] = {
        [WEIGHTS_QKV] = 3, [WEIGHTS_OUT] = 1, [WEIGHTS_UP] = 2, [WEIGHTS_DOWN] = 1};

static void weight_stream_add_group(
        struct weight_stream *s, uint32_t layer, int which, const struct store_tensor *const *w) {
	struct group *g = &s->group[s->groups++];
	*g = (struct group){.layer = layer};
	for (unsigned k = 0; k < parts[which]; k++) {
		const struct store_tensor *t = w[roles[which][k]];
		unsigned i = g->parts;
		if (!t) /* latent attention has no key and value */
			continue;
		g->parts++;
		g->part[i] = (struct part){.fd = t->fd,
		        .role = roles[which][k],
		        .at = t->packed_at,
		        .bytes = t->packed_bytes,
		        .to = g->bytes};
		for (int b = 0; b < 2; b++) {
			g->view[b][i] = *t;
			g->view[b][i].packed = s->buffer[b] + g->bytes;
		}
		g->blocks += (t->packed_bytes + WEIGHT_READ_BLOCK - 1) / WEIGHT_READ_BLOCK;
		g->bytes += (t->packed_bytes + WEIGHT_READ_ALIGN - 1) / WEIGHT_READ_ALIGN * WEIGHT_READ_ALIGN;
		/* direct reads have no use for the pages that writing has left in the page cache */
		posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
	}
}

static int weight_stream_make_buffers(struct weight_stream *s, uint64_t bytes) {
	s->buffer_bytes = bytes;
	for (int b = 0; b < 2; b++) {
		void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return -errno;
		s->buffer[b] = p;
		madvise(p, bytes, MADV_HUGEPAGE); /* only a hint */
	}
	return 0;
}

static int weight_stream_start_threads(struct weight_stream *s) {
	int rc = 0;
	while (rc == 0 && s->threads < READERS)
		if ((rc = thread_start(&s->thread[s->threads], NULL, weight_stream_thread, s)) == 0)
			s->threads++;
	return s->threads ? 0 : rc; /* fewer threads are only slower */
}

int weight_stream_create(struct weight_stream **out, const struct weight_stream_plan *plan, uint32_t first,
        uint32_t layers, const struct store_tensor *const (*layer)[LAYER_ROLES], bool direct, char *err,
        size_t errlen) {
	int rc = -ENOMEM;
	struct weight_stream *f = calloc(1, sizeof *f);
	if (!f)
		goto error;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->work, NULL);
	pthread_cond_init(&f->ready, NULL);
	f->first = first;
	f->direct = direct;
	f->streamed = malloc(layers);
	f->group = calloc((size_t)layers * WEIGHT_GROUPS, sizeof *f->group);
	if (!f->streamed || !f->group || (rc = weight_stream_make_buffers(f, plan->buffer)) < 0)
		goto error;
	memcpy(f->streamed, plan->streamed, layers);
	for (uint32_t l = 0; l < layers; l++)
		for (int g = 0; g < WEIGHT_GROUPS; g++)
			if (weight_stream_has(f, l, (enum weight_group)g))
				weight_stream_add_group(f, l, g, layer[l]);
	for (size_t i = 0; i < f->groups && f->direct; i++)
		for (unsigned k = 0; k < f->group[i].parts && f->direct; k++)
			f->direct = weight_read_make_direct(&f->group[i].view[0][k], f->buffer[0]);
	for (size_t i = 0; i < f->groups; i++) {
		const struct group *g = &f->group[i];
		f->stats.step += g->bytes;
		/* all or none, so that there is one way of reading */
		for (unsigned k = 0; k < g->parts && !f->direct; k++)
			weight_read_make_cached(&g->view[0][k]);
	}
	f->stats.buffers = 2 * f->buffer_bytes;
	rc = f->groups ? weight_stream_start_threads(f) : -EINVAL;
	if (rc < 0)
		goto error;
	*out = f;
	return 0;
error:
	snprintf(err, errlen, "cannot stream weights from disk: %s", strerror(-rc));
	weight_stream_destroy(f);
	return rc;
}

void weight_stream_destroy(struct weight_stream *s) {
	if (!s)
		return;
	int saved = errno;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < s->threads; i++)
		pthread_join(s->thread[i], NULL);
	for (int b = 0; b < 2; b++)
		if (s->buffer[b])
			munmap(s->buffer[b], s->buffer_bytes);
	pthread_cond_destroy(&s->ready);
	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->lock);
	free(s->group);
	free(s->streamed);
	free(s);
	errno = saved;
}
