/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch - for how long an application is stopped, seen from outside
 *
 *	watch PID STATE
 *
 * Looks about every 200 us at the state of process PID (`t` and `T` in /proc/PID/stat) and at its counter of ticks in
 * STATE (writer.c). It is stopped from the first look that finds it so until a look that finds a new tick: between the
 * two an engine may let it run for its own purposes. Ends at a line on standard input, and prints the longest stop, the
 * sum of all, in nanoseconds, and how many there were.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	LOOK_NSEC = 200 * 1000,
	TICKS_FIELD = 1,
};

static uint64_t now_nsec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static bool is_stopped(int stat_fd)
{
	char text[512];
	ssize_t n = pread(stat_fd, text, sizeof(text) - 1, 0);
	const char *p;

	if (n <= 0)
		return false;
	text[n] = '\0';
	p = strrchr(text, ')');
	return p && p[1] && (p[2] == 't' || p[2] == 'T');
}

static bool told_to_end(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	static const struct timespec look = { .tv_nsec = LOOK_NSEC };

	return ppoll(&p, 1, &look, NULL) != 0;
}

int main(int argc, char *argv[])
{
	static const struct sched_param first = { .sched_priority = 1 };
	uint64_t since = 0, ticks_then = 0, longest = 0, total = 0, n = 0;
	const volatile uint64_t *state;
	char path[64];
	int stat_fd, state_fd;

	if (argc != 3)
		return 2;
	(void)snprintf(path, sizeof(path), "/proc/%s/stat", argv[1]);
	stat_fd = open(path, O_RDONLY | O_CLOEXEC);
	state_fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (stat_fd < 0 || state_fd < 0)
		return 1;
	state = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, state_fd, 0);
	if (state == MAP_FAILED)
		return 1;
	(void)sched_setscheduler(0, SCHED_RR, &first);
	puts("ready");
	(void)fflush(stdout);
	while (!told_to_end()) {
		uint64_t ticks = state[TICKS_FIELD], now = now_nsec();

		if (since && ticks != ticks_then) {
			total += now - since;
			longest = now - since > longest ? now - since : longest;
			n++;
			since = 0;
		} else if (!since && is_stopped(stat_fd)) {
			since = now;
			ticks_then = ticks;
		}
	}
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", longest, total, n);
	return 0;
}
