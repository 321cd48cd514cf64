/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/rescue.h"

#include <inttypes.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/control/confinement.h"
#include "engine/control/ptrace.h"
#include "engine/control/remote.h"
#include "engine/control/restart-call.h"

extern const uint8_t stub_begin[], stub_end[], stub_call[], stub_stop[], stub_leave[];

enum {
	PAUSE_NSEC = 50 * 1000,
	HOLD_USEC = 60 * 1000 * 1000, /* past it the thread's cgroup is frozen, and nobody can wait for that */
	SEIZE_USEC = 60 * 1000 * 1000,
	JMP_SHORT = 0xeb,
	INSN_BYTES = 2,
	OPTIONS = PTRACE_O_SUSPEND_SECCOMP | PTRACE_O_TRACESYSGOOD,
	SYSCALL_STOP = SIGTRAP | 0x80, /* with TRACESYSGOOD */
	HOLD_CALL_USEC = 1000 * 1000, /* a thread that cannot stop has no call to begin again */
	SYSCALL_TEXT_MAX = 4096,
	CACHE_LINE_BYTES = 64,
	PAGE = 4096,
};

#define PAGE_IS_PRESENT (UINT64_C(1) << 63) /* in /proc/PID/pagemap */

static void pause_shortly(void)
{
	(void)nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NSEC }, NULL);
}

static int open_memory(pid_t tid)
{
	_cleanup_close_ int proc_fd = proc_open(tid);

	return proc_fd < 0 ? proc_fd : sys_openat(proc_fd, "mem", O_RDWR, 0);
}

/* Stopped by a tracer, or at its end. */
static bool has_stopped(pid_t tid)
{
	_cleanup_close_ int proc_fd = proc_open(tid);
	struct proc_stat stat;

	if (proc_fd < 0 || proc_stat_read(proc_fd, &stat) < 0)
		return true;
	return stat.state == 't' || stat.state == 'Z' || stat.state == 'X';
}

static int write_call(const struct charge *c, const uint8_t insn[INSN_BYTES])
{
	_cleanup_close_ int mem_fd = open_memory(c->tid);

	return mem_fd < 0 ? mem_fd : sys_pwrite_full(mem_fd, insn, INSN_BYTES, c->stub + (stub_call - stub_begin));
}

static int forbid_calls(const struct charge *c)
{
	const uint8_t insn[INSN_BYTES] = { JMP_SHORT, (uint8_t)(stub_stop - stub_call - INSN_BYTES) };

	return write_call(c, insn);
}

static int allow_calls(const struct charge *c)
{
	return write_call(c, stub_call);
}

void rescue_hold(const struct charge *c)
{
	uint64_t deadline = clock_monotonic_usec() + HOLD_USEC;

	while (!has_stopped(c->tid) && clock_monotonic_usec() < deadline)
		pause_shortly();
	(void)forbid_calls(c);
}

/* The next stop of a seized thread that is the tracer's; signals that come first are the application's. */
static int wait_stop(pid_t tid, int resume, int *ret_status)
{
	for (;;) {
		int status, r = remote_wait_stop(tid, &status);

		if (r < 0)
			return r;
		if (status >> 16 || WSTOPSIG(status) == SYSCALL_STOP) {
			*ret_status = status;
			return 0;
		}
		r = sys_ptrace(resume, tid, NULL, PTR(WSTOPSIG(status)));
		if (r < 0)
			return r;
	}
}

/* After PTRACE_INTERRUPT: to the stop from which the kernel starts an interrupted system call again. */
static int settle(pid_t tid)
{
	for (;;) {
		int status, r = wait_stop(tid, PTRACE_CONT, &status);

		if (r < 0 || status >> 16 == PTRACE_EVENT_STOP)
			return r;
		r = sys_ptrace(PTRACE_CONT, tid, NULL, NULL);
		if (r < 0)
			return r;
	}
}

static int interrupt(pid_t tid)
{
	int r = sys_ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);

	return r < 0 ? r : settle(tid);
}

static int interrupt_stopped(pid_t tid)
{
	int r = sys_ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);

	if (r == 0)
		r = sys_ptrace(PTRACE_CONT, tid, NULL, NULL);
	return r < 0 ? r : settle(tid);
}

