/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SysV shared memory: attached twice, in two tasks, and at its end removed but still attached.
 * Semaphores and a queue of the same tree. Objects of the namespace are gone when the tree is
 * restored (the runner removes them).
 * live-across: no, CRIU wants an IPC namespace of its own for these
 */
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#define SIZE 20000

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
	int removed;
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
	child = live_fork(child_body, NULL);

	live_wait();

	live_check_fill("shared memory", in_both, SIZE, 81);
	live_check_fill("the second segment", removed_at, SIZE, 82);
	live_check(shmctl(kept, IPC_STAT, &ds) == 0, "the segment has its id: errno %d", errno);
	live_same("its key", ds.shm_perm.__key, 0x11223344);
	live_same("its mode", ds.shm_perm.mode & 0777, 0640);
	live_same("its size", (long long)ds.shm_segsz, SIZE + 1000);
	live_same("attached", (long long)ds.shm_nattch, 3);
	strcpy(in_both + SIZE, "new");
	live_join(child);
	strcpy(in_both + SIZE, "");
	live_check(shmctl(removed, IPC_STAT, &ds) == 0 && ds.shm_nattch == 1,
		   "the second has its id");
	return live_end();
}
