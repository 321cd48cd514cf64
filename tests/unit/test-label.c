/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of attr say in the forms that AppArmor, SELinux and Smack write.
 */
#include <errno.h>
#include <string.h>

#include "engine/label.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void says(enum label_module of, const char *text, enum label_module module,
		 const char *label)
{
	struct label l;

	assert_int_equal(label_parse(of, text, strlen(text), &l), 0);
	assert_int_equal(l.module, module);
	assert_string_equal(l.text, label);
}

static void test_forms(void **state)
{
	(void)state;
	says(LABEL_APPARMOR, "unconfined\n", LABEL_APPARMOR, "");
	says(LABEL_APPARMOR, "/usr/sbin/ntpd (enforce)\n", LABEL_APPARMOR, "/usr/sbin/ntpd");
	says(LABEL_APPARMOR, "a name (with) parts (complain)\n", LABEL_APPARMOR,
	     "a name (with) parts");
	says(LABEL_APPARMOR, "firefox (unconfined)\n", LABEL_APPARMOR, "firefox");
	says(LABEL_APPARMOR, "parent//child (enforce)\n", LABEL_APPARMOR, "parent//child");
	says(LABEL_SMACK, "_", LABEL_SMACK, "_");
	/* A kernel whose AppArmor has no directory of its own. */
	says(LABEL_NONE, "unconfined\n", LABEL_APPARMOR, "");
	says(LABEL_NONE, "docker-default (enforce)\n", LABEL_APPARMOR, "docker-default");
	says(LABEL_NONE, "system_u:system_r:init_t:s0:c1,c2", LABEL_SELINUX,
	     "system_u:system_r:init_t:s0:c1,c2");
	says(LABEL_NONE, "floor", LABEL_SMACK, "floor");
}

static void test_not_sane(void **state)
{
	static char long_text[2 * LABEL_BYTES];
	struct label l;

	(void)state;
	memset(long_text, 'a', sizeof(long_text));
	assert_int_equal(label_parse(LABEL_APPARMOR, "", 0, &l), -EBADMSG);
	assert_int_equal(label_parse(LABEL_APPARMOR, "\n", 1, &l), -EBADMSG);
	assert_int_equal(label_parse(LABEL_APPARMOR, "a\nb", 3, &l), -EBADMSG);
	assert_int_equal(label_parse(LABEL_NONE, "a\033[2J", 5, &l), -EBADMSG);
	assert_int_equal(label_parse(LABEL_NONE, "a\0b", 3, &l), -EBADMSG);
	assert_int_equal(label_parse(LABEL_NONE, long_text, sizeof(long_text), &l), -EBADMSG);
	assert_int_equal(label_parse(LABEL_NONE, long_text, LABEL_BYTES - 1, &l), 0);
	assert_int_equal(label_parse(LABEL_APPARMOR, "a//&b (enforce)", 15, &l), -EOPNOTSUPP);
	assert_int_equal(label_parse(LABEL_APPARMOR, ":ns://a (enforce)", 17, &l), -EOPNOTSUPP);
}

static void test_choice(void **state)
{
	struct label l;

	(void)state;
	assert_int_equal(label_choose("apparmor:docker-default", &l), 0);
	assert_int_equal(l.module, LABEL_APPARMOR);
	assert_string_equal(l.text, "docker-default");
	assert_int_equal(label_choose("selinux:a:b:c", &l), 0);
	assert_int_equal(l.module, LABEL_SELINUX);
	assert_string_equal(l.text, "a:b:c");
	assert_int_equal(label_choose("apparmor:unconfined", &l), 0);
	assert_string_equal(l.text, "");
	assert_int_equal(label_choose("none:", &l), 0);
	assert_int_equal(l.module, LABEL_NONE);
	assert_int_equal(label_choose("apparmor:", &l), -EINVAL);
	assert_int_equal(label_choose("apparmor", &l), -EINVAL);
	assert_int_equal(label_choose("smack:x", &l), -EINVAL);
	assert_int_equal(label_choose("apparmor:a\nchangeprofile b", &l), -EINVAL);
	assert_int_equal(label_choose("", &l), -EINVAL);
}

static void test_list(void **state)
{
	static const char list[] = "/usr/sbin/ntpd (enforce)\nwith space (complain)\nlast";

	(void)state;
	assert_true(label_profile_is_loaded(list, "/usr/sbin/ntpd"));
	assert_true(label_profile_is_loaded(list, "with space"));
	assert_true(label_profile_is_loaded(list, "last"));
	assert_false(label_profile_is_loaded(list, "/usr/sbin"));
	assert_false(label_profile_is_loaded(list, "space"));
	assert_false(label_profile_is_loaded(list, "las"));
	assert_false(label_profile_is_loaded("", "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_not_sane),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