/* One call in a thread that waits in the stub, from entry to exit. Suspended filters do not see it. */
static int make_call(const struct charge *c, const struct user_regs_struct *from, uint64_t nr, uint64_t a, uint64_t b)
{
	struct user_regs_struct g = *from;
	int status, r;

	g.rip = c->stub + (stub_call - stub_begin);
	g.rax = nr;
	g.rdi = a;
	g.rsi = b;
	g.r14 = c->stub + (stub_stop - stub_begin);
	g.orig_rax = -1;
	r = sys_ptrace(PTRACE_SETREGS, c->tid, NULL, &g);
	for (int stops = 0; r == 0 && stops < 2;) {
		r = sys_ptrace(PTRACE_SYSCALL, c->tid, NULL, NULL);
		if (r == 0)
			r = wait_stop(c->tid, PTRACE_SYSCALL, &status);
		stops += r == 0 && WSTOPSIG(status) == SYSCALL_STOP;
	}
	return r;
}

/* What the list opened and did not close. -1: nothing. */
static int64_t descriptor_of(const struct charge *c)
{
	_cleanup_close_ int mem_fd = open_memory(c->tid);
	int64_t fd = -1, closed = 0;

	if (!c->opened_cell || mem_fd < 0 || sys_pread_full(mem_fd, &fd, sizeof(fd), c->opened_cell) < 0 ||
	    sys_pread_full(mem_fd, &closed, sizeof(closed), c->closed_cell) < 0)
		return -1;
	return closed > 0 ? fd : -1;
}

/* The register is the address, or -1 before the call that maps or unmaps the area, and then its result. */
static uint64_t data_area(const struct charge *c, int64_t rbp)
{
	return rbp == -1 ? atomic_load(&c->data) : rbp > 0 ? (uint64_t)rbp : 0;
}

static int clean_up(const struct charge *c, const struct user_regs_struct *now)
{
	uint64_t data = data_area(c, (int64_t)now->rbp);
	int64_t fd = descriptor_of(c);
	int r = allow_calls(c);

	if (r == 0 && fd >= 0)
		r = make_call(c, now, SYS_close, fd, 0);
	if (r == 0 && data)
		r = make_call(c, now, SYS_munmap, data, c->data_bytes);
	if (r < 0)
		(void)forbid_calls(c);
	return r;
}

static bool is_between(const struct charge *c, uint64_t rip, const uint8_t *from, const uint8_t *to)
{
	return rip >= c->stub + (from - stub_begin) && rip < c->stub + (to - stub_begin);
}

static int set_mask(const struct charge *c)
{
	uint64_t mask = c->mask;

	return sys_ptrace(PTRACE_SETSIGMASK, c->tid, PTR(sizeof(mask)), &mask);
}

/* The engine had set the registers, but not the mask. (The kernel keeps two bits of it clear.) */
static int unblock_at_home(const struct charge *c)
{
	const uint64_t never = 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1);
	uint64_t mask = 0;
	int r = sys_ptrace(PTRACE_GETSIGMASK, c->tid, PTR(sizeof(mask)), &mask);

	return r == 0 && ((mask ^ c->run_mask) & ~never) == 0 ? set_mask(c) : r;
}

/* What the thread has begun ends in the wait of the way home: every call is a jump to there. */
static int let_it_come(const struct charge *c, struct user_regs_struct *ret_now)
{
	int r = sys_ptrace(PTRACE_GETREGS, c->tid, NULL, ret_now);

	while (r == 0 && is_between(c, ret_now->rip, stub_begin, stub_stop)) {
		r = sys_ptrace(PTRACE_CONT, c->tid, NULL, NULL);
		pause_shortly();
		if (r == 0)
			r = interrupt(c->tid);
		if (r == 0)
			r = sys_ptrace(PTRACE_GETREGS, c->tid, NULL, ret_now);
	}
	return r;
}

int rescue_stopped(const struct charge *c)
{
	struct user_regs_struct now;
	int r = sys_ptrace(PTRACE_SETOPTIONS, c->tid, NULL, PTR(OPTIONS));

	if (r == 0)
		r = let_it_come(c, &now);
	if (r < 0 || is_between(c, now.rip, stub_leave, stub_end)) /* it goes home by itself */
		return r;
	if (!is_between(c, now.rip, stub_stop, stub_leave))
		return unblock_at_home(c);
	r = clean_up(c, &now);
	if (r == 0)
		r = interrupt_stopped(c->tid);
	/* First the registers: with the mask of home a handler could be run in the stub. */
	if (r == 0)
		r = sys_ptrace(PTRACE_SETREGS, c->tid, NULL, PTR(&c->home));
	return r == 0 ? set_mask(c) : r;
}

static int seize(pid_t tid)
{
	uint64_t deadline = clock_monotonic_usec() + SEIZE_USEC;
	int r;

	for (;;) {
		r = sys_ptrace(PTRACE_SEIZE, tid, NULL, PTR(OPTIONS));
		if (r != -EPERM || clock_monotonic_usec() > deadline)
			return r;
		pause_shortly();
	}
}

