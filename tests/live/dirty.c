/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that is written all the time, for tests/live/room.py: `dirty MIB RATE`, RATE in MiB a second. Every page
 * holds its number and how often it was written; a page that is not as it was left ends the program.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

enum { PAGE = 4096, PAGES_PER_MIB = 256, TICK_MSEC = 4 };

/* Waits for the next tick. */
static bool is_over(void)
{
	const struct timespec tick = { .tv_nsec = TICK_MSEC * 1000L * 1000 };
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	return sigtimedwait(&set, NULL, &tick) == SIGTERM;
}

int main(int argc, char *argv[])
{
	size_t n = (argc > 1 ? strtoul(argv[1], NULL, 10) : 64) * PAGES_PER_MIB;
	size_t per_tick = (argc > 2 ? strtoul(argv[2], NULL, 10) : 100) * PAGES_PER_MIB * TICK_MSEC / 1000;
	uint64_t *pages, round = 1;

	live_start();
	pages = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	live_need(pages != MAP_FAILED, "memory");
	/* Pages of 4 KiB: what a cgroup is charged for is then what was written. */
	live_need(madvise(pages, n * PAGE, MADV_NOHUGEPAGE) == 0, "MADV_NOHUGEPAGE");
	for (size_t i = 0; i < n; i++) {
		pages[i * PAGE / 8] = i;
		pages[i * PAGE / 8 + 1] = 0;
	}
	live_ready();
	for (size_t at = 0; !is_over();) {
		for (size_t k = 0; k < per_tick; k++) {
			uint64_t *p = &pages[at * PAGE / 8];

			if (!live_check(p[0] == at && p[1] == round - 1, "page %zu is not as it was left", at))
				return live_end();
			p[1] = round;
			at = (at + 1) % n;
			round += at == 0;
		}
	}
	return live_end();
}
