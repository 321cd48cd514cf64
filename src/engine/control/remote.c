/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Order of steps, which is what makes us killable:
 *
 *   slots written, stub in place -> SETREGS into the stub -> SETSIGMASK(all but one) -> CONT
 *   ... list runs, stop at stub_stop ... (again as often as wanted)
 *   data area unmapped by a call -> SETSIGMASK(home) -> SETREGS(home)
 *
 * Die before SETREGS: nothing has happened. Die between it and the last SETREGS: the stub runs to its tail, which
 * restores mask and registers from the slots and unmaps the area. The slots hold what the thread must look like when
 * nobody applies the kernel's restart logic for us; while we live, the original registers with orig_rax go back
 * instead, and the kernel restarts the system call itself. The same tail serves when a step of ours fails: the
 * thread is then left in the stub ("away") and goes home by itself when it is let go.
 *
 * A thread with seccomp filters cannot do that: PTRACE_O_SUSPEND_SECCOMP ends with the tracer, and whatever call the thread makes
 * next is judged. There is always an instant between PTRACE_CONT and the kernel's look at the filters, so a call that they punish
 * is never safe by itself, not in a list of one either. Therefore:
 *
 *   1. The engine does not die before the thread has stopped. A vigil (vigil.c) holds it in its exit stop until then; the list
 *      has run to its end, or to a pause, with the filters still suspended.
 *   2. Then every other call is forbidden by two bytes written over stub_call (rescue_hold()), and only then the tracer goes.
 *   3. The thread waits at the beginning of the tail, without a call. The vigil seizes it, closes and unmaps by calls under
 *      suspended filters, and sets mask and registers, with the kernel's restart logic, as we would have (rescue_home()).
 *   4. Should the vigil be dead too, the wait ends after WAIT_TURNS and the tail makes its calls, if confinement.c says
 *      that the filters allow them; the data area stays where munmap is refused. Where they allow no rt_sigprocmask the wait
 *      does not end, and the next engine that freezes the task takes the thread home (remote_rescue_dead()).
 *   5. Where no vigil can be had (somebody traces the engine), a call that the filters punish is refused by name before it is made,
 *      and a thread whose filters refuse the tail is not touched at all.
 *
 * The tail uses no rt_sigreturn: its frame needs room for the whole extended state, which no mapping promises, and it makes
 * the kernel forget how a sleep was to go on (the thread would see EINTR).
 */
#include "engine/control/remote.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/control/confinement.h"
#include "engine/control/ptrace.h"
#include "engine/control/rescue.h"
#include "engine/control/seccomp-eval.h"
#include "engine/control/vigil.h"

extern const uint8_t stub_begin[], stub_end[], stub_batch[], stub_one[], stub_fork[], stub_stop[],
	stub_fork_stop[], stub_slots[], stub_call[], stub_leave[], stub_ip_all[], stub_ip_unmap[], stub_ip_mask[];

#define WAIT_TURNS   20000000ull /* about a second */
#define WAIT_FOREVER UINT64_MAX

struct stub_slots {
	uint32_t signal, pad;
	uint64_t all, wait, mask, data_size, flags, rsp, rip;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
};

enum {
	/* In-kernel codes that a tracer can see: linux/errno.h. */
	ERESTARTSYS_ = 512,
	ERESTARTNOINTR_ = 513,
	ERESTARTNOHAND_ = 514,
	ERESTART_RESTARTBLOCK_ = 516,
	SYSCALL_INSN_BYTES = 2,
	EFLAGS_TF = 0x100,
};

static uint64_t stub_at(const struct remote *r, const uint8_t *symbol)
{
	return r->code + (symbol - stub_begin);
}

size_t remote_stub_size(void)
{
	return stub_end - stub_begin;
}

void remote_stub_copy(void *to)
{
	memcpy(to, stub_begin, remote_stub_size());
}

size_t remote_stub_room(void)
{
	return (remote_stub_size() + 63) & ~(size_t)63;
}

bool remote_stub_is(const void *bytes)
{
	const uint8_t *b = bytes;
	size_t call = stub_call - stub_begin, rest = call + SYSCALL_INSN_BYTES;

	/* The call may be forbidden. */
	return memcmp(b, stub_begin, call) == 0 && memcmp(b + rest, stub_begin + rest, stub_slots - stub_begin - rest) == 0;
}

