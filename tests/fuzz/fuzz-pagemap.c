/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pagemap, whose pages are in its own set or in the parent's. What is visited ascends, does not overlap, and is inside
 * the pages file; what is refused comes with a sentence. The parent has the first seed.
 */
#include "fuzz.h"

#include <stdlib.h>

#include "basic/sys.h"
#include "engine/memory/pages.h"

enum {
	PAGES_BYTES = 1 << 20,
	VISITS_MAX = 1 << 16,
};

struct visits {
	uint64_t end;
	unsigned n;
};

static void write_file(int dir_fd, const char *name, const uint8_t *data, size_t size)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	HOLD(fd >= 0);
	HOLD(data ? sys_write_full(fd, data, size) == 0 : ftruncate(fd, (off_t)size) == 0);
}

static int open_set(const char *path)
{
	int fd;

	(void)sys_mkdirat(AT_FDCWD, path, 0700);
	fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	HOLD(fd >= 0);
	write_file(fd, "pages-1.img", NULL, PAGES_BYTES);
	return fd;
}

static int look(void *userdata, uint64_t vaddr, const struct page_file *file, uint64_t offset, uint64_t size)
{
	struct visits *v = userdata;
	struct stat st;

	HOLD(size > 0 && vaddr >= v->end && vaddr + size > vaddr);
	HOLD(sys_fstat(file->fd, &st) == 0 && size <= (uint64_t)st.st_size && offset <= (uint64_t)st.st_size - size);
	v->end = vaddr + size;
	return v->n++ < VISITS_MAX ? 0 : -E2BIG;
}

void fuzz_one(const uint8_t *data, size_t size)
{
	static int set = -EBADF, parent;
	struct failure failure = {};
	struct visits visits = {};
	int r;

	if (set < 0) {
		set = open_set("pagemap-set");
		parent = open_set("pagemap-parent");
		write_file(parent, "pagemap-42.img", data, size);
		r = SYS_CALL(symlinkat("../pagemap-parent", set, "parent"));
		HOLD(r == 0 || r == -EEXIST);
	}
	write_file(set, "pagemap-42.img", data, size);
	r = pages_walk(&IMAGE_SET_UNCHECKED(set), IMAGE_PAGEMAP, 42, &failure, look, &visits);
	HOLD(r == 0 || r == -E2BIG || failure.text[0]);
}
