/* model_dir: the user's own model files are sources too, whatever they are called.
 *
 * Owns: the directory of --models, what is known of its files, and the open files.  A thread scans the
 * directory once a minute and hashes new files.  Hashes are cached by device, inode, size and time, so each
 * file is hashed once.  A file is opened when this node or another one wants something in it.  It is then a
 * source like a file that is being loaded, and is closed after a while without requests: it belongs to the
 * user, who may delete it.
 * Invariant: a file is only opened while its key is the one under which it was hashed.
 * Threads: the loop, except where a comment says thread. */
#include "daemon/core/log.h"
#include "daemon/transfer/transfer_internal.h"
#include "shard/gguf/gguf.h"
#include "shard/import/names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SCAN_MS 60000
#define TICK_MS 200
#define CLOSE_MS 30000 /* closed after this long without requests */
#define FILES_MAX 1024
#define DEPTH_MAX 3     /* nested folders */
#define NAP_NS 20000000 /* after each chunk that is hashed while steps are computed */
#define PARTS_MAX 64

enum file_state { FILE_CLOSED, FILE_OPENING, FILE_OPEN, FILE_USELESS };

struct model_file {
	char *path;
	char key[CONTENT_HEX];
	struct content_id manifest, vocab;
	struct content_id *id; /* of its tensors, ascending */
	size_t ids;            /* 0: not a usable model */
	enum file_state state;
	struct import *im; /* while it is open: a source */
	uint64_t used_ns;
	bool seen; /* in the current scan */
	LIST_ENTRY(model_file) next;
};

LIST_HEAD(model_files, model_file);

struct model_dir {
	struct transfer *t;
	char *dir;
	struct executor *thread;
	struct loop_timer *tick;
	struct model_files files;
	bool scanning;
	uint64_t next_ns;
	atomic_bool stop, busy;
};

static void model_file_free(struct model_file *f) {
	if (!f)
		return;
	free(f->path);
	free(f->id);
	free(f);
}

/* ---- scanning the directory ---- */

struct scan {
	struct model_dir *fo;
	struct model_files known; /* paths and keys of files that need not be hashed */
	struct model_files found; /* all files found; known ones with only path and key */
	size_t count;
};

