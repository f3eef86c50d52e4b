/* health: what is wrong with a machine is told, with a sentence and advice; what is in order is not. */
#include "daemon/calibration/health.h"

#include <check.h>
#include <string.h>

static Caravan__Machine machine;
static struct health_problem p;

static void setup(void) {
	caravan__machine__init(&machine);
	machine.memory_size = (uint64_t)16 << 30;
	machine.memory_free = (uint64_t)9 << 30;
	machine.temperature = 71;
	machine.clock = 1.1e9;
	machine.clock_max = 3.4e9;
}

static void told(bool is, const char *kind, const char *what) {
	ck_assert(is);
	ck_assert_str_eq(p.kind, kind);
	ck_assert_str_eq(p.what, what);
	ck_assert_int_eq(p.advice[strlen(p.advice) - 1], '.');
}

START_TEST(a_machine_in_order) {
	ck_assert(!health_heat(&p, &machine, "attic"));
	ck_assert(!health_power(&p, &machine, "attic"));
	ck_assert(!health_memory(&p, &machine, "attic"));
	ck_assert(!health_swap(&p, &machine, "attic"));
	/* a kernel that says nothing */
	caravan__machine__init(&machine);
	ck_assert(!health_heat(&p, &machine, "attic"));
	ck_assert(!health_power(&p, &machine, "attic"));
	ck_assert(!health_memory(&p, &machine, "attic"));
	ck_assert(!health_swap(&p, &machine, "attic"));
}
END_TEST

START_TEST(heat) {
	machine.temperature = HEALTH_TOO_HOT - 1;
	ck_assert(!health_heat(&p, &machine, "attic"));
	machine.temperature = HEALTH_TOO_HOT + 1;
	told(health_heat(&p, &machine, "attic"), "hot",
	        "The processor of attic is at 96 degrees Celsius, near its limit.");
	machine.hot = true;
	told(health_heat(&p, &machine, "attic"), "hot",
	        "The processor of attic is slowed down by heat at 96 degrees Celsius, now to 1.1 of 3.4 GHz.");
	machine.temperature = machine.clock = 0;
	told(health_heat(&p, &machine, "attic"), "hot", "The processor of attic is slowed down by heat.");
}
END_TEST

START_TEST(power) {
	machine.weak_power = true;
	told(health_power(&p, &machine, "pi"), "weak-power",
	        "The processor of pi is slowed down because its power supply is too weak.");
}
END_TEST

START_TEST(memory) {
	/* both a small share and few bytes */
	machine.memory_free = HEALTH_MEMORY_LEAST;
	ck_assert(!health_memory(&p, &machine, "attic"));
	machine.memory_free = 100u << 20;
	told(health_memory(&p, &machine, "attic"), "low-memory",
	        "attic has 100 MiB of memory left, of 16.0 GiB.");
	machine.memory_size = (uint64_t)2 << 30;
	ck_assert(!health_memory(&p, &machine, "attic"));
	machine.memory_free = 60u << 20;
	ck_assert(health_memory(&p, &machine, "attic"));
	machine.swapped = HEALTH_SWAPPED - 1;
	ck_assert(!health_swap(&p, &machine, "attic"));
	machine.swapped = HEALTH_SWAPPED;
	told(health_swap(&p, &machine, "attic"), "swapped",
	        "64.0 MiB of caravand's memory on attic is in the swap space.");
}
END_TEST

START_TEST(versions) {
	Caravan__NodeState a = CARAVAN__NODE_STATE__INIT, b = CARAVAN__NODE_STATE__INIT;
	a.version = "0.9.0";
	b.version = "0.10.0";
	told(health_version(&p, &a, "attic", &b, "study"), "old-version",
	        "attic runs Caravan 0.9.0, and study runs 0.10.0.");
	ck_assert(!health_version(&p, &b, "study", &a, "attic"));
	ck_assert(!health_version(&p, &a, "attic", &a, "study"));
	b.version = "";
	ck_assert(!health_version(&p, &a, "attic", &b, "study"));
	ck_assert(!health_version(&p, &b, "attic", &a, "study"));
}
END_TEST

