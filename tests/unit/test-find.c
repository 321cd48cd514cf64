/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Most tests bring a /proc of their own, with texts that a real one would hold only for a hostile
 * process; the last one finds real children in the real one.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "basic/sys.h"
#include "scheduler/find.h"

#include <cmocka.h> /* last: it has a macro fail() of its own */

struct fake_proc {
	char path[64];
	int fd;
};

static int fake_setup(void **state)
{
	struct fake_proc *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->path, "/tmp/snapmgr-test-find-XXXXXX");
	assert_non_null(mkdtemp(f->path));
	f->fd = sys_open(f->path, O_RDONLY | O_DIRECTORY, 0);
	assert_true(f->fd >= 0);
	*state = f;
	return 0;
}

static int fake_teardown(void **state)
{
	struct fake_proc *f = *state;
	char command[128];

	close_fd(f->fd);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", f->path);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void put(const struct fake_proc *f, pid_t pid, const char *file, const char *text,
		size_t size)
{
	_cleanup_close_ int fd = -EBADF;
	char path[64];

	(void)snprintf(path, sizeof(path), "%d/%s", pid, file);
	fd = sys_openat(f->fd, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(sys_write_full(fd, text, size), 0);
}

static void put_stat(const struct fake_proc *f, pid_t pid, const char *name, char state, pid_t ppid,
		     unsigned flags)
{
	char text[512];

	(void)snprintf(
		text, sizeof(text),
		"%d (%s) %c %d 0 0 0 -1 %u 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0 0 0 0 0 0 0 0 0 0 0 "
		"0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
		pid, name, state, ppid, flags, 1000 + pid);
	put(f, pid, "stat", text, strlen(text));
}

/* A process of uid @uid that runs @exe (NULL: none, a kernel thread). */
static void add(const struct fake_proc *f, pid_t pid, pid_t ppid, uid_t uid, const char *exe,
		const char *cgroup)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "%d", pid);
	assert_int_equal(sys_mkdirat(f->fd, text, 0700), 0);
	put_stat(f, pid, "name", 'S', ppid, 0);
	(void)snprintf(text, sizeof(text), "Name:\tname\nUid:\t%u\t%u\t0\t0\n", uid, uid);
	put(f, pid, "status", text, strlen(text));
	put(f, pid, "cmdline", "word\0--flag\0", 12);
	put(f, pid, "cgroup", cgroup, strlen(cgroup));
	if (exe) {
		(void)snprintf(text, sizeof(text), "%d/exe", pid);
		assert_int_equal(symlinkat(exe, f->fd, text), 0);
	}
}

static size_t find(const struct fake_proc *f, struct policy_match *m, size_t n_matches, pid_t self,
		   struct found_tree *ret, size_t max)
{
	const struct policy p = { .matches = m, .n_matches = n_matches };
	struct found_trees trees = { 0 };
	struct failure failure = { 0 };
	int r = find_trees(&p, f->fd, self, &failure, &trees);
	size_t n = trees.n;

	if (r < 0)
		fail_msg("%s", failure.text);
	assert_true(n <= max);
	memcpy(ret, trees.list, n * sizeof(*ret));
	found_trees_done(&trees);
	return n;
}

static void a_root_fits_while_none_of_its_ancestors_does(void **state)
{
	struct policy_match m = { .exe = (char *)"/bin/solve" };
	const struct fake_proc *f = *state;
	struct found_tree trees[4];

	add(f, 1, 0, 0, "/sbin/init", "0::/init.scope\n");
	add(f, 100, 1, 0, "/bin/sh", "0::/\n");
	add(f, 20, 100, 0, "/bin/solve", "0::/\n"); /* a lower pid than its parent's */
	add(f, 102, 20, 0, "/bin/helper", "0::/\n");
	add(f, 103, 102, 0, "/bin/solve", "0::/\n"); /* below a helper: of tree 20 */
	add(f, 300, 1, 0, "/bin/solve (deleted)", "0::/\n");

	assert_int_equal(find(f, &m, 1, 0, trees, 4), 2);
	assert_int_equal(trees[0].pid, 20);
	assert_int_equal(trees[0].n_processes, 3);
	assert_int_equal(trees[0].start_ticks, 1020);
	assert_int_equal(trees[1].pid, 300);
	assert_int_equal(trees[1].n_processes, 1);
}

