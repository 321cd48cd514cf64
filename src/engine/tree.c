/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Freezing: a task's threads are seized until a pass over /proc/PID/task finds no new one; then its children are read
 * and frozen likewise; then the whole tree is walked again, because a task may have forked or been
 * reparented before its stop, until a walk finds nothing new. What is stopped cannot fork, so this ends.
 */
#include "engine/tree.h"

#include <dirent.h>
#include <inttypes.h>
#include <linux/seccomp.h>
#include <string.h>
#include <time.h>

#include "basic/parse.h"
#include "basic/clock.h"
#include "basic/sys.h"
#include "engine/control/ptrace.h"
#include "engine/control/remote.h"
#include "engine/control/restart-call.h"
#include "engine/control/vigil.h"
#include "engine/waits-keeper.h"

enum {
	PEEK_DEPTH_MAX = 64,
	TASKS_MAX = 1 << 20,
	CHILDREN_TEXT_MAX = 16 << 20,
	PAGE = 4096,
	DEATH_PAUSE_NSEC = 100000,
	WCHAN_TEXT_MAX = 4096,
	HEIR_USEC = 10 * 1000 * 1000,
	END_WAIT_USEC = 1000 * 1000,
};

/* Bits of an entry of /proc/PID/pagemap. */
#define PAGEMAP_UFFD_WP (1ull << 57) /* a mark where a page was: 5.19 */
#define PAGEMAP_FILE	(1ull << 61)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_PRESENT (1ull << 63)

/* Waits for a stop of one thread, at most until @deadline (0: for ever). 1: stopped, 0: it has ended. */
static int wait_until(pid_t tid, uint64_t deadline, int *ret_status)
{
	unsigned spins = 0;

	for (;;) {
		struct timespec pause = { .tv_nsec = 20000 };
		int r = SYS_CALL(waitpid(tid, ret_status, __WALL | (deadline ? WNOHANG : 0)));

		if (r == -ECHILD)
			return 0;
		if (r < 0)
			return r;
		if (r > 0)
			return WIFSTOPPED(*ret_status) ? 1 : 0;
		if (clock_monotonic_usec() > deadline)
			return -ETIMEDOUT;
		/* Most threads stop at once; the others get a growing pause, 5 ms at most. */
		if (spins++ > 8) {
			pause.tv_nsec = MIN(20000l << MIN(spins - 8, 8u), 5000000l);
			(void)nanosleep(&pause, NULL);
		} else {
			(void)nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
		}
	}
}

static int read_thread_state(struct tree *t, struct task *task, struct thread *th)
{
	int r;

	r = sys_ptrace(PTRACE_GETREGS, th->tid, NULL, &th->regs);
	if (r < 0)
		return fail(t->failure, r, "cannot read registers");
	r = sys_ptrace(PTRACE_GETSIGMASK, th->tid, PTR(sizeof(th->sigmask)), &th->sigmask);
	if (r < 0)
		return fail(t->failure, r, "cannot read the signal mask");
	th->stopped = th->regs;
	th->has_state = true;
	return 0;
}

/* What keeps a thread from stopping, as far as /proc says. */
static int fail_to_stop(struct tree *t, const struct task *task, const struct thread *th)
{
	_cleanup_free_ char *wchan = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct proc_stat st = { .state = '?' };
	char path[64];

	(void)snprintf(path, sizeof(path), "task/%d", th->tid);
	fd = sys_openat(task->proc_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd >= 0) {
		(void)proc_stat_read(fd, &st);
		(void)sys_read_file_at(fd, "wchan", WCHAN_TEXT_MAX, &wchan, NULL);
	}
	if (st.state == 'D')
		return fail(t->failure, -ETIMEDOUT,
			    "does not stop: it sleeps in an uninterruptible state (in %s), waiting for a disk, a file system "
			    "or a vfork(2) child",
			    wchan ?: "an unknown place");
	return fail(t->failure, -ETIMEDOUT, "does not stop: it is in state %c (in %s)", st.state,
		    wchan ?: "an unknown place");
}

