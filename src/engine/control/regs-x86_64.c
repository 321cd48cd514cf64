/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/regs-x86_64.h"

#include <cpuid.h>
#include <elf.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "basic/sys.h"

enum {
	XSAVE_BYTES_MAX = 64 * 1024,
	XSAVE_HEADER = 512,
	XSAVE_LEAF = 0xd,
	CS_64 = 0x33,
	SYSCALL_INSN_BYTES = 2,
	AMX_DATA = 18,
};

/* Extended parts that the format has, by their number in XCR0. */
enum xpart { XPART_YMM = 2, XPART_BNDREGS, XPART_BNDCSR, XPART_OPMASK, XPART_ZMM_HI, XPART_HI16_ZMM, XPART_PKRU = 9 };

/* Legacy part: FXSAVE layout. */
struct fxsave {
	uint16_t cwd, swd, twd, fop;
	uint64_t rip, rdp;
	uint32_t mxcsr, mxcsr_mask;
	uint32_t st_space[32], xmm_space[64];
};

struct xsave {
	union {
		struct fxsave fx;
		uint8_t bytes[XSAVE_BYTES_MAX];
		struct {
			uint8_t legacy[XSAVE_HEADER];
			uint64_t xstate_bv;
		};
	};
	size_t size;
};

/* Where a part is in the standard layout. NULL: this processor or kernel has no such part. */
static void *part(struct xsave *x, enum xpart n, size_t size)
{
	unsigned eax, ebx, ecx, edx;

	if (!__get_cpuid_count(XSAVE_LEAF, n, &eax, &ebx, &ecx, &edx) || eax < size || ebx == 0)
		return NULL;
	return (size_t)ebx + size <= x->size ? x->bytes + ebx : NULL;
}

static int xsave_read(pid_t tid, struct xsave *x, struct failure *f)
{
	struct iovec iov = { x->bytes, sizeof(x->bytes) };
	int r;

	r = sys_ptrace(PTRACE_GETREGSET, tid, PTR(NT_X86_XSTATE), &iov);
	if (r < 0)
		return fail(f, r, "cannot read the floating point state");
	x->size = iov.iov_len;
	return 0;
}

/* The kernel's own codes for "start this call again"; see remote.c for those that a living thread gets. */
static void put_restart(UserX86RegsEntry *e, const struct user_regs_struct *g, long call)
{
	/* In front of the instruction, to go on with a call: see control/restart-call.h. */
	if ((int64_t)g->orig_rax < 0 && g->rax == SYS_restart_syscall && call > 0)
		e->ax = (uint64_t)call;
	if ((int64_t)g->orig_rax < 0)
		return;
	switch ((int64_t)g->rax) {
	case -512: /* ERESTARTSYS */
	case -513: /* ERESTARTNOINTR */
	case -514: /* ERESTARTNOHAND */
		e->ax = g->orig_rax;
		e->ip = g->rip - SYSCALL_INSN_BYTES;
		break;
	case -516: /* ERESTART_RESTARTBLOCK: what it would go on with is in the kernel */
		e->ax = call > 0 ? (uint64_t)call : (uint64_t)-EINTR;
		e->ip = call > 0 ? g->rip - SYSCALL_INSN_BYTES : g->rip;
		break;
	default:
		break;
	}
	e->orig_ax = (uint64_t)-1;
}

static UserX86RegsEntry *put_regs(struct arena *a, const struct user_regs_struct *g, long call)
{
	UserX86RegsEntry *e = arena_new(a, UserX86RegsEntry);

	if (!e)
		return NULL;
	user_x86_regs_entry__init(e);
	e->r15 = g->r15;
	e->r14 = g->r14;
	e->r13 = g->r13;
	e->r12 = g->r12;
	e->bp = g->rbp;
	e->bx = g->rbx;
	e->r11 = g->r11;
	e->r10 = g->r10;
	e->r9 = g->r9;
	e->r8 = g->r8;
	e->ax = g->rax;
	e->cx = g->rcx;
	e->dx = g->rdx;
	e->si = g->rsi;
	e->di = g->rdi;
	e->orig_ax = g->orig_rax;
	e->ip = g->rip;
	e->cs = g->cs;
	e->flags = g->eflags;
	e->sp = g->rsp;
	e->ss = g->ss;
	e->fs_base = g->fs_base;
	e->gs_base = g->gs_base;
	e->ds = g->ds;
	e->es = g->es;
	e->fs = g->fs;
	e->gs = g->gs;
	e->has_mode = true;
	e->mode = USER_X86_REGS_MODE__NATIVE;
	put_restart(e, g, call);
	return e;
}

