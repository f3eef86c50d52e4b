/* tls: the certificate of the HTTP server, and TLS connections.
 *
 * Owns: an SSL context, replaced as a whole when the files are read again; connections keep the one they
 * began with.  TLS 1.2 and later, with OpenSSL's default ciphers.
 * Threads: the server's. */
#include "config.h"

#include "daemon/api/http/http_internal.h"
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

struct http_tls {
	SSL_CTX *context;
	char *cert, *key;
};

static int tls_failed(const char *what, const char *file, char *err, size_t errlen) {
	unsigned long e = ERR_peek_error();
	const char *reason =
	        ERR_GET_LIB(e) == ERR_LIB_SYS ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
	snprintf(err, errlen, "cannot use the %s %s: %s", what, file, reason ? reason : "unknown error");
	ERR_clear_error();
	return -EINVAL;
}

/* OpenSSL would ask on the terminal, and wait. */
static int tls_passphrase(char *text, int size, int writing, void *asked) {
	(void)text;
	(void)size;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

static int tls_use_key(SSL_CTX *c, const char *key, char *err, size_t errlen) {
	bool asked = false;
	SSL_CTX_set_default_passwd_cb(c, tls_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(c, &asked);
	int ok = SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM);
	SSL_CTX_set_default_passwd_cb_userdata(c, NULL);
	if (asked) {
		ERR_clear_error();
		snprintf(err, errlen,
		        "cannot use the key %s: it has a passphrase, and nobody is asked for one", key);
		return -EINVAL;
	}
	return ok == 1 && SSL_CTX_check_private_key(c) == 1 ? 0 : tls_failed("key", key, err, errlen);
}

static int tls_context(SSL_CTX **out, const char *cert, const char *key, char *err, size_t errlen) {
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());
	int rc = 0;
	ERR_clear_error();
	if (!c)
		return tls_failed("TLS library for", cert, err, errlen);
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_use_certificate_chain_file(c, cert) != 1)
		rc = tls_failed("certificate", cert, err, errlen);
	else
		rc = tls_use_key(c, key, err, errlen);
	if (rc == 0)
		*out = c;
	else
		SSL_CTX_free(c);
	return rc;
}

int http_tls_create(struct http_tls **out, const char *cert, const char *key, char *err, size_t errlen) {
	struct http_tls *t = calloc(1, sizeof *t);
	int rc = t && (t->cert = strdup(cert)) && (t->key = strdup(key)) ? 0 : -ENOMEM;
	if (rc == 0)
		rc = tls_context(&t->context, cert, key, err, errlen);
	if (rc == 0)
		*out = t;
	else
		http_tls_destroy(t);
	return rc;
}

void http_tls_destroy(struct http_tls *t) {
	if (!t)
		return;
	SSL_CTX_free(t->context);
	free(t->cert);
	free(t->key);
	free(t);
}

int http_tls_reload(struct http_tls *t, char *err, size_t errlen) {
	SSL_CTX *fresh;
	int rc = tls_context(&fresh, t->cert, t->key, err, errlen);
	if (rc != 0)
		return rc;
	SSL_CTX_free(t->context);
	t->context = fresh;
	return 0;
}

struct bufferevent *http_tls_bufferevent(struct http_tls *t, struct event_base *base) {
	SSL *ssl = SSL_new(t->context);
	struct bufferevent *bev = ssl ? bufferevent_openssl_socket_new(base, -1, ssl,
	                                        BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE)
	                              : NULL;
	if (!bev) {
		SSL_free(ssl);
		return NULL;
	}
	bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

bool http_tls_established(struct bufferevent *bev) {
	return SSL_is_init_finished(bufferevent_openssl_get_ssl(bev)) == 1;
}