/* Stops one seized thread. 1: stopped, 0: it is gone or dead. */
static int thread_interrupt(struct tree *t, struct task *task, struct thread *th, uint64_t deadline)
{
	int status, r;

	r = sys_ptrace(PTRACE_INTERRUPT, th->tid, NULL, NULL);
	if (r == -ESRCH)
		return 0;
	if (r < 0)
		return fail(t->failure, r, "cannot interrupt");

	for (;;) {
		r = wait_until(th->tid, deadline, &status);
		if (r == 0)
			return 0;
		if (r == -ETIMEDOUT)
			return fail_to_stop(t, task, th);
		if (r < 0)
			return fail(t->failure, r, "does not stop");
		if (status >> 16 == PTRACE_EVENT_STOP)
			break;
		/* A signal was first: it is the application's, deliver it. The trap comes next. */
		r = sys_ptrace(PTRACE_CONT, th->tid, NULL, PTR(WSTOPSIG(status)));
		if (r < 0 && r != -ESRCH)
			return fail(t->failure, r, "cannot deliver signal %d", WSTOPSIG(status));
	}
	if (WSTOPSIG(status) != SIGTRAP) {
		task->state = TASK_STOPPED;
		task->stop_signal = WSTOPSIG(status);
	}
	return 1;
}

/* Does it do for a moment what an engine left: take a thread home, reap a shadow, end a call whose time is over? */
static bool is_heir(pid_t tracer)
{
	_cleanup_close_ int fd = proc_open(tracer);
	struct proc_stat stat;

	return fd >= 0 && proc_stat_read(fd, &stat) == 0 &&
	       (strcmp(stat.comm, VIGIL_NAME) == 0 || strcmp(stat.comm, REAPER_NAME) == 0 ||
		strcmp(stat.comm, WAITS_KEEPER_NAME) == 0);
}

/* Return: the process that traces it, 0: none. */
static pid_t tracer_of(pid_t tid)
{
	_cleanup_close_ int fd = proc_open(tid);
	struct proc_status st;
	pid_t tracer = 0;

	if (fd >= 0 && proc_status_read(fd, &st) == 0) {
		tracer = st.tracer_pid;
		proc_status_done(&st);
	}
	return tracer;
}

/* On a busy machine the thread gets the processor late, and it has to come to some stops on its way. */
static int thread_seize(pid_t tid, uint64_t deadline)
{
	uint64_t limit = clock_monotonic_usec() + HEIR_USEC;
	int r, tries = 0;

	if (deadline)
		limit = MIN(limit, deadline);
	for (;;) {
		pid_t tracer;

		r = sys_ptrace(PTRACE_SEIZE, tid, NULL, NULL);
		if (r != -EPERM || clock_monotonic_usec() > limit)
			return r;
		tracer = tracer_of(tid);
		/* None: it may have let go since, or the thread is dead. */
		if (tracer ? !is_heir(tracer) : tries++ > 2)
			return r;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
}

/* Seizes and stops one thread. 1: stopped, 0: it is gone or dead. */
static int thread_stop(struct tree *t, struct task *task, struct thread *th, uint64_t deadline)
{
	FAILURE_SCOPE(t->failure, "thread %d", th->tid);
	int r;

	r = thread_seize(th->tid, deadline);
	if (r == -ESRCH)
		return 0;
	if (r == -EPERM) {
		char path[64];
		_cleanup_close_ int fd = -EBADF;
		struct proc_status st;

		(void)snprintf(path, sizeof(path), "task/%d", th->tid);
		fd = sys_openat(task->proc_fd, path, O_RDONLY | O_DIRECTORY, 0);
		if (fd < 0 || proc_status_read(fd, &st) < 0)
			return 0;
		proc_status_done(&st);
		if (st.state == 'Z' || st.state == 'X')
			return 0;
		if (st.tracer_pid)
			return fail(t->failure, -EBUSY, "process %d already traces it", st.tracer_pid);
	}
	if (r < 0)
		return fail(t->failure, r, "cannot attach");
	if (t->vigil)
		vigil_watch_stop(t->vigil, th->tid);
	return thread_interrupt(t, task, th, deadline);
}

/* What /proc/PID/pagemap has of a page. */
static int page_entry(const struct task *task, uint64_t at, uint64_t *ret)
{
	_cleanup_close_ int fd = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);

	*ret = 0;
	if (fd < 0)
		return fd;
	return sys_pread_full(fd, ret, sizeof(*ret), (off_t)(at / PAGE * sizeof(*ret)));
}

