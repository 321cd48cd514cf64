/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One task, from a stub page to a whole process that waits to be let go. */
#include <inttypes.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include "basic/sys.h"
#include "engine/control/regs-x86_64.h"
#include "engine/control/vdso.h"
#include "engine/guard.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/task-stops.h"
#include "engine/kinds/task-kind.h"
#include "engine/memory/aio.h"
#include "engine/memory/lazy.h"
#include "engine/memory/pages.h"
#include "engine/memory/vma.h"
#include "engine/restore.h"
#include "engine/tree.h"

enum {
	AUXV_WORDS_MAX = 512,
	THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
};

/* ---- memory ---- */

/* Hands over a file by its record and closes our copy. Return: its number in the task. */
static int send_path(struct restore *rs, struct rtask *task, uint32_t id, int flags)
{
	_cleanup_close_ int fd = fd_file_open_id(rs, id, task, flags);

	return fd < 0 ? fd : restore_send_fd(rs, task, fd);
}

/* The same with the program: a file with a path, or a memfd. */
static int send_program(struct restore *rs, struct rtask *task)
{
	uint32_t id = task->mm->exe_file_id;
	const struct file *file = files_find(rs, id);
	int fd;

	if (!file || file->kind != &fd_kind_memfd)
		return send_path(rs, task, id, O_RDONLY);
	fd = files_open_mapped(rs, id, O_RDONLY);
	return fd < 0 ? fd : restore_send_fd(rs, task, fd);
}

/* PR_SET_MM_MAP: everything that /proc/PID/stat says of the address space, and exe (3.18; exe without CAP_SYS_RESOURCE 5.9). */
static int set_mm(struct restore *rs, struct rtask *task)
{
	const MmEntry *mm = task->mm;
	struct remote *rm = task->remote;
	struct prctl_mm_map map = {
		.start_code = mm->mm_start_code,
		.end_code = mm->mm_end_code,
		.start_data = mm->mm_start_data,
		.end_data = mm->mm_end_data,
		.start_brk = mm->mm_start_brk,
		.brk = mm->mm_brk,
		.start_stack = mm->mm_start_stack,
		.arg_start = mm->mm_arg_start,
		.arg_end = mm->mm_arg_end,
		.env_start = mm->mm_env_start,
		.env_end = mm->mm_env_end,
	};
	int exe;

	if (mm->n_mm_saved_auxv > AUXV_WORDS_MAX)
		return fail(rs->failure, -EBADMSG, "an auxiliary vector of %zu words", mm->n_mm_saved_auxv);
	exe = send_program(rs, task);
	if (exe < 0)
		return exe;
	if (mm->n_mm_saved_auxv) {
		map.auxv_size = mm->n_mm_saved_auxv * sizeof(uint64_t);
		map.auxv = PTR(remote_push(rm, mm->mm_saved_auxv, map.auxv_size));
	}
	map.exe_fd = exe;
	remote_add(rm, "cannot describe the address space", SYS_prctl, PR_SET_MM, PR_SET_MM_MAP,
		   remote_push(rm, &map, sizeof(map)), sizeof(map), 0, 0);
	remote_add(rm, "cannot close a descriptor", SYS_close, exe, 0, 0, 0, 0, 0);
	return remote_run(rm);
}

int restore_memory(struct restore *rs, struct rtask *task)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	int r;

	r = restore_drive(rs, task, task->pid);
	if (r == 0)
		r = vdso_place(rs, task);
	if (r == 0)
		r = vma_map(rs, task);
	if (r == 0)
		r = lazy_begin(rs, task);
	if (r == 0)
		r = pages_restore_task(rs, task);
	if (r == 0)
		r = aio_restore(rs, task);
	if (r == 0)
		r = vma_protect(rs, task);
	if (r == 0)
		r = set_mm(rs, task);
	return r < 0 ? r : lazy_register(rs, task);
}

/* ---- descriptors and directories ---- */

