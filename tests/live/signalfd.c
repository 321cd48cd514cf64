/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * signalfd: mask, flags, and a signal that was pending before the dump and is read after the
 * restore.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "live.h"

int main(void)
{
	struct signalfd_siginfo info = { 0 };
	union sigval value = { .sival_int = 4711 };
	sigset_t set;
	int fd, other;

	live_start();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	live_need(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "sigprocmask");
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	live_need(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "sigprocmask");
	other = signalfd(-1, &set, 0);
	live_need(fd >= 0 && other >= 0, "signalfd");
	live_need(sigqueue(getpid(), SIGRTMIN + 3, value) == 0, "sigqueue");

	live_wait();

	live_check(read(fd, &info, sizeof(info)) == sizeof(info), "the pending signal can be read");
	live_same("its number", info.ssi_signo, SIGRTMIN + 3);
	live_same("its value", info.ssi_int, 4711);
	live_same("its sender", info.ssi_pid, getpid());
	live_check(read(fd, &info, sizeof(info)) < 0 && errno == EAGAIN, "there is one");
	live_check(kill(getpid(), SIGUSR1) == 0 && read(fd, &info, sizeof(info)) == sizeof(info) &&
			   info.ssi_signo == SIGUSR1,
		   "a new signal is read");
	live_check(kill(getpid(), SIGUSR2) == 0 && read(fd, &info, sizeof(info)) < 0,
		   "one outside the mask not");
	live_check(read(other, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGUSR2,
		   "but by the descriptor that has it");
	live_same("flags", fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
	live_same("close-on-exec", fcntl(fd, F_GETFD), FD_CLOEXEC);
	return live_end();
}
