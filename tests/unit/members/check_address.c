/* address: which of a machine's addresses others are told, in which order, and that a change of them is noticed. */
#include "config.h"

#include "daemon/members/address.h"
#include "daemon/members/beacon.h"
#include "tests/support/nodes_wait.h"
#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A machine that is out of descriptors, one whose kernel tells nothing, and one with these addresses. */
static bool unreadable, untold;
static const char *const *given; /* NULL: its own */

int getifaddrs(struct ifaddrs **out) {
	static struct ifaddrs list[4];
	static struct sockaddr_in at[4];
	int (*real)(struct ifaddrs **), n = 0;
	*(void **)&real = dlsym(RTLD_NEXT, "getifaddrs");
	if (unreadable) {
		errno = EMFILE;
		return -1;
	}
	if (!given)
		return real(out);
	for (; given[n]; n++) {
		at[n].sin_family = AF_INET;
		ck_assert_int_eq(inet_pton(AF_INET, given[n], &at[n].sin_addr), 1);
		list[n] = (struct ifaddrs){.ifa_name = (char *)"eth0",
		        .ifa_flags = IFF_UP,
		        .ifa_addr = (struct sockaddr *)&at[n],
		        .ifa_next = given[n + 1] ? &list[n + 1] : NULL};
	}
	*out = n ? list : NULL;
	return 0;
}

void freeifaddrs(struct ifaddrs *list) {
	void (*real)(struct ifaddrs *);
	*(void **)&real = dlsym(RTLD_NEXT, "freeifaddrs");
	if (!given)
		real(list);
}

int socket(int domain, int type, int protocol) {
	int (*real)(int, int, int);
	*(void **)&real = dlsym(RTLD_NEXT, "socket");
	if (!untold || domain != AF_NETLINK)
		return real(domain, type, protocol);
	errno = EAFNOSUPPORT;
	return -1;
}

