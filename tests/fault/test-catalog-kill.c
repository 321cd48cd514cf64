/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SIGKILL before every system call of every operation of the catalog that can change a file,
 * SQLite's among them: the child is traced and killed as it enters the k-th of them, for each k
 * until it ends by itself. (Between two such calls the disk does not change.) Then: reconcile, and
 * what must hold.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "basic/sys.h"
#include "catalog-steps.h"
#include "basic/dir.h"
#include "catalog/runs.h"

static void child_main(const struct catalog_step *step, const char *path)
{
	struct failure failure = { 0 };
	int r;

	(void)sys_ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	(void)raise(SIGSTOP);
	r = step->run(path, &failure);
	if (r < 0)
		(void)fprintf(stderr, "%s: %s\n", step->name, failure.text);
	_exit(r < 0);
}

static int wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static bool call_changes_files(pid_t pid)
{
	struct user_regs_struct regs;

	assert_int_equal(sys_ptrace(PTRACE_GETREGS, pid, NULL, &regs), 0);
	switch (regs.orig_rax) {
	case SYS_openat:
		return (regs.rdx & (O_CREAT | O_TRUNC)) != 0;
	case SYS_write:
	case SYS_writev:
	case SYS_pwrite64:
	case SYS_pwritev:
	case SYS_ftruncate:
	case SYS_fallocate:
	case SYS_fsync:
	case SYS_fdatasync:
	case SYS_fchmod:
	case SYS_fchown:
	case SYS_mkdir:
	case SYS_mkdirat:
	case SYS_rename:
	case SYS_renameat:
	case SYS_renameat2:
	case SYS_symlinkat:
	case SYS_linkat:
	case SYS_unlink:
	case SYS_unlinkat:
	case SYS_exit_group:
		return true;
	default:
		return false;
	}
}

/* Return: whether the child was killed, at its @nth call; else it has done its work. */
static bool run_until_call(const struct catalog_step *step, const char *path, unsigned nth)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		child_main(step, path);

	status = wait_for(pid);
	assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	assert_int_equal(sys_ptrace(PTRACE_SETOPTIONS, pid, NULL,
				    PTR(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)),
			 0);
	/* A stop on the way in, one on the way out. */
	for (bool entering = false; nth > 0;) {
		assert_int_equal(sys_ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		status = wait_for(pid);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
		assert_true(WIFSTOPPED(status));
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		entering = !entering;
		if (entering && call_changes_files(pid))
			nth--;
	}
	assert_int_equal(sys_kill(pid, SIGKILL), 0);
	status = wait_for(pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	return true;
}

/* A run that says ok has a generation that is, and the other way round. */
static void check_runs(struct fixture *fx)
{
	const struct run_filter filter = { .kinds = 1u << RUN_DUMP };
	_cleanup_(run_list_done) struct run_list runs = { 0 };

	assert_ok(fx, runs_list(fx->c, &filter, &fx->failure, &runs));
	for (size_t i = 0; i < runs.n; i++) {
		const struct run *run = &runs.items[i];

		if (run->outcome == RUN_OK && run->gen && run->reason[0])
			assert_string_equal(run->reason, "was done when the daemon ended");
		if (run->outcome == RUN_INTERRUPTED && run->gen)
			assert_int_equal(fixture_state(fx, run->gen), GENERATION_DELETED);
	}
	assert_ok(fx, runs_forget(fx->c, UINT64_MAX >> 1, &fx->failure));
}

/* Directories that have lost their suffix: whole, and to be kept. */
static int count_whole(struct fixture *fx)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	_cleanup_close_ int fd = -EBADF;
	char path[128];
	int n = 0;

	(void)snprintf(path, sizeof(path), "%s/solver", fx->path);
	fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	if (fd == -ENOENT)
		return 0;
	assert_true(fd >= 0);
	assert_int_equal(dir_list(fd, 1000, &names), 0);
	for (size_t i = 0; i < names.n; i++)
		n += strchr(names.items[i], '.') == NULL;
	return n;
}

static unsigned kill_at_every_call(struct fixture *fx, const struct catalog_step *step)
{
	bool killed = true;
	unsigned nth;

	for (nth = 1; killed; nth++) {
		struct reconcile_report again = { 0 };
		int n_good, n_whole;

		if (step->prepare)
			step->prepare(fx);
		fixture_close(fx);

		killed = run_until_call(step, fx->path, nth);

		n_whole = count_whole(fx);
		fixture_open(fx);
		fixture_reconcile(fx);
		fixture_check_invariants(fx);
		check_runs(fx);
		assert_ok(fx, reconcile_run(fx->c, FIXTURE_NOW, &fx->failure, &again));
		if (again.n > 0)
			fail_msg("%s, call %u: not mended at once: %s", step->name, nth,
				 again.lines[0]);
		reconcile_report_done(&again);
		n_good = fixture_delete_all(fx);
		if ((step->n_good >= 0 && n_good != step->n_good) || n_good < step->n_good_min)
			fail_msg("%s, call %u: %d good generations", step->name, nth, n_good);
		if (step->keeps_whole && n_good != n_whole)
			fail_msg("%s, call %u: %d good generations, %d were whole", step->name, nth,
				 n_good, n_whole);
	}
	return nth - 2;
}

static void a_kill_at_any_call_leaves_nothing_that_reconcile_does_not_mend(void **state)
{
	struct fixture *fx = *state;

	for (size_t i = 0; i < n_catalog_steps; i++) {
		unsigned n = kill_at_every_call(fx, &catalog_steps[i]);

		print_message("%s: killed at each of %u calls\n", catalog_steps[i].name, n);
		assert_true(n > 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_kill_at_any_call_leaves_nothing_that_reconcile_does_not_mend,
			fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
