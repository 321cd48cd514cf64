/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seccomp filters: one, two stacked, one that only a thread has; and a task without.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "live.h"

/* Makes one system call fail with this errno. */
static void deny(int nr, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	live_need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
	live_need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "seccomp");
}

static int error_of_uname(void)
{
	struct utsname names;

	return uname(&names) == 0 ? 0 : errno;
}

static int error_of_getpriority(void)
{
	errno = 0;
	(void)getpriority(PRIO_PROCESS, 0);
	return errno;
}

static void one_body(void *arg)
{
	(void)arg;
	deny(SYS_uname, 71);
	live_child_ready();
	live_wait_term();
	live_same("uname with a filter", error_of_uname(), 71);
	live_same("getpriority with a filter on uname", error_of_getpriority(), 0);
	live_same("mode", prctl(PR_GET_SECCOMP, 0, 0, 0, 0), SECCOMP_MODE_FILTER);
}

static void two_body(void *arg)
{
	(void)arg;
	deny(SYS_uname, 72);
	deny(SYS_getpriority, 73);
	live_child_ready();
	live_wait_term();
	live_same("uname with two filters", error_of_uname(), 72);
	live_same("getpriority with two filters", error_of_getpriority(), 73);
	live_same("number of filters", live_proc_number("status", "Seccomp_filters", 10), 2);
}

static volatile bool ready, check_now;

static void *filtered(void *arg)
{
	(void)arg;
	deny(SYS_getpriority, 74);
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	live_same("getpriority in the filtered thread", error_of_getpriority(), 74);
	return NULL;
}

static void thread_body(void *arg)
{
	pthread_t thread;

	(void)arg;
	live_need(pthread_create(&thread, NULL, filtered, NULL) == 0, "pthread_create");
	while (!ready)
		(void)usleep(1000);
	live_child_ready();
	live_wait_term();
	live_same("getpriority beside the filtered thread", error_of_getpriority(), 0);
	check_now = true;
	(void)pthread_join(thread, NULL);
}

int main(void)
{
	pid_t one, two, thread;

	live_start();
	one = live_fork(one_body, NULL);
	two = live_fork(two_body, NULL);
	thread = live_fork(thread_body, NULL);

	live_wait();

	live_same("uname without a filter", error_of_uname(), 0);
	live_same("mode without a filter", prctl(PR_GET_SECCOMP, 0, 0, 0, 0),
		  SECCOMP_MODE_DISABLED);
	live_join(one);
	live_join(two);
	live_join(thread);
	return live_end();
}