int task_has_page(const struct task *task, uint64_t at)
{
	uint64_t entry;
	int r = page_entry(task, at, &entry);

	return r < 0 ? r : (entry & PAGEMAP_PRESENT) != 0;
}

/*
 * Is a page the task's own copy? Only such a page is read while its mappings are not known: of a file, the read may ask a
 * file system that waits for the tree.
 */
static bool is_own_page(const struct task *task, uint64_t at)
{
	uint64_t entry;

	if (page_entry(task, at, &entry) < 0 || (entry & PAGEMAP_FILE))
		return false;
	return (entry & PAGEMAP_PRESENT) || ((entry & PAGEMAP_SWAPPED) && !(entry & PAGEMAP_UFFD_WP));
}

static uint64_t dead_stub_of(const struct thread *th)
{
	return (th->regs.rip | (PAGE - 1)) + 1 - remote_stub_room();
}

/*
 * Is the thread in the stub of a dump that died under it? Then it is on its way home, and has the data area mapped
 * until it is there.
 */
static bool is_in_dead_stub(const struct task *task, const struct thread *th)
{
	uint64_t at = dead_stub_of(th);
	uint8_t bytes[PAGE];

	return th->regs.rip - at < remote_stub_size() && remote_stub_size() <= sizeof(bytes) && is_own_page(task, at) &&
	       sys_pread_full(task->mem_fd, bytes, remote_stub_size(), at) >= 0 && remote_stub_is(bytes);
}

/* Lets a stopped thread leave such a stub. 1: stopped outside of it, 0: it is gone. */
static int thread_leave_stub(struct tree *t, struct task *task, struct thread *th, uint64_t deadline)
{
	FAILURE_SCOPE(t->failure, "thread %d", th->tid);
	int r = read_thread_state(t, task, th);

	if (r == 0)
		r = restart_call_keep(th->tid, &th->regs, t->failure);
	while (r == 0 && is_in_dead_stub(task, th)) {
		r = remote_rescue_dead(th->tid, task->mem_fd, dead_stub_of(th));
		if (r < 0)
			return fail(t->failure, r, "cannot take it out of the stub of a dead dump");
		r = sys_ptrace(PTRACE_CONT, th->tid, NULL, NULL);
		if (r < 0 && r != -ESRCH)
			return fail(t->failure, r, "cannot let it leave the stub of a dead dump");
		(void)nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
		r = thread_interrupt(t, task, th, deadline);
		if (r <= 0)
			return r;
		r = read_thread_state(t, task, th);
		if (r == 0)
			r = restart_call_keep(th->tid, &th->regs, t->failure);
	}
	return r < 0 ? r : 1;
}

/* A filter would judge the calls that we make in the task's place. Ends with us (linux/ptrace.h, 4.3). */
static int suspend_seccomp(struct tree *t, struct thread *th)
{
	int r;

	th->trace_options = PTRACE_O_SUSPEND_SECCOMP;
	r = sys_ptrace(PTRACE_SETOPTIONS, th->tid, NULL, PTR(PTRACE_O_SUSPEND_SECCOMP));

	return r < 0 ? fail(t->failure, r, "cannot suspend seccomp") : 0;
}

/* What the call that the thread was stopped in comes to. */
static int settle_call(struct tree *t, const struct task *task, struct thread *th, const struct proc_status *st)
{
	if (ptrace_dispatches_calls(th->tid))
		return fail(t->failure, -EOPNOTSUPP,
			    "thread %d handles its own system calls (PR_SET_SYSCALL_USER_DISPATCH), which cannot be saved",
			    th->tid);
	th->settled = true;
	return waits_settle(&t->waits_before, &t->waits, task, th, st, t->failure);
}