/* Thread. */
static int model_file_open_parts(const char *path, int *fds, size_t *nfds) {
	char err[300], **part = NULL;
	size_t parts = 0;
	*nfds = 0;
	if (gguf_parts(path, &part, &parts, err, sizeof err) != 0)
		return -EINVAL;
	int rc = parts > PARTS_MAX ? -E2BIG : strcmp(part[0], path) != 0 ? -EINVAL : 0;
	for (size_t i = 0; i < parts; i++) {
		struct stat st;
		int fd = rc ? -1 : open(part[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			fds[(*nfds)++] = fd;
		if (rc == 0 && (fd < 0 || fstat(fd, &st) != 0))
			rc = -errno;
		else if (rc == 0 && !S_ISREG(st.st_mode))
			rc = -EINVAL;
		free(part[i]);
	}
	free(part);
	while (rc != 0 && *nfds > 0)
		close(fds[--*nfds]);
	return rc;
}

/* Thread. */
static int scan_hash_progress(void *arg, uint64_t done, uint64_t total) {
	struct model_dir *fo = arg;
	(void)done;
	(void)total;
	if (atomic_load(&fo->busy))
		nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
	return atomic_load(&fo->stop);
}

/* A file that is opened on demand is not hashed first: its hashes are cached, or it is not usable. */
static int model_file_refuse_hashing(void *arg, uint64_t done, uint64_t total) {
	(void)arg;
	(void)done;
	(void)total;
	return 1;
}

static int model_file_compare_ids(const void *a, const void *b) {
	return memcmp(a, b, sizeof(struct content_id));
}

/* Thread: records the content of a file; what every node needs of a model goes into the store. */
static int scan_learn_file(struct model_dir *fo, struct model_file *f, const struct import *im) {
	const struct manifest *m = import_manifest(im);
	const struct content_id blob[2] = {m->id, m->vocab};
	f->ids = manifest_tensors(m);
	f->id = calloc(f->ids, sizeof *f->id);
	if (!f->id)
		return -ENOMEM;
	for (size_t i = 0; i < f->ids; i++)
		f->id[i] = manifest_tensor_at(m, i)->id;
	qsort(f->id, f->ids, sizeof *f->id, model_file_compare_ids);
	f->manifest = m->id;
	f->vocab = m->vocab;
	int rc = 0;
	for (size_t i = 0; i < 2 && rc == 0; i++) {
		size_t len;
		struct content_id id;
		const uint8_t *data = import_blob(im, &blob[i], &len);
		rc = data ? store_put_blob(fo->t->store, data, len, &id) : -ENOENT;
	}
	return rc;
}

/* Thread. */
static void scan_file(struct scan *s, const char *path) {
	struct model_dir *fo = s->fo;
	int fds[PARTS_MAX];
	size_t nfds;
	char err[400] = "";
	if (model_file_open_parts(path, fds, &nfds))
		return;
	struct model_file *f = calloc(1, sizeof *f);
	int rc = f && (f->path = strdup(path)) ? import_names_key(fds, nfds, f->key) : -ENOMEM;
	bool known = false;
	for (const struct model_file *k = LIST_FIRST(&s->known); k && rc == 0 && !known;
	        k = LIST_NEXT(k, next))
		known = strcmp(k->path, path) == 0 && strcmp(k->key, f->key) == 0;
	if (rc == 0 && !known) {
		struct import *im = NULL;
		if (import_open(&im, fds, nfds, path, NULL, store_names_dir(fo->t->store), scan_hash_progress,
		            fo, err, sizeof err) == 0)
			rc = scan_learn_file(fo, f, im);
		else if (atomic_load(&fo->stop))
			rc = -ECANCELED;
		else
			log_line(LOG_LINE_INFO, "not used: %s", err);
		import_close(im);
	}
	while (nfds > 0)
		close(fds[--nfds]);
	if (rc) {
		model_file_free(f);
		return;
	}
	LIST_INSERT_HEAD(&s->found, f, next);
	s->count++;
}

static bool scan_is_model_name(const char *name) {
	size_t n = strlen(name);
	return n >= 6 && name[0] != '.' && strcmp(name + n - 5, ".gguf") == 0;
}

/* Thread. */
static void scan_directory(struct scan *s, const char *path, int depth) {
	DIR *d = opendir(path);
	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d)) && s->count < FILES_MAX && !atomic_load(&s->fo->stop);) {
		struct stat st;
		size_t len = strlen(path) + strlen(e->d_name) + 2;
		char *sub = e->d_name[0] == '.' ? NULL : malloc(len);
		if (!sub)
			continue;
		snprintf(sub, len, "%s/%s", path, e->d_name);
		if (stat(sub, &st) == 0 && S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			scan_directory(s, sub, depth + 1);
		else if (scan_is_model_name(e->d_name))
			scan_file(s, sub);
		free(sub);
	}
	closedir(d);
}

/* Thread. */
static void scan_run(void *arg) {
	struct scan *s = arg;
	scan_directory(s, s->fo->dir, 0);
}

static void model_files_free(struct model_files *list) {
	for (struct model_file *f; (f = LIST_FIRST(list)); model_file_free(f))
		LIST_REMOVE(f, next);
}

static void model_file_close(struct model_dir *fo, struct model_file *f) {
	if (f->state == FILE_OPEN) {
		transfer_remove_source(fo->t, f->im);
		f->im = NULL;
		f->state = FILE_CLOSED;
	}
}

static struct model_file *model_dir_find_file(struct model_dir *fo, const struct model_file *f) {
	for (struct model_file *k = LIST_FIRST(&fo->files); k; k = LIST_NEXT(k, next))
		if (strcmp(k->path, f->path) == 0 && strcmp(k->key, f->key) == 0)
			return k;
	return NULL;
}

