/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config files that nobody named on the command line: which are read, and for whom. */
#include <stdlib.h>
#include <string.h>

/* Before cmocka, which has a macro named fail. */
#include "basic/sys.h"
#include "engine/face.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { SOMEBODY = 12345 }; /* a user that is neither root nor us */

/* A home directory that is only ours, with DIR/.criu/default.conf. */
struct home {
	char dir[64], criu[96], conf[128];
};

static void write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(sys_write_full(fd, text, strlen(text)), 0);
}

static void home_init(struct home *h, const char *text)
{
	(void)snprintf(h->dir, sizeof(h->dir), "/tmp/snapmgr-unit.XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	(void)snprintf(h->criu, sizeof(h->criu), "%s/.criu", h->dir);
	(void)snprintf(h->conf, sizeof(h->conf), "%s/default.conf", h->criu);
	assert_int_equal(mkdir(h->criu, 0755), 0);
	write_file(h->conf, text);
	assert_int_equal(setenv("HOME", h->dir, 1), 0);
	(void)unsetenv("CRIU_CONFIG_FILE");
}

static void home_done(struct home *h)
{
	(void)unlink(h->conf);
	(void)rmdir(h->criu);
	(void)rmdir(h->dir);
}

/* Reads the default files. Return: whether the one of @h was taken; it says "tree 4711". */
static bool takes(const struct home *h, bool served)
{
	_cleanup_(face_options_done) struct face_options o = {};
	struct failure f = {};

	face_options_init(&o);
	assert_int_equal(face_options_read_default_configs(&o, served, &f), 0);
	assert_int_equal(o.left_out.n, o.engine.pid == 4711 ? 0 : 1);
	if (o.left_out.n > 0)
		assert_non_null(strstr(o.left_out.items[0], h->dir));
	return o.engine.pid == 4711;
}

static void a_file_of_ours_is_read(void **state)
{
	struct home h;

	(void)state;
	home_init(&h, "tree 4711\n");
	assert_true(takes(&h, false));
	assert_true(takes(&h, true));
	home_done(&h);
}

static void what_others_can_write_is_left_out(void **state)
{
	struct home h;

	(void)state;
	home_init(&h, "tree 4711\n");
	assert_int_equal(chmod(h.conf, 0664), 0);
	assert_false(takes(&h, false));
	assert_int_equal(chmod(h.conf, 0646), 0);
	assert_false(takes(&h, false));
	assert_int_equal(chmod(h.conf, 0644), 0);
	assert_int_equal(chmod(h.criu, 0777), 0);
	assert_false(takes(&h, false));
	assert_int_equal(chmod(h.criu, 0755), 0);
	assert_int_equal(chmod(h.dir, 0770), 0);
	assert_false(takes(&h, false));
	assert_int_equal(chmod(h.dir, 0700), 0);
	assert_true(takes(&h, false));
	home_done(&h);
}

static void what_is_somebody_elses_is_left_out(void **state)
{
	char real[160];
	struct home h;

	(void)state;
	if (geteuid() != 0)
		skip();
	home_init(&h, "tree 4711\n");
	assert_int_equal(chown(h.conf, SOMEBODY, SOMEBODY), 0);
	assert_false(takes(&h, false));
	assert_int_equal(chown(h.conf, 0, 0), 0);
	assert_int_equal(chown(h.criu, SOMEBODY, SOMEBODY), 0);
	assert_false(takes(&h, false));
	assert_int_equal(chown(h.criu, 0, 0), 0);
	assert_int_equal(chown(h.dir, SOMEBODY, SOMEBODY), 0);
	assert_false(takes(&h, false));
	assert_int_equal(chown(h.dir, 0, 0), 0);

	/* A link of somebody else's to a file of ours; one of ours is followed. */
	(void)snprintf(real, sizeof(real), "%s/real", h.criu);
	assert_int_equal(rename(h.conf, real), 0);
	assert_int_equal(symlink(real, h.conf), 0);
	assert_true(takes(&h, false));
	assert_int_equal(lchown(h.conf, SOMEBODY, SOMEBODY), 0);
	assert_false(takes(&h, false));
	(void)unlink(real);
	home_done(&h);
}

static void a_named_file_that_others_can_change_is_an_error(void **state)
{
	_cleanup_(face_options_done) struct face_options o = {};
	struct failure f = {};
	struct home h;

	(void)state;
	home_init(&h, "tree 4711\n");
	assert_int_equal(chmod(h.conf, 0666), 0);
	assert_int_equal(setenv("HOME", "/nonexistent", 1), 0);
	assert_int_equal(setenv("CRIU_CONFIG_FILE", h.conf, 1), 0);
	face_options_init(&o);
	assert_int_equal(face_options_read_default_configs(&o, false, &f), -EPERM);
	assert_non_null(strstr(f.text, h.conf));
	assert_int_equal(o.engine.pid, 0);

	f = (struct failure){};
	assert_int_equal(face_options_read_config(&o, h.conf, CONFIG_MAY_MISS | CONFIG_GUARDED, &f),
			 -EPERM);
	assert_int_equal(unsetenv("CRIU_CONFIG_FILE"), 0);
	home_done(&h);
}

static void scripts_from_home_are_not_run_for_a_caller_over_rpc(void **state)
{
	_cleanup_(face_options_done) struct face_options o = {};
	struct failure f = {};
	struct home h;

	(void)state;
	home_init(&h, "tree 4711\naction-script /bin/true\n");
	face_options_init(&o);
	assert_int_equal(face_options_read_default_configs(&o, /* served= */ true, &f), -EPERM);
	assert_non_null(strstr(f.text, "action-script"));
	assert_true(takes(&h, /* served= */ false));
	home_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_of_ours_is_read),
		cmocka_unit_test(what_others_can_write_is_left_out),
		cmocka_unit_test(what_is_somebody_elses_is_left_out),
		cmocka_unit_test(a_named_file_that_others_can_change_is_an_error),
		cmocka_unit_test(scripts_from_home_are_not_run_for_a_caller_over_rpc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
