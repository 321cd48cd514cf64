/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A child gives up its power and tries everything. Each layer is tried alone too, so that one does not hide that another is gone.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

#include "basic/confine.h"
#include "basic/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

enum { NOT_HERE = 77 };

/* A directory with "set" (a file "image" in it), "parent" and "new"; outside of it, a file "secret". */
struct stage {
	char top[64];
	int set_fd, parent_fd, new_fd;
	int outside_fd; /* the directory with the secret; nobody hands it over */
	pid_t tracee;	/* somebody to do harm to */
};

static void write_file(int dir_fd, const char *name)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(sys_write_full(fd, name, strlen(name)), 0);
}

static int make_directory(int dir_fd, const char *name)
{
	int fd;

	assert_int_equal(sys_mkdirat(dir_fd, name, 0700), 0);
	fd = sys_openat(dir_fd, name, O_RDONLY | O_DIRECTORY, 0);
	assert_true(fd >= 0);
	return fd;
}

static void stage_init(struct stage *s)
{
	_cleanup_close_ int store = -EBADF;

	(void)snprintf(s->top, sizeof(s->top), "/tmp/snapmgr-unit.XXXXXX");
	assert_non_null(mkdtemp(s->top));
	s->outside_fd = sys_open(s->top, O_RDONLY | O_DIRECTORY, 0);
	assert_true(s->outside_fd >= 0);
	write_file(s->outside_fd, "secret");
	store = make_directory(s->outside_fd, "store");
	s->set_fd = make_directory(store, "set");
	s->parent_fd = make_directory(store, "parent");
	s->new_fd = make_directory(store, "new");
	write_file(s->set_fd, "image");
	write_file(s->parent_fd, "image");
	s->tracee = fork();
	assert_true(s->tracee >= 0);
	if (s->tracee == 0) {
		for (;;)
			(void)pause();
	}
}

static void stage_done(struct stage *s)
{
	char command[128];

	(void)kill(s->tracee, SIGKILL);
	(void)waitpid(s->tracee, NULL, 0);
	close_fd(s->set_fd);
	close_fd(s->parent_fd);
	close_fd(s->new_fd);
	close_fd(s->outside_fd);
	(void)snprintf(command, sizeof(command), "rm -r %s", s->top);
	assert_int_equal(system(command), 0);
}

/* Runs @body in a child that has these layers. Return: its status, or NOT_HERE where this kernel or user has not all of them. */
static int in_confined_child(unsigned layers, int (*body)(const struct stage *s))
{
	struct stage s;
	int status;
	pid_t pid;

	stage_init(&s);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const struct confine_directory directories[] = {
			{ s.set_fd, CONFINE_CHANGE },
			{ s.parent_fd, CONFINE_READ },
			{ s.new_fd, CONFINE_WRITE },
		};
		struct failure f = {};
		int held = confine_to(directories, ARRAY_SIZE(directories), layers, &f);

		if (held < 0)
			(void)fprintf(stderr, "%s\n", f.text);
		_exit(held < 0 ? 120 : (unsigned)held != layers ? NOT_HERE : body(&s));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	stage_done(&s);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The status names the line where something went another way than it should. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			(void)fprintf(stderr, "line %d: %s\n", __LINE__, #condition);              \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

#define assert_child(layers, body)                                                                 \
	do {                                                                                       \
		int status_ = in_confined_child(layers, body);                                     \
                                                                                                   \
		if (status_ == NOT_HERE)                                                           \
			skip();                                                                    \
		assert_int_equal(status_, 0);                                                      \
	} while (0)

static bool can_open(int dir_fd, const char *path, int flags)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, path, flags, 0600);

	return fd >= 0;
}

