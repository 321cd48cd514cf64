/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/confinement.h"

#include <linux/audit.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/control/ptrace.h"
#include "engine/control/seccomp-eval.h"

enum { FILTERS_MAX = 4096 };

struct confinement {
	uint32_t mode;
	size_t n;
	struct seccomp_program *programs; /* newest first; each owns its code */
};

struct confinement *confinement_free(struct confinement *c)
{
	for (size_t i = 0; c && i < c->n; i++)
		free((void *)c->programs[i].code);
	if (c)
		free(c->programs);
	free(c);
	return NULL;
}

/* 1: added, 0: there is no such filter. */
static int add_filter(struct confinement *c, pid_t tid, struct failure *f)
{
	struct seccomp_program *more;
	struct sock_filter *code;
	long n = sys_ptrace(PTRACE_SECCOMP_GET_FILTER, tid, PTR(c->n), NULL);

	/* EINVAL: not in filter mode. */
	if (n == -ENOENT || (n == -EINVAL && c->n == 0))
		return 0;
	if (n < 0)
		return fail(f, n, "cannot read its seccomp filters");
	if (n == 0 || n > BPF_MAXINSNS || c->n == FILTERS_MAX)
		return fail(f, -E2BIG, "it has too many seccomp filters");
	more = reallocarray(c->programs, c->n + 1, sizeof(*more));
	if (!more)
		return fail(f, -ENOMEM, "no memory for seccomp filters");
	c->programs = more;
	code = calloc(n, sizeof(*code));
	if (!code)
		return fail(f, -ENOMEM, "no memory for seccomp filters");
	c->programs[c->n] = (struct seccomp_program){ .code = code, .n = n };
	n = sys_ptrace(PTRACE_SECCOMP_GET_FILTER, tid, PTR(c->n), code);
	c->n++;
	return n < 0 ? fail(f, n, "cannot read its seccomp filters") : 1;
}

int confinement_read(pid_t tid, uint32_t mode, struct failure *f, struct confinement **ret)
{
	_cleanup_(confinement_freep) struct confinement *c = NULL;
	int r = 1;

	*ret = NULL;
	if (mode == SECCOMP_MODE_DISABLED)
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return fail(f, -ENOMEM, "no memory for seccomp filters");
	c->mode = mode;
	while (mode == SECCOMP_MODE_FILTER && r > 0)
		r = add_filter(c, tid, f);
	if (r < 0)
		return r;
	if (mode == SECCOMP_MODE_STRICT || c->n > 0)
		*ret = TAKE_PTR(c);
	return 0;
}

uint32_t confinement_answer(const struct confinement *c, uint64_t nr, const uint64_t args[6], uint64_t ip)
{
	struct seccomp_data call = { .nr = (int)nr, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = ip };

	for (size_t i = 0; i < 6; i++)
		call.args[i] = args[i];
	if (c->mode == SECCOMP_MODE_STRICT)
		return seccomp_eval_strict(&call);
	return seccomp_eval(c->programs, c->n, &call);
}

bool confinement_allows_restart(const struct confinement *c, const struct user_regs_struct *regs)
{
	const uint64_t args[6] = { regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9 };

	return seccomp_allows(confinement_answer(c, SYS_restart_syscall, args, regs->rip));
}
