/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private memory of which every page is written all the time, and few change: one byte anywhere in a page, counted in books
 * that are part of the same memory.
 * For shared-chains.py.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "live.h"

#define PAGE  4096UL
#define PAGES 2000UL

static volatile unsigned char *memory;
static struct {
	uint16_t where; /* in the page */
	unsigned char value;
} books[PAGES];
static unsigned seed = 20261121;

static unsigned pick(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static unsigned char usual(size_t i)
{
	return (unsigned char)(i / PAGE + i % PAGE) | 1;
}

/* The byte that differs in a page goes back to what it was; another changes. */
static void change(size_t page)
{
	size_t at = page * PAGE + books[page].where;

	memory[at] = usual(at);
	books[page].where = pick(PAGE);
	books[page].value = pick(256);
	memory[page * PAGE + books[page].where] = books[page].value;
}

static void check(size_t page)
{
	for (size_t i = 0; i < PAGE; i++) {
		size_t at = page * PAGE + i;
		unsigned char want = i == books[page].where ? books[page].value : usual(at);

		if (memory[at] != want) {
			live_check(false, "page %zu byte %zu: %u, should be %u", page, i, memory[at], want);
			break;
		}
	}
}

static bool told_to_check(void)
{
	sigset_t term;

	(void)sigemptyset(&term);
	(void)sigaddset(&term, SIGTERM);
	return sigtimedwait(&term, NULL, &(struct timespec){}) == SIGTERM;
}

int main(void)
{
	live_start();
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	live_need(memory != MAP_FAILED, "mmap");
	for (size_t i = 0; i < PAGES * PAGE; i++)
		memory[i] = usual(i);
	for (size_t page = 0; page < PAGES; page++) {
		books[page].value = usual(page * PAGE);
		change(page);
	}
	live_ready();
	while (!told_to_check()) {
		for (size_t page = 0; page < PAGES; page++)
			memory[page * PAGE] = memory[page * PAGE];
		change(pick(PAGES));
		(void)usleep(2000);
	}
	for (size_t page = 0; page < PAGES; page++)
		check(page);
	return live_end();
}