/* Copies an extended part into a repeated field. */
#define PUT_PART(x, e, field, number, n)                                                           \
	({                                                                                         \
		size_t size_ = (n) * sizeof((e)->field[0]);                                        \
		void *from_ = part(x, number, size_);                                              \
		bool ok_ = true;                                                                   \
		if (from_) {                                                                       \
			(e)->field = arena_copy(a, from_, size_);                                  \
			(e)->n_##field = (n);                                                      \
			ok_ = (e)->field != NULL;                                                  \
		}                                                                                  \
		ok_;                                                                               \
	})

/* PKRU is one 32-bit word in the processor's layout of 8 bytes. */
static UserX86XsaveEntry *put_xsave(struct arena *a, struct xsave *x)
{
	UserX86XsaveEntry *e = arena_new(a, UserX86XsaveEntry);

	if (!e)
		return NULL;
	user_x86_xsave_entry__init(e);
	e->xstate_bv = x->xstate_bv;
	if (!PUT_PART(x, e, ymmh_space, XPART_YMM, 64) || !PUT_PART(x, e, bndreg_state, XPART_BNDREGS, 8) ||
	    !PUT_PART(x, e, bndcsr_state, XPART_BNDCSR, 8) ||
	    !PUT_PART(x, e, opmask_reg, XPART_OPMASK, 8) || !PUT_PART(x, e, zmm_upper, XPART_ZMM_HI, 64) ||
	    !PUT_PART(x, e, hi16_zmm, XPART_HI16_ZMM, 128) || !PUT_PART(x, e, pkru, XPART_PKRU, 2))
		return NULL;
	return e;
}

static UserX86FpregsEntry *put_fpregs(struct arena *a, struct xsave *x)
{
	UserX86FpregsEntry *e = arena_new(a, UserX86FpregsEntry);

	if (!e)
		return NULL;
	user_x86_fpregs_entry__init(e);
	e->cwd = x->fx.cwd;
	e->swd = x->fx.swd;
	e->twd = x->fx.twd;
	e->fop = x->fx.fop;
	e->rip = x->fx.rip;
	e->rdp = x->fx.rdp;
	e->mxcsr = x->fx.mxcsr;
	e->mxcsr_mask = x->fx.mxcsr_mask;
	e->n_st_space = ARRAY_SIZE(x->fx.st_space);
	e->st_space = arena_copy(a, x->fx.st_space, sizeof(x->fx.st_space));
	e->n_xmm_space = ARRAY_SIZE(x->fx.xmm_space);
	e->xmm_space = arena_copy(a, x->fx.xmm_space, sizeof(x->fx.xmm_space));
	e->xsave = x->size > XSAVE_HEADER ? put_xsave(a, x) : NULL;
	if (!e->st_space || !e->xmm_space || (x->size > XSAVE_HEADER && !e->xsave))
		return NULL;
	return e;
}

int regs_dump(pid_t tid, const struct user_regs_struct *regs, long call, struct arena *a, struct failure *f,
	      ThreadInfoX86 **ret)
{
	_cleanup_free_ struct xsave *x = calloc(1, sizeof(*x));
	ThreadInfoX86 *info = arena_new(a, ThreadInfoX86);
	int r;

	if (!x || !info)
		return fail(f, -ENOMEM, "no memory for registers");
	if (regs->cs != CS_64)
		return fail(f, -EOPNOTSUPP, "32-bit code cannot be saved");
	r = xsave_read(tid, x, f);
	if (r < 0)
		return r;
	if (x->size > XSAVE_HEADER && (x->xstate_bv & (1ull << AMX_DATA)))
		return fail(f, -EOPNOTSUPP, "AMX tiles in use cannot be saved");
	thread_info_x86__init(info);
	info->gpregs = put_regs(a, regs, call);
	info->fpregs = put_fpregs(a, x);
	if (!info->gpregs || !info->fpregs)
		return fail(f, -ENOMEM, "no memory for registers");
	*ret = info;
	return 0;
}

int regs_check(const ThreadInfoX86 *info, struct failure *f)
{
	const UserX86FpregsEntry *fp = info ? info->fpregs : NULL;
	const UserX86XsaveEntry *x = fp ? fp->xsave : NULL;
	bool ok;

	if (!info || !info->gpregs || !fp || fp->n_st_space < 32 || fp->n_xmm_space < 64)
		return fail(f, -EBADMSG, "the image has no whole set of registers");
	if (info->gpregs->has_mode && info->gpregs->mode != USER_X86_REGS_MODE__NATIVE)
		return fail(f, -EOPNOTSUPP, "32-bit code cannot be restored");
	ok = !x || ((x->n_ymmh_space == 0 || x->n_ymmh_space == 64) &&
		    (x->n_bndreg_state == 0 || x->n_bndreg_state == 8) &&
		    (x->n_bndcsr_state == 0 || x->n_bndcsr_state == 8) &&
		    (x->n_opmask_reg == 0 || x->n_opmask_reg == 8) &&
		    (x->n_zmm_upper == 0 || x->n_zmm_upper == 64) &&
		    (x->n_hi16_zmm == 0 || x->n_hi16_zmm == 128) && (x->n_pkru == 0 || x->n_pkru == 2));
	return ok ? 0 : fail(f, -EBADMSG, "the image has registers of a wrong size");
}

