/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process of threads with seccomp filters, each with its own, that are lists of what is allowed: the target of kills of the
 * engine. Whatever a dump leaves to a thread to do by itself, its filter punishes. Each thread counts its rounds in a
 * shared file (`counters`: one 64-bit number a thread, then how often a signal was handled, then how many calls went wrong).
 *
 * usage: confined ACTION	kill, kill-thread, trap, errno or log: for all threads
 *	  confined mixed	another action for each, one in strict mode, one without a filter
 *	  confined strict	all in strict mode
 *	  confined dispatch	no filters: all have their system calls dispatched to themselves, and let them all through
 *
 * A thread that is confined cannot say "ready", nor check its signal mask: that is done from outside.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { N_THREADS = 5, HANDLED = N_THREADS, WRONG, N_COUNTERS, NONE = -1, STRICT = -2, DISPATCH = -3, ALLOWED_MAX = 8 };

static volatile uint64_t *counters;
static pthread_barrier_t start;
static int zero_fd;
static char let_through = SYSCALL_DISPATCH_FILTER_ALLOW;

/* What each thread may call; the leader is the first. rt_sigprocmask is allowed to two, restart_syscall not to two. */
static const int allowed[N_THREADS][ALLOWED_MAX] = {
	{ SYS_clock_nanosleep, SYS_rt_sigreturn, NONE },
	{ SYS_clock_nanosleep, NONE },
	{ SYS_clock_nanosleep, SYS_restart_syscall, SYS_rt_sigprocmask, SYS_munmap, SYS_mmap, NONE },
	{ SYS_sched_yield, NONE },
	{ SYS_clock_nanosleep, SYS_restart_syscall, SYS_rt_sigprocmask, SYS_getpid, NONE },
};

static const struct {
	const char *name;
	int64_t action;
} actions[] = {
	{ "kill", SECCOMP_RET_KILL_PROCESS }, { "kill-thread", SECCOMP_RET_KILL_THREAD },
	{ "trap", SECCOMP_RET_TRAP },	      { "errno", SECCOMP_RET_ERRNO | 71 },
	{ "log", SECCOMP_RET_LOG },	      { "strict", STRICT },
	{ "dispatch", DISPATCH },
};

static int64_t action_of(const char *name, int thread)
{
	static const char *const mixed[N_THREADS] = { "kill", "none", "trap", "strict", "errno" };

	if (strcmp(name, "mixed") == 0)
		name = mixed[thread];
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(name, actions[i].name) == 0)
			return actions[i].action;
	}
	return NONE;
}

static void need(int ok)
{
	if (!ok)
		_exit(1);
}

static void confine(int thread, int64_t action)
{
	struct sock_filter code[2 * ALLOWED_MAX + 2];
	struct sock_fprog program = { .filter = code };

	if (action == STRICT)
		need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
	if (action == DISPATCH)
		need(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &let_through) == 0);
	if (action < 0)
		return;
	code[program.len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; allowed[thread][i] != NONE; i++) {
		code[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[thread][i], 0, 1);
		code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (uint32_t)action);
	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
}

static void work(int thread, int64_t action)
{
	const struct timespec pause = { .tv_nsec = 700000 };
	uint64_t zeros = 1;
	long r;

	for (;;) {
		if (action == STRICT)
			r = syscall(SYS_read, zero_fd, &zeros, sizeof(zeros)) != sizeof(zeros) || zeros;
		else if (allowed[thread][0] == SYS_sched_yield)
			r = syscall(SYS_sched_yield);
		else
			r = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, NULL);
		counters[WRONG] += r != 0 && !(thread == 0 && action != STRICT); /* the leader's sleeps are interrupted */
		counters[thread]++;
	}
}

static const char *mode;

static void *run(void *arg)
{
	int thread = (int)(intptr_t)arg;
	int64_t action = action_of(mode, thread);

	pthread_barrier_wait(&start);
	confine(thread, action);
	work(thread, action);
	return NULL;
}

static void on_alarm(int sig)
{
	(void)sig;
	counters[HANDLED]++;
}

int main(int argc, char **argv)
{
	const struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	const struct itimerval every = { { 0, 1500 }, { 0, 1500 } };
	int fd = open("counters", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	pthread_t thread;
	sigset_t set;

	mode = argc > 1 ? argv[1] : "kill";
	need(fd >= 0 && ftruncate(fd, 4096) == 0);
	counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(counters != MAP_FAILED && close(fd) == 0);
	zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	need(zero_fd >= 0 && sigaction(SIGALRM, &sa, NULL) == 0);
	need(pthread_barrier_init(&start, NULL, N_THREADS) == 0);

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigaddset(&set, SIGUSR2);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (int i = 1; i < N_THREADS; i++)
		need(pthread_create(&thread, NULL, run, (void *)(intptr_t)i) == 0);
	sigdelset(&set, SIGUSR2);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	need(setitimer(ITIMER_REAL, &every, NULL) == 0);
	need(close(open("ready", O_WRONLY | O_CREAT | O_CLOEXEC, 0666)) == 0);
	run(NULL);
	return 1;
}
