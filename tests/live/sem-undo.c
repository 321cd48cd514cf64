/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A semaphore that was changed with SEM_UNDO by one process and without by another, which is its child.
 * For operations.py: what would be undone is lost, and it is said of whom.
 */
#include <sys/ipc.h>
#include <sys/sem.h>

#include "live.h"

static int set;

static void change(short by, short flags)
{
	live_need(semop(set, &(struct sembuf){ .sem_op = by, .sem_flg = flags }, 1) == 0, "semop");
}

static void child_body(void *arg)
{
	(void)arg;
	change(2, 0);
	live_child_ready();
	live_wait_term();
	live_same("the child finds", semctl(set, 0, GETVAL), 5);
}

int main(void)
{
	pid_t child;

	live_start();
	set = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	live_need(set >= 0, "semget");
	child = live_fork(child_body, NULL);
	change(3, SEM_UNDO);
	live_wait();
	live_same("value", semctl(set, 0, GETVAL), 5);
	live_join(child);
	return live_end();
}