/* What a merge does. */
static int does_its_work(const struct stage *s)
{
	char text[5];
	_cleanup_close_ int fd = sys_openat(s->parent_fd, "image", O_RDONLY | O_NOFOLLOW, 0);
	_cleanup_close_ int to =
		sys_openat(s->new_fd, "made", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	_cleanup_free_ char *memory = malloc(64 << 20);
	struct stat st;

	MUST(fd >= 0 && sys_read_full(fd, text, sizeof(text)) == 0 &&
	     memcmp(text, "image", 5) == 0);
	MUST(to >= 0 && sys_write_full(to, text, sizeof(text)) == 0 && sys_fsync(to) == 0);
	MUST(sys_linkat(s->set_fd, "image", s->new_fd, "linked") == 0);
	MUST(sys_symlinkat("../parent", s->new_fd, "parent") == 0);
	MUST(sys_fstatat(s->new_fd, "parent/image", &st, 0) == 0);
	MUST(sys_renameat(s->new_fd, "made", s->new_fd, "renamed") == 0);
	MUST(sys_unlinkat(s->new_fd, "renamed", 0) == 0);
	MUST(sys_unlinkat(s->new_fd, "linked", 0) == 0);
	MUST(sys_unlinkat(s->new_fd, "parent", 0) == 0);
	MUST(sys_fsync(s->new_fd) == 0 && memory);
	memset(memory, 1, 64 << 20);
	return 0;
}

static int has_no_other_files(const struct stage *s)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/secret", s->top);
	MUST(!can_open(AT_FDCWD, "/etc/passwd", O_RDONLY));
	MUST(!can_open(AT_FDCWD, path, O_RDONLY));
	MUST(!can_open(AT_FDCWD, "/proc/self/mem", O_RDWR));
	MUST(!can_open(s->set_fd, "../../secret", O_RDONLY));
	MUST(!can_open(s->set_fd, "../../../../../../etc/passwd", O_RDONLY));
	return 0;
}

static int has_no_way_out_by_descriptors(const struct stage *s)
{
	MUST(!can_open(s->outside_fd, "secret", O_RDONLY));
	MUST(!can_open(s->outside_fd, "../../etc/passwd", O_RDONLY));
	return has_no_other_files(s);
}

static int writes_only_where_it_may(const struct stage *s)
{
	MUST(!can_open(s->parent_fd, "image", O_RDWR));
	MUST(!can_open(s->parent_fd, "made", O_WRONLY | O_CREAT));
	MUST(!can_open(s->set_fd, "made", O_WRONLY | O_CREAT));
	MUST(sys_unlinkat(s->set_fd, "image", 0) < 0);
	MUST(sys_unlinkat(s->parent_fd, "image", 0) < 0);
	return does_its_work(s);
}

static int landlocked(const struct stage *s)
{
	int r = has_no_other_files(s);

	return r != 0 ? r : writes_only_where_it_may(s);
}

static int calls_nothing_else(const struct stage *s)
{
	char *const argv[] = { (char *)"true", NULL }, *const env[] = { NULL };
	int fds[2];

	MUST(fork() < 0);
	MUST(vfork() < 0);
	MUST(execve("/bin/true", argv, env) < 0 && errno == EPERM);
	MUST(socket(AF_UNIX, SOCK_STREAM, 0) < 0);
	MUST(socket(AF_INET, SOCK_STREAM, 0) < 0);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0);
	MUST(ptrace(PTRACE_SEIZE, s->tracee, 0, 0) < 0 && errno == EPERM);
	MUST(ptrace(PTRACE_TRACEME, 0, 0, 0) < 0);
	MUST(kill(s->tracee, 0) < 0);
	MUST(syscall(SYS_tgkill, s->tracee, s->tracee, SIGKILL) < 0);
	MUST(sys_pidfd_open(s->tracee, 0) < 0);
	MUST(syscall(SYS_process_vm_readv, s->tracee, NULL, 0, NULL, 0, 0) < 0);
	MUST(syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL) < 0 && errno == EPERM);
	MUST(syscall(SYS_unshare, 0) < 0);
	MUST(syscall(SYS_open_by_handle_at, s->set_fd, NULL, 0) < 0 && errno == EPERM);
	MUST(syscall(SYS_bpf, 0, NULL, 0) < 0 && syscall(SYS_keyctl, 0, 0, 0, 0, 0) < 0);
	MUST(syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EPERM);
	MUST(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	     MAP_FAILED);
	MUST(prctl(PR_SET_DUMPABLE, 1) < 0);
	MUST(ioctl(STDERR_FILENO, TIOCSTI, "x") < 0);
	return does_its_work(s);
}

