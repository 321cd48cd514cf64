/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/control/restart-call.h"
#include "engine/waits.h"

#include <cmocka.h>
#include <linux/futex.h>
#include <sys/syscall.h>

enum { NOW = 5000, LATER = 9000, ONE_SECOND = 1000000 };

/* An epoll_wait(2) that was put back at a stop, and what the next stop finds. */
static struct wait put_back(void)
{
	return (struct wait){ .tid = 7, .nr = SYS_epoll_wait, .code = CALL_EINTR, .args = { 4, 0x1000, 8, 2000 }, .rip = 0x402,
			      .rsp = 0x7000, .n_waits = 30, .until_usec = LATER, .begun = true };
}

#define CASE(expected, ...)                                                                        \
	do {                                                                                       \
		struct wait known = put_back(), seen = put_back();                                 \
		uint64_t now = NOW;                                                                \
		seen.until_usec = 0;                                                               \
		seen.n_waits = known.n_waits + 2;                                                  \
		__VA_ARGS__;                                                                       \
		assert_int_equal(wait_judge(&known, &seen, now), expected);                        \
	} while (0)

static void a_thread_that_slept_once_is_in_the_same_call(void **state)
{
	(void)state;
	CASE(WAIT_SAME, (void)now);
	CASE(WAIT_OVER, now = LATER);
	CASE(WAIT_SAME, seen.n_waits = known.n_waits + 1); /* stopped before it slept */
	CASE(WAIT_NEW, seen.n_waits = known.n_waits + 3);
	CASE(WAIT_NEW, seen.n_waits = known.n_waits - 1); /* another thread with its number */
	CASE(WAIT_SAME, known.until_usec = 0; now = LATER);
	assert_int_equal(wait_judge(NULL, &(struct wait){ .tid = 7 }, NOW), WAIT_NEW);
}

static void another_call_is_another_wait(void **state)
{
	(void)state;
	CASE(WAIT_NEW, seen.tid++);
	CASE(WAIT_NEW, seen.rip++);
	CASE(WAIT_NEW, seen.rsp--);
	CASE(WAIT_NEW, seen.nr = SYS_epoll_pwait);
	for (size_t i = 0; i < 6; i++)
		CASE(WAIT_NEW, seen.args[i]++);
}

static void in_front_of_the_instruction_it_has_slept_in_the_stop_only(void **state)
{
	(void)state;
	CASE(WAIT_SAME, seen.begun = false; seen.n_waits = known.n_waits + 1);
	CASE(WAIT_OVER, seen.begun = false; seen.n_waits = known.n_waits + 1; now = LATER);
	CASE(WAIT_NEW, seen.begun = false);
}

static void only_a_sleep_goes_on_by_restart_syscall(void **state)
{
	(void)state;
	CASE(WAIT_NEW, seen.nr = SYS_restart_syscall);
	CASE(WAIT_SAME, known.nr = SYS_nanosleep; known.code = CALL_RESTART_BLOCK; seen.nr = SYS_restart_syscall;
	     seen.n_waits = known.n_waits + 100);
}

static struct call_time time_of(long nr, int64_t code, struct user_regs_struct regs, const struct timespec *spec)
{
	const struct call_kind *kind = call_kind_find(nr, code);

	assert_non_null(kind);
	return call_time_of(kind, &regs, spec);
}

static void calls_say_how_long_they_wait(void **state)
{
	const struct timespec two = { 2, 1 }, bad = { 0, 1000000000 }, negative = { -1, 0 };
	struct user_regs_struct epoll = { .r10 = 2000 }, forever = { .r10 = (uint32_t)-1 };

	(void)state;
	assert_int_equal(time_of(SYS_epoll_wait, CALL_EINTR, epoll, NULL).usec, 2 * ONE_SECOND);
	assert_int_equal(time_of(SYS_epoll_wait, CALL_EINTR, forever, NULL).usec, 0);
	assert_int_equal(time_of(SYS_recvfrom, CALL_EINTR, forever, &two).usec, 2 * ONE_SECOND + 1);
	assert_int_equal(time_of(SYS_recvfrom, CALL_EINTR, forever, NULL).usec, 0);
	assert_int_equal(time_of(SYS_semtimedop, CALL_EINTR, forever, &bad).usec, 0);
	assert_int_equal(time_of(SYS_semtimedop, CALL_EINTR, forever, &negative).usec, 0);
	assert_null(call_kind_find(SYS_read, CALL_RESTART_BLOCK));
	assert_null(call_kind_find(SYS_close, CALL_EINTR));
}

static void a_moment_is_no_length_of_time(void **state)
{
	const struct timespec ts = { 2, 0 };
	struct user_regs_struct futex = { .rsi = FUTEX_WAIT_PRIVATE }, until = { .rsi = FUTEX_WAIT_BITSET_PRIVATE },
				by_clock = { .rsi = FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME },
				cpu = { .rdi = CLOCK_PROCESS_CPUTIME_ID };

	(void)state;
	assert_false(time_of(SYS_futex, CALL_RESTART_BLOCK, futex, &ts).absolute);
	assert_true(time_of(SYS_futex, CALL_RESTART_BLOCK, until, &ts).absolute);
	assert_int_equal(time_of(SYS_futex, CALL_RESTART_BLOCK, by_clock, &ts).clock, CLOCK_REALTIME);
	assert_int_equal(time_of(SYS_clock_nanosleep, CALL_RESTART_BLOCK, cpu, &ts).usec, 0);
}

static void what_was_not_looked_at_is_carried(void **state)
{
	struct wait one = { .tid = 1, .until_usec = 10 }, two = { .tid = 2, .until_usec = 20 }, anew = { .tid = 1, .until_usec = 30 };
	struct waits before = {}, now = {};

	(void)state;
	assert_int_equal(waits_add(&before, &one), 0);
	assert_int_equal(waits_add(&before, &two), 0);
	assert_int_equal(waits_add(&now, &anew), 0);
	waits_carry(&now, &before);
	assert_int_equal(now.n, 2);
	assert_int_equal(now.items[0].until_usec, 30);
	assert_int_equal(now.items[1].tid, 2);
	waits_done(&before);
	waits_done(&now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_that_slept_once_is_in_the_same_call),
		cmocka_unit_test(another_call_is_another_wait),
		cmocka_unit_test(in_front_of_the_instruction_it_has_slept_in_the_stop_only),
		cmocka_unit_test(only_a_sleep_goes_on_by_restart_syscall),
		cmocka_unit_test(calls_say_how_long_they_wait),
		cmocka_unit_test(a_moment_is_no_length_of_time),
		cmocka_unit_test(what_was_not_looked_at_is_carried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
