/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/waits.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/sys.h"
#include "engine/control/restart-call.h"
#include "engine/tree.h"

enum {
	WAITS_MAX = 1 << 20,
	PAGE = 4096,
	SYSCALL_BYTES = 2,
	LOAD_EAX_BYTES = 5,
	OPCODE_LOAD_EAX = 0xb8,
};

static const uint8_t syscall_insn[SYSCALL_BYTES] = { 0x0f, 0x05 };

void waits_done(struct waits *w)
{
	free(w->items);
	*w = (struct waits){};
}

int waits_add(struct waits *w, const struct wait *wait)
{
	struct wait *more;

	if (w->n == WAITS_MAX)
		return -E2BIG;
	more = reallocarray(w->items, w->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	w->items = more;
	w->items[w->n++] = *wait;
	return 0;
}

static struct wait *find(const struct waits *w, pid_t tid)
{
	for (size_t i = 0; i < w->n; i++) {
		if (w->items[i].tid == tid)
			return &w->items[i];
	}
	return NULL;
}

/*
 * To restart_syscall(2) no other way leads than going on with the sleep of before. Else the thread slept in the call, or was stopped
 * before it could, and then slept in our stop; in front of the instruction only that.
 */
static bool is_same_call(const struct wait *known, const struct wait *seen)
{
	uint64_t slept = seen->n_waits - known->n_waits;

	if (known->tid != seen->tid || known->rip != seen->rip || known->rsp != seen->rsp ||
	    memcmp(known->args, seen->args, sizeof(known->args)) != 0)
		return false;
	if (seen->nr == SYS_restart_syscall)
		return known->code == CALL_RESTART_BLOCK;
	return known->nr == seen->nr && slept <= (seen->begun ? 2 : 1);
}

enum wait_turn wait_judge(const struct wait *known, const struct wait *seen, uint64_t now_usec)
{
	if (!known || !is_same_call(known, seen))
		return WAIT_NEW;
	return known->until_usec && known->until_usec <= now_usec ? WAIT_OVER : WAIT_SAME;
}

/* A copy of the descriptor, if it is a socket; nothing else of a frozen task is touched (far.h). */
static int copy_socket(const struct task *task, pid_t tid, int number)
{
	char path[64], link[16];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "task/%d/fd/%d", tid, number);
	n = SYS_CALL(readlinkat(task->proc_fd, path, link, sizeof(link)));
	if (n < 8 || strncmp(link, "socket:[", 8) != 0)
		return -ENOTSOCK;
	return sys_pidfd_getfd(task->pidfd, number);
}

/* Reads memory of a task whose mappings are not known yet: from pages that are there. Return: 1, 0: one is not, or -errno. */
static int read_there(const struct task *task, uint64_t at, void *buf, size_t size)
{
	int r = 1;

	if (at + size < at || at + size > INT64_MAX)
		return 0;
	for (uint64_t page = at / PAGE; r == 1 && page <= (at + size - 1) / PAGE; page++)
		r = task_has_page(task, page * PAGE);
	if (r <= 0)
		return r;
	r = sys_pread_full(task->mem_fd, buf, size, (off_t)at);
	return r < 0 ? r : 1;
}

/* Where it cannot be read, by us or by the kernel, the limit is not known. */
static bool read_spec(const struct task *task, const struct call_kind *kind, uint64_t at, struct timespec *ret)
{
	if (!at || read_there(task, at, ret, sizeof(*ret)) <= 0)
		return false;
	if (kind->limit == LIMIT_TIMEVAL)
		ret->tv_nsec *= 1000;
	return true;
}

/* What an option of the socket says, and how a connect(2) of its family ends that takes too long. */
static int ask_socket(int sock, const struct call_kind *kind, struct timespec *ret, int *timed_out)
{
	int option = kind->limit == LIMIT_RECEIVE ? SO_RCVTIMEO : SO_SNDTIMEO, domain = 0;
	socklen_t size = sizeof(domain), tv_size;
	struct timeval tv;
	int r;

	tv_size = sizeof(tv);
	r = SYS_CALL(getsockopt(sock, SOL_SOCKET, option, &tv, &tv_size));
	if (r < 0)
		return r;
	*ret = (struct timespec){ tv.tv_sec, tv.tv_usec * 1000 };
	if (kind->nr == SYS_connect && SYS_CALL(getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &size)) == 0 &&
	    domain == AF_UNIX)
		*timed_out = -EAGAIN;
	return 1;
}

