/* The HTTP server with a certificate: TLS 1.2 and later, files that are read again, bad ones that are not used; and the access
 * log.  Certificates are made here. */
#include "config.h"

#include "daemon/api/http/http.h"
#include "tests/unit/api/http/http_client.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static char folder[] = "/tmp/check_http_tls.XXXXXX", cert[64], key[64], log_file[64], err[512];
static struct http_server *server;
static atomic_uint begun, closed;

static void handle_secret(struct http_exchange *x, void *arg) {
	(void)arg;
	http_reply_text(x, 200, "text/plain", "over TLS", 8);
}

static void on_closed(void *arg) {
	(void)arg;
	closed++;
}

static void handle_stream(struct http_exchange *x, void *arg) {
	(void)arg;
	http_on_closed(x, on_closed, NULL);
	http_stream_begin(x, 200, "text/event-stream");
	http_stream_send(x, "data: 1\n\n", 9);
	begun++;
}

static const struct http_route routes[] = {
        {HTTP_GET | HTTP_POST, "/secret", handle_secret, false}, {HTTP_GET, "/stream", handle_stream, false}};
static struct http_config config = {
        .address = "127.0.0.1:0", .required = true, .routes = routes, .nroutes = 2};

static void setup(void) {
	signal(SIGPIPE, SIG_IGN); /* the server may hang up while we write */
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(cert, sizeof cert, "%s/cert.pem", folder);
	snprintf(key, sizeof key, "%s/key.pem", folder);
	snprintf(log_file, sizeof log_file, "%s/access.log", folder);
}

static void teardown(void) {
	unlink(cert);
	unlink(key);
	unlink(log_file);
	rmdir(folder);
}