static int rank(const char *name, const char *address) {
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	if (strchr(address, ':')) {
		ck_assert_int_eq(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
		return address_rank(name, false, (struct sockaddr *)&v6, 0);
	}
	ck_assert_int_eq(inet_pton(AF_INET, address, &v4.sin_addr), 1);
	return address_rank(name, false, (struct sockaddr *)&v4, 0);
}

START_TEST(as_people_would) {
	/* each comes before the next */
	static const char *const order[][2] = {{"eth0", "192.168.1.4"}, {"wlan0", "2001:db8::4"},
	        {"wg0", "10.8.0.2"}, {"tailscale0", "fd7a:115c::2"}, {"docker0", "172.17.0.1"},
	        {"eth0", "169.254.9.9"}};
	for (size_t i = 1; i < sizeof order / sizeof *order; i++)
		ck_assert_msg(rank(order[i - 1][0], order[i - 1][1]) < rank(order[i][0], order[i][1]),
		        "%s %s first", order[i - 1][0], order[i - 1][1]);
	ck_assert_int_eq(rank("enp3s0", "10.0.0.4"), rank("wlp2s0", "192.168.1.4"));
	/* one of a private network over others by its address alone */
	ck_assert_int_eq(rank("eth0", "100.101.102.103"), rank("tailscale0", "100.64.0.1"));
	/* nobody gets there */
	ck_assert_int_eq(rank("eth0", "fe80::1"), -1);
	ck_assert_int_eq(rank("lo", "127.0.0.1"), -1);
	ck_assert_int_eq(rank("lo", "::1"), -1);
	/* a bridge with a card in it is the way out; one of guests is not */
	struct sockaddr_in a = {.sin_family = AF_INET};
	inet_pton(AF_INET, "10.0.0.5", &a.sin_addr);
	ck_assert_int_lt(address_rank("br0", false, (struct sockaddr *)&a, 0),
	        address_rank("br0", true, (struct sockaddr *)&a, 0));
	/* an address that will soon be another comes after one that stays, and one that is not yet anybody's not at all */
	struct sockaddr_in6 b = {.sin6_family = AF_INET6};
	inet_pton(AF_INET6, "2001:db8::5", &b.sin6_addr);
	ck_assert_int_gt(
	        address_rank("eth0", false, (struct sockaddr *)&b, 0x01), rank("eth0", "2001:db8::4"));
	ck_assert_int_eq(address_rank("eth0", false, (struct sockaddr *)&b, 0x40), -1);
}
END_TEST

START_TEST(lists) {
	char out[8][ADDRESS_MAX];
	ck_assert_int_eq(address_list("tcp://192.168.7.1:7070", out, 8), 1);
	ck_assert_str_eq(out[0], "tcp://192.168.7.1:7070");
	/* who is bound to the loopback is found there */
	ck_assert_int_eq(address_list("tcp://127.0.0.1:7070", out, 8), 1);
	ck_assert_str_eq(out[0], "tcp://127.0.0.1:7070");
	for (int v6 = 0; v6 < 2; v6++) {
		int n = address_list(v6 ? "tcp://[::]:7071" : "tcp://0.0.0.0:7071", out, 8);
		ck_assert_int_ge(n, 0);
		for (int i = 0; i < n; i++) {
			ck_assert(wire_endpoint_ok(out[i]));
			ck_assert_ptr_nonnull(strstr(out[i], ":7071"));
			ck_assert_ptr_null(strstr(out[i], "0.0.0.0"));
			ck_assert_ptr_null(strstr(out[i], "//127."));
			ck_assert(v6 || !strchr(out[i], '['));
		}
	}
	/* not to know them is not to have none */
	unreadable = true;
	ck_assert_int_eq(address_list("tcp://0.0.0.0:7070", out, 8), -EMFILE);
	ck_assert_int_eq(address_list("tcp://192.168.7.1:7070", out, 8), 1);
	unreadable = false;
}
END_TEST

static unsigned changes;
static void on_change(void *arg) {
	(void)arg;
	changes++;
}
static bool changed(void) {
	return changes > 0;
}

/* A network of the test's own, where it may have one. */
START_TEST(comes_and_goes) {
	char out[8][ADDRESS_MAX];
	struct address_watch *w;
	if (unshare(CLONE_NEWNET) != 0 ||
	        system("ip link add d0 type dummy 2>/dev/null && ip link set d0 up") != 0)
		return; /* not root, or no iproute2 */
	ck_assert_int_eq(loop_create(&loop), 0);
	/* the loopback is told to nobody, not even for lack of any other */
	ck_assert_int_eq(address_list("tcp://0.0.0.0:7070", out, 8), 0);
	ck_assert(!address_have("10.9.8.7"));
	ck_assert_int_eq(address_watch_create(&w, loop, on_change, NULL), 0);
	nodes_run(500);
	changes = 0;
	ck_assert_int_eq(system("ip addr add 10.9.8.7/24 dev d0 && ip addr add 10.9.8.8/24 dev d0"), 0);
	ck_assert(nodes_until(changed, 10000));
	ck_assert_int_eq(address_list("tcp://0.0.0.0:7070", out, 8), 2);
	ck_assert_str_eq(out[0], "tcp://10.9.8.7:7070");
	ck_assert(address_have("10.9.8.7"));
	changes = 0;
	ck_assert_int_eq(system("ip addr del 10.9.8.7/24 dev d0"), 0);
	ck_assert(nodes_until(changed, 10000));
	ck_assert(!address_have("10.9.8.7"));
	address_watch_destroy(w);
	loop_destroy(loop);
}
END_TEST

/* Where the kernel tells nothing, a look that finds what the last one found is no change, and neither is one that finds
 * nothing out. */
START_TEST(looks_that_find_the_same) {
	static const char *const one[] = {"10.9.8.7", NULL}, *const two[] = {"10.9.8.7", "10.9.8.8", NULL};
	struct address_watch *w;
	ck_assert_int_eq(loop_create(&loop), 0);
	given = one;
	untold = true;
	ck_assert_int_eq(address_watch_create(&w, loop, on_change, NULL), 0);
	changes = 0;
	nodes_run(ADDRESS_CHECK_MS + 1000);
	ck_assert_uint_eq(changes, 0);
	unreadable = true;
	nodes_run(ADDRESS_CHECK_MS + 1000);
	ck_assert_uint_eq(changes, 0);
	unreadable = false;
	given = two;
	ck_assert(nodes_until(changed, 30000));
	address_watch_destroy(w);
	loop_destroy(loop);
}
END_TEST

static unsigned calls;
static char called_from[128];
static uint8_t called_tag[BEACON_TAG];
static void on_call(void *arg, const uint8_t tag[BEACON_TAG], const char *endpoint) {
	(void)arg;
	memcpy(called_tag, tag, BEACON_TAG);
	snprintf(called_from, sizeof called_from, "%s", endpoint);
	calls++;
}
static bool called(void) {
	return calls > 0;
}

/* Two nodes that know nothing but each other's key hear where the other is; junk is not heard. */
START_TEST(calls_are_heard) {
	struct node_id a, b;
	struct beacon *here, *there;
	uint8_t tag[BEACON_TAG];
	if (unshare(CLONE_NEWNET) != 0 ||
	        system("{ ip link add d0 type dummy 2>/dev/null || "
	               "{ ip link add d0 type veth peer name d1 2>/dev/null && ip link set d1 up; }; } && "
	               "ip link set d0 multicast on up && ip link set lo up && "
	               "ip addr add 10.9.8.7/24 dev d0") != 0)
		return;
	memset(&a, 1, sizeof a);
	memset(&b, 2, sizeof b);
	ck_assert_int_eq(loop_create(&loop), 0);
	ck_assert_int_eq(beacon_create(&here, loop, &a, 7001, on_call, NULL), 0);
	ck_assert_int_eq(beacon_create(&there, loop, &b, 7002, on_call, NULL), 0);
	beacon_call(there);
	ck_assert(nodes_until(called, 10000));
	beacon_tag(&b, tag);
	ck_assert_mem_eq(called_tag, tag, sizeof tag);
	ck_assert_str_eq(called_from, "tcp://10.9.8.7:7002");
	nodes_run(100);
	ck_assert_uint_eq(calls, 1); /* not by the one that called */
	const struct sockaddr_in to = {.sin_family = AF_INET,
	        .sin_port = htons(BEACON_PORT),
	        .sin_addr.s_addr = inet_addr(BEACON_GROUP)};
	const struct sockaddr_in alone = {.sin_family = AF_INET,
	        .sin_port = htons(BEACON_PORT),
	        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	const struct ip_mreqn on = {.imr_ifindex = (int)if_nametoindex("d0")};
	ck_assert_int_eq(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &on, sizeof on), 0);
	char junk[100] = "CRVHERE1";
	for (size_t len = 0; len < sizeof junk; len++) /* of no port, where the length is right */
		ck_assert_int_ge(sendto(fd, junk, len, 0, (const struct sockaddr *)&to, sizeof to), 0);
	nodes_run(200);
	ck_assert_uint_eq(calls, 1);
	/* what is sent to this machine alone is not heard, as good as it is; to the group it is */
	beacon_tag(&b, (uint8_t *)junk + 8);
	junk[24] = junk[25] = 1;
	(void)!sendto(fd, junk, 26, 0, (const struct sockaddr *)&alone, sizeof alone);
	nodes_run(200);
	ck_assert_uint_eq(calls, 1);
	ck_assert_int_eq(sendto(fd, junk, 26, 0, (const struct sockaddr *)&to, sizeof to), 26);
	nodes_run(200);
	ck_assert_uint_eq(calls, 3); /* by both, since neither called */
	close(fd);
	beacon_destroy(here);
	beacon_destroy(there);
	loop_destroy(loop);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("address");
	TCase *t = tcase_create("addresses");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, as_people_would);
	tcase_add_test(t, lists);
	tcase_add_test(t, comes_and_goes);
	tcase_add_test(t, looks_that_find_the_same);
	tcase_add_test(t, calls_are_heard);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
