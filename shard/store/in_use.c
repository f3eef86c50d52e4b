/* in_use: the tensors that this process uses, and what happens when their files turn out to be damaged.
 *
 * A file in use is damaged when its bytes do not match its name, when it has become shorter, or when the disk cannot read it.
 * The tensor is then marked, and nobody computes from it (slice_check) until the store has a good file.  That file is mapped at
 * the same addresses and gets the same descriptor, so holders of pointers notice nothing.  A page of a map that cannot be read
 * raises a bus error: the handler replaces it by a page of zeroes and marks the tensor, and the results of that step are
 * discarded.
 *
 * Owns: the list of tensors in use, of all stores, and the handler of SIGBUS.
 * Threads: any.  The list changes under a lock, but the handler walks it without: whoever removes an element waits until no
 * handler is walking. */
#include "shard/store/store_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct store_use {
	struct store *store;
	struct store_tensor *t;
	_Atomic uintptr_t begin, end; /* of the map; 0: none */
	_Atomic bool damaged;
	_Atomic bool copied; /* the whole map has been replaced by anonymous memory (copy.c) */
	_Atomic uint64_t renewed;
	struct store_use *_Atomic next;
};

static struct store_use *_Atomic all;
static _Atomic unsigned walkers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uintptr_t page_size;

static bool store_map_zeroes(uintptr_t at) {
	bool ours = false;
	atomic_fetch_add(&walkers, 1);
	for (struct store_use *u = atomic_load(&all); u && !ours; u = atomic_load(&u->next)) {
		if (at < atomic_load(&u->begin) || at >= atomic_load(&u->end))
			continue;
		void *page = (void *)(at & ~(page_size - 1));
		ours = mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		       MAP_FAILED;
		atomic_store(&u->damaged, true);
	}
	atomic_fetch_sub(&walkers, 1);
	return ours;
}

static void store_on_bus_error(int sig, siginfo_t *info, void *context) {
	int saved = errno;
	(void)context;
	if (!store_map_zeroes((uintptr_t)info->si_addr))
		signal(sig, SIG_DFL); /* the access is repeated, and the signal then ends the process */
	errno = saved;
}