void rescue_home(const struct charge *c)
{
	int r = seize(c->tid);

	if (r == 0)
		r = interrupt(c->tid);
	if (r == 0)
		(void)rescue_stopped(c);
	(void)sys_ptrace(PTRACE_DETACH, c->tid, NULL, NULL);
}

/* ---- a call that the kernel begins again ---- */

static const uint8_t insn_syscall[INSN_BYTES] = { 0x0f, 0x05 };
static const uint8_t insn_here[INSN_BYTES] = { JMP_SHORT, (uint8_t)-INSN_BYTES };

/* Only where the page is there, so that no file system is asked, and where both bytes are written at once. */
static bool may_write(int proc_fd, uint64_t at)
{
	_cleanup_close_ int fd = sys_openat(proc_fd, "pagemap", O_RDONLY, 0);
	uint64_t entry;

	return fd >= 0 && at % CACHE_LINE_BYTES <= CACHE_LINE_BYTES - INSN_BYTES &&
	       sys_pread_full(fd, &entry, sizeof(entry), (off_t)(at / PAGE * sizeof(entry))) == 0 &&
	       (entry & PAGE_IS_PRESENT);
}

/* Has it filters, and does it stand in a call? (/proc/PID/syscall of proc_pid_syscall(5)) */
static bool look_at_call(int proc_fd, struct held_call *h)
{
	_cleanup_free_ char *text = NULL;
	struct proc_status st;
	uint64_t pc;

	if (proc_status_read(proc_fd, &st) < 0)
		return false;
	proc_status_done(&st);
	if (st.seccomp_mode != SECCOMP_MODE_FILTER ||
	    sys_read_file_at(proc_fd, "syscall", SYSCALL_TEXT_MAX, &text, NULL) < 0 ||
	    sscanf(text, "%" SCNu64 " %*x %*x %*x %*x %*x %*x %*x %" SCNx64, &h->nr, &pc) != 2)
		return false;
	h->at = pc - INSN_BYTES;
	return true;
}

void rescue_hold_call(struct held_call *h)
{
	_cleanup_close_ int proc_fd = proc_open(h->tid), mem_fd = proc_fd < 0 ? -EBADF : sys_openat(proc_fd, "mem", O_RDWR, 0);
	uint64_t deadline = clock_monotonic_usec() + HOLD_CALL_USEC;
	uint8_t insn[INSN_BYTES];

	while (!has_stopped(h->tid) && clock_monotonic_usec() < deadline)
		pause_shortly();
	if (mem_fd < 0 || !look_at_call(proc_fd, h) || !may_write(proc_fd, h->at) ||
	    sys_pread_full(mem_fd, insn, sizeof(insn), h->at) < 0 || memcmp(insn, insn_syscall, sizeof(insn)) != 0 ||
	    sys_pwrite_full(mem_fd, insn_here, sizeof(insn_here), h->at) < 0)
		h->at = 0;
}

static bool allows_restart(pid_t tid, const struct user_regs_struct *now)
{
	_cleanup_(confinement_freep) struct confinement *c = NULL;
	struct user_regs_struct behind = *now;
	struct failure f = {};

	behind.rip += INSN_BYTES;
	return confinement_read(tid, SECCOMP_MODE_FILTER, &f, &c) == 0 && (!c || confinement_allows_restart(c, &behind));
}

/* Stopped by us: in front of the instruction, where it turned, or not come so far yet. */
static void put_back(const struct held_call *h)
{
	struct user_regs_struct now;
	struct failure f = {};

	if (sys_ptrace(PTRACE_GETREGS, h->tid, NULL, &now) < 0)
		return;
	if (now.rip == h->at && now.rax == SYS_restart_syscall && !allows_restart(h->tid, &now)) {
		now.rax = h->nr;
		(void)sys_ptrace(PTRACE_SETREGS, h->tid, NULL, &now);
	}
	(void)!restart_call_keep(h->tid, &now, &f); /* nobody is left to tell */
}

void rescue_home_call(const struct held_call *h)
{
	_cleanup_close_ int mem_fd = open_memory(h->tid);
	int r = seize(h->tid);

	if (r == 0)
		r = interrupt(h->tid);
	if (r == 0)
		put_back(h);
	/* The text is the process's: also when this thread is gone. */
	if (mem_fd >= 0)
		(void)sys_pwrite_full(mem_fd, insn_syscall, sizeof(insn_syscall), h->at);
	(void)sys_ptrace(PTRACE_DETACH, h->tid, NULL, NULL);
}