START_TEST(clocks) {
	double one[] = {0}, two[] = {-40, 0}, three[] = {-1, 0, 100}, four[] = {0, 0, 1, 7300},
	       apart[] = {0, 0, 90000, 90000};
	ck_assert(!health_clock(&p, one, 1, 0, "attic"));
	/* of two nobody knows which is right: the one that is ahead */
	told(health_clock(&p, two, 2, 0, "attic"), "clock",
	        "The clock of attic is 40 seconds ahead of the other node's.");
	ck_assert(!health_clock(&p, two, 2, -40, "study"));
	told(health_clock(&p, three, 3, 100, "attic"), "clock",
	        "The clock of attic is 100 seconds ahead of those of the others.");
	ck_assert(!health_clock(&p, three, 3, -1, "study"));
	/* this node's own can be the wrong one */
	double others[] = {-0.5, 300, 300};
	told(health_clock(&p, others, 3, -0.5, "study"), "clock",
	        "The clock of study is 5 minutes behind those of the others.");
	ck_assert(!health_clock(&p, others, 3, 300, "attic"));
	told(health_clock(&p, four, 4, 7300, "attic"), "clock",
	        "The clock of attic is 2 hours ahead of those of the others.");
	ck_assert(!health_clock(&p, four, 4, 1, "study"));
	/* half against half: none is told as wrong */
	ck_assert(!health_clock(&p, apart, 4, 0, "study"));
	ck_assert(!health_clock(&p, apart, 4, 90000, "attic"));
	three[2] = 1e6;
	ck_assert(health_clock(&p, three, 3, 1e6, "attic"));
	ck_assert_ptr_nonnull(strstr(p.what, "is 12 days ahead of"));
}
END_TEST

START_TEST(fewer_nodes) {
	ck_assert(!health_fewer_nodes(&p, "m", 0, 2, "", ""));
	ck_assert(!health_fewer_nodes(&p, "m", 2, 2, "gamma is down", "alpha,gamma"));
	told(health_fewer_nodes(&p, "m", 3, 2, "gamma is down", "alpha,beta,gamma"), "fewer-nodes",
	        "m was loaded over 3 nodes and now runs on 2: gamma is down.");
	ck_assert_str_eq(p.advice,
	        "It serves, and stays there. When they are all up, 'caravan unload m' and then 'caravan load --nodes alpha,beta,gamma m' spread it over all of them again.");
	told(health_fewer_nodes(&p, "m", 3, 2, "", ""), "fewer-nodes",
	        "m was loaded over 3 nodes and now runs on 2, although the others are up again.");
	ck_assert_str_eq(p.advice,
	        "It serves, and stays there. 'caravan unload m' and then 'caravan load m' spread it over all of them again.");
}
END_TEST

START_TEST(other_nodes) {
	Caravan__Alternative a = CARAVAN__ALTERNATIVE__INIT;
	ck_assert(!health_node_drags(&p, "m", &a, "gamma", "alpha"));
	ck_assert(!health_node_unused(&p, "m", &a, "gamma"));
	a.now = 1 / 4.2;
	a.then = 1 / 5.1;
	told(health_node_drags(&p, "m", &a, "gamma", "alpha,beta"), "node-drags",
	        "gamma holds the line up: without it m would run at 5.1 tokens a second for one stream, instead of 4.2.");
	ck_assert_ptr_nonnull(
	        strstr(p.advice, "'caravan unload m' and then 'caravan load --nodes alpha,beta m'."));
	told(health_node_drags(&p, "m", &a, "gamma", ""), "node-drags",
	        "gamma holds the line up: without it m would run at 5.1 tokens a second for one stream, instead of 4.2.");
	told(health_node_unused(&p, "m", &a, "delta"), "node-unused",
	        "delta is not used by m: with it, it would run at 5.1 tokens a second for one stream, instead of 4.2.");
	ck_assert_ptr_nonnull(strstr(p.advice, "'caravan unload m' and then 'caravan load m' make"));
	a.then = a.now;
	ck_assert(!health_node_drags(&p, "m", &a, "gamma", "alpha"));
	ck_assert(!health_node_unused(&p, "m", &a, "gamma"));
}
END_TEST

START_TEST(single_copies) {
	Caravan__ModelState m = CARAVAN__MODEL_STATE__INIT;
	m.name = wire_string("m");
	m.at_risk = wire_string("only on b: layers 0-1");
	m.copy_missing = 1;
	m.seconds = HEALTH_COPIES_S;
	ck_assert(!health_single_copy(&p, &m)); /* they are being made */
	m.seconds++;
	told(health_single_copy(&p, &m), "single-copy",
	        "m is at risk until it is copied: only on b: layers 0-1.");
	m.copy_missing = 0; /* no more was asked for */
	ck_assert(!health_single_copy(&p, &m));
	m.copy_missing = 1;
	m.at_risk = wire_string("");
	ck_assert(!health_single_copy(&p, &m));
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("health");
	TCase *c = tcase_create("health");
	tcase_add_checked_fixture(c, setup, NULL);
	tcase_add_test(c, a_machine_in_order);
	tcase_add_test(c, heat);
	tcase_add_test(c, power);
	tcase_add_test(c, memory);
	tcase_add_test(c, versions);
	tcase_add_test(c, clocks);
	tcase_add_test(c, fewer_nodes);
	tcase_add_test(c, other_nodes);
	tcase_add_test(c, single_copies);
	suite_add_tcase(s, c);
	return s;
}

#include "tests/unit/check_main.h"
