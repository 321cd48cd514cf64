/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads: ids, names, TLS, signal masks, alternate stacks, robust mutexes, rseq registration, and
 * that they can be joined, which needs the kernel to clear the tid of each when it ends.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

#define N 8

struct thread {
	pthread_t id;
	pid_t tid;
	int index;
	void *robust_head;
	char name[16];
	char alt[16384];
	pthread_mutex_t robust; /* held while we wait, and left to die with us */
};

static struct thread threads[N];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int n_set_up;
static bool go;
static __thread char tls_text[32];
static __thread int tls_number = 77;

static void *robust_head(void)
{
	void *head = NULL;
	size_t size = 0;

	(void)syscall(SYS_get_robust_list, 0, &head, &size);
	return head;
}

static const volatile struct rseq *rseq_area(void)
{
	return (const volatile struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* The kernel writes the CPU into a registered area whenever it returns to us. */
static void check_rseq(int index)
{
	cpu_set_t all, one;

	if (__rseq_size == 0)
		return;
	live_need(sched_getaffinity(0, sizeof(all), &all) == 0, "sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one) < 0)
			continue;
		live_check((int)rseq_area()->cpu_id == cpu, "thread %d: rseq says CPU %d on CPU %d",
			   index, (int)rseq_area()->cpu_id, cpu);
	}
	(void)sched_setaffinity(0, sizeof(all), &all);
}

static void set_up(struct thread *t)
{
	stack_t stack = { .ss_sp = t->alt, .ss_size = sizeof(t->alt) };
	pthread_mutexattr_t attr;
	sigset_t set;

	t->tid = gettid();
	(void)snprintf(t->name, sizeof(t->name), "live (%d) x", t->index);
	live_need(prctl(PR_SET_NAME, t->name, 0, 0, 0) == 0, "PR_SET_NAME");
	(void)snprintf(tls_text, sizeof(tls_text), "thread local %d", t->index);
	tls_number += t->index;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + t->index);
	live_need(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0, "pthread_sigmask");
	if (t->index % 2)
		live_need(sigaltstack(&stack, NULL) == 0, "sigaltstack");
	live_need(pthread_mutexattr_init(&attr) == 0 &&
			  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 &&
			  pthread_mutex_init(&t->robust, &attr) == 0 &&
			  pthread_mutex_lock(&t->robust) == 0,
		  "robust mutex");
	t->robust_head = robust_head();
}

static void check(struct thread *t)
{
	char name[16] = "";
	stack_t stack = { 0 };
	sigset_t set;

	live_same("tid", gettid(), t->tid);
	live_check(prctl(PR_GET_NAME, name, 0, 0, 0) == 0 && strcmp(name, t->name) == 0,
		   "thread %d has the name '%s'", t->index, name);
	(void)snprintf(name, sizeof(name), "local %d", t->index);
	live_check(strcmp(tls_text + 7, name) == 0 && tls_number == 77 + t->index,
		   "thread %d has its TLS", t->index);
	(void)pthread_sigmask(SIG_BLOCK, NULL, &set);
	for (int i = 0; i < N; i++)
		live_check(sigismember(&set, SIGRTMIN + i) == (i == t->index),
			   "thread %d has its own signal mask (signal %d)", t->index, i);
	live_check(sigaltstack(NULL, &stack) == 0, "sigaltstack");
	if (t->index % 2)
		live_check(stack.ss_sp == t->alt && stack.ss_size == sizeof(t->alt) &&
				   stack.ss_flags == 0,
			   "thread %d has its alternate stack", t->index);
	else
		live_check(stack.ss_flags == SS_DISABLE, "thread %d has no alternate stack",
			   t->index);
	live_check(robust_head() == t->robust_head, "thread %d has its robust list", t->index);
	check_rseq(t->index);
}

static void *run(void *arg)
{
	struct thread *t = arg;

	set_up(t);
	(void)pthread_mutex_lock(&lock);
	n_set_up++;
	(void)pthread_cond_broadcast(&changed);
	while (!go)
		(void)pthread_cond_wait(&changed, &lock);
	(void)pthread_mutex_unlock(&lock);
	check(t);
	return (void *)(uintptr_t)(0xabc0 + t->index);
}

static void *short_life(void *arg)
{
	(void)arg;
	return tls_number == 77 ? threads[0].name : NULL;
}

int main(void)
{
	void *result;

	live_start();
	for (int i = 1; i < N; i++) {
		threads[i].index = i;
		live_need(pthread_create(&threads[i].id, NULL, run, &threads[i]) == 0,
			  "pthread_create");
	}
	(void)pthread_mutex_lock(&lock);
	while (n_set_up < N - 1)
		(void)pthread_cond_wait(&changed, &lock);
	(void)pthread_mutex_unlock(&lock);
	set_up(&threads[0]);

	live_wait();

	check(&threads[0]);
	(void)pthread_mutex_lock(&lock);
	go = true;
	(void)pthread_cond_broadcast(&changed);
	(void)pthread_mutex_unlock(&lock);
	for (int i = 1; i < N; i++) {
		live_check(pthread_join(threads[i].id, &result) == 0 &&
				   (uintptr_t)result == 0xabc0u + i,
			   "thread %d can be joined", i);
		live_same("robust mutex of a thread that has ended",
			  pthread_mutex_lock(&threads[i].robust), EOWNERDEAD);
	}
	live_check(pthread_create(&threads[1].id, NULL, short_life, NULL) == 0 &&
			   pthread_join(threads[1].id, &result) == 0 && result == threads[0].name,
		   "a new thread can be made");
	return live_end();
}
