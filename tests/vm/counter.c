/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * counter - a program that can tell what has been done to it
 *
 * counter FILE [PAGES] counts in memory, which has so many pages (a power of two), and writes each count into FILE, which has a fixed size from the start, so that a
 * restore finds the file it left. FILE is lines of LINE_SIZE bytes: line 0 says what is counted now, each line
 * after it is something that happened:
 *
 *	start nonce=N pid=P		the program began from nothing
 *	back nonce=N from=A to=B pid=P	the file was at A and the memory at B: it has been restored
 *	bad nonce=N page=I ...		memory is not what it was
 *
 * Whether it has been restored it knows by FILE.life, a word that it maps and moves on in one instruction: no snapshot falls
 * between looking and writing. What it writes depends on the time, so that no two lives write the same at the same count.
 *
 * Two copies at once would each find the other's count and fill the file with "back" lines.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_SIZE = 96,
	N_LINES = 2048,
	N_PAGES = 1024, /* unless it is told */
	N_PAGES_MAX = 1 << 20,
	PAGE_WORDS = 4096 / sizeof(uint64_t),
	TICK_NSEC = 1000 * 1000,
};

struct counter {
	int fd;
	uint64_t nonce;
	uint64_t count;
	int next_line;
	_Atomic uint64_t *life; /* in its file: a number that the latest life changes with each count */
	uint64_t last_life;	/* what we left there */
	uint64_t (*pages)[PAGE_WORDS];
	int n_pages;
};

static bool line_write(int fd, int line, const char *text)
{
	char padded[LINE_SIZE + 1];

	snprintf(padded, sizeof(padded), "%-*s\n", LINE_SIZE - 1, text);
	return pwrite(fd, padded, LINE_SIZE, (off_t)line * LINE_SIZE) == LINE_SIZE;
}

static bool line_read(int fd, int line, char ret[LINE_SIZE + 1])
{
	if (pread(fd, ret, LINE_SIZE, (off_t)line * LINE_SIZE) != LINE_SIZE)
		return false;
	ret[LINE_SIZE] = '\0';
	return true;
}

/* The line goes after the last one in the file, which another life of ours may have written. */
static void event(struct counter *c, const char *text)
{
	char line[LINE_SIZE + 1];

	while (c->next_line < N_LINES && line_read(c->fd, c->next_line, line) && line[0] != ' ')
		c->next_line++;
	if (c->next_line < N_LINES)
		(void)line_write(c->fd, c->next_line++, text);
}

/* The last count that fell on this page. */
static uint64_t page_count(const struct counter *c, int page)
{
	uint64_t behind = (c->count - page) % c->n_pages;

	return c->count >= behind ? c->count - behind : 0;
}

static uint64_t page_word(const struct counter *c, int page, int word)
{
	return (c->nonce ^ page_count(c, page)) * 0x9e3779b97f4a7c15 + page * PAGE_WORDS + word;
}

static void page_fill(struct counter *c, int page)
{
	for (int word = 0; word < (int)PAGE_WORDS; word++)
		c->pages[page][word] = page_word(c, page, word);
}

static void page_check(struct counter *c, int page)
{
	char text[LINE_SIZE];

	for (int word = 0; word < (int)PAGE_WORDS; word++) {
		if (c->pages[page][word] == page_word(c, page, word))
			continue;
		snprintf(text, sizeof(text), "bad nonce=%016" PRIx64 " page=%d word=%d count=%" PRIu64,
			 c->nonce, page, word, c->count);
		event(c, text);
		exit(1);
	}
}

static uint64_t next_life(const struct counter *c)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (c->last_life ^ ((uint64_t)now.tv_sec * 1000000000 + now.tv_nsec)) * 0x9e3779b97f4a7c15;
}

static void tick(struct counter *c)
{
	char line[LINE_SIZE + 1], text[LINE_SIZE];
	uint64_t before = 0, life = c->last_life, next = next_life(c);

	if (!atomic_compare_exchange_strong(c->life, &life, next)) {
		if (line_read(c->fd, 0, line))
			(void)sscanf(line, "now nonce=%*x count=%" SCNu64, &before);
		atomic_store(c->life, next);
		snprintf(text, sizeof(text),
			 "back nonce=%016" PRIx64 " from=%" PRIu64 " to=%" PRIu64 " pid=%d", c->nonce,
			 before, c->count, getpid());
		event(c, text);
		for (int page = 0; page < c->n_pages; page++)
			page_check(c, page);
	}

	c->last_life = next;
	c->count++;
	page_fill(c, c->count % c->n_pages);
	page_check(c, (c->count * 7) % c->n_pages);

	snprintf(text, sizeof(text), "now nonce=%016" PRIx64 " count=%012" PRIu64 " pid=%d", c->nonce,
		 c->count, getpid());
	if (!line_write(c->fd, 0, text))
		exit(2);
}

/* On disk before the first snapshot: a restore after a power cut needs the file. */
static bool map_life(struct counter *c, const char *path)
{
	char name[PATH_MAX];
	void *at;
	int fd;

	snprintf(name, sizeof(name), "%s.life", path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(uint64_t)) < 0 || fsync(fd) < 0)
		return false;
	at = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (at == MAP_FAILED)
		return false;
	c->life = at;
	c->last_life = c->nonce;
	atomic_store(c->life, c->nonce);
	return true;
}

static bool counter_start(struct counter *c, const char *path)
{
	char text[LINE_SIZE];
	struct stat st;

	c->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (c->fd < 0 || fstat(c->fd, &st) < 0 || getrandom(&c->nonce, sizeof(c->nonce), 0) < 0)
		return false;
	if (st.st_size == 0) {
		for (int line = 0; line < N_LINES; line++) {
			if (!line_write(c->fd, line, ""))
				return false;
		}
	}
	c->next_line = 1;
	c->pages = calloc(c->n_pages, sizeof(*c->pages));
	if (!c->pages)
		return false;
	for (int page = 0; page < c->n_pages; page++)
		page_fill(c, page);

	snprintf(text, sizeof(text), "start nonce=%016" PRIx64 " pid=%d", c->nonce, getpid());
	event(c, text);
	return map_life(c, path);
}

int main(int argc, char *argv[])
{
	static const struct timespec pause = { .tv_nsec = TICK_NSEC };
	struct counter c = { .n_pages = argc > 2 ? atoi(argv[2]) : N_PAGES };
	bool usage = argc < 2 || argc > 3 || c.n_pages < 1 || c.n_pages > N_PAGES_MAX;

	if (usage || !counter_start(&c, argv[1])) {
		fprintf(stderr, "counter: %s\n", usage ? "usage: counter FILE [PAGES]" : strerror(errno));
		return 2;
	}
	for (;;) {
		tick(&c);
		(void)nanosleep(&pause, NULL);
	}
}