static void init_kernel_threads_zombies_and_the_daemon_never_match(void **state)
{
	struct policy_match m = { .user = (char *)"0" };
	const struct fake_proc *f = *state;
	struct found_tree trees[8];

	add(f, 1, 0, 0, "/sbin/init", "0::/init.scope\n");
	add(f, 2, 1, 0, "/bin/ordinary", "0::/\n"); /* as in a container */
	add(f, 3, 0, 0, NULL, "0::/\n");
	put_stat(f, 3, "kthread", 'S', 0, 0x00200000);
	add(f, 4, 1, 0, "/bin/zombie", "0::/\n");
	put_stat(f, 4, "zombie", 'Z', 1, 0);
	add(f, 5, 1, 0, "/sbin/snapmgrd", "0::/\n");
	add(f, 6, 5, 0, "/bin/ordinary", "0::/\n");

	assert_int_equal(find(f, &m, 1, 5, trees, 8), 2);
	assert_int_equal(trees[0].pid, 2);
	assert_int_equal(trees[1].pid, 6);
}

static void a_ring_of_parents_and_malformed_processes_end_nothing(void **state)
{
	struct policy_match m = { .exe = (char *)"/bin/solve",
				  .user = (char *)"0",
				  .cgroup = (char *)"/" };
	const struct fake_proc *f = *state;
	struct found_tree trees[8];
	bool seen[18] = { false };
	size_t n;

	add(f, 10, 11, 0, "/bin/solve", "0::/\n");
	add(f, 11, 10, 0, "/bin/solve", "0::/\n");
	add(f, 12, 12, 0, "/bin/solve", "0::/\n");
	add(f, 13, 1, 0, "/bin/solve", "0::/\n");
	put(f, 13, "stat", "13 (", 4);
	add(f, 14, 1, 0, "/bin/solve", "no colons at all\n");
	add(f, 15, 1, 0, "/bin/solve", "0::/\n");
	put(f, 15, "status", "Uid:\tmany\n", 10);
	add(f, 16, 1, 0, "/bin/solve", "0::/\n");
	put_stat(f, 16, ") S 1 (fake", 'S', 1, 0);
	assert_int_equal(sys_mkdirat(f->fd, "17", 0700), 0); /* gone while we looked */
	assert_int_equal(sys_mkdirat(f->fd, "99999999999", 0700), 0);

	n = find(f, &m, 1, 0, trees, 8);
	for (size_t i = 0; i < n; i++) {
		assert_in_range(trees[i].pid, 10, 17);
		seen[trees[i].pid] = true;
	}
	assert_true(seen[10] || seen[11]);
	assert_true(seen[12] && seen[16]);
	assert_false(seen[13] || seen[14] || seen[15] || seen[17]);
}

static void a_process_is_described_with_everything_that_policies_ask_for(void **state)
{
	const struct fake_proc *f = *state;
	struct proc_info info;

	add(f, 100, 1, 0, "/bin/solve",
	    "12:cpu,cpuacct:/cfd/a:b\n1:name=systemd:/system.slice/cfd.service\n0::/unified\n");
	assert_int_equal(proc_info_read(f->fd, 100, PROC_INFO_ALL, &info), 0);
	assert_int_equal(info.pid, 100);
	assert_int_equal(info.ppid, 1);
	assert_string_equal(info.exe, "/bin/solve");
	assert_string_equal(info.args, "word --flag");
	assert_string_equal(info.user, "root");
	assert_string_equal(info.cgroups, "/system.slice/cfd.service\n/unified\n/cfd/a:b");
	assert_string_equal(info.unit, "cfd.service");
	proc_info_done(&info);

	assert_int_equal(proc_info_read(f->fd, 101, PROC_INFO_ALL, &info), -ESRCH);
}

static void real_and_effective_user_count(void **state)
{
	static const char set_user_id[] = "Name:\tname\nUid:\t1000\t4242\t0\t0\n";
	struct policy_match m = { .user = (char *)"4242" };
	const struct fake_proc *f = *state;
	struct found_tree trees[2];

	add(f, 100, 1, 4242, "/bin/solve", "0::/\n");
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 1);
	put(f, 100, "status", set_user_id, strlen(set_user_id));
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 0);
}

static void cgroup_texts_that_are_none_are_refused(void **state)
{
	static const char *const list[] = { "0", "0:", "0::", "0::relative\n", "::\n", "\n" };

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		struct proc_info info = { 0 };

		if (proc_cgroup_parse(list[i], &info) != -EBADMSG)
			fail_msg("'%s'", list[i]);
	}
}

