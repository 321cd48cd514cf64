/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tree that does not hold still: threads come and go, children are forked and reaped, memory is
 * mapped, written, moved and unmapped, numbers go through pipes to another process and back.
 * Nothing may be lost, doubled or fail.
 * live-volatile: .*
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL

static volatile bool stop;
static volatile unsigned long n_rounds[5];
static int to_echo[2], from_echo[2];

/* A fault is reported once, with errno; the worker goes on. */
static void fault(const char *what)
{
	static _Atomic int n;

	if (n++ < 10)
		live_check(false, "%s: errno %d (%s)", what, errno, strerror(errno));
}

static void *short_thread(void *arg)
{
	return (char *)arg + 1;
}

static void *thread_maker(void *arg)
{
	pthread_t thread;
	void *result;

	while (!stop) {
		if (pthread_create(&thread, NULL, short_thread, (void *)n_rounds[0]) != 0)
			fault("pthread_create");
		else if (pthread_join(thread, &result) != 0 ||
			 (unsigned long)result != n_rounds[0] + 1)
			fault("pthread_join");
		n_rounds[0]++;
	}
	return arg;
}

static void *child_maker(void *arg)
{
	int status;
	pid_t child;

	while (!stop) {
		child = fork();
		if (child == 0)
			_exit((int)(n_rounds[1] & 0x7f));
		if (child < 0)
			fault("fork");
		else if (waitpid(child, &status, 0) != child)
			fault("waitpid");
		else if (status != (int)(n_rounds[1] & 0x7f) << 8)
			live_check(false, "a child ends with 0x%x, should be 0x%lx",
				   (unsigned)status, (n_rounds[1] & 0x7f) << 8);
		n_rounds[1]++;
	}
	return arg;
}

static void *mapper(void *arg)
{
	while (!stop) {
		uint32_t seed = (uint32_t)n_rounds[2];
		size_t size = (1 + seed % 16) * PAGE;
		unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED) {
			fault("mmap");
			continue;
		}
		live_fill(p, size, seed);
		p = mremap(p, size, size + 4 * PAGE, MREMAP_MAYMOVE);
		if (p == MAP_FAILED || mprotect(p, PAGE, PROT_READ) < 0)
			fault("mremap, mprotect");
		else if (live_differs(p, size, seed) >= 0)
			live_check(false, "round %u: memory differs from offset %zd", seed,
				   live_differs(p, size, seed));
		if (munmap(p, size + 4 * PAGE) < 0)
			fault("munmap");
		n_rounds[2]++;
	}
	return arg;
}

static void *writer(void *arg)
{
	static unsigned long area[1 << 16];
	unsigned long round = 0;

	while (!stop) {
		for (size_t i = 0; i < sizeof(area) / sizeof(area[0]) && !stop; i += 8) {
			if (area[i] != round)
				live_check(false, "slot %zu is %lu in round %lu", i, area[i],
					   round);
			area[i] = round + 1;
		}
		if (!stop)
			round++;
		n_rounds[3]++;
		(void)usleep(500);
	}
	return arg;
}

static void echo_body(void *arg)
{
	unsigned long n, last = 0;

	(void)arg;
	(void)signal(SIGTERM, SIG_DFL);
	(void)close(to_echo[1]);
	(void)close(from_echo[0]);
	live_child_ready();
	while (read(to_echo[0], &n, sizeof(n)) == sizeof(n)) {
		if (n != last + 1)
			live_check(false, "number %lu comes after %lu", n, last);
		last = n;
		if (write(from_echo[1], &n, sizeof(n)) != sizeof(n))
			fault("write in the child");
	}
}

static void *talker(void *arg)
{
	unsigned long n = 0, back;

	while (!stop) {
		n++;
		if (write(to_echo[1], &n, sizeof(n)) != sizeof(n))
			fault("write");
		else if (read(from_echo[0], &back, sizeof(back)) != sizeof(back) || back != n)
			fault("read");
		n_rounds[4]++;
	}
	return arg;
}

int main(void)
{
	static void *(*const workers[])(void *) = { thread_maker, child_maker, mapper, writer,
						    talker };
	pthread_t threads[5];
	unsigned long before[5];
	int status;
	pid_t echo;

	live_start();
	live_need(pipe(to_echo) == 0 && pipe(from_echo) == 0, "pipe");
	echo = live_fork(echo_body, NULL);
	(void)close(to_echo[0]);
	(void)close(from_echo[1]);
	for (int i = 0; i < 5; i++)
		live_need(pthread_create(&threads[i], NULL, workers[i], NULL) == 0,
			  "pthread_create");
	for (int i = 0; i < 5; i++)
		while (n_rounds[i] < 5)
			(void)usleep(1000);

	live_wait();

	for (int i = 0; i < 5; i++)
		before[i] = n_rounds[i];
	for (int i = 0; i < 5; i++) {
		for (int t = 0; t < 5000 && n_rounds[i] < before[i] + 5; t++)
			(void)usleep(1000);
		live_check(n_rounds[i] >= before[i] + 5, "worker %d goes on", i);
	}
	stop = true;
	for (int i = 0; i < 5; i++)
		(void)pthread_join(threads[i], NULL);
	(void)close(to_echo[1]);
	live_check(waitpid(echo, &status, 0) == echo && status == 0, "the echo is content (0x%x)",
		   (unsigned)status);
	return live_end();
}
