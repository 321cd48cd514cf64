/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A periodic timerfd that expired and was not read: the kernel arms it again only when somebody
 * looks.
 * live-across: to, CRIU 4.2 saves such a timer as disarmed
 */
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "live.h"

int main(void)
{
	struct itimerspec spec = { .it_value.tv_nsec = 1000000, .it_interval.tv_sec = 9000 };
	struct pollfd poll_fd = { .events = POLLIN };
	uint64_t ticks = 0;

	live_start();
	poll_fd.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	live_need(poll_fd.fd >= 0 && timerfd_settime(poll_fd.fd, 0, &spec, NULL) == 0, "timerfd");
	live_need(poll(&poll_fd, 1, 2000) == 1, "the timer expires");

	live_wait();

	live_check(read(poll_fd.fd, &ticks, 8) == 8 && ticks == 1,
		   "it has ticked once, not %llu times", (unsigned long long)ticks);
	live_check(timerfd_gettime(poll_fd.fd, &spec) == 0 && spec.it_interval.tv_sec == 9000 &&
			   spec.it_value.tv_sec > 8900 && spec.it_value.tv_sec < 9000,
		   "it goes on: %lld s left, every %lld s", (long long)spec.it_value.tv_sec,
		   (long long)spec.it_interval.tv_sec);
	return live_end();
}
