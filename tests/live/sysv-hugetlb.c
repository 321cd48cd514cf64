/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SysV segment of huge pages, whose size is no multiple of them. Skipped where no page is free.
 * live-across: no, CRIU wants an IPC namespace of its own for it
 */
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "live.h"

#define HUGE (2UL << 20)
#define SIZE (HUGE + HUGE / 2)

int main(void)
{
	unsigned char *wide, *narrow;
	struct shmid_ds ds;
	int id;

	live_start();
	if (live_proc_number("../meminfo", "HugePages_Free", 10) < 4)
		live_skip("fewer than 4 free huge pages (vm.nr_hugepages)");
	id = shmget(0x11223355, SIZE, IPC_CREAT | IPC_EXCL | SHM_HUGETLB | 0600);
	live_need(id >= 0, "shmget");
	wide = shmat(id, NULL, 0);
	narrow = shmat(id, NULL, SHM_RDONLY);
	live_need(wide != (void *)-1 && narrow != (void *)-1, "shmat");
	live_fill(wide, SIZE, 83);

	live_wait();

	live_check_fill("the segment", wide, SIZE, 83);
	live_check_fill("the segment, attached for reading", narrow, SIZE, 83);
	live_check(live_vma_has(wide, "ht"), "it has huge pages");
	live_check(shmctl(id, IPC_STAT, &ds) == 0 && ds.shm_segsz == SIZE && ds.shm_nattch == 2,
		   "its size, and how often it is attached");
	live_check(mprotect(narrow, HUGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES,
		   "what is attached for reading stays so");
	return live_end();
}
