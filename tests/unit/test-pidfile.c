/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "basic/sys.h"
#include "scheduler/pidfile.h"

#include <cmocka.h> /* last: it has a macro fail() of its own */

enum { USER = 4242, STRANGER = 4243 };

struct scratch {
	char dir[64], path[96];
};

static int setup(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	strcpy(s->dir, "/tmp/snapmgr-test-pidfile-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	(void)snprintf(s->path, sizeof(s->path), "%s/run", s->dir);
	assert_int_equal(sys_mkdirat(AT_FDCWD, s->path, 0755), 0);
	strcat(s->path, "/svc.pid");
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct scratch *s = *state;
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
	assert_int_equal(system(command), 0);
	free(s);
	return 0;
}

static void put(const char *path, const char *text)
{
	_cleanup_close_ int fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(sys_write_full(fd, text, strlen(text)), 0);
}

static int get(const struct scratch *s, uid_t user, pid_t *ret)
{
	struct pidfile p = { 0 };
	char why[PIDFILE_WHY_MAX];
	int r = pidfile_read(s->path, user, &p, why);

	assert_int_equal(why[0] != '\0', r == -EPERM);
	*ret = p.pid;
	return r;
}

static void holds(const struct scratch *s, const char *text, int want, pid_t want_pid)
{
	pid_t pid;
	int r;

	put(s->path, text);
	r = get(s, 0, &pid);
	if (r != want || pid != want_pid)
		fail_msg("'%s': %d, pid %d", text, r, pid);
}

static void a_pidfile_holds_a_pid_or_is_refused(void **state)
{
	const struct scratch *s = *state;
	char blanks[PIDFILE_SIZE_MAX + 8];
	pid_t pid;

	holds(s, "4711\n", 0, 4711);
	holds(s, "4711", 0, 4711);
	holds(s, "  4711 \n4712\n", 0, 4711);
	holds(s, "", -EBADMSG, 0);
	holds(s, "0\n", -EBADMSG, 0);
	holds(s, "-1\n", -EBADMSG, 0);
	holds(s, "4711x\n", -EBADMSG, 0);
	holds(s, "4294967297\n", -EBADMSG, 0);
	holds(s, "99999999999999999999\n", -EBADMSG, 0);
	memset(blanks, ' ', sizeof(blanks));
	strcpy(blanks + sizeof(blanks) - 3, "17");
	holds(s, blanks, -EBADMSG, 0);
	assert_int_equal(unlink(s->path), 0);
	assert_int_equal(get(s, 0, &pid), -ENOENT);
	assert_int_equal(mkfifo(s->path, 0600), 0);
	assert_int_equal(get(s, 0, &pid), -EBADMSG); /* and does not block */
}

static void who_else_can_change_it_makes_it_worthless(void **state)
{
	const struct scratch *s = *state;
	char run[96], other[96];
	pid_t pid;

	if (geteuid() != 0)
		skip();
	(void)snprintf(run, sizeof(run), "%s/run", s->dir);
	(void)snprintf(other, sizeof(other), "%s/other", s->dir);
	put(s->path, "4711\n");
	assert_int_equal(get(s, 0, &pid), 0);

	assert_int_equal(chown(s->path, USER, 0), 0);
	assert_int_equal(get(s, 0, &pid), -EPERM);
	assert_int_equal(get(s, STRANGER, &pid), -EPERM);
	assert_int_equal(get(s, USER, &pid), 0);
	assert_int_equal(chown(s->path, 0, 0), 0);

	assert_int_equal(chmod(s->path, 0664), 0);
	assert_int_equal(get(s, 0, &pid), -EPERM);
	assert_int_equal(chmod(s->path, 0644), 0);

	assert_int_equal(chown(run, USER, 0), 0);
	assert_int_equal(get(s, 0, &pid), -EPERM);
	assert_int_equal(get(s, USER, &pid), 0);
	assert_int_equal(chmod(run, 0775), 0);
	assert_int_equal(get(s, USER, &pid), -EPERM);
	assert_int_equal(chown(run, 0, 0), 0);
	assert_int_equal(chmod(run, 01777), 0); /* others could have moved it there */
	assert_int_equal(get(s, 0, &pid), -EPERM);
	assert_int_equal(chmod(run, 0755), 0);

	assert_int_equal(chmod(s->dir, 0777), 0); /* further up */
	assert_int_equal(get(s, 0, &pid), -EPERM);
	assert_int_equal(chmod(s->dir, 0700), 0);

	assert_int_equal(link(s->path, other), 0); /* in whose directory its other name is, nobody knows */
	assert_int_equal(get(s, 0, &pid), -EPERM);
	assert_int_equal(unlink(other), 0);

	assert_int_equal(rename(s->path, other), 0); /* a link is as good as its owner */
	assert_int_equal(symlink("../other", s->path), 0);
	assert_int_equal(get(s, 0, &pid), 0);
	assert_int_equal(lchown(s->path, STRANGER, 0), 0);
	assert_int_equal(get(s, 0, &pid), -EPERM);
	assert_int_equal(get(s, USER, &pid), -EPERM);
	assert_int_equal(get(s, STRANGER, &pid), 0);
}

static void it_is_written_anew_with_its_owner_and_mode(void **state)
{
	const struct scratch *s = *state;
	struct failure failure = { 0 };
	char run[96], victim[96];
	struct pidfile before, after;
	char why[PIDFILE_WHY_MAX];
	struct stat st;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	(void)snprintf(run, sizeof(run), "%s/run", s->dir);
	(void)snprintf(victim, sizeof(victim), "%s/victim", s->dir);
	assert_int_equal(chown(run, USER, 0), 0);
	put(s->path, "4711\n");
	assert_int_equal(chown(s->path, USER, 0), 0);
	assert_int_equal(chmod(s->path, 0640), 0);
	assert_int_equal(pidfile_read(s->path, USER, &before, why), 0);

	assert_int_equal(pidfile_write(s->path, USER, 4712, &failure), 0);
	assert_int_equal(pidfile_read(s->path, USER, &after, why), 0);
	assert_int_equal(after.pid, 4712);
	assert_true(after.version != before.version);
	assert_int_equal(stat(s->path, &st), 0);
	assert_int_equal(st.st_uid, USER);
	assert_int_equal(st.st_mode & 07777, 0640);

	assert_int_equal(unlink(s->path), 0); /* made for the owner of the directory */
	assert_int_equal(pidfile_write(s->path, USER, 4713, &failure), 0);
	assert_int_equal(get(s, USER, &pid), 0);
	assert_int_equal(pid, 4713);

	put(victim, "untouched\n"); /* others' links are not written through */
	assert_int_equal(unlink(s->path), 0);
	assert_int_equal(symlink("../victim", s->path), 0);
	assert_int_equal(lchown(s->path, STRANGER, 0), 0);
	assert_int_equal(pidfile_write(s->path, USER, 4714, &failure), -EPERM);
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_size, strlen("untouched\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_pidfile_holds_a_pid_or_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(who_else_can_change_it_makes_it_worthless, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_written_anew_with_its_owner_and_mode, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
