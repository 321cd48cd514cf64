/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The comparison is made in the freeze, and a parent that has to come from the disk would take longer there than storing
 * everything: so it is read beforehand, and what has left the page cache by then is not compared with. Objects are opened one at a time, because there may be thousands.
 */
#include "engine/memory/shmem-parent.h"

#include <dirent.h>
#include <inttypes.h>
#include <string.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"

enum {
	PAGE = 4096,
	PIECE_BYTES = 128 * 1024, /* asked for at once; its last byte is waited for */
};

bool shmem_parent_is_used(const struct dump *d)
{
	return d->incremental;
}

/* ---- before the freeze ---- */

struct prefetch {
	uint64_t left; /* bytes that may still be read */
	bool touch;
};

/*
 * All is asked for first and waited for afterwards, so that the disk sees one long queue. Of one request the kernel takes no
 * more than its read-ahead.
 */
static int prefetch_range(void *userdata, uint64_t vaddr, const struct page_file *file, uint64_t offset, uint64_t size)
{
	struct prefetch *p = userdata;
	uint8_t byte;

	(void)vaddr;
	if (!p->touch && size > p->left)
		return -ENOSPC;
	p->left -= p->touch ? 0 : size;
	for (uint64_t at = 0, n; at < size; at += n) {
		n = MIN(size - at, (uint64_t)PIECE_BYTES);
		if (p->touch)
			(void)SYS_CALL(pread(file->fd, &byte, 1, offset + at + n - 1));
		else
			(void)posix_fadvise(file->fd, offset + at, n, POSIX_FADV_WILLNEED);
	}
	return 0;
}

static int prefetch_object(struct dump *d, uint64_t key, void *userdata)
{
	const struct image_set set = IMAGE_SET_UNCHECKED(d->parent_fd);
	struct prefetch *p = userdata;

	for (int pass = 0, r = 0; r >= 0 && pass < 2; pass++) {
		p->touch = pass == 1;
		r = pages_walk(&set, IMAGE_PAGEMAP_SHMEM, key, NULL, prefetch_range, p);
	}
	return 0;
}

static bool parse_name(const char *name, uint64_t *ret_key)
{
	static const char prefix[] = "pagemap-shmem-";
	const char *at = name + sizeof(prefix) - 1;

	return strncmp(name, prefix, sizeof(prefix) - 1) == 0 && parse_u64_prefix(&at, 10, ret_key) == 0 &&
	       strcmp(at, ".img") == 0;
}

/* Calls @visit for each object of the parent set, until it fails. A set that cannot be listed has none. */
static int for_each_object(struct dump *d, int (*visit)(struct dump *d, uint64_t key, void *userdata), void *userdata)
{
	int fd = sys_openat(d->parent_fd, ".", O_RDONLY | O_DIRECTORY, 0), r = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	uint64_t key;

	if (!dir) {
		close_fd(fd);
		return 0;
	}
	while (r == 0 && (e = readdir(dir))) {
		if (parse_name(e->d_name, &key))
			r = visit(d, key, userdata);
	}
	(void)closedir(dir);
	return r;
}

void shmem_parent_prefetch(struct dump *d)
{
	struct prefetch p = { .left = proc_available_bytes() / 2 };

	if (shmem_parent_is_used(d))
		(void)for_each_object(d, prefetch_object, &p);
}

/* ---- a round ---- */

static int pass_on_object(struct dump *d, uint64_t key, void *userdata)
{
	struct shmem_parent p;
	struct pages_writer w;
	int r;

	(void)userdata;
	shmem_parent_open(&p, d, key);
	r = pages_writer_open(&w, d, IMAGE_PAGEMAP_SHMEM, key);
	for (size_t i = 0; r == 0 && p.level && i < p.level->n_ranges; i++)
		r = pages_writer_put_parent(&w, p.level->ranges[i].vaddr, p.level->ranges[i].size);
	if (r == 0)
		r = pages_writer_close(&w);
	else
		pages_writer_done(&w);
	shmem_parent_close(&p);
	return r;
}

int shmem_parent_pass_on(struct dump *d)
{
	return shmem_parent_is_used(d) ? for_each_object(d, pass_on_object, NULL) : 0;
}

/* ---- in the freeze ---- */

static void give_up(struct shmem_parent *p)
{
	page_level_close(p->level);
	p->level = NULL;
	dump_note(p->dump, "shared memory %" PRIu64 " is stored in full: %s", p->chain.key,
		  p->failure.error ? p->failure.text : "its parent cannot be read");
}

void shmem_parent_open(struct shmem_parent *p, struct dump *d, uint64_t key)
{
	int fd, r;

	*p = (struct shmem_parent){ .dump = d };
	if (!shmem_parent_is_used(d))
		return;
	p->chain = (struct page_chain){ .failure = &p->failure,
					.id = IMAGE_PAGEMAP_SHMEM,
					.key = key };
	fd = sys_dup(d->parent_fd);
	r = fd < 0 ? fail(&p->failure, fd, "cannot use the parent set") : page_level_open(&p->chain, fd, &p->level);
	if (r < 0 && r != -ENOENT)
		give_up(p);
}

void shmem_parent_read(struct shmem_parent *p, uint64_t start, size_t n_pages, uint8_t *to, bool *have)
{
	memset(have, false, n_pages);
	if (!p->level)
		return;
	if (page_level_read(&p->chain, p->level, start, n_pages, to, have) < 0)
		give_up(p);
}

void shmem_parent_close(struct shmem_parent *p)
{
	page_level_close(p->level);
	p->level = NULL;
	arena_done(&p->chain.arena);
}