static void scan_done(void *arg, bool cancelled) {
	struct scan *s = arg;
	struct model_dir *fo = s->fo;
	fo->scanning = false;
	fo->next_ns = loop_now_ns() + SCAN_MS * 1000000ull;
	for (struct model_file *f = LIST_FIRST(&fo->files); f; f = LIST_NEXT(f, next))
		f->seen = f->state == FILE_OPENING; /* a job refers to it */
	while (!LIST_EMPTY(&s->found) && !cancelled && !atomic_load(&fo->stop)) {
		struct model_file *f = LIST_FIRST(&s->found), *k = model_dir_find_file(fo, f);
		LIST_REMOVE(f, next);
		if (k) {
			k->seen = true;
			if (k->state == FILE_USELESS && k->ids) /* it failed to open before */
				k->state = FILE_CLOSED;
			model_file_free(f);
			continue;
		}
		f->seen = true;
		f->state = f->ids ? FILE_CLOSED : FILE_USELESS;
		LIST_INSERT_HEAD(&fo->files, f, next);
		if (f->ids)
			log_line(LOG_LINE_INFO, "%s is identified by its content", f->path);
	}
	for (struct model_file *f = LIST_FIRST(&fo->files), *next; f && !cancelled; f = next) {
		next = LIST_NEXT(f, next);
		if (f->seen)
			continue;
		model_file_close(fo, f);
		LIST_REMOVE(f, next);
		model_file_free(f);
	}
	model_files_free(&s->found);
	model_files_free(&s->known);
	free(s);
}

static void scan_start(struct model_dir *fo) {
	struct scan *s = calloc(1, sizeof *s);
	if (!s)
		return;
	s->fo = fo;
	for (const struct model_file *f = LIST_FIRST(&fo->files); f; f = LIST_NEXT(f, next)) {
		struct model_file *k = calloc(1, sizeof *k);
		if (!k || !(k->path = strdup(f->path))) {
			model_file_free(k);
			continue; /* it is examined as a new file, from cached hashes if possible */
		}
		memcpy(k->key, f->key, sizeof k->key);
		LIST_INSERT_HEAD(&s->known, k, next);
	}
	fo->scanning = true;
	if (executor_submit(fo->thread, scan_run, scan_done, s)) {
		fo->scanning = false;
		model_files_free(&s->known);
		free(s);
	}
}

static void model_dir_tick(void *arg) {
	struct model_dir *fo = arg;
	uint64_t now = loop_now_ns();
	atomic_store(&fo->busy, transfer_busy(fo->t));
	for (struct model_file *f = LIST_FIRST(&fo->files); f; f = LIST_NEXT(f, next))
		if (f->state == FILE_OPEN && now - f->used_ns > CLOSE_MS * 1000000ull)
			model_file_close(fo, f);
	if (!fo->scanning && now >= fo->next_ns)
		scan_start(fo);
}

/* ---- files that are wanted ---- */

struct opening {
	struct model_dir *fo;
	struct model_file *f; /* stays in the list while it is being opened */
	struct import *im;
	char err[400];
};

/* Thread. */
static void model_file_open_run(void *arg) {
	struct opening *o = arg;
	int fds[PARTS_MAX];
	size_t nfds;
	char key[CONTENT_HEX];
	if (model_file_open_parts(o->f->path, fds, &nfds)) {
		snprintf(o->err, sizeof o->err, "%s cannot be opened", o->f->path);
		return;
	}
	if (import_names_key(fds, nfds, key) || strcmp(key, o->f->key) != 0)
		snprintf(o->err, sizeof o->err, "%s has changed", o->f->path);
	else if (import_open(&o->im, fds, nfds, o->f->path, NULL, store_names_dir(o->fo->t->store),
	                 model_file_refuse_hashing, NULL, o->err, sizeof o->err) == 0 &&
	         !content_equal(&import_manifest(o->im)->id, &o->f->manifest)) {
		snprintf(o->err, sizeof o->err, "%s has changed", o->f->path);
		import_close(o->im);
		o->im = NULL;
	}
	while (nfds > 0)
		close(fds[--nfds]);
}

