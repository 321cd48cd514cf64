/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/audit.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "basic/cleanup.h"
#include "engine/control/seccomp-eval.h"

#define LOAD(field)	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(answer)	BPF_STMT(BPF_RET | BPF_K, answer)
#define UNLESS(k, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, skip)

static const struct seccomp_data a_call = {
	.nr = SYS_getpid,
	.arch = AUDIT_ARCH_X86_64,
	.instruction_pointer = 0x7f0000001002,
	.args = { 1, 2, 0x100000003, 4, 5, 6 },
};

static uint32_t run(const struct sock_filter *code, size_t n)
{
	return seccomp_eval_one(&(struct seccomp_program){ code, n }, &a_call);
}
#define RUN(...)                                                                                                       \
	({                                                                                                             \
		const struct sock_filter code_[] = { __VA_ARGS__ };                                                    \
		run(code_, ARRAY_SIZE(code_));                                                                         \
	})

static void decides_by_number_architecture_pointer_and_arguments(void **state)
{
	(void)state;
	assert_int_equal(RUN(LOAD(nr), UNLESS(SYS_getpid, 1), RETURN(7), RETURN(8)), 7);
	assert_int_equal(RUN(LOAD(nr), UNLESS(SYS_read, 1), RETURN(7), RETURN(8)), 8);
	assert_int_equal(RUN(LOAD(arch), UNLESS(AUDIT_ARCH_X86_64, 1), RETURN(7), RETURN(8)), 7);
	assert_int_equal(RUN(LOAD(instruction_pointer), UNLESS(0x1002, 1), RETURN(7), RETURN(8)), 7);
	assert_int_equal(RUN(LOAD(args[2]), UNLESS(3, 1), RETURN(7), RETURN(8)), 7);
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]) + 4),
			     UNLESS(1, 1), RETURN(7), RETURN(8)),
			 7);
}

static void computes(void **state)
{
	(void)state;
	/* ((6 * 7 - 2) / 4 ^ 3) << 2 | 1, then & 0xff, negated twice */
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 7),
			     BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 2), BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 4),
			     BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, 3), BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 2),
			     BPF_STMT(BPF_ALU | BPF_OR | BPF_K, 1), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff),
			     BPF_STMT(BPF_ALU | BPF_NEG, 0), BPF_STMT(BPF_ALU | BPF_NEG, 0),
			     BPF_STMT(BPF_RET | BPF_A, 0)),
			 ((((6 * 7 - 2) / 4) ^ 3) << 2) | 1);
	/* memory, index register, length of the data */
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_ST, 15), BPF_STMT(BPF_LD | BPF_IMM, 9),
			     BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_LD | BPF_MEM, 15),
			     BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0), BPF_STMT(BPF_RET | BPF_A, 0)),
			 sizeof(struct seccomp_data) + 9);
	/* a division by an index register of 0 ends the program */
	assert_int_equal(RUN(BPF_STMT(BPF_LDX | BPF_IMM, 0), BPF_STMT(BPF_LD | BPF_IMM, 9),
			     BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), RETURN(SECCOMP_RET_ALLOW)),
			 SECCOMP_RET_KILL_THREAD);
}

static void jumps(void **state)
{
	(void)state;
	assert_int_equal(RUN(BPF_STMT(BPF_JMP | BPF_JA, 1), RETURN(1), RETURN(2)), 2);
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_IMM, 5), BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 5, 0, 1), RETURN(1),
			     RETURN(2)),
			 2);
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_IMM, 5), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 5, 0, 1), RETURN(1),
			     RETURN(2)),
			 1);
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_IMM, 6), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 4, 0, 1), RETURN(1),
			     RETURN(2)),
			 1);
}

static void what_is_broken_is_taken_for_a_kill(void **state)
{
	(void)state;
	assert_int_equal(run(NULL, 0), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(RUN(BPF_STMT(BPF_JMP | BPF_JA, 0)), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(RUN(BPF_STMT(BPF_JMP | BPF_JA, UINT32_MAX), RETURN(SECCOMP_RET_ALLOW)),
			 SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof(struct seccomp_data)), RETURN(SECCOMP_RET_ALLOW)),
			 SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), RETURN(SECCOMP_RET_ALLOW)),
			 SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(RUN(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RETURN(SECCOMP_RET_ALLOW)), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(RUN(BPF_STMT(BPF_ST, BPF_MEMWORDS), RETURN(SECCOMP_RET_ALLOW)), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(RUN(BPF_STMT(BPF_LDX | BPF_MEM, BPF_MEMWORDS), RETURN(SECCOMP_RET_ALLOW)),
			 SECCOMP_RET_KILL_PROCESS);
}

static void the_strictest_filter_counts(void **state)
{
	static const struct sock_filter allow[] = { RETURN(SECCOMP_RET_ALLOW) }, error[] = { RETURN(SECCOMP_RET_ERRNO | 3) },
					newer[] = { RETURN(SECCOMP_RET_ERRNO | 4) }, kill[] = { RETURN(SECCOMP_RET_KILL_PROCESS) },
					thread[] = { RETURN(SECCOMP_RET_KILL_THREAD) }, log[] = { RETURN(SECCOMP_RET_LOG) };
	const struct seccomp_program errors[] = { { newer, 1 }, { allow, 1 }, { error, 1 } };
	const struct seccomp_program kills[] = { { thread, 1 }, { kill, 1 }, { log, 1 } };

	(void)state;
	assert_int_equal(seccomp_eval(NULL, 0, &a_call), SECCOMP_RET_ALLOW);
	assert_int_equal(seccomp_eval(errors, 3, &a_call), SECCOMP_RET_ERRNO | 4);
	assert_int_equal(seccomp_eval(kills, 3, &a_call), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(seccomp_eval(kills + 2, 1, &a_call), SECCOMP_RET_LOG);
}

static void strict_mode_allows_four_calls(void **state)
{
	struct seccomp_data call = a_call;

	(void)state;
	assert_int_equal(seccomp_eval_strict(&call), SECCOMP_RET_KILL_THREAD);
	call.nr = SYS_rt_sigreturn;
	assert_int_equal(seccomp_eval_strict(&call), SECCOMP_RET_ALLOW);
	call.arch = AUDIT_ARCH_I386;
	assert_int_equal(seccomp_eval_strict(&call), SECCOMP_RET_KILL_THREAD);
}

static void tells_harm_from_refusal(void **state)
{
	(void)state;
	assert_true(seccomp_allows(SECCOMP_RET_ALLOW) && seccomp_allows(SECCOMP_RET_LOG));
	assert_false(seccomp_allows(SECCOMP_RET_ERRNO) || seccomp_allows(SECCOMP_RET_TRACE));
	assert_true(seccomp_spares(SECCOMP_RET_ERRNO | 1) && seccomp_spares(SECCOMP_RET_TRACE));
	assert_false(seccomp_spares(SECCOMP_RET_TRAP) || seccomp_spares(SECCOMP_RET_KILL_THREAD) ||
		     seccomp_spares(SECCOMP_RET_KILL_PROCESS) || seccomp_spares(SECCOMP_RET_USER_NOTIF));
	assert_false(seccomp_spares(0x12340000)); /* no action that is known */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decides_by_number_architecture_pointer_and_arguments),
		cmocka_unit_test(computes),
		cmocka_unit_test(jumps),
		cmocka_unit_test(what_is_broken_is_taken_for_a_kill),
		cmocka_unit_test(the_strictest_filter_counts),
		cmocka_unit_test(strict_mode_allows_four_calls),
		cmocka_unit_test(tells_harm_from_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