/* A key and a certificate for it, with that name. */
static void make_certificate(const char *name) {
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	ck_assert(pkey && x);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, pkey);
	X509_NAME_add_entry_by_txt(
	        X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	ck_assert_int_gt(X509_sign(x, pkey, EVP_sha256()), 0);
	FILE *f = fopen(cert, "w");
	ck_assert(f && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
	f = fopen(key, "w");
	ck_assert(f && PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
	X509_free(x);
	EVP_PKEY_free(pkey);
}

/* The key as it is, with a passphrase. */
static void encrypt_key(void) {
	FILE *f = fopen(key, "r+");
	ck_assert_ptr_nonnull(f);
	EVP_PKEY *pkey = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	ck_assert_ptr_nonnull(pkey);
	rewind(f);
	ck_assert(PEM_write_PrivateKey(f, pkey, EVP_aes_128_cbc(), NULL, 0, NULL, (void *)"passphrase") == 1);
	ck_assert_int_eq(fclose(f), 0);
	EVP_PKEY_free(pkey);
}

static SSL *tls_connect(int *fd, int version) {
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_security_level(ctx, 0); /* so that the server refuses what is old, not we */
	SSL_CTX_set_min_proto_version(ctx, version ? version : TLS1_VERSION);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL *ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	*fd = client_connect(http_port(server));
	SSL_set_fd(ssl, *fd);
	if (SSL_connect(ssl) == 1)
		return ssl;
	ERR_clear_error();
	SSL_free(ssl);
	close(*fd);
	return NULL;
}

/* Asks over TLS; the answer's text, and the name in the certificate. */
static void tls_ask(int version, const char *request, char *text, size_t len, char *name, size_t namelen) {
	int fd, n;
	size_t at = 0;
	SSL *ssl = tls_connect(&fd, version);
	ck_assert_ptr_nonnull(ssl);
	X509 *x = SSL_get1_peer_certificate(ssl);
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, (int)namelen);
	X509_free(x);
	ck_assert_int_eq(SSL_write(ssl, request, (int)strlen(request)), (int)strlen(request));
	while (at + 1 < len && (n = SSL_read(ssl, text + at, (int)(len - at - 1))) > 0)
		at += (size_t)n;
	text[at] = '\0';
	SSL_free(ssl);
	close(fd);
}

static void write_file(const char *path, const char *text) {
	FILE *f = fopen(path, "w");
	ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static const char request[] = "GET /secret HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/* Everything that was posted to the server before has run. */
static void passed(void *arg) {
	atomic_store((atomic_bool *)arg, true);
}

static void wait_server(void) {
	atomic_bool done = false;
	ck_assert_int_eq(loop_post(http_loop(server), passed, &done), 0);
	for (int i = 0; !done; i++) {
		ck_assert_int_lt(i, PATIENCE_MS);
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
}

START_TEST(tls) {
	char text[8192], name[64];
	int fd;
	config.tls_cert = cert;
	config.tls_key = key;
	ck_assert_int_ne(http_create(&server, &config, err, sizeof err), 0);
	ck_assert_ptr_nonnull(strstr(err, cert));
	make_certificate("first");
	ck_assert_int_eq(http_create(&server, &config, err, sizeof err), 0);
	tls_ask(0, request, text, sizeof text, name, sizeof name);
	ck_assert_str_eq(name, "first");
	ck_assert_ptr_nonnull(strstr(text, "\r\n\r\nover TLS"));
	tls_ask(TLS1_2_VERSION, request, text, sizeof text, name, sizeof name);
	ck_assert_ptr_nonnull(strstr(text, "over TLS"));
	ck_assert_ptr_null(tls_connect(&fd, TLS1_1_VERSION));
	/* errors are JSON here too, and the page of an http:// origin is not ours */
	tls_ask(0, "GARBAGE\r\n\r\n", text, sizeof text, name, sizeof name);
	ck_assert(strncmp(text, "HTTP/1.1 400 ", 13) == 0 && strstr(text, "{\"error\":{"));
	ck_assert_ptr_null(strstr(text + 13, "HTTP/1.1"));
	tls_ask(0, "GET /secret HTTP/1.1\r\nHost: localhost\r\n\r\nGARBAGE\r\n\r\n", text, sizeof text, name,
	        sizeof name);
	ck_assert(strstr(text, "over TLSHTTP/1.1 400 ") && strstr(text, "{\"error\":{"));
	tls_ask(0,
	        "GET /secret HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\n\r\n",
	        text, sizeof text, name, sizeof name);
	ck_assert(strncmp(text, "HTTP/1.1 403 ", 13) == 0);
	tls_ask(0,
	        "GET /secret HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\nConnection: close\r\n\r\n",
	        text, sizeof text, name, sizeof name);
	ck_assert(strncmp(text, "HTTP/1.1 200 ", 13) == 0);
	/* HTTP without TLS to this port gets nothing, and whoever only connects disturbs nobody */
	fd = client_connect(http_port(server));
	client_say(fd, request);
	ck_assert(client_ended(fd));
	close(fd);
	/* a stream whose client leaves */
	SSL *ssl = tls_connect(&fd, 0);
	ck_assert_int_gt(SSL_write(ssl, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n", 41), 0);
	ck_assert_int_gt(SSL_read(ssl, text, sizeof text), 0);
	SSL_free(ssl);
	close(fd);
	for (int i = 0; closed < 1 && i < PATIENCE_MS; i++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	ck_assert_uint_eq(closed, 1);
	http_destroy(server);
}
END_TEST

START_TEST(certificates_are_read_again) {
	char text[8192], name[64];
	config.tls_cert = cert;
	config.tls_key = key;
	make_certificate("first");
	ck_assert_int_eq(http_create(&server, &config, err, sizeof err), 0);
	make_certificate("second");
	tls_ask(0, request, text, sizeof text, name, sizeof name);
	ck_assert_str_eq(name, "first");
	http_reload(server);
	wait_server();
	tls_ask(0, request, text, sizeof text, name, sizeof name);
	ck_assert_str_eq(name, "second");
	/* what is no certificate, and a key of another one, change nothing */
	write_file(cert, "no certificate\n");
	http_reload(server);
	wait_server();
	tls_ask(0, request, text, sizeof text, name, sizeof name);
	ck_assert_str_eq(name, "second");
	make_certificate("third");
	char kept[80];
	snprintf(kept, sizeof kept, "%s.kept", cert);
	ck_assert_int_eq(rename(cert, kept), 0);
	make_certificate("fourth");
	ck_assert_int_eq(rename(kept, cert), 0);
	http_reload(server);
	wait_server();
	tls_ask(0, request, text, sizeof text, name, sizeof name);
	ck_assert_str_eq(name, "second");
	ck_assert_ptr_nonnull(strstr(text, "over TLS"));
	http_destroy(server);
}
END_TEST

START_TEST(access_log) {
	static struct answer a;
	char line[4][600] = {""};
	config.log = log_file;
	ck_assert_int_eq(http_create(&server, &config, err, sizeof err), 0);
	client_ask(http_port(server), &a,
	        "POST /secret?prompt=private HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer private\r\n"
	        "Content-Length: 7\r\n\r\nprivate");
	ck_assert_int_eq(a.status, 200);
	client_ask(http_port(server), &a, "GET /a\"b\\\x01#private HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_int_eq(a.status, 404 - 4); /* a control character */
	client_ask(http_port(server), &a, "GARBAGE private\r\n\r\n");
	ck_assert_int_eq(a.status, 400);
	int fd = client_connect(http_port(server));
	client_say(fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	for (int i = 0; begun < 1 && i < PATIENCE_MS; i++)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	http_destroy(server);
	close(fd);
	FILE *f = fopen(log_file, "r");
	ck_assert_ptr_nonnull(f);
	for (int i = 0; i < 4; i++)
		ck_assert_ptr_nonnull(fgets(line[i], sizeof line[i], f));
	ck_assert_ptr_null(fgets(err, sizeof err, f));
	fclose(f);
	ck_assert_ptr_nonnull(strstr(line[0], "] \"POST /secret HTTP/1.1\" 200 8\n"));
	ck_assert_int_eq(strncmp(line[0], "127.0.0.1 - - [", 15), 0);
	ck_assert_ptr_nonnull(strstr(line[1], "] \"GET /a\\x22b\\x5c\\x01 HTTP/1.1\" 400 "));
	ck_assert_ptr_nonnull(strstr(line[2], "] \"-\" 400 "));
	ck_assert_ptr_nonnull(strstr(line[3], "] \"GET /stream HTTP/1.1\" 200 9\n"));
	for (int i = 0; i < 4; i++)
		ck_assert_ptr_null(strstr(line[i], "private"));
}
END_TEST

/* Clients that connect and say nothing, from one address; those whose handshake is over do not count. */
START_TEST(handshakes_have_a_bound) {
	enum { MANY = 4 };
	char text[8192], name[64];
	int silent[MANY], idle[2 * MANY], fd;
	SSL *ssl[2 * MANY], *one;
	config.tls_cert = cert;
	config.tls_key = key;
	config.limits = (struct http_limits){.per_client = MANY};
	make_certificate("first");
	ck_assert_int_eq(http_create(&server, &config, err, sizeof err), 0);
	for (unsigned i = 0; i < 2 * MANY; i++) {
		ssl[i] = tls_connect(&idle[i], 0);
		ck_assert_ptr_nonnull(ssl[i]);
	}
	for (unsigned i = 0; i < MANY; i++)
		silent[i] = client_connect(http_port(server));
	wait_server(); /* which accepts them */
	wait_server();
	ck_assert_ptr_null(tls_connect(&fd, 0));
	close(silent[0]);
	for (int i = 0; !(one = tls_connect(&fd, 0)); i++) {
		ck_assert_int_lt(i, PATIENCE_MS);
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	SSL_free(one);
	close(fd);
	tls_ask(0, request, text, sizeof text, name, sizeof name);
	ck_assert_ptr_nonnull(strstr(text, "over TLS"));
	for (unsigned i = 0; i < 2 * MANY; i++) {
		SSL_free(ssl[i]);
		close(idle[i]);
	}
	for (unsigned i = 1; i < MANY; i++)
		close(silent[i]);
	http_destroy(server);
}
END_TEST

/* The beginning of a handshake, as a client would send it. */
static size_t client_hello(unsigned char *out, size_t room) {
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *sent = BIO_new(BIO_s_mem());
	SSL_set_bio(ssl, in, sent); /* which takes both */
	ck_assert_int_ne(SSL_connect(ssl), 1);
	int n = BIO_read(sent, out, (int)room);
	ck_assert_int_gt(n, 100);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return (size_t)n;
}

/* Handshakes that are cut, changed, or followed by other bytes; the server serves others meanwhile and afterwards. */
START_TEST(handshakes_that_are_none) {
	unsigned char hello[4096], bytes[sizeof hello];
	char text[8192], name[64];
	uint32_t x = 1;
	config.tls_cert = cert;
	config.tls_key = key;
	make_certificate("first");
	ck_assert_int_eq(http_create(&server, &config, err, sizeof err), 0);
	size_t len = client_hello(hello, sizeof hello / 2);
	for (unsigned i = 0; i < 300; i++) {
		size_t n = i % 3 == 0 ? len * i / 300 : len;
		memcpy(bytes, hello, len);
		for (unsigned k = 0; i % 3 == 1 && k < 1 + i % 8; k++) {
			x = x * 1664525u + 1013904223u;
			bytes[(x >> 8) % len] = (unsigned char)(x >> 24);
		}
		if (i % 3 == 2) { /* behind it, what is no record */
			memset(bytes + len, (int)i, sizeof bytes - len);
			n = sizeof bytes;
		}
		int fd = client_connect(http_port(server));
		client_send(fd, bytes, n);
		if (i % 2)
			shutdown(fd, SHUT_WR);
		close(fd);
		if (i % 50 == 0)
			tls_ask(0, request, text, sizeof text, name, sizeof name);
	}
	tls_ask(0, request, text, sizeof text, name, sizeof name);
	ck_assert_ptr_nonnull(strstr(text, "over TLS"));
	http_destroy(server);
}
END_TEST

/* Nobody is asked for a passphrase, when it starts and later. */
START_TEST(keys_with_a_passphrase) {
	char text[8192], name[64];
	config.tls_cert = cert;
	config.tls_key = key;
	make_certificate("first");
	encrypt_key();
	ck_assert_int_ne(http_create(&server, &config, err, sizeof err), 0);
	ck_assert_msg(strstr(err, key) && strstr(err, "has a passphrase"), "%s", err);
	make_certificate("second");
	ck_assert_int_eq(http_create(&server, &config, err, sizeof err), 0);
	make_certificate("third");
	encrypt_key();
	http_reload(server);
	wait_server();
	tls_ask(0, request, text, sizeof text, name, sizeof name);
	ck_assert_str_eq(name, "second");
	http_destroy(server);
}
END_TEST

/* A port that is taken, an address that is none. */
START_TEST(addresses) {
	struct http_server *other;
	char taken[32];
	ck_assert_int_eq(http_create(&server, &config, err, sizeof err), 0);
	snprintf(taken, sizeof taken, "127.0.0.1:%u", http_port(server));
	config.address = taken;
	ck_assert_int_eq(http_create(&other, &config, err, sizeof err), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(err, taken));
	config.required = false;
	ck_assert_int_eq(http_create(&other, &config, err, sizeof err), 0);
	ck_assert_ptr_null(other);
	http_destroy(other);
	http_destroy(server);
	static const char *const bad[] = {"", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
	        "127.0.0.1:65536", "[::1]", "::1:8080", "http://127.0.0.1:1", "256.0.0.1:1"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		config.address = bad[i];
		ck_assert_msg(http_create(&other, &config, err, sizeof err) < 0, "%s", bad[i]);
		ck_assert(*err);
	}
	static const char *const good[] = {"localhost:0", "127.0.0.2:0"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		config.address = good[i];
		ck_assert_msg(http_create(&other, &config, err, sizeof err) == 0, "%s", err);
		http_destroy(other);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("http_tls");
	TCase *t = tcase_create("http_tls");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, tls);
	tcase_add_test(t, certificates_are_read_again);
	tcase_add_test(t, keys_with_a_passphrase);
	tcase_add_test(t, handshakes_have_a_bound);
	tcase_add_test(t, handshakes_that_are_none);
	tcase_add_test(t, access_log);
	tcase_add_test(t, addresses);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
