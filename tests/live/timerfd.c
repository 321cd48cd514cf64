/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * timerfd: armed far away with an interval, expired and not read, disarmed, absolute, and one that
 * expires after the restore.
 * live-time-namespace: yes
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

static int make(int clock, int flags, int timer_flags, time_t value, long value_nsec,
		time_t interval)
{
	struct itimerspec spec = { .it_value = { value, value_nsec },
				   .it_interval = { interval, 0 } };
	int fd = timerfd_create(clock, flags);

	live_need(fd >= 0 && timerfd_settime(fd, timer_flags, &spec, NULL) == 0, "timerfd");
	return fd;
}

static time_t now(int clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return ts.tv_sec;
}

int main(void)
{
	int far, expired, off, absolute, soon;
	struct itimerspec spec;
	struct pollfd poll_fd;
	uint64_t ticks = 0;

	live_start();
	far = make(CLOCK_MONOTONIC, TFD_CLOEXEC, 0, 5000, 0, 77);
	expired = make(CLOCK_BOOTTIME, TFD_NONBLOCK, 0, 0, 1000000, 0);
	off = make(CLOCK_REALTIME, TFD_NONBLOCK, 0, 0, 0, 0);
	absolute = make(CLOCK_REALTIME, 0, TFD_TIMER_ABSTIME, now(CLOCK_REALTIME) + 7000, 0, 0);
	soon = make(CLOCK_MONOTONIC, 0, 0, 0, 300000000, 0);
	poll_fd = (struct pollfd){ .fd = expired, .events = POLLIN };
	live_need(poll(&poll_fd, 1, 2000) == 1, "the timer expires");

	live_wait();

	live_check(timerfd_gettime(far, &spec) == 0 && spec.it_value.tv_sec > 4900 &&
			   spec.it_value.tv_sec <= 5000,
		   "a far timer has %lld s left", (long long)spec.it_value.tv_sec);
	live_same("its interval", spec.it_interval.tv_sec, 77);
	live_same("close-on-exec", fcntl(far, F_GETFD), FD_CLOEXEC);
	live_check(read(expired, &ticks, 8) == 8 && ticks == 1,
		   "an expired timer has ticked once (%llu)", (unsigned long long)ticks);
	live_check(read(expired, &ticks, 8) < 0 && errno == EAGAIN, "and only once");
	live_check(timerfd_gettime(off, &spec) == 0 && spec.it_value.tv_sec == 0 &&
			   spec.it_value.tv_nsec == 0,
		   "a disarmed timer stays so");
	live_check(read(off, &ticks, 8) < 0 && errno == EAGAIN, "and does not block");
	live_check(timerfd_gettime(absolute, &spec) == 0 && spec.it_value.tv_sec > 6900 &&
			   spec.it_value.tv_sec <= 7000,
		   "the absolute timer has %lld s left", (long long)spec.it_value.tv_sec);
	poll_fd.fd = soon;
	live_check(poll(&poll_fd, 1, 5000) == 1 && read(soon, &ticks, 8) == 8 && ticks == 1,
		   "a timer set before fires after");
	return live_end();
}
