/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects are dumped through a descriptor of ours of the shmem file itself (map_files, a copied memfd), so that pages
 * nobody has mapped are seen too. They are filled through a mapping, because hugetlbfs knows no write(2).
 *
 * Nothing tracks who writes to shared memory: there may be mappers outside of the tree, and write(2). A set that continues
 * another therefore compares each page with what that has, and refers to it where they are the same.
 */
#include "engine/memory/shmem.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/far.h"
#include "engine/kinds/ipc-sysv.h"
#include "engine/kinds/kind.h"
#include "engine/memory/extents.h"
#include "engine/memory/fill.h"
#include "engine/memory/shmem-parent.h"
#include "engine/memory/shmem-read.h"

enum {
	PAGE = 4096,
	HUGETLB_SIZE_SHIFT = 26,
};

#define OBJECT_MAX_BYTES (1ull << 46)

struct shmem_dump {
	struct shmem_seen {
		uint64_t shmid;
		dev_t dev;
	} *seen; /* objects already written */
	size_t n;
	struct shmem_noted {
		uint64_t shmid;
		int fd; /* a description of our own: the offset of the task's moves when it is looked through */
	} *noted; /* of a pre-dump */
	size_t n_noted;
};

/* One object on its way into the set. */
struct storing {
	struct dump *d;
	int fd;
	struct pages_writer w;
	struct shmem_parent parent;
	const uint8_t *now; /* a block of it */
	uint8_t before[SHMEM_BLOCK_PAGES * PAGE];
	bool had[SHMEM_BLOCK_PAGES]; /* pages of @before that the parent has */
};

/* What becomes of a page. */
enum fate {
	FATE_HOLE,   /* zero: not stored */
	FATE_PARENT, /* as in the parent set */
	FATE_STORE,
};

static struct shmem_dump *dump_state(struct dump *d)
{
	if (!d->shmem)
		d->shmem = arena_new(&d->arena, struct shmem_dump);
	if (!d->shmem)
		fail(d->failure, -ENOMEM, "no memory for shared memory");
	return d->shmem;
}

