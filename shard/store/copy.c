/* copy: tensors in use in anonymous huge pages instead of a map of their file.
 *
 * A processor translates fewer addresses in huge pages, and only some file systems and kernels map a file in them (write.c).
 * The map is replaced at its addresses, a piece at a time: bytes are read from the file into anonymous memory, and that
 * memory is moved to where the map has the same bytes.  Holders of pointers notice nothing and may read meanwhile.  The pages of
 * the file are dropped from the page cache behind, so that no more than a piece is in memory twice.
 * Everything that concerns the file stays: the page that holds it and its lock.  When a damaged file has been replaced by a good
 * one, that is mapped over the copy (in_use.c), and can be copied again. */
#include "shard/store/store_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define COPY_READ (1u << 20) /* at once; between reads it can be stopped */

static uintptr_t copy_huge_page_at(uintptr_t p) {
	return (p + STORE_HUGE_PAGE - 1) / STORE_HUGE_PAGE * STORE_HUGE_PAGE;
}

/* Address space of this size that begins at a huge page. */
static void *copy_make_room(size_t bytes, int protection, int flags) {
	size_t all = bytes + STORE_HUGE_PAGE;
	uint8_t *room = mmap(NULL, all, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	uint8_t *begin = room + (copy_huge_page_at((uintptr_t)room) - (uintptr_t)room);
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uint8_t *end = begin + (bytes + page - 1) / page * page;
	if (begin > room)
		munmap(room, (size_t)(begin - room));
	if (room + all > end)
		munmap(end, (size_t)(room + all - end));
	return begin;
}

bool store_can_copy(const struct store_tensor *t) {
	return t->map && t->map_bytes >= STORE_HUGE_PAGE;
}

int store_align_map(struct store_tensor *t) {
	void *room = copy_make_room(t->map_bytes, PROT_NONE, MAP_NORESERVE);
	if (!room)
		return -ENOMEM;
	store_use_lock(); /* which may be renewing the tensor */
	void *map = mremap(t->map, t->map_bytes, t->map_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	int rc = map == MAP_FAILED ? -errno : 0;
	if (rc == 0) {
		t->packed = (const uint8_t *)map + ((const uint8_t *)t->packed - (const uint8_t *)t->map);
		t->map = map;
		store_use_mapped(t);
	}
	store_use_unlock();
	/* after a failure the room is left: mremap may have freed it, and then it may be another thread's by now */
	return rc;
}

/* Offset in the file of the map's first byte. */
static uint64_t copy_file_begin(const struct store_tensor *t) {
	return t->packed_at - (uint64_t)((const uint8_t *)t->packed - (const uint8_t *)t->map);
}

/* Reads part of the map from the file into anonymous memory of its own. */
static int copy_read(
        const struct store_tensor *t, int fd, size_t at, size_t bytes, const atomic_bool *stop, void **out) {
	uint64_t begin = copy_file_begin(t);
	uint8_t *p = copy_make_room(bytes, PROT_READ | PROT_WRITE, 0);
	int rc = 0;
	if (!p)
		return -ENOMEM;
	madvise(p, bytes, MADV_HUGEPAGE);
	madvise(p, bytes, MADV_DONTDUMP); /* as a file's map is not in a core dump */
	for (size_t got = 0; got < bytes && rc == 0;) {
		size_t part = bytes - got < COPY_READ ? bytes - got : COPY_READ;
		ssize_t n = atomic_load(stop) ? 0 : pread(fd, p + got, part, (off_t)(begin + at + got));
		if (n > 0)
			got += (size_t)n;
		else if (n == 0)
			rc = atomic_load(stop) ? -ECANCELED : -ENODATA;
		else if (errno != EINTR)
			rc = -errno;
	}
	if (rc == 0 && mprotect(p, bytes, PROT_READ))
		rc = -errno;
	if (rc) {
		munmap(p, bytes);
		return rc;
	}
	*out = p;
	return 0;
}

/* Puts what was read where the map has the same; under the lock of in_use.c.  It is the piece's new place, or it is unmapped. */
static int copy_swap(const struct store_tensor *t, int fd, size_t at, size_t bytes, void *piece) {
	uint8_t *to = (uint8_t *)t->map + at;
	if (mremap(piece, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED)
		return 0;
	int rc = -errno;
	munmap(piece, bytes);
	/* the kernel may have unmapped what was there before it failed */
	mmap(to, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)(copy_file_begin(t) + at));
	return rc;
}

static size_t copy_piece_bytes(const struct store_tensor *t, size_t at) {
	return t->map_bytes - at < STORE_COPY_PIECE ? t->map_bytes - at : STORE_COPY_PIECE;
}

/* A piece, unless the tensor has another file by now. */
static int copy_one(const struct store_tensor *t, int fd, const struct store_file *file, size_t at,
        const atomic_bool *stop) {
	void *piece = NULL;
	size_t bytes = copy_piece_bytes(t, at);
	int rc = copy_read(t, fd, at, bytes, stop, &piece);
	if (rc)
		return rc;
	store_use_lock();
	bool same = t->file.device == file->device && t->file.inode == file->inode;
	if (same)
		rc = copy_swap(t, fd, at, bytes, piece);
	store_use_unlock();
	if (!same) {
		munmap(piece, bytes);
		return -EAGAIN;
	}
	posix_fadvise(fd, (off_t)(copy_file_begin(t) + at), (off_t)bytes, POSIX_FADV_DONTNEED);
	return rc;
}

/* By the hashes of its chunks: the scrub reads files, and not what is in use. */
static int copy_verify(const struct store_tensor *t, const atomic_bool *stop) {
	const struct content_tensor *record = &t->record;
	uint64_t first, rows, bytes;
	uint8_t *canonical = malloc(record->chunk_rows * kern_row_bytes(record->type, record->n));
	int rc = canonical ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < record->chunks && rc == 0; i++) {
		content_chunk_extent(record, i, &first, &rows, &bytes);
		store_tensor_chunk(t, i, canonical);
		rc = atomic_load(stop) ? -ECANCELED : store_verify_chunk(record, i, canonical, bytes);
	}
	free(canonical);
	return rc;
}

int store_copy_tensor(struct store *s, const struct store_tensor *t, const atomic_bool *stop) {
	struct content_tensor record;
	struct store_head head;
	struct stat st;
	int rc = 0, fd = store_open_file(s, &t->record.id, &record, &head);
	if (fd < 0)
		return fd == -ENOMEM ? fd : -EAGAIN; /* it is being replaced */
	content_tensor_clear(&record);
	struct store_file file = {0};
	if (fstat(fd, &st) == 0)
		file = store_file_of(&st);
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	for (size_t at = 0; at < t->map_bytes && rc == 0; at += STORE_COPY_PIECE)
		rc = copy_one(t, fd, &file, at, stop);
	rc = rc ? rc : copy_verify(t, stop);
	bool bad = rc == -EIO || rc == -ENODATA || rc == -EBADMSG;
	if (bad || rc == 0)
		rc = store_use_copied(t, &file, !bad) && !bad ? 0 : -EAGAIN;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* also large pages on the border of two pieces */
	close(fd);
	return rc;
}