int remote_wait_stop(pid_t tid, int *ret_status)
{
	int status, r;

	r = SYS_CALL(waitpid(tid, &status, __WALL));
	if (r == -ECHILD || (r >= 0 && !WIFSTOPPED(status)))
		return -ESTALE;
	if (r < 0)
		return r;
	*ret_status = status;
	return 0;
}

/* Registers with which the thread can be started without the kernel's restart logic. */
static void home_without_kernel(const struct user_regs_struct *home, struct user_regs_struct *ret)
{
	*ret = *home;
	if ((int64_t)home->orig_rax >= 0) {
		switch ((int64_t)home->rax) {
		case -ERESTARTSYS_:
		case -ERESTARTNOINTR_:
		case -ERESTARTNOHAND_:
			ret->rax = home->orig_rax;
			ret->rip -= SYSCALL_INSN_BYTES;
			break;
		case -ERESTART_RESTARTBLOCK_:
			ret->rax = SYS_restart_syscall;
			ret->rip -= SYSCALL_INSN_BYTES;
			break;
		default:
			break;
		}
	}
	ret->orig_rax = -1;
}

static uint64_t turns_to_wait(const struct remote *r)
{
	if (!r->confined || !r->vigil)
		return 0;
	return r->leaves ? WAIT_TURNS : WAIT_FOREVER;
}

static int write_slots(struct remote *r)
{
	struct user_regs_struct g;
	struct stub_slots s;
	int e;

	home_without_kernel(&r->home, &g);
	s = (struct stub_slots){
		.signal = r->signal,
		.all = ~0ull,
		.wait = turns_to_wait(r),
		.mask = r->home_mask,
		.data_size = r->unmaps,
		.flags = g.eflags & ~(uint64_t)EFLAGS_TF,
		.rsp = g.rsp,
		.rip = g.rip,
		.rax = g.rax,
		.rbx = g.rbx,
		.rcx = g.rcx,
		.rdx = g.rdx,
		.rsi = g.rsi,
		.rdi = g.rdi,
		.rbp = g.rbp,
		.r8 = g.r8,
		.r9 = g.r9,
		.r10 = g.r10,
		.r11 = g.r11,
		.r12 = g.r12,
		.r13 = g.r13,
		.r14 = g.r14,
		.r15 = g.r15,
	};
	_Static_assert(sizeof(s) == 23 * 8, "as stub-x86_64.S lays it out");
	e = sys_pwrite_full(r->mem_fd, &s, sizeof(s), stub_at(r, stub_slots));
	if (e < 0)
		return fail(r->failure, e, "cannot write into the task");
	return 0;
}

/* Ignored by default, so that nothing happens when no tracer takes it. */
static int choose_signal(uint64_t mask, uint64_t caught)
{
	static const int candidates[] = { SIGURG, SIGWINCH, SIGCHLD, SIGCONT };

	for (size_t i = 0; i < ARRAY_SIZE(candidates); i++) {
		uint64_t bit = 1ull << (candidates[i] - 1);

		if (!((mask | caught) & bit))
			return candidates[i];
	}
	/* All caught: block what comes, the handler of an unblocked one is not run while we live. */
	return SIGURG;
}

static uint64_t all_but(int signal)
{
	return ~(1ull << (signal - 1));
}

static int set_mask(struct remote *r, uint64_t mask)
{
	int e = sys_ptrace(PTRACE_SETSIGMASK, r->tid, PTR(sizeof(mask)), &mask);

	return e < 0 ? fail(r->failure, e == -ESRCH ? -ESTALE : e, "cannot set the signal mask") : 0;
}

static int set_regs(struct remote *r, const struct user_regs_struct *regs)
{
	int e = sys_ptrace(PTRACE_SETREGS, r->tid, NULL, PTR(regs));

	return e < 0 ? fail(r->failure, e == -ESRCH ? -ESTALE : e, "cannot set registers") : 0;
}

static int get_regs(struct remote *r, struct user_regs_struct *ret)
{
	int e = sys_ptrace(PTRACE_GETREGS, r->tid, NULL, ret);

	return e < 0 ? fail(r->failure, e == -ESRCH ? -ESTALE : e, "cannot read registers") : 0;
}