/* Return: 1 for an object that is written already, 0 for a new one, or -errno after fail(). */
static int mark_dumped(struct dump *d, uint64_t shmid, dev_t dev)
{
	struct shmem_dump *s = dump_state(d);

	if (!s)
		return -ENOMEM;
	for (size_t i = 0; i < s->n; i++) {
		if (s->seen[i].shmid != shmid)
			continue;
		/* Inode numbers of hugetlbfs and of shmem are counted apart, and the format has 32 bits for both. */
		if (s->seen[i].dev != dev)
			return fail(d->failure, -EOPNOTSUPP, "another object has the same number");
		return 1;
	}
	if (arena_grow(&d->arena, &s->seen, s->n) < 0)
		return fail(d->failure, -ENOMEM, "no memory for shared memory");
	s->seen[s->n++] = (struct shmem_seen){ shmid, dev };
	return 0;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static enum fate fate_of(const struct storing *s, size_t page)
{
	const uint8_t *now = s->now + page * PAGE;

	if (s->had[page] && memcmp(now, s->before + page * PAGE, PAGE) == 0)
		return FATE_PARENT;
	return is_zero(now, PAGE) ? FATE_HOLE : FATE_STORE;
}

/* Pages that are all zero are no part of the set. */
static int store_block(void *userdata, uint64_t start, const uint8_t *bytes, size_t n_pages)
{
	struct storing *s = userdata;
	size_t n;

	s->now = bytes;
	shmem_parent_read(&s->parent, start, n_pages, s->before, s->had);
	s->d->stats->shpages_scanned += n_pages;
	for (size_t at = 0; at < n_pages; at += n) {
		enum fate fate = fate_of(s, at);
		uint64_t offset = start + at * PAGE;
		int r = 0;

		for (n = 1; at + n < n_pages && fate_of(s, at + n) == fate;)
			n++;
		if (fate == FATE_STORE)
			r = pages_writer_put(&s->w, offset, s->now + at * PAGE, n * PAGE);
		else if (fate == FATE_PARENT) {
			r = pages_writer_put_parent(&s->w, offset, n * PAGE);
			s->d->stats->shpages_skipped_parent += n;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int store_object(struct storing *s, uint64_t shmid, uint64_t size)
{
	/* The descriptor may be a copy of the task's: its offset is not ours to change. */
	off_t pos = sys_lseek(s->fd, 0, SEEK_CUR);
	int r;

	r = pages_writer_open(&s->w, s->d, IMAGE_PAGEMAP_SHMEM, shmid);
	if (r == 0) {
		shmem_parent_open(&s->parent, s->d, shmid);
		r = shmem_read(s->fd, size, store_block, s, s->d->failure);
		shmem_parent_close(&s->parent);
	}
	if (pos >= 0)
		(void)sys_lseek(s->fd, pos, SEEK_SET);
	if (r < 0) {
		pages_writer_done(&s->w);
		return r;
	}
	s->d->stats->shpages_written += s->w.n_pages;
	return pages_writer_close(&s->w);
}

int shmem_dump_object(struct dump *d, int fd, uint64_t shmid, uint64_t size_bytes)
{
	_cleanup_free_ struct storing *s = NULL;
	struct stat st;
	int r;

	if (size_bytes == 0)
		return 0;
	FAILURE_SCOPE(d->failure, "shared memory %" PRIu64, shmid);
	r = sys_fstat(fd, &st);
	if (r < 0)
		return fail(d->failure, r, "cannot stat it");
	r = mark_dumped(d, shmid, st.st_dev);
	if (r != 0 || d->run->looks_only)
		return MIN(r, 0);
	s = malloc(sizeof(*s));
	if (!s)
		return fail(d->failure, -ENOMEM, "no memory for a copy buffer");
	s->d = d;
	s->fd = fd;
	return store_object(s, shmid, size_bytes);
}

/* Inode numbers of hugetlbfs and of shmem are counted apart. */
static uint64_t hugetlb_shmid(ino_t ino)
{
	return ino | 1ull << 40;
}

static int open_mapping(const struct task *task, const struct vma *v, int mode)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "map_files/%" PRIx64 "-%" PRIx64, v->start, v->end);
	return sys_openat(task->proc_fd, path, mode, 0);
}

int shmem_dump_mapping(struct dump *d, struct task *task, struct vma *v)
{
	_cleanup_close_ int fd = open_mapping(task, v, O_RDONLY);
	struct stat st;
	int r;

	if (fd < 0)
		return fail(d->failure, fd, "cannot open the shared memory");
	r = sys_fstat(fd, &st);
	if (r < 0)
		return fail(d->failure, r, "cannot stat the shared memory");
	if (v->status & VMA_SYSVIPC)
		return shmem_dump_object(d, fd, sysv_pagemap_key(v->shmid), st.st_size);
	if (v->flags & MAP_HUGETLB)
		v->shmid = hugetlb_shmid(st.st_ino);
	return shmem_dump_object(d, fd, v->shmid, st.st_size);
}

/* ---- a pre-dump ---- */

static int note_object(struct dump *d, int fd_take, uint64_t shmid)
{
	_cleanup_close_ int fd = fd_take;
	struct shmem_dump *s = dump_state(d);

	if (!s)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_noted; i++) {
		if (s->noted[i].shmid == shmid)
			return 0;
	}
	if (arena_grow(&d->arena, &s->noted, s->n_noted) < 0)
		return fail(d->failure, -ENOMEM, "no memory for shared memory");
	s->noted[s->n_noted++] = (struct shmem_noted){ shmid, TAKE_FD(fd) };
	return 0;
}

/* Is it one, and no file that is called like one? */
static bool is_memfd(int fd, struct stat *ret_st)
{
	struct fd_view view = {};
	char path[64], link[PATH_MAX];
	struct statfs sfs;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (sys_fstat(fd, &view.st) < 0 || SYS_CALL(fstatfs(fd, &sfs)) < 0 ||
	    sys_readlinkat(AT_FDCWD, path, link, sizeof(link)) < 0)
		return false;
	view.fs_magic = sfs.f_type;
	view.link = link;
	*ret_st = view.st;
	return fd_kind_memfd.matches(&view);
}

/* What cannot be opened is left to the dump, which says why. */
static int note_memfd(struct dump *d, int fd_take)
{
	_cleanup_close_ int fd = fd_take;
	struct stat st;

	if (fd < 0 || !is_memfd(fd, &st))
		return 0;
	return note_object(d, TAKE_FD(fd), (uint32_t)st.st_ino);
}

static int note_mapping_of(struct dump *d, const struct task *task, const struct vma *v)
{
	_cleanup_close_ int fd = -EBADF;
	struct statfs sfs;
	struct stat st;

	if (!(v->status & (VMA_ANON_SHARED | VMA_MEMFD)) || v->far)
		return 0;
	fd = open_mapping(task, v, O_RDONLY);
	if (v->status & VMA_MEMFD)
		return note_memfd(d, TAKE_FD(fd));
	if (fd < 0 || sys_fstat(fd, &st) < 0 || SYS_CALL(fstatfs(fd, &sfs)) < 0)
		return 0;
	if (v->status & VMA_SYSVIPC)
		return note_object(d, TAKE_FD(fd), sysv_pagemap_key(v->shmid));
	return note_object(d, TAKE_FD(fd), sfs.f_type == HUGETLBFS_MAGIC ? hugetlb_shmid(st.st_ino) : st.st_ino);
}

/* Memfds need not be mapped. */
static int note_descriptors(struct dump *d, const struct task *task)
{
	int fd = sys_openat(task->proc_fd, "fd", O_RDONLY | O_DIRECTORY, 0), r = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (!dir) {
		close_fd(fd);
		return 0;
	}
	while (r == 0 && (e = readdir(dir))) {
		char link[PATH_MAX];
		uint32_t number;

		if (sys_readlinkat(fd, e->d_name, link, sizeof(link)) >= 0 && strncmp(link, "/memfd:", 7) == 0 &&
		    parse_u32(e->d_name, 10, &number) == 0 && !far_is_descriptor(d, task->proc_fd, (int)number))
			r = note_memfd(d, sys_openat(fd, e->d_name, O_RDONLY | O_NONBLOCK, 0));
	}
	(void)closedir(dir);
	return r;
}

int shmem_look(struct dump *d, const struct task *task)
{
	int r = note_descriptors(d, task);

	for (size_t i = 0; r == 0 && i < task->n_vmas; i++)
		r = note_mapping_of(d, task, &task->vmas[i]);
	return r;
}

int shmem_store(struct dump *d)
{
	int r = 0;

	for (size_t i = 0; r == 0 && d->shmem && i < d->shmem->n_noted; i++) {
		const struct shmem_noted *o = &d->shmem->noted[i];
		struct stat st;

		r = sys_fstat(o->fd, &st);
		if (r == 0)
			r = shmem_dump_object(d, o->fd, o->shmid, st.st_size);
	}
	return r;
}

void shmem_dump_done(struct dump *d)
{
	for (size_t i = 0; d->shmem && i < d->shmem->n_noted; i++)
		close_fd(d->shmem->noted[i].fd);
}

/* ---- restore ---- */

struct shmem_object {
	uint64_t shmid, size;
	uint32_t flags; /* of one of its mappings */
	int fd;
};

struct shmem_restore {
	struct shmem_object *objects;
	size_t n;
};

static struct shmem_object *object_find(const struct restore *rs, uint64_t shmid)
{
	for (size_t i = 0; i < rs->shmem->n; i++) {
		if (rs->shmem->objects[i].shmid == shmid)
			return &rs->shmem->objects[i];
	}
	return NULL;
}

static int note_mapping(struct restore *rs, const VmaEntry *v)
{
	struct shmem_object *o = object_find(rs, v->shmid);
	uint64_t end;

	if (__builtin_add_overflow(v->pgoff, v->end - v->start, &end) || end > OBJECT_MAX_BYTES)
		return fail(rs->failure, -EBADMSG, "shared memory %" PRIu64 " is too large", v->shmid);
	if (!o) {
		if (arena_grow(&rs->arena, &rs->shmem->objects, rs->shmem->n) < 0)
			return fail(rs->failure, -ENOMEM, "no memory for shared memory");
		o = &rs->shmem->objects[rs->shmem->n++];
		*o = (struct shmem_object){ .shmid = v->shmid, .flags = v->flags, .fd = -EBADF };
	}
	o->size = MAX(o->size, end);
	return 0;
}

static bool is_anonymous_shared(const VmaEntry *v)
{
	return (v->status & VMA_ANON_SHARED) && !(v->status & (VMA_SYSVIPC | VMA_FILE_SHARED));
}

int shmem_restore_prepare(struct restore *rs)
{
	int r;

	rs->shmem = arena_new(&rs->arena, struct shmem_restore);
	if (!rs->shmem)
		return fail(rs->failure, -ENOMEM, "no memory for shared memory");
	for (size_t i = 0; i < rs->n_tasks; i++) {
		for (size_t k = 0; rs->tasks[i]->mm && k < rs->tasks[i]->mm->n_vmas; k++) {
			const VmaEntry *v = rs->tasks[i]->mm->vmas[k];

			r = is_anonymous_shared(v) ? note_mapping(rs, v) : 0;
			if (r < 0)
				return r;
		}
	}
	return 0;
}

void shmem_restore_done(struct shmem_restore *s)
{
	for (size_t i = 0; s && i < s->n; i++)
		s->objects[i].fd = close_fd(s->objects[i].fd);
}

/* A file like the one behind a shared anonymous mapping: taken from such a mapping of ours. */
static int object_create(struct restore *rs, struct shmem_object *o)
{
	uint32_t flags = o->flags & (MAP_HUGETLB | (0x3fu << HUGETLB_SIZE_SHIFT) | MAP_NORESERVE);
	char path[96];
	int fd, r;
	void *p;

	r = sys_mmap(NULL, o->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | flags, -1, 0, &p);
	if (r < 0)
		return fail(rs->failure, r, "cannot make %" PRIu64 " bytes of shared memory", o->size);
	(void)snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		       (unsigned long)p + o->size);
	fd = sys_open(path, O_RDWR, 0);
	(void)munmap(p, o->size);
	if (fd < 0)
		return fail(rs->failure, fd, "cannot open shared memory of our own");
	return fd;
}

