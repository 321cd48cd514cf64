/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything a restore reads before it makes anything: all images of a set, and the checks of all
 * kinds; then verify, which reads each image to its end. A seed is a whole set in one file: "@@NAME" and a newline before the bytes of each image.
 * What is refused must come with a sentence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/kinds/kind.h"
#include "engine/memory/shmem.h"
#include "fuzz.h"

enum { NAME_MAX_BYTES = 64, FILES_MAX = 128 };

struct image_file {
	char name[NAME_MAX_BYTES];
	const uint8_t *data;
	size_t size;
};

struct seed_set {
	struct image_file files[FILES_MAX];
	size_t n;
};

static const uint8_t *find_mark(const uint8_t *data, const uint8_t *end)
{
	const uint8_t *mark = end - data >= 2 ? memmem(data, (size_t)(end - data), "@@", 2) : NULL;

	return mark ? mark : end;
}

static bool is_name(const char *name, size_t n)
{
	return n > 0 && n < NAME_MAX_BYTES && name[0] != '.' && !memchr(name, '/', n) &&
	       !memchr(name, '\0', n);
}

/* Return: where the next image starts. */
static const uint8_t *unpack_one(struct seed_set *set, const uint8_t *at, const uint8_t *end)
{
	const uint8_t *line = memchr(at, '\n', (size_t)(end - at)), *next;
	struct image_file *file = &set->files[set->n];

	if (!line)
		return end;
	next = find_mark(line + 1, end);
	if (set->n == FILES_MAX || !is_name((const char *)at, (size_t)(line - at)))
		return next;
	memset(file, 0, sizeof(*file));
	memcpy(file->name, at, (size_t)(line - at));
	file->data = line + 1;
	file->size = (size_t)(next - file->data);
	set->n++;
	return next;
}

static void unpack(struct seed_set *set, const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;

	set->n = 0;
	for (const uint8_t *at = find_mark(data, end); at < end;)
		at = unpack_one(set, at + 2, end);
}

static bool has(const struct seed_set *set, const char *name)
{
	for (size_t i = 0; i < set->n; i++) {
		if (strcmp(set->files[i].name, name) == 0)
			return true;
	}
	return false;
}

static void write_file(int dir_fd, const struct image_file *file)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, file->name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || sys_write_full(fd, file->data, file->size) < 0)
		abort();
}

static void load(int dir_fd)
{
	struct engine_options options;
	struct engine_context context = {};
	struct engine_stats stats = {};
	struct failure failure = {};
	struct restore rs = {
		.options = &options,
		.context = &context,
		.failure = &failure,
		.stats = &stats,
		.dir_fd = dir_fd,
		.transport = { -EBADF, -EBADF },
	};
	int r;

	engine_options_init(&options);
	options.shell_job = options.file_locks = true;
	r = restore_load(&rs);
	if (r == 0)
		r = files_load(&rs);
	if (r == 0)
		r = shmem_restore_prepare(&rs);
	if (r < 0 && !failure.text[0])
		abort();
	for (size_t i = 0; i < rs.n_tasks; i++)
		close_fd(rs.tasks[i]->mem_fd);
	files_restore_done(&rs);
	shmem_restore_done(rs.shmem);
	set_checks_done(&rs.checks);
	arena_done(&rs.arena);
	failure_clear(&failure);
	options.images_dir_fd = dir_fd;
	if (engine_verify(&options, &context, &stats, &failure) < 0 && !failure.text[0])
		abort();
	options.images_dir_fd = -EBADF;
	engine_options_done(&options);
}

/*
 * The first seed, whole: what a mutation has lost is taken from it, or nearly all would end at the
 * first missing image.
 */
struct fixture {
	int dir_fd;
	struct seed_set whole;
};

static void fixture_init(struct fixture *f, const uint8_t *data, size_t size)
{
	char path[] = "fuzz-images.XXXXXX";
	uint8_t *copy = malloc(size);

	if (!copy || !mkdtemp(path))
		abort();
	memcpy(copy, data, size);
	unpack(&f->whole, copy, size);
	f->dir_fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	if (f->dir_fd < 0)
		abort();
}

void fuzz_one(const uint8_t *data, size_t size)
{
	static struct fixture f = { .dir_fd = -EBADF };
	static struct seed_set set;

	if (f.dir_fd < 0)
		fixture_init(&f, data, size);
	unpack(&set, data, size);
	for (size_t i = 0; i < set.n; i++)
		write_file(f.dir_fd, &set.files[i]);
	for (size_t i = 0; i < f.whole.n; i++) {
		if (!has(&set, f.whole.files[i].name))
			write_file(f.dir_fd, &f.whole.files[i]);
	}
	load(f.dir_fd);
	for (size_t i = 0; i < set.n; i++)
		(void)unlinkat(f.dir_fd, set.files[i].name, 0);
}