static int enter_directories(struct restore *rs, struct rtask *task)
{
	const char *root = fd_file_path(rs, task->fs->root_id);
	struct remote *rm = task->remote;
	int fd, r;

	if (!root)
		return fail(rs->failure, -EBADMSG, "its root directory is not in the images");
	if (strcmp(root, "/") != 0) {
		fd = send_path(rs, task, task->fs->root_id, O_PATH | O_DIRECTORY);
		if (fd < 0)
			return fd;
		remote_add(rm, "cannot enter its root directory", SYS_fchdir, fd, 0, 0, 0, 0, 0);
		remote_add(rm, "cannot change its root directory", SYS_chroot, remote_push(rm, ".", 2), 0, 0, 0,
			   0, 0);
		remote_add(rm, "cannot close a descriptor", SYS_close, fd, 0, 0, 0, 0, 0);
		r = remote_run(rm);
		if (r < 0)
			return r;
	}
	fd = send_path(rs, task, task->fs->cwd_id, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return fd;
	remote_add(rm, "cannot enter its working directory", SYS_fchdir, fd, 0, 0, 0, 0, 0);
	remote_add(rm, "cannot close a descriptor", SYS_close, fd, 0, 0, 0, 0, 0);
	if (task->fs->has_umask)
		remote_add(rm, "cannot set its umask", SYS_umask, task->fs->umask, 0, 0, 0, 0, 0);
	return remote_run(rm);
}

int restore_files(struct restore *rs, struct rtask *task)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	int r;

	r = restore_drive(rs, task, task->pid);
	if (r == 0 && !task->shares_files)
		r = files_install(rs, task);
	if (r == 0)
		r = enter_directories(rs, task);
	return r;
}

/* ---- threads and attributes ---- */

static int make_thread(struct restore *rs, struct rtask *task, struct rthread *th)
{
	FAILURE_SCOPE(rs->failure, "thread %d", th->vtid);
	struct remote *rm = task->remote;
	struct clone_args args = { .flags = THREAD_FLAGS, .set_tid_size = 1 };
	int status, r;
	size_t call;

	args.set_tid = remote_push(rm, &th->vtid, sizeof(th->vtid));
	call = remote_add(rm, NULL, SYS_clone3, remote_push(rm, &args, sizeof(args)), sizeof(args), 0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	if (rm->calls[call].ret == -EEXIST)
		return fail(rs->failure, -EEXIST, "its id is in use");
	if (rm->calls[call].ret < 0)
		return fail(rs->failure, rm->calls[call].ret, "cannot make the thread");
	th->tid = rm->new_tid;
	r = remote_wait_stop(th->tid, &status);
	return r < 0 ? fail(rs->failure, r, "the new thread went away") : 0;
}

static int restore_thread(struct restore *rs, struct rtask *task, struct rthread *th)
{
	FAILURE_SCOPE(rs->failure, "thread %d", th->vtid);
	struct thread_restore tr = {
		.rs = rs,
		.task = task,
		.thread = th,
		.leader = th == &task->threads[0],
		.remote = rs->remote,
		.core = th->core,
	};
	int r;

	r = restore_drive(rs, task, th->tid);
	for (size_t i = 0; r == 0 && i < n_task_kinds; i++) {
		FAILURE_SCOPE(rs->failure, "%s", task_kinds[i]->name);

		if (task_kinds[i]->restore)
			r = task_kinds[i]->restore(&tr);
		if (r == 0)
			r = remote_run(rs->remote);
	}
	return r;
}

int restore_attributes(struct restore *rs, struct rtask *task)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	int r;

	r = restore_drive(rs, task, task->pid);
	task->threads[0].tid = task->pid;
	if (r == 0)
		r = keys_begin(rs, task, task->remote);
	for (size_t i = 1; r == 0 && i < task->n_threads; i++)
		r = make_thread(rs, task, &task->threads[i]);
	if (r == 0)
		r = files_own_by_threads(rs, task);
	if (r == 0 && !task->shares_files)
		r = MIN(restore_call(rs, task, "cannot close the transport", SYS_close, task->transport_fd, 0, 0, 0,
				     0, 0),
			0);
	/* The leader last: what it does for the process must find the threads as they will be. */
	for (size_t i = task->n_threads; r == 0 && i-- > 0;)
		r = restore_thread(rs, task, &task->threads[i]);
	return r;
}