static int read_thread_status(struct tree *t, const struct task *task, const struct thread *th, struct proc_status *ret)
{
	_cleanup_close_ int fd = -EBADF;
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "task/%d", th->tid);
	fd = sys_openat(task->proc_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fail(t->failure, fd, "cannot open thread %d", th->tid);
	r = proc_status_read(fd, ret);
	return r < 0 ? fail(t->failure, r, "cannot read the status of thread %d", th->tid) : 0;
}

static int thread_settle(struct tree *t, struct task *task, struct thread *th)
{
	struct proc_status st;
	int r = read_thread_status(t, task, th, &st);

	if (r < 0)
		return r;
	th->vtid = st.ns_pid[MIN(t->ns_level, st.n_ns - 1)];
	r = settle_call(t, task, th, &st);
	if (r == 0 && st.seccomp_mode) /* threads have filters each */
		r = suspend_seccomp(t, th);
	proc_status_done(&st);
	return r;
}

static bool task_has_thread(const struct task *task, pid_t tid)
{
	for (size_t i = 0; i < task->n_threads; i++) {
		if (task->threads[i].tid == tid)
			return true;
	}
	return false;
}

/* One pass over the threads. Return: how many new ones were stopped. */
static int stop_new_threads(struct tree *t, struct task *task, uint64_t deadline)
{
	int fd = sys_openat(task->proc_fd, "task", O_RDONLY | O_DIRECTORY, 0), n_new = 0;
	struct dirent *de;
	DIR *dir;
	int r = 0;

	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir) {
		close_fd(fd);
		return fail(t->failure, fd < 0 ? fd : -errno, "cannot list threads");
	}
	while (r >= 0 && (de = readdir(dir))) {
		struct thread *th;
		uint32_t tid;

		if (parse_u32(de->d_name, 10, &tid) < 0 || task_has_thread(task, tid))
			continue;
		r = arena_grow(&t->arena, &task->threads, task->n_threads);
		if (r < 0)
			break;
		th = &task->threads[task->n_threads];
		*th = (struct thread){ .tid = tid };
		r = thread_stop(t, task, th, deadline);
		if (r == 1)
			r = thread_leave_stub(t, task, th, deadline);
		if (t->vigil)
			vigil_rest(t->vigil);
		if (r == 1) {
			task->n_threads++;
			n_new++;
		}
	}
	(void)closedir(dir);
	return r < 0 ? r : n_new;
}

/* The leader goes first: readdir does not promise it. */
static void leader_first(struct task *task)
{
	for (size_t i = 1; i < task->n_threads; i++) {
		if (task->threads[i].tid == task->pid) {
			struct thread th = task->threads[0];

			task->threads[0] = task->threads[i];
			task->threads[i] = th;
		}
	}
}

static int read_identity(struct tree *t, struct task *task)
{
	int r;

	proc_status_done(&task->status);
	r = proc_status_read(task->proc_fd, &task->status);
	if (r == 0)
		r = proc_stat_read(task->proc_fd, &task->stat);
	if (r < 0)
		return fail(t->failure, r == -ESRCH ? -ESTALE : r, "cannot read its status");
	if (!task->parent)
		t->ns_level = task->status.n_ns - 1;
	if (task->status.n_ns != t->ns_level + 1)
		return fail(t->failure, -EOPNOTSUPP, "it is in a pid namespace of its own");
	task->vpid = task->status.ns_pid[t->ns_level];
	task->vpgid = task->status.ns_pgid[t->ns_level];
	task->vsid = task->status.ns_sid[t->ns_level];
	task->vppid = task->parent ? task->parent->vpid : 0;
	return 0;
}

static int task_ended(struct tree *t, struct task *task)
{
	int r = read_identity(t, task);

	if (r == 0 && task->n_threads > 0)
		return fail(t->failure, -EOPNOTSUPP, "its main thread has ended, others run");
	task->state = TASK_DEAD;
	task->exit_code = r == 0 ? task->stat.exit_code : 0;
	return r;
}

