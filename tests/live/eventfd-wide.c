/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * eventfd: semaphore mode and a counter of more than 32 bits.
 * live-across: no, CRIU 4.2 restores neither
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "live.h"

int main(void)
{
	uint64_t v = 0xfffffffffff0;
	int big, semaphore;

	live_start();
	big = eventfd(0, 0);
	semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	live_need(big >= 0 && semaphore >= 0, "eventfd");
	live_need(write(big, &v, 8) == 8, "write");

	live_wait();

	live_check(read(big, &v, 8) == 8 && v == 0xfffffffffff0, "a counter above 32 bits, 0x%llx",
		   (unsigned long long)v);
	for (int i = 0; i < 3; i++)
		live_check(read(semaphore, &v, 8) == 8 && v == 1, "a semaphore gives ones");
	live_check(read(semaphore, &v, 8) < 0 && errno == EAGAIN, "three of them");
	return live_end();
}
