/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits that are lower than what the task holds already: timers, queued signals, descriptors, memory; of root and of a user.
 * live-across: no, CRIU sets limits before timers
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL

enum {
	NOBODY = 65534,
	N_QUEUED = 5, /* of each of two signals */
	N_FDS = 40,
	MEMORY_BYTES = 64 << 20,
};

static const struct low {
	const char *name;
	int which;
	rlim_t cur, max;
} lows[] = {
	{ "RLIMIT_SIGPENDING", RLIMIT_SIGPENDING, 0, 0 },
	{ "RLIMIT_NOFILE", RLIMIT_NOFILE, 8, 200 },
	{ "RLIMIT_NPROC", RLIMIT_NPROC, 0, 0 },
	{ "RLIMIT_MEMLOCK", RLIMIT_MEMLOCK, 0, 0 },
	{ "RLIMIT_STACK", RLIMIT_STACK, 8 << 10, 16 << 10 },
	{ "RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE, 0, 0 },
	{ "RLIMIT_FSIZE", RLIMIT_FSIZE, 100, RLIM_INFINITY },
	{ "RLIMIT_NICE", RLIMIT_NICE, 0, 0 },
	{ "RLIMIT_RTPRIO", RLIMIT_RTPRIO, 0, 0 },
	{ "RLIMIT_CPU", RLIMIT_CPU, 100, 200 },
	{ "RLIMIT_RTTIME", RLIMIT_RTTIME, 1000000, 2000000 },
};
#define N ((int)(sizeof(lows) / sizeof(lows[0])))

struct held {
	timer_t timer;
	unsigned char *locked, *memory;
	int file, last_fd;
};

static void hold(struct held *h)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3 };
	const struct itimerspec hour = { .it_value.tv_sec = 3600 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	live_need(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "sigprocmask");
	for (int i = 0; i < N_QUEUED; i++)
		live_need(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = i }) == 0 &&
				  sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = i }) == 0,
			  "sigqueue");
	live_need(timer_create(CLOCK_MONOTONIC, &event, &h->timer) == 0, "timer_create");
	live_need(timer_settime(h->timer, 0, &hour, NULL) == 0, "timer_settime");
	h->locked = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	h->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	live_need(h->locked != MAP_FAILED && h->memory != MAP_FAILED, "mmap");
	live_need(mlock(h->locked, 4 * PAGE) == 0, "mlock");
	h->memory[MEMORY_BYTES / 2] = 77;
	h->file = open(live_path("long"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	live_need(h->file >= 0 && pwrite(h->file, "end", 3, 10000) == 3, "file");
	for (int i = 0; i < N_FDS; i++)
		h->last_fd = dup(h->file);
	live_need(h->last_fd > 8, "dup");
}

static void check_queue(int sig)
{
	const struct timespec now = { 0 };
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	for (int i = 0; i < N_QUEUED; i++)
		live_check(sigtimedwait(&set, &info, &now) == sig && info.si_value.sival_int == i, "signal %d, number %d",
			   sig, i);
}

static void check(const struct held *h)
{
	struct rlimit is[N];
	struct itimerspec left;
	struct stat st;

	for (int i = 0; i < N; i++)
		live_need(getrlimit(lows[i].which, &is[i]) == 0, "getrlimit");
	/* To have room for a verdict. */
	(void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 200, 200 });
	(void)setrlimit(RLIMIT_FSIZE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	for (int i = 0; i < N; i++)
		live_check(is[i].rlim_cur == lows[i].cur && is[i].rlim_max == lows[i].max, "%s is %llu, %llu",
			   lows[i].name, (unsigned long long)is[i].rlim_cur, (unsigned long long)is[i].rlim_max);
	live_check(timer_gettime(h->timer, &left) == 0 && left.it_value.tv_sec > 0, "the timer runs");
	check_queue(SIGRTMIN + 1);
	check_queue(SIGRTMIN + 2);
	live_check(live_vma_has(h->locked, "lo"), "memory is locked");
	live_same("memory", h->memory[MEMORY_BYTES / 2], 77);
	live_check(fstat(h->last_fd, &st) == 0 && st.st_size == 10003, "the last descriptor is there");
}

static void lower(void)
{
	for (int i = 0; i < N; i++)
		live_need(setrlimit(lows[i].which, &(struct rlimit){ lows[i].cur, lows[i].max }) == 0, "setrlimit %s",
			  lows[i].name);
}

static void body(void *arg)
{
	const uid_t *uid = arg;
	struct held h;

	hold(&h);
	live_need(setresgid(*uid, *uid, *uid) == 0 && setresuid(*uid, *uid, *uid) == 0, "setresuid");
	live_child_ready(); /* before it may not write any more */
	lower();
	live_wait_term();
	check(&h);
}

int main(void)
{
	uid_t uids[2] = { 0, NOBODY };
	pid_t children[2];

	live_start();
	if (geteuid() != 0)
		live_skip("only root can change its user");
	for (int i = 0; i < 2; i++)
		children[i] = live_fork(body, &uids[i]);
	(void)usleep(200000); /* until they have lowered their limits */
	live_wait();
	for (int i = 0; i < 2; i++)
		live_join(children[i]);
	return live_end();
}