static bool is_stop_signal(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

static bool is_clone_event(int event)
{
	return event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK;
}

/*
 * A confined thread is masked first: nobody may find it in the stub with the mask of home, where a signal handler would come
 * between it and the rescue. Another thread sets its own mask on the way home.
 */
static int send_into_stub(struct remote *r, const struct user_regs_struct *start)
{
	int e = r->confined ? set_mask(r, all_but(r->signal)) : 0;

	if (e < 0)
		return e;
	/* In a later run it is away already, and stays so if the registers cannot be set: the tail brings it home. */
	r->away = r->away || r->confined;
	e = set_regs(r, start);
	if (e < 0)
		return e;
	r->away = r->lost = true;
	return r->confined ? 0 : set_mask(r, all_but(r->signal));
}

/* Behind the call that sends the signal, with a stop to go to. */
static bool is_at_stop(const struct remote *r, const struct user_regs_struct *now)
{
	return now->rip == stub_at(r, stub_call) + SYSCALL_INSN_BYTES &&
	       (now->r14 == stub_at(r, stub_stop) || now->r14 == stub_at(r, stub_fork_stop));
}

/* Lets the stub run until it stops itself. */
static int run_stub(struct remote *r, const struct user_regs_struct *start)
{
	int deliver = 0, paused = 0, e;

	e = send_into_stub(r, start);
	if (e < 0)
		return e;

	for (;;) {
		struct user_regs_struct now;
		int status, event, sig;

		e = sys_ptrace(PTRACE_CONT, r->tid, NULL, PTR(deliver));
		if (e == 0)
			e = remote_wait_stop(r->tid, &status);
		if (e < 0)
			return fail(r->failure, e == -ESRCH ? -ESTALE : e, "the task went away");
		deliver = 0;
		event = status >> 16;
		sig = WSTOPSIG(status);

		if (is_clone_event(event)) {
			unsigned long tid = 0;

			e = sys_ptrace(PTRACE_GETEVENTMSG, r->tid, NULL, &tid);
			if (e < 0)
				return fail(r->failure, e, "cannot learn of the new task");
			r->new_tid = tid;
			continue;
		}
		if (event) /* a group stop: run on, the kernel stops it again at detach */
			continue;
		if (sig == r->signal) {
			e = get_regs(r, &now);
			if (e < 0)
				return e;
			if (is_at_stop(r, &now)) {
				r->lost = false;
				return paused;
			}
			if (r->pause && paused == 0)
				paused = r->pause(r->pause_userdata);
			continue;
		}
		if (is_stop_signal(sig)) { /* SIGSTOP cannot be blocked: let the group stop begin */
			deliver = sig;
			continue;
		}
		e = get_regs(r, &now);
		if (e < 0)
			return e;
		return fail(r->failure, -EFAULT, "signal %d at %#llx while in the stub at %#" PRIx64, sig,
			    now.rip, r->code);
	}
}

static uint32_t answer_at(const struct remote *r, const uint8_t *behind, uint64_t nr, const uint64_t args[6])
{
	return confinement_answer(r->confined, nr, args, stub_at(r, behind));
}

/* May the call be made although we may die before the kernel's look at the filters? */
static int judge(struct remote *r, uint64_t nr, const uint64_t args[6])
{
	if (!r->confined || r->vigil ||
	    seccomp_spares(answer_at(r, stub_call + SYSCALL_INSN_BYTES, nr, args)))
		return 0;
	return fail(r->failure, -EOPNOTSUPP,
		    "its seccomp filter would punish it for system call %" PRIu64
		    " if the engine died while it makes it, and nothing can prevent that (does somebody trace the engine?)",
		    nr);
}

int remote_one(struct remote *r, int64_t *ret_result, uint64_t nr, const uint64_t args[6])
{
	struct user_regs_struct g = r->blank;
	int e;

	e = judge(r, nr, args);
	if (e < 0)
		return e;
	g.rip = stub_at(r, stub_one);
	g.rbp = r->data;
	g.rbx = nr;
	g.r12 = args[0];
	g.r13 = args[1];
	g.r14 = args[2];
	g.r15 = args[3];
	g.r8 = args[4];
	g.r9 = args[5];
	g.orig_rax = -1;
	e = run_stub(r, &g);
	if (e < 0)
		return e;
	e = get_regs(r, &g);
	if (e < 0) {
		r->lost = true;
		return e;
	}
	*ret_result = g.rbx;
	return 0;
}

/* The first stop of a new task, before user code. */
static int wait_new_task(struct remote *r, pid_t tid)
{
	int status, e;

	e = remote_wait_stop(tid, &status);
	if (e == 0 && status >> 16 != PTRACE_EVENT_STOP)
		e = -EPROTO;
	if (e == 0)
		e = sys_ptrace(PTRACE_SETOPTIONS, tid, NULL, PTR(PTRACE_O_EXITKILL));
	return e < 0 ? fail(r->failure, e, "cannot hold the forked child %d", tid) : 0;
}

int remote_fork(struct remote *r, uint64_t flags, pid_t *ret_pid, int *ret_error)
{
	struct user_regs_struct g = r->blank;
	int e, back;

	e = judge(r, SYS_clone, (const uint64_t[6]){ flags });
	if (e < 0)
		return e;
	e = sys_ptrace(PTRACE_SETOPTIONS, r->tid, NULL, PTR(r->options | PTRACE_O_TRACECLONE));
	if (e < 0)
		return fail(r->failure, e, "cannot have children stopped");
	g.rip = stub_at(r, stub_fork);
	g.rbp = r->data;
	g.r12 = flags;
	g.orig_rax = -1;
	r->new_tid = 0;
	e = run_stub(r, &g);
	back = sys_ptrace(PTRACE_SETOPTIONS, r->tid, NULL, PTR(r->options));
	if (e == 0 && back < 0)
		e = fail(r->failure, back, "cannot have children run on");
	if (e == 0)
		e = get_regs(r, &g);
	if (e < 0) {
		if (r->new_tid) /* stopped at its start: it goes no further */
			(void)SYS_CALL(kill(r->new_tid, SIGKILL));
		return e;
	}
	if (!r->new_tid) {
		*ret_error = (int)(int64_t)g.rbx;
		return 0;
	}
	*ret_pid = r->new_tid;
	e = wait_new_task(r, r->new_tid);
	return e < 0 ? e : 1;
}

static void list_reset(struct remote *r)
{
	r->n_calls = 0;
	r->used = 0;
}

static int map_data_area(struct remote *r)
{
	const uint64_t args[6] = { 0,		     REMOTE_DATA_BYTES,
				   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				   (uint64_t)-1,	     0 };
	int64_t at;
	int e;

	r->data = (uint64_t)-1; /* "this call maps it" */
	e = remote_one(r, &at, SYS_mmap, args);
	r->data = 0;
	if (e < 0)
		return e;
	if (at < 0 && at > -4096)
		return fail(r->failure, at, "cannot map a data area in the task");
	r->data = r->area = at;
	if (r->vigil)
		atomic_store(&vigil_charge(r->vigil)->data, r->area);
	return 0;
}

/* Do the filters let the tail go home? rt_sigprocmask must be made; munmap may fail. */
static void judge_tail(struct remote *r)
{
	const uint64_t all[6] = { SIG_SETMASK, stub_at(r, stub_slots) + offsetof(struct stub_slots, all), 0, 8 };
	const uint64_t mask[6] = { SIG_SETMASK, stub_at(r, stub_slots) + offsetof(struct stub_slots, mask), 0, 8 };
	const uint64_t area[6] = { r->data, REMOTE_DATA_BYTES };

	r->leaves = seccomp_allows(answer_at(r, stub_ip_all, SYS_rt_sigprocmask, all)) &&
		    seccomp_allows(answer_at(r, stub_ip_mask, SYS_rt_sigprocmask, mask));
	r->unmaps = seccomp_spares(answer_at(r, stub_ip_unmap, SYS_munmap, area)) ? REMOTE_DATA_BYTES : 0;
}

static struct charge charge_of(const struct remote *r)
{
	return (struct charge){
		.tid = r->tid,
		.stub = r->code,
		.home = r->home,
		.mask = r->home_mask,
		.run_mask = all_but(r->signal),
		.data = r->area,
		.data_bytes = REMOTE_DATA_BYTES,
	};
}

/* The calls by which the stub stops itself are made in every run. */
static int judge_stop(struct remote *r)
{
	static const uint64_t calls[] = { SYS_getpid, SYS_gettid, SYS_tgkill };
	int e = 0;

	for (size_t i = 0; e == 0 && i < ARRAY_SIZE(calls); i++)
		e = judge(r, calls[i], (const uint64_t[6]){});
	return e;
}

static int begin_confined(struct remote *r)
{
	judge_tail(r);
	if (!r->vigil && (!r->leaves || !r->unmaps))
		return fail(r->failure, -EOPNOTSUPP,
			    "its seccomp filter would not let it go on as before if the engine died, and nothing "
			    "can prevent that (does somebody trace the engine?)");
	if (r->vigil) {
		struct charge c = charge_of(r);

		vigil_watch(r->vigil, r->tid, &c);
	}
	return judge_stop(r);
}

/* A step of ours failed: we are alive, and do what the vigil would. */
static void rescue_confined(struct remote *r)
{
	struct charge c = charge_of(r);
	int status;

	if (r->vigil) {
		c.opened_cell = atomic_load(&vigil_charge(r->vigil)->opened_cell);
		c.closed_cell = atomic_load(&vigil_charge(r->vigil)->closed_cell);
	}
	rescue_hold(&c);
	if (r->lost)
		(void)SYS_CALL(waitpid(r->tid, &status, __WALL | WNOHANG));
	if (rescue_stopped(&c) == 0)
		r->away = r->lost = false;
}

static int go_home(struct remote *r)
{
	int e = r->confined ? 0 : set_mask(r, r->home_mask);

	if (e == 0)
		e = set_regs(r, &r->home);
	if (e == 0 && r->confined)
		e = set_mask(r, r->home_mask);
	if (e == 0)
		r->away = false;
	return e;
}

/* The session is over, well or not. */
static void abandon(struct remote *r)
{
	if (r->confined && r->away)
		rescue_confined(r);
	if (r->vigil && !r->away)
		vigil_rest(r->vigil);
}

int remote_begin_guest(struct remote *r, pid_t tid, int mem_fd, uint64_t code,
		       const struct user_regs_struct *regs, uint64_t mask, uint64_t caught,
		       const struct confinement *confined, struct vigil *vigil, struct failure *f)
{
	int e;

	r->tid = tid;
	r->mem_fd = mem_fd;
	r->failure = f;
	r->code = code;
	r->data = r->area = 0;
	r->guest = true;
	r->confined = confined;
	r->vigil = confined ? vigil : NULL;
	r->unmaps = REMOTE_DATA_BYTES;
	r->options = 0;
	r->signal = choose_signal(mask, caught);
	r->home = *regs;
	r->home_mask = mask;
	r->blank = *regs;
	r->blank.eflags &= ~(uint64_t)EFLAGS_TF; /* it may be stepping through itself */
	r->new_tid = 0;
	r->away = r->lost = false;
	r->pause = NULL;
	r->opened = r->closed = 0;
	list_reset(r);

	e = confined ? begin_confined(r) : 0;
	if (e == 0)
		e = write_slots(r);
	if (e == 0)
		e = map_data_area(r);
	if (e < 0 && r->away && !r->lost)
		(void)go_home(r);
	if (e == 0 && confined) { /* now the address is known */
		judge_tail(r);
		e = write_slots(r);
	}
	if (e < 0)
		abandon(r);
	return e;
}

/*
 * The thread takes the last step, the way home, by itself if one of ours fails: it stays away. The call that unmaps is
 * one whose result replaces the address, so that the tail does not unmap what another thread may have mapped there.
 */
static int end_guest(struct remote *r)
{
	const uint64_t args[6] = { r->data, REMOTE_DATA_BYTES };
	int64_t result = 0;
	int e;

	if (r->lost)
		return r->failure->error ?: -EIO;
	r->data = (uint64_t)-1;
	e = remote_one(r, &result, SYS_munmap, args);
	r->data = 0;
	if (e < 0)
		return e;
	r->area = 0;
	if (result < 0)
		e = fail(r->failure, result, "cannot unmap the data area");
	return MIN(go_home(r), e);
}

int remote_end_guest(struct remote *r)
{
	int e = end_guest(r);

	abandon(r);
	return e;
}

int remote_begin_owned(struct remote *r, pid_t tid, int mem_fd, uint64_t code, uint64_t data,
		       struct failure *f)
{
	r->tid = tid;
	r->mem_fd = mem_fd;
	r->failure = f;
	r->code = code;
	r->data = data;
	r->area = 0;
	r->guest = false;
	r->confined = NULL;
	r->vigil = NULL;
	r->unmaps = 0;
	r->signal = SIGURG;
	r->new_tid = 0;
	r->away = r->lost = false;
	r->pause = NULL;
	r->opened = r->closed = 0;
	list_reset(r);
	if (get_regs(r, &r->blank) < 0)
		return r->failure->error;
	r->home = r->blank;
	r->home_mask = ~0ull;
	r->blank.orig_rax = -1;
	r->blank.eflags &= ~(uint64_t)EFLAGS_TF;
	return write_slots(r);
}

/* What a thread without the kernel's restart logic goes on with, from the slots of a stub. */
static void home_from_slots(const struct stub_slots *s, struct user_regs_struct *g)
{
	g->eflags = s->flags;
	g->rsp = s->rsp;
	g->rip = s->rip;
	g->rax = s->rax;
	g->rbx = s->rbx;
	g->rcx = s->rcx;
	g->rdx = s->rdx;
	g->rsi = s->rsi;
	g->rdi = s->rdi;
	g->rbp = s->rbp;
	g->r8 = s->r8;
	g->r9 = s->r9;
	g->r10 = s->r10;
	g->r11 = s->r11;
	g->r12 = s->r12;
	g->r13 = s->r13;
	g->r14 = s->r14;
	g->r15 = s->r15;
	g->orig_rax = -1;
}

int remote_rescue_dead(pid_t tid, int mem_fd, uint64_t stub)
{
	struct charge c = { .tid = tid, .stub = stub, .data_bytes = REMOTE_DATA_BYTES };
	struct stub_slots s;
	int e = sys_pread_full(mem_fd, &s, sizeof(s), stub + (stub_slots - stub_begin));

	if (e < 0 || s.wait == 0)
		return e;
	e = sys_ptrace(PTRACE_GETREGS, tid, NULL, &c.home);
	if (e < 0)
		return e;
	if (c.home.rip < stub + (stub_stop - stub_begin) || c.home.rip >= stub + (stub_leave - stub_begin))
		return 0;
	home_from_slots(&s, &c.home);
	c.mask = s.mask;
	return rescue_stopped(&c);
}

int remote_use_signal(struct remote *r, int signal)
{
	assert(!r->guest);

	r->signal = signal;
	return write_slots(r);
}

bool remote_fits(const struct remote *r, size_t calls, size_t bytes)
{
	return calls <= REMOTE_TABLE_CALLS - r->n_calls && bytes <= REMOTE_SCRATCH_BYTES - r->used;
}

uint64_t remote_alloc(struct remote *r, size_t size, void *ret_here)
{
	size_t room = (size + 15) & ~(size_t)15;
	uint64_t there;

	if (!remote_fits(r, 0, room))
		return 0;
	memset(r->scratch + r->used, 0, room);
	if (ret_here)
		*(void **)ret_here = r->scratch + r->used;
	there = r->data + REMOTE_TABLE_BYTES + r->used;
	r->used += room;
	return there;
}

uint64_t remote_push(struct remote *r, const void *data, size_t size)
{
	void *here;
	uint64_t there = remote_alloc(r, size, &here);

	if (there)
		memcpy(here, data, size);
	return there;
}

int remote_add(struct remote *r, const char *what, uint64_t nr, uint64_t a, uint64_t b, uint64_t c,
	       uint64_t d, uint64_t e, uint64_t f)
{
	size_t i = r->n_calls;

	if (i == REMOTE_TABLE_CALLS)
		return -ENOSPC;
	r->what[i] = what;
	r->calls[i] = (struct remote_call){ .nr = nr, .args = { a, b, c, d, e, f } };
	r->n_calls++;
	return i;
}

static int copy_list(struct remote *r, bool in)
{
	struct iovec here[2] = {
		{ r->table, r->n_calls * sizeof(struct remote_call) },
		{ r->scratch, r->used },
	};
	struct iovec there[2] = {
		{ PTR(r->data), here[0].iov_len },
		{ PTR(r->data + REMOTE_TABLE_BYTES), r->used },
	};
	size_t want = here[0].iov_len + here[1].iov_len;
	ssize_t n;

	n = in ? SYS_CALL(process_vm_writev(r->tid, here, 2, there, 2, 0)) :
		 SYS_CALL(process_vm_readv(r->tid, here, 2, there, 2, 0));
	if (n < 0)
		return fail(r->failure, n == -ESRCH ? -ESTALE : n, "cannot copy a call list");
	if ((size_t)n != want)
		return fail(r->failure, -EFAULT, "cannot copy a whole call list");
	return 0;
}

static struct user_regs_struct list_regs(const struct remote *r)
{
	struct user_regs_struct g = r->blank;

	g.rip = stub_at(r, stub_batch);
	g.rbp = r->guest ? r->data : 0;
	g.r12 = r->data;
	g.r13 = r->n_calls;
	g.orig_rax = -1;
	return g;
}

int remote_start(struct remote *r)
{
	struct user_regs_struct g = list_regs(r);
	int e;

	assert(!r->guest);

	e = copy_list(r, true);
	if (e == 0)
		e = set_regs(r, &g);
	if (e == 0)
		e = sys_ptrace(PTRACE_CONT, r->tid, NULL, NULL);
	list_reset(r);
	return e;
}

static uint64_t call_address(const struct remote *r, size_t call, size_t offset)
{
	return r->data + call * sizeof(struct remote_call) + offset;
}

/* The cells hold what they must only now that the list is in the task. */
static void charge_descriptor(struct remote *r)
{
	struct charge *c = vigil_charge(r->vigil);

	atomic_store(&c->closed_cell, call_address(r, r->closed, offsetof(struct remote_call, ret)));
	atomic_store(&c->opened_cell, call_address(r, r->opened, offsetof(struct remote_call, ret)));
}

int remote_run(struct remote *r)
{
	struct user_regs_struct g = list_regs(r);
	size_t n = r->n_calls;
	int e;

	if (n == 0)
		return 0; /* what was pushed stays, for the call that comes */
	for (size_t i = 0; i < n && r->confined; i++) {
		e = judge(r, r->calls[i].nr, r->calls[i].args);
		if (e < 0)
			return e;
	}
	e = copy_list(r, true);
	if (e < 0)
		return e;
	if (r->vigil && r->closed > 0)
		charge_descriptor(r);
	e = run_stub(r, &g);
	if (e < 0)
		return e;
	e = copy_list(r, false);
	if (e < 0)
		return e;
	list_reset(r);

	for (size_t i = 0; i < n; i++) {
		if (r->what[i] && r->calls[i].ret < 0 && r->calls[i].ret > -4096)
			return fail(r->failure, r->calls[i].ret, "%s", r->what[i]);
	}
	return 0;
}

void remote_add_pause(struct remote *r, pid_t tgid, pid_t tid)
{
	(void)remote_add(r, NULL, SYS_tgkill, tgid, tid, r->signal, 0, 0, 0);
}

void remote_close_at_death(struct remote *r, size_t opened, size_t closed)
{
	r->opened = opened;
	r->closed = closed;
	r->calls[opened].ret = -1;
	r->calls[closed].ret = 1;
}

int remote_run_paused(struct remote *r, remote_pause_fn *fn, void *userdata)
{
	int e;

	r->pause = fn;
	r->pause_userdata = userdata;
	e = remote_run(r);
	r->pause = NULL;
	r->opened = r->closed = 0;
	if (r->vigil)
		atomic_store(&vigil_charge(r->vigil)->opened_cell, 0);
	return e;
}

int remote_peek_result(struct remote *r, size_t call, int64_t *ret_result)
{
	int e = sys_pread_full(r->mem_fd, ret_result, sizeof(*ret_result),
			       call_address(r, call, offsetof(struct remote_call, ret)));

	return e < 0 ? fail(r->failure, e, "cannot read a result") : 0;
}

int remote_poke_arg(struct remote *r, size_t call, size_t arg, uint64_t value)
{
	int e = sys_pwrite_full(r->mem_fd, &value, sizeof(value),
				call_address(r, call, offsetof(struct remote_call, args) + arg * sizeof(value)));

	return e < 0 ? fail(r->failure, e, "cannot write an argument") : 0;
}

int remote_reserve(struct remote *r, size_t calls, size_t bytes)
{
	assert(calls <= REMOTE_TABLE_CALLS && bytes <= REMOTE_SCRATCH_BYTES);

	return remote_fits(r, calls, bytes) ? 0 : remote_run(r);
}