static void store_guard(void) {
	struct sigaction a = {.sa_sigaction = store_on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	sigemptyset(&a.sa_mask);
	sigaction(SIGBUS, &a, NULL);
}

int store_use_add(struct store *s, struct store_tensor *t) {
	struct store_use *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	pthread_once(&once, store_guard);
	u->store = s;
	u->t = t;
	t->use = u;
	pthread_mutex_lock(&lock);
	atomic_store(&u->next, atomic_load(&all));
	atomic_store(&all, u);
	pthread_mutex_unlock(&lock);
	return 0;
}

void store_use_mapped(struct store_tensor *t) {
	atomic_store(&t->use->begin, (uintptr_t)t->map);
	atomic_store(&t->use->end, (uintptr_t)t->map + t->map_bytes);
}

void store_use_remove(struct store_tensor *t) {
	struct store_use *u = t->use;
	if (!u)
		return;
	pthread_mutex_lock(&lock);
	struct store_use *_Atomic *at = &all;
	while (atomic_load(at) != u)
		at = &atomic_load(at)->next;
	atomic_store(at, atomic_load(&u->next));
	while (atomic_load(&walkers))
		sched_yield();
	pthread_mutex_unlock(&lock);
	t->use = NULL;
	free(u);
}

void store_tensor_damage(const struct store_tensor *t) {
	if (t->use)
		atomic_store(&t->use->damaged, true);
}

bool store_tensor_copied(const struct store_tensor *t) {
	return t->use && atomic_load(&t->use->copied);
}

bool store_use_copied(const struct store_tensor *t, const struct store_file *file, bool good) {
	pthread_mutex_lock(&lock);
	bool same = t->file.device == file->device && t->file.inode == file->inode;
	if (same)
		atomic_store(good ? &t->use->copied : &t->use->damaged, true);
	pthread_mutex_unlock(&lock);
	return same;
}

bool store_tensor_damaged(const struct store_tensor *t) {
	return t->use && atomic_load_explicit(&t->use->damaged, memory_order_acquire);
}

uint64_t store_tensor_renewed(const struct store_tensor *t) {
	return t->use ? atomic_load_explicit(&t->use->renewed, memory_order_acquire) : 0;
}

void store_use_lock(void) {
	pthread_mutex_lock(&lock);
}

void store_use_unlock(void) {
	pthread_mutex_unlock(&lock);
}

/* Stats the file with this name in the store, or in the borrowed one: 0 or a negative errno. */
static int store_stat_named(struct store *s, const struct store_tensor *t, struct stat *st) {
	char hex[CONTENT_HEX];
	int rc = fstatat(s->tensors, content_hex(&t->record.id, hex), st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
	                                                                                           : 0;
	if (rc == -ENOENT && s->lent_tensors >= 0)
		rc = fstatat(s->lent_tensors, hex, st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	return rc;
}

void store_touch_tensor(const struct store_tensor *t) {
	char hex[CONTENT_HEX];
	if (t->fd >= 0)
		futimens(t->fd, NULL);
	else if (t->use)
		utimensat(t->use->store->tensors, content_hex(&t->record.id, hex), NULL, AT_SYMLINK_NOFOLLOW);
}

/* Under the lock: replaces a tensor's file by the store's. */
static int store_renew_mapping(struct store_use *u) {
	struct store_tensor *t = u->t;
	struct content_tensor record;
	struct store_head head;
	struct stat st;
	int fd = store_open_file(u->store, &t->record.id, &record, &head);
	if (fd < 0)
		return fd == -ESTALE || fd == -EBADMSG ? -ENOENT : fd;
	content_tensor_clear(
	        &record); /* the same name: the same record, and so the same places in the file */
	int rc = fstat(fd, &st) < 0 ? -errno : store_file_is(&t->file, &st) ? -EEXIST : 0;
	int flags = t->fd >= 0 ? fcntl(t->fd, F_GETFL) : -1;
	if (rc == 0 && flags >= 0 && flags & O_DIRECT)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_DIRECT);
	uint64_t skip = t->packed_at & ~((uint64_t)page_size - 1);
	if (rc == 0 && t->map &&
	        (mmap(t->map, t->map_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)skip) ==
	                        MAP_FAILED ||
	                mmap(t->hold, 1, PROT_NONE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED))
		rc = -errno;
	if (rc == 0 && t->fd >= 0 && dup3(fd, t->fd, O_CLOEXEC) < 0)
		rc = -errno;
	close(fd);
	if (rc == 0) {
		t->file = store_file_of(&st);
		atomic_store(&u->copied, false);
		atomic_fetch_add(&u->renewed, 1);
		atomic_store(&u->damaged, false);
	}
	return rc;
}

int store_renew_tensor(struct store *s, const struct content_id *id) {
	int rc = 0;
	pthread_mutex_lock(&lock);
	for (struct store_use *u = atomic_load(&all); u; u = atomic_load(&u->next))
		if (u->store == s && content_equal(&u->t->record.id, id)) {
			int one = store_renew_mapping(u);
			rc = one && one != -EEXIST ? one : rc;
		}
	pthread_mutex_unlock(&lock);
	return rc;
}

/* Marked as damaged, or its file is missing from the store, another one or shorter. */
static bool store_is_bad(const struct store_use *u) {
	struct stat st;
	int rc = atomic_load(&u->damaged) ? -EIO : store_stat_named(u->store, u->t, &st);
	if (rc)
		return rc == -EIO || rc == -ENOENT;
	return !store_file_is(&u->t->file, &st) ||
	       (uint64_t)st.st_size < u->t->packed_at + u->t->packed_bytes;
}

size_t store_find_damaged(struct store *s, struct content_id *ids, size_t max) {
	size_t n = 0;
	pthread_mutex_lock(&lock);
	for (struct store_use *u = atomic_load(&all); u && n < max; u = atomic_load(&u->next)) {
		if (u->store != s || !store_is_bad(u) || store_renew_mapping(u) == 0)
			continue;
		atomic_store(&u->damaged, true);
		store_drop_tensor(s, u->t); /* unless the store has another file by now */
		ids[n++] = u->t->record.id;
	}
	pthread_mutex_unlock(&lock);
	return n;
}