/* The pidfile in the fake /proc/100 that names process 100, and a machine that was booted @age seconds ago. */
static void add_pidfile(const struct fake_proc *f, int age, char *path, size_t size)
{
	char text[96];

	add(f, 100, 1, 4242, "/bin/solve", "0::/\n"); /* started 11 seconds after the boot */
	put(f, 100, "pidfile", "100\n", 4);
	(void)snprintf(path, size, "%s/100/pidfile", f->path);
	(void)snprintf(text, sizeof(text), "cpu  1 2 3\nbtime %ld\nprocesses 5\n", (long)time(NULL) - age);
	{
		_cleanup_close_ int fd = sys_openat(f->fd, "stat", O_WRONLY | O_CREAT | O_TRUNC, 0600);

		assert_true(fd >= 0);
		assert_int_equal(sys_write_full(fd, text, strlen(text)), 0);
	}
}

static void a_pidfile_counts_if_it_is_roots_or_the_named_users(void **state)
{
	struct policy_match m = { 0 };
	char pidfile[96];
	const struct fake_proc *f = *state;
	struct found_tree trees[2];

	if (geteuid() != 0)
		skip();
	add_pidfile(f, 100, pidfile, sizeof(pidfile));
	m.pidfile = pidfile;

	assert_int_equal(find(f, &m, 1, 0, trees, 2), 1); /* root's */
	assert_true(trees[0].pidfile_version != 0);
	assert_int_equal(chown(pidfile, 4242, 0), 0);
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 0); /* the process's own, whom nobody has named */
	m.user = (char *)"any";
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 0);
	m.user = (char *)"4242";
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 1); /* the named user's */
	m.user = (char *)"4243";
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 0);
}

static void a_pidfile_that_is_older_than_its_process_names_another(void **state)
{
	struct policy_match m = { 0 };
	char pidfile[96];
	const struct fake_proc *f = *state;
	struct found_tree trees[2];

	add_pidfile(f, 5, pidfile, sizeof(pidfile)); /* the process starts in 6 seconds */
	m.pidfile = pidfile;
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 0);
	/* Clocks are set: a minute is allowed for where the process is known by more. */
	m.exe = (char *)"/bin/solve";
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 0);
	m.user = (char *)"4242";
	assert_int_equal(find(f, &m, 1, 0, trees, 2), 1);
}

static void real_children_are_found_in_the_real_proc(void **state)
{
	_cleanup_close_ int proc_fd = sys_open("/proc", O_RDONLY | O_DIRECTORY, 0);
	const struct fake_proc real = { .fd = proc_fd };
	struct policy_match m = { 0 };
	struct found_tree trees[64];
	char exe[PATH_MAX];
	pid_t child;
	size_t n;
	bool seen = false;

	assert_true(proc_fd >= 0);
	assert_int_equal(sys_readlinkat(AT_FDCWD, "/proc/self/exe", exe, sizeof(exe)), 0);
	m.exe = exe;
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)prctl(PR_SET_NAME, ") S 1 1 (");
		for (;;)
			(void)pause();
	}
	n = find(&real, &m, 1, getpid(), trees, ARRAY_SIZE(trees));
	for (size_t i = 0; i < n; i++)
		seen = seen || trees[i].pid == child;
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	assert_true(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_root_fits_while_none_of_its_ancestors_does,
						fake_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(
			init_kernel_threads_zombies_and_the_daemon_never_match, fake_setup,
			fake_teardown),
		cmocka_unit_test_setup_teardown(
			a_ring_of_parents_and_malformed_processes_end_nothing, fake_setup,
			fake_teardown),
		cmocka_unit_test_setup_teardown(
			a_process_is_described_with_everything_that_policies_ask_for, fake_setup,
			fake_teardown),
		cmocka_unit_test_setup_teardown(real_and_effective_user_count, fake_setup,
						fake_teardown),
		cmocka_unit_test(cgroup_texts_that_are_none_are_refused),
		cmocka_unit_test_setup_teardown(a_pidfile_counts_if_it_is_roots_or_the_named_users, fake_setup,
						fake_teardown),
		cmocka_unit_test_setup_teardown(a_pidfile_that_is_older_than_its_process_names_another, fake_setup,
						fake_teardown),
		cmocka_unit_test(real_children_are_found_in_the_real_proc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
