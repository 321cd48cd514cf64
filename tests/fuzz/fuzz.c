/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mutations: bits flipped, bytes set to boundary values, parts cut out, doubled, or taken from another seed; one to
 * eight of them on one input. xorshift64 from a constant, so that a failure happens again.
 *
 * The current input is written to a file before it is run: a crash needs no handler to be told.
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "basic/sys.h"

enum {
	SEEDS_MAX = 256,
	INPUT_MAX = 1 << 16,
	DEFAULT_ROUNDS = 20000,
	SECONDS_MAX = 20,
};

static const char crash_file[] = "fuzz-crash.bin";

struct input {
	uint8_t *data;
	size_t size;
};

struct fuzzer {
	struct input seeds[SEEDS_MAX];
	size_t n_seeds;
	uint64_t random;
	int crash_fd;
};

static uint64_t next_random(struct fuzzer *fz)
{
	fz->random ^= fz->random << 13;
	fz->random ^= fz->random >> 7;
	fz->random ^= fz->random << 17;
	return fz->random;
}

static size_t below(struct fuzzer *fz, size_t n)
{
	return n ? next_random(fz) % n : 0;
}

static void run_one(struct fuzzer *fz, const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);

	if (!exact)
		abort();
	if (size)
		memcpy(exact, data, size);
	if (ftruncate(fz->crash_fd, 0) < 0 || sys_pwrite_full(fz->crash_fd, data, size, 0) < 0)
		abort();
	fuzz_one(exact, size);
	free(exact);
}

static void mutate(struct fuzzer *fz, uint8_t *data, size_t *size)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, '\n', '"', '\\' };
	const struct input *other = &fz->seeds[below(fz, fz->n_seeds)];
	size_t at = below(fz, *size), n;

	switch (below(fz, 6)) {
	case 0:
		if (*size)
			data[at] ^= 1u << below(fz, 8);
		break;
	case 1:
		if (*size)
			data[at] = edges[below(fz, sizeof(edges))];
		break;
	case 2: /* cut out */
		n = below(fz, *size - at + 1);
		memmove(data + at, data + at + n, *size - at - n);
		*size -= n;
		break;
	case 3: /* double */
		n = below(fz, MIN(*size - at, INPUT_MAX - *size) + 1);
		memmove(data + at + n, data + at, *size - at);
		*size += n;
		break;
	case 4: /* cut off */
		*size = at;
		break;
	default: /* from another seed */
		n = MIN(below(fz, other->size + 1), INPUT_MAX - at);
		if (n)
			memcpy(data + at, other->data, n);
		*size = MAX(*size, at + n);
		break;
	}
}

static int read_seed(struct fuzzer *fz, int dir_fd, const char *name)
{
	char *text;
	size_t size;
	int r;

	if (fz->n_seeds == SEEDS_MAX)
		return -E2BIG;
	r = sys_read_file_at(dir_fd, name, INPUT_MAX, &text, &size);
	if (r < 0)
		return r;
	fz->seeds[fz->n_seeds++] = (struct input){ (uint8_t *)text, size };
	return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_seeds(struct fuzzer *fz, const char *dir)
{
	_cleanup_close_ int dir_fd = sys_open(dir, O_RDONLY | O_DIRECTORY, 0);
	struct dirent **entries;
	int n, r = 0;

	if (dir_fd < 0)
		return dir_fd;
	n = scandir(dir, &entries, NULL, by_name);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		if (r == 0 && entries[i]->d_name[0] != '.')
			r = read_seed(fz, dir_fd, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return r;
}

static unsigned long number_from_env(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : otherwise;
}

static unsigned long run_mutations(struct fuzzer *fz, unsigned long rounds)
{
	static uint8_t data[INPUT_MAX + 1];
	time_t end = time(NULL) + (time_t)number_from_env("FUZZ_SECONDS", SECONDS_MAX);
	unsigned long i;

	for (i = 0; i < rounds && (i % 256 || time(NULL) < end); i++) {
		const struct input *seed = &fz->seeds[below(fz, fz->n_seeds)];
		size_t size = seed->size;

		memcpy(data, seed->data, size);
		for (size_t m = below(fz, 8) + 1; m > 0; m--)
			mutate(fz, data, &size);
		run_one(fz, data, size);
	}
	return i;
}

int main(int argc, char *argv[])
{
	struct fuzzer fz = { .random = 0x9e3779b97f4a7c15 ^ number_from_env("FUZZ_SEED", 0) };
	unsigned long done;
	int r;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s SEED-DIRECTORY\n", argv[0]);
		return 2;
	}
	r = read_seeds(&fz, argv[1]);
	if (r < 0 || fz.n_seeds == 0) {
		(void)fprintf(stderr, "%s: no seeds: %s\n", argv[1], strerror(r < 0 ? -r : ENOENT));
		return 1;
	}
	fz.crash_fd = sys_open(crash_file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fz.crash_fd < 0) {
		(void)fprintf(stderr, "%s: %s\n", crash_file, strerror(-fz.crash_fd));
		return 1;
	}
	for (size_t i = 0; i < fz.n_seeds; i++)
		run_one(&fz, fz.seeds[i].data, fz.seeds[i].size);
	done = run_mutations(&fz, number_from_env("FUZZ_ROUNDS", DEFAULT_ROUNDS));

	(void)printf("%zu seeds, %lu mutations\n", fz.n_seeds, done);
	(void)sys_unlinkat(AT_FDCWD, crash_file, 0);
	for (size_t i = 0; i < fz.n_seeds; i++)
		free(fz.seeds[i].data);
	return 0;
}
