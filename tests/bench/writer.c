/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * writer - an application that works, dirties memory at a given rate, and notices what a snapshot does to it
 *
 *	writer MIB 4k|huge RATE SPAN STATE
 *
 * MIB of private memory, all resident. One thread works as fast as it can and writes to pages at RATE MiB/s of whole
 * pages (the first word of each). It goes around in SPAN percent of the pages, which lie all over the memory. What it
 * cannot write in time it leaves. Another thread sleeps in short bits and looks at the clock. STATE is a file that is
 * mapped: struct state below, which the driver reads, resets, and gives orders through.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	HUGE_PAGE = 2 << 20,
	PAGES_PER_MIB = 256,
	TICK_NSEC = 100 * 1000,
	UNIT_ROUNDS = 100,	   /* arithmetic of one unit of work: about 0.2 us */
	UNITS_BETWEEN_LOOKS = 64,  /* at the clock */
	WRITES_BETWEEN_LOOKS = 64,
	LATE_NSEC = 20 * 1000000, /* what is due for longer is left */
};

#define MIB_MAX (64 * 1024)

/* u64 fields; tests/bench/application.py knows them by position. */
struct state {
	volatile uint64_t ready;     /* 1: everything is set up */
	volatile uint64_t ticks;     /* looks at the clock of the sleeping thread */
	volatile uint64_t gap_nsec;  /* the longest time between two of them; the driver sets it to 0 */
	volatile uint64_t work;	     /* units done */
	volatile uint64_t written;   /* pages */
	volatile uint64_t stall_nsec; /* the longest time between two looks of the working thread; likewise */
	volatile uint64_t order;     /* the driver: write this many pages, once */
	volatile uint64_t obeyed;    /* becomes the order when that is done */
	volatile uint64_t question;  /* the driver: look at all memory when this changes */
	volatile uint64_t answer;    /* becomes the question when that is done */
	volatile uint64_t damaged;   /* words that were not what they should be, all but the first of each page */
};

struct application {
	struct state *state;
	uint8_t *memory;
	size_t n_pages;
	size_t step;   /* has no divisor in common with n_pages */
	size_t span;   /* pages until it starts again */
	size_t next;   /* of the span */
	uint64_t rate; /* MiB/s */
};

static uint64_t now_nsec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static size_t divisor(size_t a, size_t b)
{
	return b == 0 ? a : divisor(b, a % b);
}

/* Every page has words of its own: what looks for equal pages or zeros finds none. */
static uint64_t word_at(size_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15;
}

static bool memory_fill(struct application *app, size_t mib, bool huge)
{
	size_t size = mib << 20;
	uint8_t *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	app->memory = (uint8_t *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	app->n_pages = size / PAGE;
	if (madvise(app->memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) < 0)
		return false;
	for (size_t i = 0; i < size / sizeof(uint64_t); i++)
		((uint64_t *)app->memory)[i] = word_at(i);
	app->step = app->n_pages * 5 / 13;
	while (divisor(app->step, app->n_pages) != 1)
		app->step++;
	return true;
}

static void write_one(struct application *app)
{
	size_t page = app->next * app->step % app->n_pages;
	volatile uint64_t *word = (volatile uint64_t *)(app->memory + page * PAGE);

	*word += 1;
	app->next = (app->next + 1) % app->span;
	app->state->written++;
}

static uint64_t work_some(struct application *app, uint64_t x)
{
	for (int i = 0; i < UNITS_BETWEEN_LOOKS; i++) {
		x += *(volatile uint64_t *)(app->memory + x % app->n_pages * PAGE + 64);
		for (int k = 0; k < UNIT_ROUNDS; k++)
			x = x * 6364136223846793005 + 1442695040888963407;
	}
	app->state->work += UNITS_BETWEEN_LOOKS;
	return x;
}

static void obey(struct application *app)
{
	struct state *state = app->state;
	uint64_t order = state->order, question = state->question;

	if (order != state->obeyed) {
		for (uint64_t i = 0; i < order; i++)
			write_one(app);
		state->obeyed = order;
	}
	if (question != state->answer) {
		for (size_t i = 0; i < app->n_pages * (PAGE / sizeof(uint64_t)); i++) {
			if (i % (PAGE / sizeof(uint64_t)) != 0 && ((uint64_t *)app->memory)[i] != word_at(i))
				state->damaged++;
		}
		state->answer = question;
	}
}

static void *work(void *userdata)
{
	struct application *app = userdata;
	struct state *state = app->state;
	uint64_t before = now_nsec(), done_until = before, x = 1;

	for (;;) {
		uint64_t now = now_nsec();

		if (now - before > state->stall_nsec)
			state->stall_nsec = now - before;
		before = now;
		if (now > done_until + LATE_NSEC)
			done_until = now - LATE_NSEC;
		for (int i = 0; app->rate && i < WRITES_BETWEEN_LOOKS && done_until < now; i++) {
			write_one(app);
			done_until += UINT64_C(1000000000) / PAGES_PER_MIB / app->rate;
		}
		obey(app);
		x = work_some(app, x);
	}
	return NULL;
}

static void watch_the_clock(struct state *state)
{
	static const struct timespec tick = { .tv_nsec = TICK_NSEC };
	uint64_t before = now_nsec();

	for (;;) {
		uint64_t now;

		(void)nanosleep(&tick, NULL);
		now = now_nsec();
		if (now - before > state->gap_nsec)
			state->gap_nsec = now - before;
		before = now;
		state->ticks++;
	}
}

static struct state *state_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	struct state *state;

	if (fd < 0 || ftruncate(fd, PAGE) < 0)
		return NULL;
	state = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	return state == MAP_FAILED ? NULL : state;
}

int main(int argc, char *argv[])
{
	static const struct sched_param first = { .sched_priority = 1 };
	struct application app = {};
	pthread_t thread;
	long mib, rate, span;

	if (argc != 6) {
		fprintf(stderr, "usage: writer MIB 4k|huge RATE SPAN STATE\n");
		return 2;
	}
	mib = strtol(argv[1], NULL, 10);
	rate = strtol(argv[3], NULL, 10);
	span = strtol(argv[4], NULL, 10);
	if (mib < 1 || mib > MIB_MAX || rate < 0 || rate > MIB_MAX || span < 1 || span > 100)
		return 2;
	app.state = state_map(argv[5]);
	if (!app.state || !memory_fill(&app, mib, strcmp(argv[2], "huge") == 0))
		return 1;
	app.rate = rate;
	app.span = app.n_pages * span / 100;
	if (pthread_create(&thread, NULL, work, &app) != 0)
		return 1;
	/* What else the machine does must not look like a freeze. */
	(void)sched_setscheduler(0, SCHED_RR, &first);
	app.state->ready = 1;
	watch_the_clock(app.state);
}
