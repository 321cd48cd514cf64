/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The only code of ours that ever runs inside a task. Position independent; needs no stack.
 *
 * stub_batch	r12 = table of { nr, args[6], ret } (struct remote_call), r13 = number of entries,
 *		rbp = data area (or 0). Runs them all, stores results.
 * stub_one	rbx = nr, r12 r13 r14 r15 r8 r9 = arguments; the result is left in rbx. rbp = data area; -1 means
 *		"this very call maps it" and takes the result.
 *
 * stub_fork	r12 = flags of clone(2). The child is stopped by the tracer before it runs at all; without one it
 *		exits. Its pid is left in rbx. rbp as above. Stops at stub_fork_stop; the way home from there waits for the
 *		child (__WCLONE).
 *
 * All end by sending themselves a signal (slot_signal) whose default is to be ignored: a tracer sees it and stops
 * the thread at its stop. Without a tracer nothing happens and the thread goes home by itself: all signals
 * blocked, the data area unmapped (its address is in a register: there is no moment at which it is mapped but not known),
 * and every register loaded from the slots. No signal frame is built: FPU state was never touched.
 *
 * Every call but those of the way home is made by the one instruction at stub_call. To write two other bytes over
 * it, a jump to stub_stop, makes all of them impossible: remote.c does so where a seccomp filter would judge them.
 *
 * The way home begins with a wait of slot_wait turns, for whoever can take the thread home without a call of its own (remote.c).
 */
	.text
	.globl	stub_begin, stub_end, stub_batch, stub_one, stub_fork, stub_stop, stub_fork_stop, stub_slots
	.globl	stub_call, stub_leave, stub_ip_all, stub_ip_unmap, stub_ip_mask

	.balign	8
stub_begin:
stub_batch:
1:	test	%r13, %r13
	jz	stub_done
	mov	0(%r12), %rax
	mov	8(%r12), %rdi
	mov	16(%r12), %rsi
	mov	24(%r12), %rdx
	mov	32(%r12), %r10
	mov	40(%r12), %r8
	mov	48(%r12), %r9
	lea	2f(%rip), %r14
	jmp	stub_call
2:	mov	%rax, 56(%r12)
	add	$64, %r12
	dec	%r13
	jmp	1b

stub_one:
	mov	%rbx, %rax
	mov	%r12, %rdi
	mov	%r13, %rsi
	mov	%r14, %rdx
	mov	%r15, %r10
	lea	1f(%rip), %r14
	jmp	stub_call
1:	mov	%rax, %rbx
	test	%rbp, %rbp
	cmovs	%rax, %rbp

stub_done:
	lea	stub_stop(%rip), %r15
stub_signal:			/* then to r15 */
	mov	$39, %eax		/* getpid */
	lea	1f(%rip), %r14
	jmp	stub_call
1:	mov	%eax, %r12d
	mov	$186, %eax		/* gettid */
	lea	1f(%rip), %r14
	jmp	stub_call
1:	mov	%eax, %esi
	mov	%r12d, %edi
	mov	slot_signal(%rip), %edx
	mov	$234, %eax		/* tgkill */
	mov	%r15, %r14
	jmp	stub_call

stub_fork:
	mov	$56, %eax		/* clone(flags, 0, 0, 0, 0) */
	mov	%r12, %rdi
	xor	%esi, %esi
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	lea	1f(%rip), %r14
	jmp	stub_call
1:	mov	%rax, %rbx
	lea	stub_fork_stop(%rip), %r15
	test	%rax, %rax
	jnz	stub_signal
	mov	$231, %eax		/* exit_group(0), not by way of stub_call: this is the child */
	xor	%edi, %edi
	syscall
	hlt				/* a filter refused even that: it must not go on as a second parent */
stub_fork_stop:
	mov	$61, %eax		/* wait4(child, NULL, __WCLONE, NULL); an error code: harmless */
	mov	%rbx, %rdi
	xor	%esi, %esi
	mov	$0x80000000, %edx
	xor	%r10d, %r10d
	lea	stub_stop(%rip), %r14

stub_call:
	syscall				/* two bytes, and so is "jmp stub_stop" */
	jmp	*%r14

stub_stop:
	mov	slot_wait(%rip), %rcx
1:	test	%rcx, %rcx
	jz	stub_leave
	pause
	dec	%rcx
	jmp	1b
stub_leave:
	mov	$14, %eax		/* rt_sigprocmask(SIG_SETMASK, all, NULL, 8) */
	mov	$2, %edi
	lea	slot_all(%rip), %rsi
	xor	%edx, %edx
	mov	$8, %r10d
	syscall
stub_ip_all:
	test	%rbp, %rbp
	jz	1f
	mov	slot_data_size(%rip), %rsi
	test	%rsi, %rsi
	jz	1f			/* a filter refuses it: the area stays */
	mov	$11, %eax		/* munmap(data); an error code: harmless */
	mov	%rbp, %rdi
	syscall
stub_ip_unmap:
1:
	lea	slot_flags(%rip), %rsp	/* nothing can be delivered here */
	popfq
	mov	slot_rsp(%rip), %rsp
	mov	$14, %eax
	mov	$2, %edi
	lea	slot_mask(%rip), %rsi
	mov	$0, %edx		/* mov keeps the flags */
	mov	$8, %r10d
	syscall
stub_ip_mask:
	mov	slot_rax(%rip), %rax	/* signals may come from here on: the stack is the right one again */
	mov	slot_rbx(%rip), %rbx
	mov	slot_rcx(%rip), %rcx
	mov	slot_rdx(%rip), %rdx
	mov	slot_rsi(%rip), %rsi
	mov	slot_rdi(%rip), %rdi
	mov	slot_rbp(%rip), %rbp
	mov	slot_r8(%rip), %r8
	mov	slot_r9(%rip), %r9
	mov	slot_r10(%rip), %r10
	mov	slot_r11(%rip), %r11
	mov	slot_r12(%rip), %r12
	mov	slot_r13(%rip), %r13
	mov	slot_r14(%rip), %r14
	mov	slot_r15(%rip), %r15
	jmp	*slot_rip(%rip)

	/* struct stub_slots of remote.c */
	.balign	8
stub_slots:
slot_signal:	.long 0
		.long 0
slot_all:	.quad 0
slot_wait:	.quad 0
slot_mask:	.quad 0
slot_data_size:	.quad 0
slot_flags:	.quad 0
slot_rsp:	.quad 0
slot_rip:	.quad 0
slot_rax:	.quad 0
slot_rbx:	.quad 0
slot_rcx:	.quad 0
slot_rdx:	.quad 0
slot_rsi:	.quad 0
slot_rdi:	.quad 0
slot_rbp:	.quad 0
slot_r8:	.quad 0
slot_r9:	.quad 0
slot_r10:	.quad 0
slot_r11:	.quad 0
slot_r12:	.quad 0
slot_r13:	.quad 0
slot_r14:	.quad 0
slot_r15:	.quad 0
stub_end:
	.section .note.GNU-stack, "", @progbits