static int may_do_nothing_as_root(const struct stage *s)
{
	struct rlimit more = { 1 << 20, 1 << 20 };

	MUST(fchown(s->new_fd, 12345, 12345) < 0);
	MUST(sethostname("x", 1) < 0);
	MUST(setuid(12345) < 0);
	MUST(syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL) < 0);
	MUST(prctl(PR_CAPBSET_READ, 21, 0, 0, 0) == 0); /* CAP_SYS_ADMIN */
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	MUST(setrlimit(RLIMIT_MSGQUEUE, &more) == 0 || errno == EPERM);
	return does_its_work(s);
}

static int has_no_core(const struct stage *s)
{
	struct rlimit core;

	MUST(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
	return does_its_work(s);
}

static int all(const struct stage *s)
{
	return has_no_way_out_by_descriptors(s) || writes_only_where_it_may(s) ||
	       calls_nothing_else(s);
}

static void nothing_else_can_be_named_in_its_mount_namespace(void **state)
{
	(void)state;
	assert_child(CONFINE_MOUNTS, has_no_way_out_by_descriptors);
	assert_child(CONFINE_MOUNTS, does_its_work);
}

static void landlock_opens_files_of_the_sets_alone(void **state)
{
	(void)state;
	assert_child(CONFINE_LANDLOCK, landlocked);
}

static void the_filter_lets_only_calls_for_files_through(void **state)
{
	(void)state;
	assert_child(CONFINE_SECCOMP, calls_nothing_else);
}

static void root_is_nobody_without_capabilities(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_child(CONFINE_CAPABILITIES, may_do_nothing_as_root);
}

static void it_leaves_no_core_dump(void **state)
{
	(void)state;
	assert_child(CONFINE_LIMITS, has_no_core);
}

static void all_layers_together_let_the_work_be_done(void **state)
{
	(void)state;
	assert_child(CONFINE_ALL, all);
}

static int give_to_a_user(const struct stage *s)
{
	const int fds[] = { s->set_fd, s->parent_fd, s->new_fd };

	MUST(fchmod(s->outside_fd, 0755) == 0 && fchmodat(s->outside_fd, "store", 0755, 0) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		MUST(fchown(fds[i], 12345, 12345) == 0);
	MUST(fchownat(s->set_fd, "image", 12345, 12345, 0) == 0);
	MUST(fchownat(s->parent_fd, "image", 12345, 12345, 0) == 0);
	return 0;
}

static int works_confined(const struct stage *s)
{
	const struct confine_directory directories[] = { { s->set_fd, CONFINE_CHANGE },
							 { s->parent_fd, CONFINE_READ },
							 { s->new_fd, CONFINE_WRITE } };
	struct failure f = {};

	MUST(confine_to(directories, 3, CONFINE_ALL, &f) >= 0);
	return does_its_work(s);
}

/* Whoever is not root gets less, and no error. */
static int works_for_a_user(const struct stage *s)
{
	MUST(give_to_a_user(s) == 0);
	MUST(setresuid(12345, 12345, 12345) == 0);
	return works_confined(s);
}

static int works_for_root_on_a_users_sets(const struct stage *s)
{
	MUST(give_to_a_user(s) == 0);
	return works_confined(s);
}

static void an_ordinary_user_gets_what_there_is(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_child(0, works_for_a_user);
}

static void root_still_reads_the_sets_of_a_user(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_child(0, works_for_root_on_a_users_sets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_else_can_be_named_in_its_mount_namespace),
		cmocka_unit_test(landlock_opens_files_of_the_sets_alone),
		cmocka_unit_test(the_filter_lets_only_calls_for_files_through),
		cmocka_unit_test(root_is_nobody_without_capabilities),
		cmocka_unit_test(it_leaves_no_core_dump),
		cmocka_unit_test(all_layers_together_let_the_work_be_done),
		cmocka_unit_test(an_ordinary_user_gets_what_there_is),
		cmocka_unit_test(root_still_reads_the_sets_of_a_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
