/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SysV shared memory: attached twice, in two tasks, and at its end removed but still attached.
 * A set of many semaphores and a queue with a long message, more than the engine's data area in a task holds. Objects of the namespace are gone when the tree is
 * restored (the runner removes them).
 * live-across: no, CRIU wants an IPC namespace of its own for these
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#define SIZE 20000

enum { N_SEMS = 30000, LONG = 60000 };

struct long_message {
	long type;
	unsigned char text[LONG];
};

static unsigned short values[N_SEMS];
static struct long_message message = { .type = 7 };

static void set_limit(const char *path, const char *number)
{
	FILE *f = fopen(path, "w");

	live_need(f && fputs(number, f) >= 0 && fclose(f) == 0, "%s", path);
}

static void make_set_and_queue(int *set, int *queue)
{
	const struct long_message none = { .type = 8 };

	set_limit("/proc/sys/kernel/msgmax", "65536");
	set_limit("/proc/sys/kernel/msgmnb", "200000");
	*set = semget(IPC_PRIVATE, N_SEMS, 0600);
	*queue = msgget(IPC_PRIVATE, 0600);
	live_need(*set >= 0 && *queue >= 0, "semget, msgget");
	for (size_t i = 0; i < N_SEMS; i++)
		values[i] = (unsigned short)(i % 32767);
	live_need(semctl(*set, 0, SETALL, values) == 0, "SETALL");
	live_fill(message.text, LONG, 84);
	live_need(msgsnd(*queue, &message, LONG, 0) == 0 && msgsnd(*queue, &none, 0, 0) == 0,
		  "msgsnd");
}

static void check_set_and_queue(int set, int queue)
{
	unsigned short now[N_SEMS] = {};

	live_check(semctl(set, 0, GETALL, now) == 0 && memcmp(now, values, sizeof(now)) == 0,
		   "the semaphores");
	live_same("who set the last of them", semctl(set, N_SEMS - 1, GETPID), getpid());
	memset(&message, 0, sizeof(message));
	live_same("the long message", msgrcv(queue, &message, LONG, 0, IPC_NOWAIT), LONG);
	live_same("its type", message.type, 7);
	live_check_fill("its text", message.text, LONG, 84);
	live_same("the empty message", msgrcv(queue, &message, LONG, 0, IPC_NOWAIT), 0);
	live_same("its type", message.type, 8);
	live_check(msgrcv(queue, &message, LONG, 0, IPC_NOWAIT) < 0 && errno == ENOMSG,
		   "there is no other");
}

static int kept;
static char *in_both;

static void child_body(void *arg)
{
	char *other = shmat(kept, NULL, SHM_RDONLY);

	(void)arg;
	live_need(other != (void *)-1, "shmat");
	live_child_ready();
	live_wait_term();
	live_check_fill("shared memory in the child", in_both, SIZE, 81);
	live_check(strcmp(in_both + SIZE, "new") == 0 && strcmp(other + SIZE, "new") == 0,
		   "the child sees what the parent writes");
}

int main(void)
{
	char *removed_at;
	struct shmid_ds ds;
	int removed, set, queue;
	pid_t child;

	live_start();
	kept = shmget(0x11223344, SIZE + 1000, IPC_CREAT | IPC_EXCL | 0640);
	removed = shmget(IPC_PRIVATE, SIZE, 0600);
	live_need(kept >= 0 && removed >= 0, "shmget");
	in_both = shmat(kept, NULL, 0);
	removed_at = shmat(removed, NULL, 0);
	live_need(in_both != (void *)-1 && removed_at != (void *)-1, "shmat");
	live_fill(in_both, SIZE, 81);
	live_fill(removed_at, SIZE, 82);
	make_set_and_queue(&set, &queue);
	child = live_fork(child_body, NULL);

	live_wait();

	live_check_fill("shared memory", in_both, SIZE, 81);
	live_check_fill("the second segment", removed_at, SIZE, 82);
	live_check(shmctl(kept, IPC_STAT, &ds) == 0, "the segment has its id: errno %d", errno);
	live_same("its key", ds.shm_perm.__key, 0x11223344);
	live_same("its mode", ds.shm_perm.mode & 0777, 0640);
	live_same("its size", (long long)ds.shm_segsz, SIZE + 1000);
	live_same("attached", (long long)ds.shm_nattch, 3);
	check_set_and_queue(set, queue);
	strcpy(in_both + SIZE, "new");
	live_join(child);
	strcpy(in_both + SIZE, "");
	live_check(shmctl(removed, IPC_STAT, &ds) == 0 && ds.shm_nattch == 1,
		   "the second has its id");
	return live_end();
}
