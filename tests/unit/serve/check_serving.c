/* The whole way of a prompt: gateway, coordinator, stages and back, on virtual time. */
#include "tests/unit/serve/serving.h"
#include <check.h>
#include <string.h>

static struct client c;

START_TEST(a_prompt_through_two_stages) {
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	client_ask(&c, &(struct ask){.node = 0, .prompt = "a house", .limit = 40});
	serving_settle();
	client_expect(&c, serving_answer("m", "a house", 40, NULL), CARAVAN__REASON__LIMIT);
	ck_assert_uint_eq(c.generated, 40);
	serving_end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("serving");
	TCase *t = tcase_create("prompts");
	tcase_add_test(t, a_prompt_through_two_stages);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
