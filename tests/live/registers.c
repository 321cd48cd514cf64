/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of tasks that compute: general, flags, x87, SSE/AVX (AVX-512 with masks where the CPU
 * has it), gs base, in the main thread and in another, both held in a loop without system calls.
 */
#include <asm/prctl.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

/* Offsets are known to the assembly below. */
struct registers {
	uint64_t general[12]; /* 0: rax rbx rcx rbp r8..r15 */
	uint64_t mask[8];     /* 96: k0..k7 */
	uint32_t mxcsr;	      /* 160 */
	uint16_t x87_control; /* 164 */
	uint16_t pad;
	double x87[3];	/* 168 */
	uint64_t flags; /* 192 */
	uint8_t pad2[56];
	uint8_t vector[32][64]; /* 256 */
} __attribute__((aligned(64)));

/* Loads @in, loops until *@flag is not zero, stores all to @out. */
void spin_avx512(const struct registers *in, struct registers *out, volatile int *flag);
void spin_avx(const struct registers *in, struct registers *out, volatile int *flag);

__asm__(".macro live_enter\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	sub $16, %rsp\n"
	"	stmxcsr (%rsp)\n"
	"	fnstcw 4(%rsp)\n"
	"	ldmxcsr 160(%rdi)\n"
	"	fldcw 164(%rdi)\n"
	"	fldl 168(%rdi); fldl 176(%rdi); fldl 184(%rdi)\n"
	"	mov (%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rcx; mov 24(%rdi), %rbp\n"
	"	mov 32(%rdi), %r8; mov 40(%rdi), %r9; mov 48(%rdi), %r10; mov 56(%rdi), %r11\n"
	"	mov 64(%rdi), %r12; mov 72(%rdi), %r13; mov 80(%rdi), %r14; mov 88(%rdi), %r15\n"
	"	std\n"
	"1:	pause\n"
	"	cmpl $0, (%rdx)\n"
	"	je 1b\n"
	"	mov %rax, (%rsi); mov %rbx, 8(%rsi); mov %rcx, 16(%rsi); mov %rbp, 24(%rsi)\n"
	"	mov %r8, 32(%rsi); mov %r9, 40(%rsi); mov %r10, 48(%rsi); mov %r11, 56(%rsi)\n"
	"	mov %r12, 64(%rsi); mov %r13, 72(%rsi); mov %r14, 80(%rsi); mov %r15, 88(%rsi)\n"
	"	pushfq; pop %rax; mov %rax, 192(%rsi)\n"
	"	cld\n"
	"	fstpl 184(%rsi); fstpl 176(%rsi); fstpl 168(%rsi)\n"
	"	stmxcsr 160(%rsi)\n"
	"	fnstcw 164(%rsi)\n"
	"	ldmxcsr (%rsp)\n"
	"	fldcw 4(%rsp)\n"
	".endm\n"
	".macro live_leave\n"
	"	vzeroupper\n"
	"	add $16, %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	".endm\n"
	".text\n"
	".globl spin_avx512\n"
	"spin_avx512:\n"
	"	endbr64\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqu64 256+64*\\n(%rdi), %zmm\\n\n"
	".endr\n"
	".irp n,1,2,3,4,5,6,7\n"
	"	kmovq 96+8*\\n(%rdi), %k\\n\n"
	".endr\n"
	"	live_enter\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqu64 %zmm\\n, 256+64*\\n(%rsi)\n"
	".endr\n"
	".irp n,1,2,3,4,5,6,7\n"
	"	kmovq %k\\n, 96+8*\\n(%rsi)\n"
	".endr\n"
	"	live_leave\n"
	".globl spin_avx\n"
	"spin_avx:\n"
	"	endbr64\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu 256+64*\\n(%rdi), %ymm\\n\n"
	".endr\n"
	"	live_enter\n"
	".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vmovdqu %ymm\\n, 256+64*\\n(%rsi)\n"
	".endr\n"
	"	live_leave\n");

static volatile int stop;
static bool has_avx512;
static volatile bool spins;

static void fill(struct registers *r, uint32_t seed)
{
	live_fill(r->general, sizeof(r->general), seed);
	live_fill(r->mask, sizeof(r->mask), seed + 1);
	live_fill(r->vector, sizeof(r->vector), seed + 2);
	r->mxcsr =
		0x1f80 | 0x6000 | 0x8000; /* round to zero, flush to zero; all exceptions masked */
	r->x87_control = 0x0f7f;	  /* round to zero, extended precision */
	for (int i = 0; i < 3; i++)
		r->x87[i] = 1.5 + seed * 3.25 + i;
}

static void check(const char *who, const struct registers *in, const struct registers *out)
{
	static const char *const names[] = { "rax", "rbx", "rcx", "rbp", "r8",	"r9",
					     "r10", "r11", "r12", "r13", "r14", "r15" };

	for (int i = 0; i < 12; i++)
		live_check(in->general[i] == out->general[i], "%s: %s is kept", who, names[i]);
	live_check(out->flags & 1 << 10, "%s: the direction flag is kept (flags 0x%llx)", who,
		   (unsigned long long)out->flags);
	live_check(in->mxcsr == (out->mxcsr & ~0x3fu), "%s: mxcsr is 0x%x", who, out->mxcsr);
	live_check((in->x87_control & 0xf3f) == (out->x87_control & 0xf3f),
		   "%s: x87 control is 0x%x", who, out->x87_control);
	for (int i = 0; i < 3; i++)
		live_check(in->x87[i] == out->x87[i], "%s: x87 register %d is %g, should be %g",
			   who, i, out->x87[i], in->x87[i]);
	for (int i = 0; i < (has_avx512 ? 32 : 16); i++)
		live_check(memcmp(in->vector[i], out->vector[i], has_avx512 ? 64 : 32) == 0,
			   "%s: vector register %d is kept", who, i);
	for (int i = 1; has_avx512 && i < 8; i++)
		live_check(in->mask[i] == out->mask[i], "%s: mask register %d is kept", who, i);
}

static void spin(const struct registers *in, struct registers *out)
{
	if (has_avx512)
		spin_avx512(in, out, &stop);
	else
		spin_avx(in, out, &stop);
}

static void *other_thread(void *arg)
{
	struct registers *both = arg;

	spins = true;
	spin(&both[0], &both[1]);
	return NULL;
}

static void *stopper(void *arg)
{
	(void)arg;
	live_wait_term();
	stop = 1;
	return NULL;
}

int main(void)
{
	static struct registers mine[2], others[2];
	static uint64_t segment[2] = { 0x1122334455667788, 0 };
	pthread_t other, waiter;
	uint64_t by_gs;

	live_start();
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx"))
		live_skip("the CPU has no AVX");
	has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
	fill(&mine[0], 1000);
	fill(&others[0], 2000);
	live_need(syscall(SYS_arch_prctl, ARCH_SET_GS, segment) == 0, "ARCH_SET_GS");
	live_need(pthread_create(&other, NULL, other_thread, others) == 0, "pthread_create");
	live_need(pthread_create(&waiter, NULL, stopper, NULL) == 0, "pthread_create");
	while (!spins)
		(void)usleep(1000);

	live_ready();
	spin(&mine[0], &mine[1]);

	__asm__ volatile("mov %%gs:0, %0" : "=r"(by_gs));
	live_check(by_gs == segment[0], "the gs base is kept");
	(void)pthread_join(other, NULL);
	(void)pthread_join(waiter, NULL);
	check("main thread", &mine[0], &mine[1]);
	check("other thread", &others[0], &others[1]);
	return live_end();
}