/* ---- the end ---- */

/*
 * Lets a thread, whose signals are blocked, run to the next entry into, or exit from, a system call. SIGSTOP cannot be blocked: the
 * group stop begins, the thread runs on, and the kernel stops it again when it is let go.
 */
static int run_to_syscall_stop(pid_t tid)
{
	int deliver = 0;

	for (;;) {
		int status, r = sys_ptrace(PTRACE_SYSCALL, tid, NULL, PTR(deliver));

		if (r == 0)
			r = remote_wait_stop(tid, &status);
		if (r < 0)
			return r;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 0;
		deliver = status >> 16 ? 0 : WSTOPSIG(status);
		if (deliver && deliver != SIGSTOP)
			return -EFAULT;
	}
}

/*
 * The stub cannot unmap itself: a system call instruction of the program's own does it, between two system call stops.
 * Not by single-stepping: its SIGTRAP would disturb one that is pending or handled.
 */
static int remove_region(struct restore *rs, struct rtask *task)
{
	const uint64_t all = ~0ull;
	struct user_regs_struct g;
	uint64_t insn = vdso_syscall_insn(rs, task);
	int r;

	if (!insn)
		return 0; /* a task without any such instruction keeps it */
	r = sys_ptrace(PTRACE_GETREGS, task->pid, NULL, &g);
	if (r < 0)
		return fail(rs->failure, r, "cannot read registers");
	g.rip = insn;
	g.rax = SYS_munmap;
	g.orig_rax = -1;
	g.rdi = rs->region;
	g.rsi = REGION_BYTES;
	r = sys_ptrace(PTRACE_SETREGS, task->pid, NULL, &g);
	if (r == 0)
		r = sys_ptrace(PTRACE_SETSIGMASK, task->pid, PTR(sizeof(all)), PTR(&all));
	if (r == 0)
		r = sys_ptrace(PTRACE_SETOPTIONS, task->pid, NULL,
			       PTR(rs->trace_options | PTRACE_O_TRACESYSGOOD));
	for (int stop = 0; r == 0 && stop < 2; stop++)
		r = run_to_syscall_stop(task->pid);
	if (r == 0)
		r = sys_ptrace(PTRACE_GETREGS, task->pid, NULL, &g);
	return r < 0 || g.rax != 0 ? fail(rs->failure, r < 0 ? r : -EFAULT, "cannot take the region out") : 0;
}

static int seal_thread(struct restore *rs, const struct rtask *task, const struct rthread *th)
{
	const CoreEntry *core = th->core;
	uint64_t mask = core->thread_core->has_blk_sigset ? core->thread_core->blk_sigset :
			core->tc				? core->tc->blk_sigset :
								  0;
	int r;

	r = regs_restore(th->tid, core->thread_info, rs->failure);
	if (r < 0)
		return r;
	r = sys_ptrace(PTRACE_SETSIGMASK, th->tid, PTR(sizeof(mask)), &mask);
	return r < 0 ? fail(rs->failure, r, "cannot set the signal mask") : 0;
}

int restore_seal(struct restore *rs, struct rtask *task)
{
	FAILURE_SCOPE(rs->failure, "task %u", task->entry->pid);
	int stop = task->core->tc->task_state == TASK_STOPPED ? SIGSTOP : 0, r;

	if (stop && task->core->tc->has_stop_signo)
		stop = task->core->tc->stop_signo;
	if (rs->options->leave_stopped)
		stop = SIGSTOP;
	else if (stops_is_settled(task))
		stop = 0;
	r = remove_region(rs, task);
	for (size_t i = 0; r == 0 && i < task->n_threads; i++)
		r = seal_thread(rs, task, &task->threads[i]);
	if (r == 0 && stop) {
		r = sys_kill(task->pid, stop);
		if (r < 0)
			return fail(rs->failure, r, "cannot stop it");
	}
	return r;
}