int shmem_open_id(struct restore *rs, uint64_t shmid)
{
	struct shmem_object *o = object_find(rs, shmid);
	int r;

	if (!o)
		return -ENOENT;
	if (o->fd >= 0)
		return o->fd;
	o->fd = object_create(rs, o);
	if (o->fd < 0)
		return o->fd;
	r = shmem_fill(rs, o->shmid, o->fd);
	return r < 0 ? r : o->fd;
}

int shmem_open(struct restore *rs, const VmaEntry *v)
{
	int r = shmem_open_id(rs, v->shmid);

	return r == -ENOENT ? fail(rs->failure, -EOPNOTSUPP,
				   "shared memory of status %#x cannot be restored", v->status) :
			      r;
}

/* Its contents to the mapping at @to of ours. A fault there is an error of the call, not a SIGBUS. */
static int fill_mapping(struct restore *rs, const struct page_extents *x, uint8_t *to, uint64_t size)
{
	_cleanup_(arena_done) struct arena a = {};
	struct fill_piece *pieces = NULL;
	size_t n = 0;

	for (size_t i = 0; i < x->n; i++) {
		const struct page_extent *e = &x->items[i];

		if (e->vaddr > size || e->size > size - e->vaddr)
			return fail(rs->failure, -EBADMSG, "its pagemap goes beyond its end");
		for (uint64_t at = 0, part; at < e->size; at += part) {
			part = MIN(e->size - at, FILL_BLOCK - (e->offset + at) % FILL_BLOCK);
			if (arena_grow(&a, &pieces, n) < 0)
				return fail(rs->failure, -ENOMEM, "no memory for a list of pages");
			pieces[n++] = (struct fill_piece){ .vaddr = (uintptr_t)to + e->vaddr + at,
							   .size = part,
							   .offset = e->offset + at,
							   .file = e->file,
							   .how = FILL_FAULT };
		}
	}
	return n > 0 ? fill_memory(getpid(), -EBADF, pieces, n, rs->failure) : 0;
}

int shmem_fill(struct restore *rs, uint64_t shmid, int fd)
{
	_cleanup_(page_extents_done) struct page_extents x = {};
	uint64_t size;
	struct stat st;
	void *p;
	int r;

	FAILURE_SCOPE(rs->failure, "shared memory %" PRIu64, shmid);
	r = sys_fstat(fd, &st);
	if (r < 0)
		return fail(rs->failure, r, "cannot stat it");
	if (st.st_size == 0)
		return 0;
	size = ((uint64_t)st.st_size + PAGE - 1) / PAGE * PAGE;
	if ((uint64_t)st.st_blksize > PAGE) /* hugetlbfs maps whole huge pages only */
		size = st.st_size;
	r = page_extents_load(&x, &rs->set, IMAGE_PAGEMAP_SHMEM, shmid, rs->failure);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = sys_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0, &p);
	if (r < 0)
		return fail(rs->failure, r, "cannot map it");
	r = fill_mapping(rs, &x, p, size);
	(void)munmap(p, size);
	return r;
}