static uint64_t now_usec(clockid_t clock)
{
	struct timespec ts = {};

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The moment of CLOCK_MONOTONIC at which a time is over. */
static uint64_t moment_of(const struct call_time *t)
{
	uint64_t now = now_usec(t->clock), left;

	if (!t->usec)
		return 0;
	left = !t->absolute ? t->usec : t->usec > now ? t->usec - now : 1;
	return clock_monotonic_usec() + left;
}

/* Fills in when the time of the call is over. Return: 1, 0: it is no call of ours after all, or -errno. */
static int find_limit(const struct call_kind *kind, const struct task *task, const struct thread *th, struct wait *w)
{
	uint64_t arg = call_arg(&th->stopped, kind->arg);
	struct timespec spec = {};
	struct call_time t;
	int known = 0;

	w->timed_out = kind->timed_out;
	if (kind->limit == LIMIT_TIMESPEC || kind->limit == LIMIT_TIMEVAL) {
		known = read_spec(task, kind, arg, &spec);
	} else if (kind->limit == LIMIT_RECEIVE || kind->limit == LIMIT_SEND) {
		int sock = copy_socket(task, th->tid, (int)arg);

		if (sock < 0)
			return sock == -ENOTSOCK ? 0 : sock;
		known = ask_socket(sock, kind, &spec, &w->timed_out);
		(void)close_fd(sock);
	}
	if (known < 0)
		return known;
	t = call_time_of(kind, &th->stopped, known ? &spec : NULL);
	w->until_usec = moment_of(&t);
	w->whole_usec = t.usec;
	w->absolute = t.absolute;
	w->left_at = kind->code == CALL_NO_HANDLER ? arg : 0;
	return 1;
}

/* The number of a call that the kernel goes on with and has forgotten: what most code loads just before the instruction. 0: unknown. */
static int loaded_number(const struct task *task, uint64_t rip)
{
	uint8_t code[LOAD_EAX_BYTES + SYSCALL_BYTES];
	int32_t nr;
	int r = rip < sizeof(code) ? 0 : read_there(task, rip - sizeof(code), code, sizeof(code));

	if (r <= 0 || code[0] != OPCODE_LOAD_EAX || memcmp(code + LOAD_EAX_BYTES, syscall_insn, SYSCALL_BYTES) != 0)
		return MIN(r, 0);
	memcpy(&nr, code + 1, sizeof(nr));
	return MAX(nr, 0);
}

static struct wait describe(const struct task *task, const struct thread *th, const struct proc_status *st)
{
	struct wait w = {
		.tid = th->tid,
		.tgid = task->pid,
		.begun = (int64_t)th->stopped.orig_rax >= 0,
		.code = (int32_t)th->stopped.rax,
		.nr = (int64_t)th->stopped.orig_rax,
		.rip = th->stopped.rip,
		.rsp = th->stopped.rsp,
		.n_waits = st->n_waits,
	};

	if (!w.begun) {
		w.nr = (int64_t)th->stopped.rax;
		w.rip += SYSCALL_BYTES;
	}

	for (unsigned i = 0; i < ARRAY_SIZE(w.args); i++)
		w.args[i] = call_arg(&th->stopped, i);
	return w;
}

/* What is known of the call that the thread is in still. */
static struct wait carry(const struct wait *known, const struct wait *seen)
{
	struct wait w = *known;

	w.tgid = seen->tgid;
	w.begun = seen->begun;
	return w;
}

/* Its time is over: it returns what it would have returned. */
static int end_call(const struct wait *w, const struct task *task, struct thread *th, struct failure *f)
{
	const struct timespec nothing = {};

	/* The kernel has just written there what is left. */
	if (w->left_at && task_has_page(task, w->left_at) == 1 && task_has_page(task, w->left_at + sizeof(nothing) - 1) == 1)
		(void)sys_pwrite_full(task->mem_fd, &nothing, sizeof(nothing), (off_t)w->left_at);
	th->regs = th->stopped;
	th->regs.rip = w->rip;
	return restart_call_end(th->tid, &th->regs, w->timed_out, f);
}

/* @w is what is known by now. Return: 1: the call goes on; 0: it has ended; -errno. */
static int keep_or_end(struct waits *now, const struct wait *w, enum wait_turn turn, bool signals, const struct task *task,
		       struct thread *th, struct failure *f)
{
	int r = 1;

	if (turn == WAIT_OVER && !w->by_kernel && !signals)
		return end_call(w, task, th, f);
	th->wait = *w;
	if (w->until_usec && waits_add(now, w) < 0)
		r = fail(f, -ENOMEM, "no memory for the calls that its threads wait in");
	return r;
}

/* In front of the instruction that it was put back to, or that the kernel has put it back to. */
static int settle_unbegun(struct waits *now, const struct wait *known, const struct wait *seen, enum wait_turn turn, bool signals,
			  const struct task *task, struct thread *th, struct failure *f)
{
	struct wait w = *seen;

	if (turn != WAIT_NEW)
		w = carry(known, seen);
	else if (seen->nr == SYS_restart_syscall)
		w = (struct wait){ .nr = loaded_number(task, seen->rip) };
	else
		return 0; /* anywhere in its program */
	if (w.nr < 0)
		return fail(f, (int)w.nr, "cannot read its code");
	return w.nr > 0 ? keep_or_end(now, &w, turn, signals, task, th, f) : 0;
}

static int settle_begun(struct waits *now, const struct wait *known, const struct wait *seen, enum wait_turn turn, bool signals,
			const struct task *task, struct thread *th, struct failure *f)
{
	struct wait w = turn == WAIT_NEW ? *seen : carry(known, seen);
	const struct call_kind *kind;
	bool anew;
	int r;

	if (w.nr == SYS_restart_syscall)
		w.nr = loaded_number(task, w.rip);
	if (w.nr < 0)
		return fail(f, (int)w.nr, "cannot read its code");
	kind = call_kind_find((long)w.nr, seen->code);
	if (!kind || (kind->code == CALL_EINTR && signals)) /* what it returns is the signal's doing */
		return 0;
	r = turn == WAIT_NEW ? find_limit(kind, task, th, &w) : 1;
	if (r <= 0)
		return r < 0 ? fail(f, r, "cannot find out how long a call waits") : 0;
	/* As it stands in the registers now: a confined sleep was begun anew at once (restart_call_keep()). */
	anew = kind->code != CALL_RESTART_BLOCK || (int64_t)th->regs.orig_rax < 0;
	w.by_kernel = w.absolute || (!anew && (turn == WAIT_NEW || known->by_kernel));
	r = keep_or_end(now, &w, turn, signals, task, th, f);
	if (r == 1 && kind->code == CALL_EINTR)
		r = restart_call_anew(th->tid, &th->regs, (long)w.nr, f);
	return r;
}

int waits_settle(const struct waits *before, struct waits *now, const struct task *task, struct thread *th,
		 const struct proc_status *st, struct failure *f)
{
	bool signals = (st->sig_pnd | st->shd_pnd) & ~th->sigmask;
	const struct wait *known = find(before, th->tid);
	struct wait seen = describe(task, th, st);
	enum wait_turn turn = wait_judge(known, &seen, clock_monotonic_usec());
	int r;

	r = (seen.begun ? settle_begun : settle_unbegun)(now, known, &seen, turn, signals, task, th, f);
	return r < 0 ? r : 0;
}

void waits_carry(struct waits *now, const struct waits *before)
{
	for (size_t i = 0; i < before->n; i++) {
		if (!find(now, before->items[i].tid) && waits_add(now, &before->items[i]) < 0)
			return; /* it lasts longer */
	}
}

void waits_let_go(struct waits *now, pid_t tid)
{
	struct wait *w = find(now, tid);
	_cleanup_close_ int fd = -EBADF;
	struct proc_status st;

	if (!w || w->by_kernel)
		return;
	fd = proc_open(tid);
	if (fd < 0 || proc_status_read(fd, &st) < 0)
		return;
	w->n_waits = st.n_waits;
	proc_status_done(&st);
}

bool wait_is_to_be_told(const struct wait *w)
{
	return w->whole_usec > WAIT_WORTH_USEC && !w->absolute && !w->left_at;
}

uint64_t wait_left_usec(const struct wait *w)
{
	uint64_t now = clock_monotonic_usec();

	return w->until_usec > now ? w->until_usec - now : 1;
}

struct wait wait_of_restored(pid_t tid, pid_t tgid, const UserX86RegsEntry *e, uint64_t left_usec, int timed_out)
{
	return (struct wait){
		.tid = tid,
		.tgid = tgid,
		.nr = (int64_t)e->ax,
		.args = { e->di, e->si, e->dx, e->r10, e->r8, e->r9 },
		.rip = e->ip + SYSCALL_BYTES,
		.rsp = e->sp,
		.timed_out = timed_out,
		.until_usec = clock_monotonic_usec() + left_usec,
		.whole_usec = UINT64_MAX, /* not known here */
		.code = call_kind_find((long)e->ax, CALL_RESTART_BLOCK) ? CALL_RESTART_BLOCK : CALL_EINTR,
	};
}