static void model_file_open_done(void *arg, bool cancelled) {
	struct opening *o = arg;
	struct model_dir *fo = o->fo;
	struct model_file *f = o->f;
	f->state = FILE_USELESS; /* until a scan finds that the file has changed */
	if (!cancelled && o->im && transfer_add_source(fo->t, o->im) == 0) {
		f->im = o->im;
		f->state = FILE_OPEN;
		f->used_ns = loop_now_ns();
	} else {
		import_close(o->im);
		if (!cancelled)
			log_line(LOG_LINE_WARN, "no longer used: %s", o->err[0] ? o->err : "out of memory");
	}
	free(o);
	if (!cancelled)
		transfer_file_opened(fo->t);
}

static bool model_file_has(const struct model_file *f, const struct content_id *id, bool tensor) {
	if (f->ids == 0)
		return false;
	return bsearch(id, f->id, f->ids, sizeof *f->id, model_file_compare_ids) ||
	       (!tensor && (content_equal(id, &f->manifest) || content_equal(id, &f->vocab)));
}

bool model_dir_opens(struct transfer *t, const struct content_id *id, bool tensor) {
	struct model_dir *fo = t->model_dir;
	for (struct model_file *f = fo ? LIST_FIRST(&fo->files) : NULL; f; f = LIST_NEXT(f, next)) {
		if (f->state == FILE_USELESS || !model_file_has(f, id, tensor))
			continue;
		f->used_ns = loop_now_ns();
		if (f->state == FILE_OPENING)
			return true;
		if (f->state == FILE_OPEN)
			return false; /* it is already among the source files */
		struct opening *o = calloc(1, sizeof *o);
		if (!o)
			return false;
		o->fo = fo;
		o->f = f;
		if (executor_submit(t->reader, model_file_open_run, model_file_open_done, o)) {
			free(o);
			return false;
		}
		f->state = FILE_OPENING;
		return true;
	}
	return false;
}

void model_dir_used(struct transfer *t, const struct import *im) {
	for (struct model_file *f = t->model_dir ? LIST_FIRST(&t->model_dir->files) : NULL; f;
	        f = LIST_NEXT(f, next))
		if (f->im == im)
			f->used_ns = loop_now_ns();
}

void model_dir_spoiled(struct transfer *t, const struct import *im) {
	for (struct model_file *f = t->model_dir ? LIST_FIRST(&t->model_dir->files) : NULL; f;
	        f = LIST_NEXT(f, next))
		if (f->im == im) {
			model_file_close(t->model_dir, f);
			f->state = FILE_USELESS;
			return;
		}
}

const char *transfer_file_path(const struct transfer *t, const struct content_id *manifest) {
	for (const struct model_file *f = t->model_dir ? LIST_FIRST(&t->model_dir->files) : NULL; f;
	        f = LIST_NEXT(f, next))
		if (f->ids && f->state != FILE_USELESS && content_equal(&f->manifest, manifest))
			return f->path;
	return NULL;
}

bool transfer_has_file(const struct transfer *t, const struct content_id *manifest) {
	return transfer_file_path(t, manifest) != NULL;
}

int transfer_add_model_dir(struct transfer *t, const char *dir) {
	struct model_dir *fo = calloc(1, sizeof *fo);
	if (!fo)
		return -ENOMEM;
	t->model_dir = fo;
	fo->t = t;
	fo->dir = strdup(dir);
	fo->tick = loop_timer_start(t->loop, TICK_MS, true, model_dir_tick, fo);
	int rc = fo->dir && fo->tick ? executor_create(&fo->thread, t->loop) : -ENOMEM;
	if (rc == 0)
		scan_start(fo);
	return rc;
}

void model_dir_destroy(struct model_dir *fo) {
	if (!fo)
		return;
	atomic_store(&fo->stop, true);
	executor_destroy(fo->thread);
	loop_timer_stop(fo->tick);
	model_files_free(&fo->files);
	free(fo->dir);
	free(fo);
}