/* Parts that the image has and we have not are the caller's loss only if they are in use: xstate_bv says. */
#define TAKE_PART(x, e, field, number, lost)                                                       \
	({                                                                                         \
		size_t size_ = (e)->n_##field * sizeof((e)->field[0]);                             \
		void *to_ = size_ ? part(x, number, size_) : NULL;                                 \
		if (to_)                                                                           \
			memcpy(to_, (e)->field, size_);                                            \
		else if ((e)->xstate_bv & (1ull << (number)))                                      \
			lost |= 1ull << (number);                                                  \
	})

static int take_xsave(struct xsave *x, const UserX86XsaveEntry *e, struct failure *f)
{
	uint64_t lost = 0;

	TAKE_PART(x, e, ymmh_space, XPART_YMM, lost);
	TAKE_PART(x, e, bndreg_state, XPART_BNDREGS, lost);
	TAKE_PART(x, e, bndcsr_state, XPART_BNDCSR, lost);
	TAKE_PART(x, e, opmask_reg, XPART_OPMASK, lost);
	TAKE_PART(x, e, zmm_upper, XPART_ZMM_HI, lost);
	TAKE_PART(x, e, hi16_zmm, XPART_HI16_ZMM, lost);
	TAKE_PART(x, e, pkru, XPART_PKRU, lost);
	if (lost)
		return fail(f, -EOPNOTSUPP, "this processor lacks registers in use (XCR0 bits %#llx)",
			    (unsigned long long)lost);
	x->xstate_bv = e->xstate_bv;
	return 0;
}

static int restore_fpregs(pid_t tid, const UserX86FpregsEntry *e, struct failure *f)
{
	_cleanup_free_ struct xsave *x = calloc(1, sizeof(*x));
	struct iovec iov;
	int r;

	if (!x)
		return fail(f, -ENOMEM, "no memory for registers");
	r = xsave_read(tid, x, f);
	if (r < 0)
		return r;
	x->fx.cwd = e->cwd;
	x->fx.swd = e->swd;
	x->fx.twd = e->twd;
	x->fx.fop = e->fop;
	x->fx.rip = e->rip;
	x->fx.rdp = e->rdp;
	x->fx.mxcsr = e->mxcsr;
	memcpy(x->fx.st_space, e->st_space, sizeof(x->fx.st_space));
	memcpy(x->fx.xmm_space, e->xmm_space, sizeof(x->fx.xmm_space));
	if (x->size > XSAVE_HEADER) {
		x->xstate_bv = 3; /* x87 and SSE */
		r = e->xsave ? take_xsave(x, e->xsave, f) : 0;
		if (r < 0)
			return r;
	}
	iov = (struct iovec){ x->bytes, x->size };
	r = sys_ptrace(PTRACE_SETREGSET, tid, PTR(NT_X86_XSTATE), &iov);
	return r < 0 ? fail(f, r, "cannot set the floating point state") : 0;
}

int regs_restore(pid_t tid, const ThreadInfoX86 *info, struct failure *f)
{
	const UserX86RegsEntry *e = info->gpregs;
	struct user_regs_struct g = {
		.r15 = e->r15,	 .r14 = e->r14,	      .r13 = e->r13, .r12 = e->r12,
		.rbp = e->bp,	 .rbx = e->bx,	      .r11 = e->r11, .r10 = e->r10,
		.r9 = e->r9,	 .r8 = e->r8,	      .rax = e->ax,  .rcx = e->cx,
		.rdx = e->dx,	 .rsi = e->si,	      .rdi = e->di,  .orig_rax = e->orig_ax,
		.rip = e->ip,	 .cs = e->cs,	      .eflags = e->flags, .rsp = e->sp,
		.ss = e->ss,	 .fs_base = e->fs_base, .gs_base = e->gs_base, .ds = e->ds,
		.es = e->es,	 .fs = e->fs,	      .gs = e->gs,
	};
	int r;

	r = restore_fpregs(tid, info->fpregs, f);
	if (r < 0)
		return r;
	r = sys_ptrace(PTRACE_SETREGS, tid, NULL, &g);
	return r < 0 ? fail(f, r, "cannot set registers") : 0;
}