static int task_stop(struct tree *t, struct task *task, uint64_t deadline)
{
	int r;

	r = read_identity(t, task);
	if (r < 0)
		return r;
	if (task->stat.state == 'Z' || task->stat.state == 'X') {
		task->state = TASK_DEAD;
		task->exit_code = task->stat.exit_code;
		if (task->stat.n_threads > 1)
			return fail(t->failure, -EOPNOTSUPP, "its main thread has ended, others run");
		return 0;
	}
	task->mem_fd = sys_openat(task->proc_fd, "mem", O_RDWR, 0);
	if (task->mem_fd == -ESRCH) /* it has ended since its state was read */
		return task_ended(t, task);
	if (task->mem_fd < 0)
		return fail(t->failure, task->mem_fd, "cannot open its memory");
	do {
		r = stop_new_threads(t, task, deadline);
		if (r > 0 && deadline && clock_monotonic_usec() > deadline)
			r = fail(t->failure, -ETIMEDOUT, "its threads were not stopped in time");
	} while (r > 0);
	if (r < 0)
		return r;
	if (task->n_threads == 0 || !task_has_thread(task, task->pid)) {
		/* It died under our hands, or only its leader did. */
		return task_ended(t, task);
	}
	leader_first(task);
	r = read_identity(t, task);
	if (r < 0)
		return r;
	for (size_t i = 0; i < task->n_threads; i++) {
		r = thread_settle(t, task, &task->threads[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static struct task *find_by_pid(const struct tree *t, pid_t pid)
{
	for (size_t i = 0; i < t->n_tasks; i++) {
		if (t->tasks[i]->pid == pid)
			return t->tasks[i];
	}
	return NULL;
}

static void task_close(struct task *task)
{
	close_fd(task->proc_fd);
	close_fd(task->pidfd);
	close_fd(task->mem_fd);
	close_fd(task->shadow_mem_fd);
	proc_status_done(&task->status);
	free(task->stub_saved);
}

/* What a dump killed, or was killed with a dump: an application's children have a signal to send. */
static bool is_dead_shadow(const struct task *task)
{
	return task->parent && task->state == TASK_DEAD && task->stat.exit_signal == 0 && task->exit_code == SIGKILL;
}

static int task_add(struct tree *t, struct task *parent, pid_t pid, uint64_t deadline)
{
	FAILURE_SCOPE(t->failure, "task %d", pid);
	struct task *task;
	int r;

	if (t->n_tasks == TASKS_MAX)
		return fail(t->failure, -E2BIG, "the tree is too large");
	task = arena_new(&t->arena, struct task);
	if (!task || arena_grow(&t->arena, &t->tasks, t->n_tasks) < 0)
		return fail(t->failure, -ENOMEM, "no memory for a task");
	task->parent = parent;
	task->pid = pid;
	task->state = TASK_ALIVE;
	task->proc_fd = task->pidfd = task->mem_fd = task->shadow_mem_fd = -EBADF;
	t->tasks[t->n_tasks++] = task;

	task->pidfd = sys_pidfd_open(pid, 0);
	if (task->pidfd < 0)
		return fail(t->failure, task->pidfd, "cannot open the process");
	task->proc_fd = proc_open(pid);
	if (task->proc_fd < 0)
		return fail(t->failure, task->proc_fd, "cannot open /proc/%d", pid);
	r = task_stop(t, task, deadline);
	if (r < 0 && !t->failure->error)
		return fail(t->failure, r, "cannot stop");
	if (r == 0 && is_dead_shadow(task)) {
		/* Not a part of the tree. Its number in the parent's namespace is the one it reaps by. */
		parent->dead_shadow = task->vpid;
		task_close(task);
		t->n_tasks--;
	}
	return r;
}

/* Freezes the children of one thread that are not known yet. Return: how many. */
static int add_children(struct tree *t, struct task *task, pid_t tid, uint64_t deadline)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	const char *p;
	int n_new = 0, r;
	size_t had;

	(void)snprintf(path, sizeof(path), "task/%d/children", tid);
	r = sys_read_file_at(task->proc_fd, path, CHILDREN_TEXT_MAX, &text, NULL);
	if (r < 0)
		return fail(t->failure, r, "cannot list its children");
	for (p = text; *p;) {
		uint64_t pid;

		if (parse_u64_prefix(&p, 10, &pid) < 0 || pid == 0 || pid > INT32_MAX)
			return fail(t->failure, -EBADMSG, "cannot parse its list of children");
		while (*p == ' ' || *p == '\n')
			p++;
		if (find_by_pid(t, pid))
			continue;
		had = t->n_tasks;
		r = task_add(t, task, pid, deadline);
		if (r < 0)
			return r;
		n_new += t->n_tasks > had;
	}
	return n_new;
}

static int freeze_rounds(struct tree *t, uint64_t deadline)
{
	int n_new;

	do {
		n_new = 0;
		for (size_t i = 0; i < t->n_tasks; i++) {
			struct task *task = t->tasks[i];

			for (size_t k = 0; k < task->n_threads; k++) {
				int r = add_children(t, task, task->threads[k].tid, deadline);

				if (r < 0)
					return r;
				n_new += r;
			}
		}
	} while (n_new > 0);
	return 0;
}

struct vigil *tree_vigil(struct tree *t)
{
	struct failure why = {};

	if (t->vigil || t->no_vigil)
		return t->vigil;
	t->no_vigil = vigil_start(&why, &t->vigil) < 0;
	if (t->no_vigil)
		log_warn(t->log, "%s", why.text);
	return t->vigil;
}

static bool has_filters(int task_fd, const char *tid)
{
	_cleanup_close_ int fd = sys_openat(task_fd, tid, O_RDONLY | O_DIRECTORY, 0);
	struct proc_status st;

	if (fd < 0 || proc_status_read(fd, &st) < 0)
		return false;
	proc_status_done(&st);
	return st.seccomp_mode == SECCOMP_MODE_FILTER;
}

/* Return: 1: the process has a thread with seccomp filters, which ends a walk of tree_peek(); 0: none. */
static int look_for_filters(void *userdata _unused_, pid_t pid)
{
	struct dirent *de;
	char path[64];
	int found = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (!found && dir && (de = readdir(dir)))
		found = de->d_name[0] != '.' && has_filters(dirfd(dir), de->d_name);
	if (dir)
		(void)closedir(dir);
	return found;
}

/* Before the first is stopped: a thread in a sleep cannot be let go of as it is, if it may not call restart_syscall(2). */
static void prepare_for_filters(struct tree *t, pid_t root)
{
	if (tree_peek(root, look_for_filters, NULL) > 0)
		(void)tree_vigil(t);
}

/* What earlier stops have noted of the calls that the tree waits in. */
static void take_waits(struct tree *t, pid_t root)
{
	_cleanup_close_ int fd = proc_open(root);
	struct proc_stat st;

	if (fd >= 0 && proc_stat_read(fd, &st) == 0)
		waits_keeper_take(root, st.start_time, &t->waits_before);
}

/* For the next stop, and for whose time is over before it. */
static void leave_waits(struct tree *t)
{
	const struct task *root = t->n_tasks > 0 ? t->tasks[0] : NULL;
	int r;

	if (!root || root->state == TASK_DEAD)
		return;
	r = waits_keeper_start(root->pid, root->stat.start_time, &t->waits);
	if (r < 0)
		log_warn(t->log, "cannot keep when calls with a time limit are over: %s; some may last longer", strerror(-r));
}

int tree_freeze(struct tree *t, pid_t root, unsigned timeout_sec)
{
	uint64_t start, deadline;
	int r;

	prepare_for_filters(t, root);
	take_waits(t, root);
	log_debug(t->log, "stopping the tree of task %d", root);
	start = clock_monotonic_usec();
	deadline = timeout_sec ? start + (uint64_t)timeout_sec * 1000000 : 0;
	r = task_add(t, NULL, root, deadline);
	if (r == 0 && t->tasks[0]->state == TASK_DEAD)
		r = fail(t->failure, -ESRCH, "task %d is dead", root);
	if (r == 0)
		r = freeze_rounds(t, deadline);
	t->freezing_usec = clock_monotonic_usec() - start;
	if (r < 0) {
		waits_carry(&t->waits, &t->waits_before); /* of threads that it did not come to */
		tree_thaw(t);
	}
	return r;
}

static int peek_children(int task_fd, const char *tid, int (*fn)(void *userdata, pid_t pid), void *userdata,
			 unsigned depth);

static int peek(pid_t pid, int (*fn)(void *userdata, pid_t pid), void *userdata, unsigned depth)
{
	_cleanup_close_ int proc_fd = -EBADF;
	struct dirent *de;
	char path[64];
	DIR *dir;
	int r;

	r = fn(userdata, pid);
	if (r < 0 || depth == 0)
		return r;
	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	proc_fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	while (r == 0 && (de = readdir(dir))) {
		if (de->d_name[0] != '.')
			r = peek_children(proc_fd, de->d_name, fn, userdata, depth - 1);
	}
	(void)closedir(dir);
	return r;
}

static int peek_children(int task_fd, const char *tid, int (*fn)(void *userdata, pid_t pid), void *userdata,
			 unsigned depth)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	uint64_t pid;
	int r = 0;

	(void)snprintf(path, sizeof(path), "%.20s/children", tid);
	if (sys_read_file_at(task_fd, path, CHILDREN_TEXT_MAX, &text, NULL) < 0)
		return 0;
	for (const char *p = text; r == 0 && *p;) {
		if (parse_u64_prefix(&p, 10, &pid) < 0 || pid == 0 || pid > INT32_MAX)
			return 0;
		while (*p == ' ' || *p == '\n')
			p++;
		r = peek(pid, fn, userdata, depth);
	}
	return r;
}

int tree_peek(pid_t root, int (*fn)(void *userdata, pid_t pid), void *userdata)
{
	return peek(root, fn, userdata, PEEK_DEPTH_MAX);
}

static void thread_release(struct thread *th)
{
	struct user_regs_struct now;
	int status;

	if (th->away) {
		/* A run that failed may not have come to its stop yet. */
		if (sys_ptrace(PTRACE_DETACH, th->tid, NULL, NULL) == -ESRCH && remote_wait_stop(th->tid, &status) == 0)
			(void)sys_ptrace(PTRACE_DETACH, th->tid, NULL, NULL);
		return;
	}
	/* A rewound call or an aborted sequence goes into effect here; no write where nothing changed. */
	if (th->has_state && sys_ptrace(PTRACE_GETREGS, th->tid, NULL, &now) == 0 &&
	    memcmp(&now, &th->regs, sizeof(now)) != 0)
		(void)sys_ptrace(PTRACE_SETREGS, th->tid, NULL, &th->regs);
	(void)sys_ptrace(PTRACE_DETACH, th->tid, NULL, NULL);
}

/* A freeze that failed may have stopped threads in calls that end with EINTR by that, and not come to put them back. */
static void settle_late(struct tree *t, const struct task *task, struct thread *th)
{
	struct failure ignored = {};
	struct tree quiet = { .failure = &ignored };
	struct proc_status st;

	if (th->settled || !th->has_state || read_thread_status(&quiet, task, th, &st) < 0)
		return;
	(void)!settle_call(t, task, th, &st); /* the failure is said already */
	proc_status_done(&st);
}

static void thaw(struct tree *t)
{
	for (size_t i = 0; i < t->n_tasks; i++) {
		for (size_t k = 0; k < t->tasks[i]->n_threads; k++) {
			settle_late(t, t->tasks[i], &t->tasks[i]->threads[k]);
			waits_let_go(&t->waits, t->tasks[i]->threads[k].tid);
			thread_release(&t->tasks[i]->threads[k]);
		}
	}
	t->vigil = vigil_free(t->vigil);
	for (size_t i = 0; i < t->n_tasks; i++)
		t->tasks[i]->n_threads = 0;
}

void tree_thaw(struct tree *t)
{
	thaw(t);
	leave_waits(t);
}

/* A thread for itself, stopped as those of a tree are. */
static void end_wait(struct tree *t, struct task *task, struct thread *th)
{
	uint64_t deadline = clock_monotonic_usec() + END_WAIT_USEC;
	struct proc_status st;
	int r;

	r = thread_stop(t, task, th, deadline);
	if (r == 1)
		r = read_thread_state(t, task, th);
	if (r == 0 && th->has_state)
		r = restart_call_keep(th->tid, &th->regs, t->failure);
	if (r == 0 && th->has_state && read_thread_status(t, task, th, &st) == 0) {
		(void)!settle_call(t, task, th, &st); /* nobody is there to tell */
		proc_status_done(&st);
	}
	thread_release(th);
}

/* Has the thread slept in this call since it was let go, and not been elsewhere? Not to stop it for nothing. */
static bool still_waits(const struct task *task, const struct wait *w)
{
	struct failure f = {};
	struct tree t = { .failure = &f };
	struct proc_status st;
	bool still;

	if (read_thread_status(&t, task, &(struct thread){ .tid = w->tid }, &st) < 0)
		return false;
	still = st.n_waits == w->n_waits + 1;
	proc_status_done(&st);
	return still;
}

void tree_end_wait(const struct wait *w)
{
	struct failure f = {};
	struct wait known = *w;
	struct tree t = { .failure = &f, .waits_before = { &known, 1 } };
	struct task task = { .pid = w->tgid, .state = TASK_ALIVE, .proc_fd = proc_open(w->tgid), .mem_fd = -EBADF,
			     .shadow_mem_fd = -EBADF, .pidfd = sys_pidfd_open(w->tgid, 0) };
	struct thread th = { .tid = w->tid };

	if (task.proc_fd >= 0)
		task.mem_fd = sys_openat(task.proc_fd, "mem", O_RDWR, 0);
	if (task.pidfd >= 0 && task.mem_fd >= 0 && still_waits(&task, w))
		end_wait(&t, &task, &th);
	waits_done(&t.waits);
	task_close(&task);
}

void tree_thaw_stopped(struct tree *t)
{
	for (size_t i = 0; i < t->n_tasks; i++) {
		if (t->tasks[i]->state != TASK_DEAD)
			(void)sys_pidfd_send_signal(t->tasks[i]->pidfd, SIGSTOP);
	}
	thaw(t);
}

/* Return: whether some thread is still to die. */
static bool note_deaths(struct tree *t)
{
	bool waiting = false;

	for (size_t i = 0; i < t->n_tasks; i++) {
		for (size_t k = 0; k < t->tasks[i]->n_threads; k++) {
			waiting |= ptrace_note_death(&t->tasks[i]->threads[k].tid);
		}
	}
	return waiting;
}

void tree_kill(struct tree *t)
{
	for (size_t i = t->n_tasks; i-- > 0;) {
		if (t->tasks[i]->state != TASK_DEAD)
			(void)sys_pidfd_send_signal(t->tasks[i]->pidfd, SIGKILL);
	}
	/*
	 * A tracer must take note of each death before the parent can. In no fixed order: the last thread of a
	 * pid namespace's first process waits for all others in it.
	 */
	while (note_deaths(t))
		(void)nanosleep(&(struct timespec){ .tv_nsec = DEATH_PAUSE_NSEC }, NULL);
	t->vigil = vigil_free(t->vigil);
	for (size_t i = 0; i < t->n_tasks; i++)
		t->tasks[i]->n_threads = 0;
}

void tree_done(struct tree *t)
{
	for (size_t i = 0; i < t->n_tasks; i++)
		task_close(t->tasks[i]);
	waits_done(&t->waits_before);
	waits_done(&t->waits);
	arena_done(&t->arena);
}

struct task *tree_find(const struct tree *t, pid_t vpid)
{
	for (size_t i = 0; i < t->n_tasks; i++) {
		if (t->tasks[i]->vpid == vpid)
			return t->tasks[i];
	}
	return NULL;
}

struct thread *task_find_thread(const struct task *task, pid_t vtid)
{
	for (size_t i = 0; i < task->n_threads; i++) {
		if (task->threads[i].vtid == vtid)
			return &task->threads[i];
	}
	return NULL;
}
