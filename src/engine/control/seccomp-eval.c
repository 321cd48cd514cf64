/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine of classic BPF as seccomp(2) has it: accumulator, index register, 16 words of memory, forward jumps only, so
 * every program ends after at most as many steps as it has instructions. Loads are aligned words of struct seccomp_data.
 */
#include "engine/control/seccomp-eval.h"

#include <linux/audit.h>
#include <string.h>
#include <sys/syscall.h>

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
	const struct seccomp_data *call;
};

enum { REFUSED = -1, GOES_ON = 0, RETURNS = 1 };

static uint32_t operand(const struct machine *m, const struct sock_filter *in)
{
	return BPF_SRC(in->code) == BPF_X ? m->x : in->k;
}

/* Division by an index register of 0 ends the program with 0: SECCOMP_RET_KILL_THREAD. */
static int compute(struct machine *m, const struct sock_filter *in, uint32_t *ret)
{
	uint32_t by = operand(m, in);

	switch (BPF_OP(in->code)) {
	case BPF_ADD: m->a += by; break;
	case BPF_SUB: m->a -= by; break;
	case BPF_MUL: m->a *= by; break;
	case BPF_OR: m->a |= by; break;
	case BPF_AND: m->a &= by; break;
	case BPF_XOR: m->a ^= by; break;
	/* The kernel refuses constants of 32 and more, and takes the index register modulo 32. */
	case BPF_LSH: m->a <<= by & 31; break;
	case BPF_RSH: m->a >>= by & 31; break;
	case BPF_NEG: m->a = -m->a; break;
	case BPF_DIV:
		if (by == 0) {
			*ret = SECCOMP_RET_KILL_THREAD;
			return RETURNS;
		}
		m->a /= by;
		break;
	default:
		return REFUSED;
	}
	return GOES_ON;
}

static bool holds(const struct machine *m, const struct sock_filter *in)
{
	uint32_t with = operand(m, in);

	switch (BPF_OP(in->code)) {
	case BPF_JEQ: return m->a == with;
	case BPF_JGT: return m->a > with;
	case BPF_JGE: return m->a >= with;
	default: return (m->a & with) != 0; /* BPF_JSET */
	}
}

/* Moves *at, from the instruction behind the jump. */
static int jump(const struct machine *m, const struct sock_filter *in, size_t *at)
{
	switch (BPF_OP(in->code)) {
	case BPF_JA:
		*at += in->k;
		return GOES_ON;
	case BPF_JEQ:
	case BPF_JGT:
	case BPF_JGE:
	case BPF_JSET:
		*at += holds(m, in) ? in->jt : in->jf;
		return GOES_ON;
	default:
		return REFUSED;
	}
}

static int load(struct machine *m, const struct sock_filter *in, uint32_t *to, bool from_call)
{
	switch (BPF_MODE(in->code)) {
	case BPF_IMM:
		*to = in->k;
		return GOES_ON;
	case BPF_LEN:
		*to = sizeof(*m->call);
		return GOES_ON;
	case BPF_MEM:
		if (in->k >= BPF_MEMWORDS)
			return REFUSED;
		*to = m->memory[in->k];
		return GOES_ON;
	case BPF_ABS:
		if (!from_call || in->k % sizeof(*to) || in->k > sizeof(*m->call) - sizeof(*to))
			return REFUSED;
		memcpy(to, (const uint8_t *)m->call + in->k, sizeof(*to));
		return GOES_ON;
	default:
		return REFUSED;
	}
}

static int store(struct machine *m, const struct sock_filter *in, uint32_t value)
{
	if (in->k >= BPF_MEMWORDS)
		return REFUSED;
	m->memory[in->k] = value;
	return GOES_ON;
}

static int step(struct machine *m, const struct sock_filter *in, size_t *at, uint32_t *ret)
{
	switch (BPF_CLASS(in->code)) {
	case BPF_LD:
		return BPF_SIZE(in->code) == BPF_W ? load(m, in, &m->a, true) : REFUSED;
	case BPF_LDX:
		return BPF_SIZE(in->code) == BPF_W ? load(m, in, &m->x, false) : REFUSED;
	case BPF_ST:
		return store(m, in, m->a);
	case BPF_STX:
		return store(m, in, m->x);
	case BPF_ALU:
		return compute(m, in, ret);
	case BPF_JMP:
		return jump(m, in, at);
	case BPF_RET:
		*ret = BPF_RVAL(in->code) == BPF_A ? m->a : in->k;
		return RETURNS;
	default: /* BPF_MISC */
		*(BPF_MISCOP(in->code) == BPF_TXA ? &m->a : &m->x) = BPF_MISCOP(in->code) == BPF_TXA ? m->x : m->a;
		return GOES_ON;
	}
}

uint32_t seccomp_eval_one(const struct seccomp_program *program, const struct seccomp_data *call)
{
	struct machine m = { .call = call };
	uint32_t answer = SECCOMP_RET_KILL_PROCESS;

	for (size_t at = 0; at < program->n;) {
		const struct sock_filter *in = &program->code[at++];
		int r = step(&m, in, &at, &answer);

		if (r == REFUSED)
			return SECCOMP_RET_KILL_PROCESS;
		if (r == RETURNS)
			return answer;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

/* The kernel orders actions as signed numbers: KILL_PROCESS is the lowest of all. */
static int32_t strictness(uint32_t answer)
{
	return (int32_t)(answer & SECCOMP_RET_ACTION_FULL);
}

uint32_t seccomp_eval(const struct seccomp_program *programs, size_t n, const struct seccomp_data *call)
{
	uint32_t strictest = SECCOMP_RET_ALLOW;

	for (size_t i = 0; i < n; i++) {
		uint32_t answer = seccomp_eval_one(&programs[i], call);

		if (strictness(answer) < strictness(strictest))
			strictest = answer;
	}
	return strictest;
}

uint32_t seccomp_eval_strict(const struct seccomp_data *call)
{
	static const int allowed[] = { SYS_read, SYS_write, SYS_exit, SYS_rt_sigreturn };

	for (size_t i = 0; call->arch == AUDIT_ARCH_X86_64 && i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		if (call->nr == allowed[i])
			return SECCOMP_RET_ALLOW;
	}
	return SECCOMP_RET_KILL_THREAD;
}

bool seccomp_allows(uint32_t answer)
{
	uint32_t action = answer & SECCOMP_RET_ACTION_FULL;

	return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

bool seccomp_spares(uint32_t answer)
{
	uint32_t action = answer & SECCOMP_RET_ACTION_FULL;

	return seccomp_allows(answer) || action == SECCOMP_RET_ERRNO || action == SECCOMP_RET_TRACE;
}
