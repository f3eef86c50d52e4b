/* curve_keys: see curve_keys.h.  The key is written to a temporary file first, so that STATE/key is always complete. */
#include "config.h"

#include "common/fail.h"
#include "daemon/net/curve_keys.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define Z85 41 /* a key in Z85, with its NUL */

/* The file has the secret key in Z85 and a newline; the public key is derived from it. */
static int key_pair_from_text(struct keys *k, const char *secret) {
	char public[Z85];
	if (!zmq_z85_decode(k->secret, secret) || zmq_curve_public(public, secret) != 0 ||
	        !zmq_z85_decode(k->public.b, public))
		return -EINVAL;
	return 0;
}

int keys_generate(struct keys *k) {
	char public[Z85], secret[Z85];
	int rc = zmq_curve_keypair(public, secret) == 0 ? key_pair_from_text(k, secret) : -errno;
	OPENSSL_cleanse(secret, sizeof secret);
	return rc;
}

/* replace: overwrite an existing key; otherwise only create one. */
static int key_write(int dir, bool replace, const char *state_dir, char *err, size_t errlen) {
	char public[Z85], secret[Z85 + 1], temp[64];
	int fd = -1, rc = 0;
	snprintf(temp, sizeof temp, ".key.%ld", (long)getpid());
	if (zmq_curve_keypair(public, secret) != 0) {
		rc = -errno;
		goto error;
	}
	memcpy(secret + Z85 - 1, "\n", 2);
	/* left by a start that was interrupted; in a container the process id is always the same */
	unlinkat(dir, temp, 0);
	fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		rc = -errno;
		goto error;
	}
	if (write(fd, secret, Z85) != Z85 || fsync(fd) != 0)
		rc = errno ? -errno : -EIO;
	/* if another process was first, its key is the key of this node */
	if (rc == 0 && (replace ? renameat(dir, temp, dir, "key") != 0
	                        : linkat(dir, temp, dir, "key", 0) != 0 && errno != EEXIST))
		rc = -errno;
	unlinkat(dir, temp, 0);
	if (rc == 0)
		fsync(dir);
error:
	OPENSSL_cleanse(secret, sizeof secret);
	if (fd >= 0)
		close(fd);
	if (rc)
		snprintf(err, errlen, "cannot write %s/key: %s", state_dir, strerror(-rc));
	return rc;
}

static int key_read(struct keys *k, int fd, const char *state_dir, char *err, size_t errlen) {
	char text[Z85 + 1] = "";
	struct stat st;
	int rc = -EINVAL;
	if (fstat(fd, &st) != 0) {
		rc = -errno;
		snprintf(err, errlen, "%s/key: %s", state_dir, strerror(-rc));
	} else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
		snprintf(err, errlen, "%s/key is not a regular file of this user", state_dir);
	} else if (st.st_mode & 077) {
		snprintf(err, errlen,
		        "%s/key can be read by others (mode %04o): run chmod 600 on it, or assume that others know it",
		        state_dir, (unsigned)st.st_mode & 07777u);
	} else if (st.st_size != Z85 || read(fd, text, Z85) != Z85 || text[Z85 - 1] != '\n') {
		snprintf(err, errlen, "%s/key is damaged: %lld bytes instead of %d", state_dir,
		        (long long)st.st_size, Z85);
	} else {
		text[Z85 - 1] = 0;
		rc = key_pair_from_text(k, text);
		if (rc)
			snprintf(err, errlen, "%s/key is damaged: it holds no key", state_dir);
	}
	OPENSSL_cleanse(text, sizeof text);
	return rc;
}

int keys_load(struct keys *k, const char *state_dir, char *err, size_t errlen) {
	int rc = 0, fd = -1;
	int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		rc = -errno;
		return fail_with(rc, err, errlen, "%s: %s", state_dir, strerror(-rc));
	}
	fd = openat(dir, "key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		rc = key_write(dir, false, state_dir, err, errlen);
		if (rc)
			goto error;
		fd = openat(dir, "key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (fd < 0) {
		rc = -errno;
		snprintf(err, errlen, "%s/key: %s", state_dir, strerror(-rc));
		goto error;
	}
	rc = key_read(k, fd, state_dir, err, errlen);
error:
	if (fd >= 0)
		close(fd);
	close(dir);
	return rc;
}

int keys_renew(const char *state_dir, char *err, size_t errlen) {
	int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = dir < 0 ? -errno : key_write(dir, true, state_dir, err, errlen);
	if (dir < 0)
		snprintf(err, errlen, "%s: %s", state_dir, strerror(-rc));
	else
		close(dir);
	return rc;
}

int keys_prove(const struct keys *k, const struct node_id *other, const void *text, size_t len,
        uint8_t proof[KEYS_PROOF]) {
	uint8_t shared[32];
	size_t shared_len = sizeof shared;
	unsigned proof_len = KEYS_PROOF;
	EVP_PKEY *own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, k->secret, sizeof k->secret);
	EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, other->b, sizeof other->b);
	EVP_PKEY_CTX *ctx = own ? EVP_PKEY_CTX_new(own, NULL) : NULL;
	bool good = ctx && peer && EVP_PKEY_derive_init(ctx) == 1 &&
	            EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
	            EVP_PKEY_derive(ctx, shared, &shared_len) == 1 && shared_len == sizeof shared &&
	            HMAC(EVP_sha256(), shared, sizeof shared, text, len, proof, &proof_len);
	OPENSSL_cleanse(shared, sizeof shared);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(peer);
	EVP_PKEY_free(own);
	return good ? 0 : -EINVAL;
}

int keys_lock(const char *state_dir, char *err, size_t errlen) {
	char path[PATH_MAX], text[32] = "";
	snprintf(path, sizeof path, "%s/lock", state_dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc = fd < 0 ? -errno : 0;
	if (rc == 0 && flock(fd, LOCK_EX | LOCK_NB) != 0)
		rc = -errno;
	if (rc == -EWOULDBLOCK) {
		ssize_t n = pread(fd, text, sizeof text - 1, 0);
		long pid = n > 0 ? strtol(text, NULL, 10) : 0;
		snprintf(text, sizeof text, pid > 0 ? " (process %ld)" : "", pid);
		snprintf(err, errlen,
		        "another caravand%s uses the state folder %s: stop it, or give this one a folder of its own with "
		        "--state",
		        text, state_dir);
		rc = -EBUSY;
	} else if (rc) {
		snprintf(err, errlen, "cannot lock %s: %s", path, strerror(-rc));
	} else { /* for people, and for the message above */
		int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
		if (ftruncate(fd, 0) == 0)
			(void)!pwrite(fd, text, (size_t)n, 0);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

void keys_wipe(struct keys *k) {
	OPENSSL_cleanse(k, sizeof *k);
}
