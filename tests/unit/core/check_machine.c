/* machine: what the kernel's files say, from files like those of machines that there are. */
#include "daemon/core/machine.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/check_machine.XXXXXX";

static void setup(void) {
	strcpy(root + strlen(root) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static void teardown(void) {
	char command[128];
	snprintf(command, sizeof command, "rm -r %s", root);
	ck_assert_int_eq(system(command), 0);
}

/* Writes a file below root, with its folders. */
static void put(const char *path, const char *text) {
	char whole[256];
	snprintf(whole, sizeof whole, "%s%s", root, path);
	for (char *c = whole + strlen(root) + 1; (c = strchr(c, '/')); c++) {
		*c = '\0';
		ck_assert(mkdir(whole, 0700) == 0 || errno == EEXIST);
		*c = '/';
	}
	FILE *f = fopen(whole, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static struct machine_look look(void) {
	struct machine_look l;
	memset(&l, 0xff, sizeof l);
	machine_look(&l, root);
	return l;
}

START_TEST(a_kernel_that_says_nothing) {
	struct machine_look l = look();
	ck_assert_uint_eq(l.memory_size, 0);
	ck_assert_uint_eq(l.memory_free, 0);
	ck_assert_uint_eq(l.swapped, 0);
	ck_assert(l.temperature == 0 && l.clock == 0 && l.clock_max == 0);
	ck_assert_uint_eq(l.slowed, 0);
	ck_assert(!l.slowed_by_heat && !l.slowed_by_voltage);
}
END_TEST

START_TEST(a_desktop) {
	put("/proc/meminfo",
	        "MemTotal:       16305812 kB\nMemFree:          201112 kB\nMemAvailable:    9130460 kB\n");
	put("/proc/self/status", "Name:\tcaravand\nVmSwap:\t     132 kB\nThreads:\t9\n");
	put("/sys/class/hwmon/hwmon0/name", "nvme\n");
	put("/sys/class/hwmon/hwmon0/temp1_input", "99850\n"); /* a disk's */
	put("/sys/class/hwmon/hwmon1/name", "coretemp\n");
	put("/sys/class/hwmon/hwmon1/temp1_input", "61000\n");
	put("/sys/class/hwmon/hwmon1/temp2_input", "63500\n");
	put("/sys/class/hwmon/hwmon1/temp3_input", "-128000\n");
	put("/sys/class/thermal/thermal_zone0/type", "acpitz\n");
	put("/sys/class/thermal/thermal_zone0/temp", "97000\n"); /* of the board */
	put("/sys/class/thermal/cooling_device0/type", "Fan\n");
	put("/sys/class/thermal/cooling_device0/cur_state", "3\n");
	put("/sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "1800000\n");
	put("/sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "4200000\n");
	put("/sys/devices/system/cpu/cpufreq/policy1/scaling_cur_freq", "3900000\n");
	put("/sys/devices/system/cpu/cpufreq/policy1/cpuinfo_max_freq", "4200000\n");
	put("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "5\n");
	put("/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "7\n");
	put("/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "11\n");
	struct machine_look l = look();
	ck_assert_uint_eq(l.memory_size, 16305812ull << 10);
	ck_assert_uint_eq(l.memory_free, 9130460ull << 10);
	ck_assert_uint_eq(l.swapped, 132u << 10);
	ck_assert_double_eq(l.temperature, 63.5);
	ck_assert_double_eq(l.clock, 3.9e9);
	ck_assert_double_eq(l.clock_max, 4.2e9);
	ck_assert_uint_eq(l.slowed, 23);
	ck_assert(!l.slowed_by_heat && !l.slowed_by_voltage);
}
END_TEST

START_TEST(a_board) {
	put("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
	put("/sys/class/thermal/thermal_zone0/temp", "81200\n");
	put("/sys/class/thermal/cooling_device0/type", "cpufreq-cpu0\n");
	put("/sys/class/thermal/cooling_device0/cur_state", "0\n");
	ck_assert_double_eq(look().temperature, 81.2);
	ck_assert(!look().slowed_by_heat);
	put("/sys/class/thermal/cooling_device0/cur_state", "2\n");
	ck_assert(look().slowed_by_heat);
	put("/sys/class/thermal/cooling_device0/cur_state", "0\n");
	/* what the firmware says: bits that were set once are not those of now */
	put("/sys/devices/platform/soc/soc:firmware/get_throttled", "f0000\n");
	ck_assert(!look().slowed_by_heat && !look().slowed_by_voltage);
	put("/sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
	ck_assert(!look().slowed_by_heat && look().slowed_by_voltage);
	put("/sys/devices/platform/soc/soc:firmware/get_throttled", "60002\n");
	ck_assert(look().slowed_by_heat && !look().slowed_by_voltage);
}
END_TEST

START_TEST(slowed_down_counts_for_a_minute) {
	struct machine_history h = {0};
	struct machine_look l = {.slowed = 23};
	/* before the daemon started */
	ck_assert(!machine_add(&h, &l, 1).hot);
	l.slowed = 24;
	ck_assert(machine_add(&h, &l, 6).hot);
	ck_assert(machine_add(&h, &l, 65).hot);
	ck_assert(!machine_add(&h, &l, 66).hot);
	l.slowed_by_heat = true;
	ck_assert(machine_add(&h, &l, 70).hot);
	l.slowed_by_heat = false;
	l.slowed_by_voltage = true;
	struct machine_state s = machine_add(&h, &l, 131);
	ck_assert(!s.hot && s.weak && s.last.slowed_by_voltage);
	/* a machine that was slow at once */
	h = (struct machine_history){0};
	ck_assert(machine_add(&h, &l, 5).weak);
}
END_TEST

START_TEST(it_is_watched) {
	struct machine *m;
	put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 10 kB\n");
	ck_assert_int_eq(machine_watch(&m, root), 0);
	struct machine_state s = machine_state(m);
	ck_assert_uint_eq(s.last.memory_size, 1000u << 10);
	ck_assert_uint_eq(s.last.memory_free, 10u << 10);
	machine_unwatch(m);
	machine_unwatch(NULL);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("machine");
	TCase *c = tcase_create("machine");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_kernel_that_says_nothing);
	tcase_add_test(c, a_desktop);
	tcase_add_test(c, a_board);
	tcase_add_test(c, slowed_down_counts_for_a_minute);
	tcase_add_test(c, it_is_watched);
	suite_add_tcase(s, c);
	return s;
}

#include "tests/unit/check_main.h"
