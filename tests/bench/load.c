/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * load - something of a given size to checkpoint, that notices for how long it did not run
 *
 *	load memory MIB STATE		private memory, every page different
 *	load processes N STATE		a tree of N processes
 *	load threads N STATE		N threads
 *	load files N STATE		N open files, in the current directory
 *
 * The main thread of the root process looks at the clock about every 100 us. STATE is a file it maps: struct state
 * below, which the driver reads and resets. Memory is looked through a page at a time; a page that is not what was
 * written ends the program.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE_SIZE = 4096,
	PAGE_WORDS = PAGE_SIZE / sizeof(uint64_t),
	TICK_NSEC = 50 * 1000,
	CHILD_PAGES = 16,
};

/* Little-endian u64 fields; tests/bench/run knows them by position. */
struct state {
	volatile uint64_t ready;    /* 1: everything is set up */
	volatile uint64_t ticks;    /* looks at the clock so far */
	volatile uint64_t gap_nsec; /* the longest time between two looks; the driver sets it to 0 */
};

static uint64_t (*memory)[PAGE_WORDS];
static size_t n_pages;

static uint64_t word_of(size_t page, size_t word)
{
	return (page * PAGE_WORDS + word + 1) * 0x9e3779b97f4a7c15;
}

static bool memory_fill(size_t pages)
{
	n_pages = pages;
	memory = mmap(NULL, n_pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	for (size_t page = 0; page < n_pages; page++) {
		for (size_t word = 0; word < PAGE_WORDS; word++)
			memory[page][word] = word_of(page, word);
	}
	return true;
}

static void memory_check(size_t page)
{
	for (size_t word = 0; word < PAGE_WORDS; word++) {
		if (memory[page][word] != word_of(page, word))
			abort();
	}
}

static void *sleep_on(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

static bool start_processes(int n)
{
	for (int i = 1; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return false;
		if (pid == 0) {
			if (!memory_fill(CHILD_PAGES))
				_exit(1);
			(void)sleep_on(NULL);
		}
	}
	return true;
}

static bool start_threads(int n)
{
	pthread_attr_t small;

	(void)pthread_attr_init(&small);
	(void)pthread_attr_setstacksize(&small, 64 * 1024);
	for (int i = 1; i < n; i++) {
		pthread_t thread;

		if (pthread_create(&thread, &small, sleep_on, NULL) != 0)
			return false;
	}
	return true;
}

static bool open_files(int n)
{
	for (int i = 0; i < n; i++) {
		char name[32];
		int fd;

		snprintf(name, sizeof(name), "file-%d", i);
		fd = open(name, O_RDWR | O_CREAT, 0600);
		if (fd < 0 || write(fd, name, strlen(name)) < 0)
			return false;
	}
	return true;
}

static bool set_up(const char *kind, long n)
{
	if (n < 1 || n > 1 << 20)
		return false;
	if (strcmp(kind, "memory") == 0)
		return memory_fill((size_t)n * (1 << 20) / PAGE_SIZE);
	if (!memory_fill(CHILD_PAGES))
		return false;
	if (strcmp(kind, "processes") == 0)
		return start_processes(n);
	if (strcmp(kind, "threads") == 0)
		return start_threads(n);
	return strcmp(kind, "files") == 0 && open_files(n);
}

static uint64_t now_nsec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void watch_the_clock(struct state *state)
{
	static const struct timespec tick = { .tv_nsec = TICK_NSEC };
	uint64_t before = now_nsec();

	state->ready = 1;
	for (;;) {
		uint64_t now, gap;

		(void)nanosleep(&tick, NULL);
		now = now_nsec();
		gap = now - before;
		if (gap > state->gap_nsec)
			state->gap_nsec = gap;
		before = now;
		memory_check(++state->ticks % n_pages);
	}
}

int main(int argc, char *argv[])
{
	struct state *state;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: load memory|processes|threads|files N STATE\n");
		return 2;
	}
	fd = open(argv[3], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, PAGE_SIZE) < 0)
		return 1;
	state = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (state == MAP_FAILED)
		return 1;
	(void)close(fd);
	if (!set_up(argv[1], strtol(argv[2], NULL, 10)))
		return 1;
	watch_the_clock(state);
}
