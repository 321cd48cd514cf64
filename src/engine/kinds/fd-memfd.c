/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memfds: files without a name in any file system. An inode record (memfd.img) holds name, owner,
 * seals and size; the contents are a shared memory object (memory/shmem.c) under its shmid; each
 * open description refers to the inode. Shared anonymous memory is the same thing under the name
 * /dev/zero.
 *
 * Mappings refer to a memfd by the id of a description, as if it were a file.
 *
 * Seals come last: F_SEAL_FUTURE_WRITE forbids the very mapping that a task may already have had
 * before.
 *
 * A memfd may be the program of a task. Then nobody can open it for writing; the only description that may write is the one
 * that memfd_create(2) made. It is kept as wide_fd of the files that need it.
 */
#include <inttypes.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/kinds/kind.h"
#include "engine/memory/shmem.h"
#include "engine/memory/vma.h"

#include "memfd.pb-c.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

enum {
	MAGIC_TMPFS = 0x01021994,
	ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE |
		    F_SEAL_EXEC,
};
#define MAGIC_HUGETLBFS 0x958458f6u

static const char link_prefix[] = "/memfd:";
static const char link_suffix[] = " (deleted)";

struct memfd_dump {
	struct memfd_seen {
		dev_t dev;
		ino_t ino;
		uint32_t inode_id;
	} * seen;
	size_t n_seen;
};

struct memfd_restore {
	MemfdInodeEntry **inodes;
	size_t n_inodes;
};

/*
 * Any path may begin with "/memfd:"; only the kernel's own mount has the device that a memfd of
 * ours has.
 */
static bool on_kernel_mount(const struct stat *st)
{
	_cleanup_close_ int fd = sys_memfd("", MFD_CLOEXEC);
	struct stat ours;

	return fd >= 0 && sys_fstat(fd, &ours) == 0 && ours.st_dev == st->st_dev;
}

static bool memfd_matches(const struct fd_view *view)
{
	if (!S_ISREG(view->st.st_mode) || view->st.st_nlink > 0)
		return false;
	if (view->fs_magic == MAGIC_HUGETLBFS)
		return strncmp(view->link, link_prefix, sizeof(link_prefix) - 1) == 0;
	if (view->fs_magic != MAGIC_TMPFS)
		return false;
	if (strncmp(view->link, link_prefix, sizeof(link_prefix) - 1) != 0 &&
	    strcmp(view->link, "/dev/zero (deleted)") != 0)
		return false;
	return on_kernel_mount(&view->st);
}

/* ---- dump ---- */

static const char *inode_name(struct dump *d, const struct fd_view *view)
{
	const char *start = view->link;
	char *name;
	size_t n;

	if (strncmp(start, link_prefix, sizeof(link_prefix) - 1) == 0)
		start += sizeof(link_prefix) - 1;
	name = arena_strdup(&d->arena, start);
	if (!name)
		return NULL;
	n = strlen(name);
	if (n >= sizeof(link_suffix) - 1 &&
	    strcmp(name + n - (sizeof(link_suffix) - 1), link_suffix) == 0)
		name[n - (sizeof(link_suffix) - 1)] = '\0';
	return name;
}

static int dump_inode(struct dump *d, const struct fd_view *view, uint32_t inode_id)
{
	MemfdInodeEntry record = MEMFD_INODE_ENTRY__INIT;
	int seals, r;

	if (view->st.st_ino > UINT32_MAX)
		return fail(d->failure, -EOPNOTSUPP, "its inode number does not fit the format");
	seals = (int)SYS_CALL(fcntl(view->fd, F_GET_SEALS));
	if (seals < 0)
		return fail(d->failure, seals, "cannot read its seals");
	record.name = (char *)inode_name(d, view);
	if (!record.name)
		return fail(d->failure, -ENOMEM, "cannot keep its name");
	record.uid = view->st.st_uid;
	record.gid = view->st.st_gid;
	record.size = (uint64_t)view->st.st_size;
	record.shmid = (uint32_t)view->st.st_ino;
	record.seals = (uint32_t)seals;
	record.inode_id = inode_id;
	if (view->fs_magic == MAGIC_HUGETLBFS) {
		record.has_hugetlb_flag = true;
		record.hugetlb_flag =
			MFD_HUGETLB | ((uint32_t)__builtin_ctzl((unsigned long)view->st.st_blksize)
				       << MFD_HUGE_SHIFT);
	}
	record.has_mode = true;
	record.mode = view->st.st_mode;

	if (record.size > 0) {
		r = shmem_dump_object(d, view->fd, record.shmid, record.size);
		if (r < 0)
			return r;
	}
	return dump_put(d, IMAGE_MEMFD_INODE, &record.base);
}

static int find_or_dump_inode(struct dump *d, const struct fd_view *view, uint32_t *ret_id)
{
	struct memfd_dump *m = d->memfd;
	struct memfd_seen *seen;
	int r;

	if (!m)
		m = d->memfd = arena_new(&d->arena, struct memfd_dump);
	if (!m)
		return fail(d->failure, -ENOMEM, "cannot list memfds");
	for (size_t i = 0; i < m->n_seen; i++) {
		if (m->seen[i].dev == view->st.st_dev && m->seen[i].ino == view->st.st_ino) {
			*ret_id = m->seen[i].inode_id;
			return 0;
		}
	}
	if (arena_grow(&d->arena, &m->seen, m->n_seen) < 0)
		return fail(d->failure, -ENOMEM, "cannot list memfds");
	seen = &m->seen[m->n_seen];
	*seen = (struct memfd_seen){ view->st.st_dev, view->st.st_ino, (uint32_t)m->n_seen + 1 };
	r = dump_inode(d, view, seen->inode_id);
	if (r < 0)
		return r;
	m->n_seen++;
	*ret_id = seen->inode_id;
	return 0;
}

static int memfd_dump(struct dump *d, const struct fd_view *view)
{
	MemfdFileEntry record = MEMFD_FILE_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	int r;

	r = find_or_dump_inode(d, view, &record.inode_id);
	if (r < 0)
		return r;
	record.id = view->id;
	record.flags = view->flags;
	record.pos = (uint64_t)view->pos;
	record.fown = view->fown;
	entry.memfd = &record;
	return files_put(d, view, &fd_kind_memfd, &entry);
}

/* ---- restore ---- */

static const MemfdInodeEntry *find_inode(const struct restore *rs, uint32_t inode_id)
{
	for (size_t i = 0; i < rs->memfd->n_inodes; i++) {
		if (rs->memfd->inodes[i]->inode_id == inode_id)
			return rs->memfd->inodes[i];
	}
	return NULL;
}

static int check_inode(struct restore *rs, const MemfdInodeEntry *inode)
{
	if (find_inode(rs, (uint32_t)inode->inode_id) || inode->inode_id > UINT32_MAX)
		return fail(rs->failure, -EBADMSG, "memfd.img: inode %" PRIu64 " cannot be used",
			    inode->inode_id);
	if (inode->size > INT64_MAX)
		return fail(rs->failure, -EBADMSG, "memfd '%s' has size %" PRIu64, inode->name,
			    inode->size);
	if (inode->seals & ~(uint32_t)ALL_SEALS)
		return fail(rs->failure, -EOPNOTSUPP, "memfd '%s' has seals %#x", inode->name,
			    inode->seals);
	if (inode->has_hugetlb_flag &&
	    (inode->hugetlb_flag & ~(MFD_HUGETLB | (0x3fu << MFD_HUGE_SHIFT))))
		return fail(rs->failure, -EBADMSG, "memfd '%s' has huge page flags %#x",
			    inode->name, inode->hugetlb_flag);
	return 0;
}

static int load_inodes(struct restore *rs)
{
	_cleanup_(image_freep) struct image *img = NULL;
	struct memfd_restore *m;
	int r;

	m = arena_new(&rs->arena, struct memfd_restore);
	if (!m)
		return fail(rs->failure, -ENOMEM, "cannot list memfds");
	rs->memfd = m;
	r = image_open(&rs->set, IMAGE_MEMFD_INODE, 0, rs->failure, &img);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	for (;;) {
		ProtobufCMessage *msg;

		r = image_get_in(img, &memfd_inode_entry__descriptor, &rs->arena, &msg);
		if (r <= 0)
			return r;
		r = check_inode(rs, (MemfdInodeEntry *)msg);
		if (r < 0)
			return r;
		if (arena_grow(&rs->arena, &m->inodes, m->n_inodes) < 0)
			return fail(rs->failure, -ENOMEM, "cannot list memfds");
		m->inodes[m->n_inodes++] = (MemfdInodeEntry *)msg;
	}
}

static int memfd_check(struct restore *rs, struct file *file)
{
	const MemfdFileEntry *record = file->entry->memfd;
	int r;

	if (!record)
		return fail(rs->failure, -EBADMSG, "file %u says it is a memfd but holds none",
			    file->id);
	if (!rs->memfd) {
		r = load_inodes(rs);
		if (r < 0)
			return r;
	}
	if (!find_inode(rs, record->inode_id))
		return fail(rs->failure, -EBADMSG, "file %u: memfd.img has no inode %u", file->id,
			    record->inode_id);
	return 0;
}

static int create_memfd(const MemfdInodeEntry *inode)
{
	unsigned flags = MFD_CLOEXEC;
	int fd;

	if (inode->seals != F_SEAL_SEAL)
		flags |= MFD_ALLOW_SEALING;
	if (inode->has_hugetlb_flag)
		flags |= inode->hugetlb_flag;
	fd = sys_memfd(inode->name, flags | MFD_EXEC);
	if (fd == -EINVAL) /* before Linux 6.3 all are executable */
		fd = sys_memfd(inode->name, flags);
	return fd;
}

/*
 * Makes the file with its contents. Return: a descriptor that is not yet any description of the
 * tree.
 */
static int make_inode(struct restore *rs, const MemfdInodeEntry *inode)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	/* Shared anonymous memory that is mapped as such as well as open. */
	r = shmem_open_id(rs, inode->shmid);
	if (r != -ENOENT)
		return r < 0 ? r : sys_dup(r);

	fd = create_memfd(inode);
	if (fd < 0)
		return fail(rs->failure, fd, "cannot make memfd '%s'", inode->name);
	r = SYS_CALL(ftruncate(fd, (off_t)inode->size));
	if (r < 0)
		return fail(rs->failure, r, "cannot size memfd '%s'", inode->name);
	if (inode->size > 0) {
		r = shmem_fill(rs, inode->shmid, fd);
		if (r < 0)
			return r;
	}
	r = sys_fstat(fd, &st);
	if (r == 0 && (st.st_uid != inode->uid || st.st_gid != inode->gid))
		r = SYS_CALL(fchown(fd, inode->uid, inode->gid));
	if (r == 0 && inode->has_mode && (st.st_mode & 07777) != (inode->mode & 07777))
		r = SYS_CALL(fchmod(fd, inode->mode & 07777));
	if (r < 0)
		return fail(rs->failure, r, "cannot give memfd '%s' its owner and mode",
			    inode->name);
	/* Before it is mapped: shared mappings for reading may be made of a file that is sealed, but not the other way round (6.7). */
	if (inode->seals & F_SEAL_WRITE)
		r = SYS_CALL(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	return r < 0 ? fail(rs->failure, r, "cannot seal memfd '%s'", inode->name) : TAKE_FD(fd);
}

/* A new description of the same file. */
static int reopen(struct restore *rs, int fd, uint32_t flags, const char *name)
{
	static const uint32_t not_for_open = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_DIRECTORY;
	char path[64];
	int new_fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	new_fd = sys_open(path, (int)(flags & ~not_for_open) | O_CLOEXEC, 0);
	if (new_fd < 0)
		return fail(rs->failure, new_fd, "cannot open memfd '%s'", name);
	return new_fd;
}

static bool is_of(const struct file *file, uint32_t inode_id)
{
	return file->kind == &fd_kind_memfd && file->entry->memfd->inode_id == inode_id;
}

/* The description that made the inode, or -EBADF: it is still to be made. */
static int find_made(const struct restore *rs, uint32_t inode_id)
{
	const struct file *file;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		if (is_of(file, inode_id) && file->wide_fd >= 0)
			return file->wide_fd;
	}
	return -EBADF;
}

/* Is it there for mappings only? What is in no table may also be on its way in a socket. */
static bool is_mapping(const struct restore *rs, const struct file *file)
{
	for (size_t i = 0; file->n_users == 0 && i < rs->n_tasks; i++) {
		const MmEntry *mm = rs->tasks[i]->mm;

		for (size_t k = 0; mm && k < mm->n_vmas; k++) {
			if ((mm->vmas[k]->status & VMA_MEMFD) && mm->vmas[k]->shmid == file->id)
				return true;
		}
	}
	return false;
}

static uint32_t wanted_flags(const struct restore *rs, const struct file *file,
			     const MemfdInodeEntry *inode)
{
	uint32_t flags = file->entry->memfd->flags;

	/*
	 * Only mapped: other images do not say how it was open. A mapping that may write would
	 * prevent the seal.
	 */
	if ((flags & O_ACCMODE) == O_RDONLY && !(inode->seals & F_SEAL_WRITE) &&
	    is_mapping(rs, file))
		flags |= O_RDWR;
	return flags;
}

static bool is_read_write(const struct restore *rs, const struct file *file,
			  const MemfdInodeEntry *inode)
{
	uint32_t flags = wanted_flags(rs, file, inode);

	return (flags & O_ACCMODE) == O_RDWR && !(flags & O_PATH);
}

/*
 * The description that memfd_create(2) made is unlike all that are opened later: it does not count
 * as a writer, so the file can be executed. One that was open for reading and writing gets it;
 * mappings for writing share it.
 */
static struct file *find_first(const struct restore *rs, const MemfdInodeEntry *inode)
{
	struct file *file;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		if (is_of(file, (uint32_t)inode->inode_id) && (file->n_users > 0 || file->needed) &&
		    is_read_write(rs, file, inode))
			return file;
	}
	return NULL;
}

static int set_position(struct restore *rs, const struct file *file, const char *name)
{
	const MemfdFileEntry *record = file->entry->memfd;
	off_t at;

	if (record->pos == 0 || (record->flags & O_PATH))
		return 0;
	at = SYS_CALL(lseek(file->fd, (off_t)record->pos, SEEK_SET));
	return at < 0 ? fail(rs->failure, (int)at, "cannot seek in memfd '%s'", name) : 0;
}

/* Gives the description of a new memfd to one that was open like it. */
static int adopt(struct restore *rs, struct file *file, const MemfdInodeEntry *inode, int made)
{
	int r;

	file->fd = sys_dup(made);
	if (file->fd < 0)
		return fail(rs->failure, file->fd, "cannot open memfd '%s'", inode->name);
	r = files_apply_flags(rs, made, file->entry->memfd->flags);
	return r < 0 ? r : set_position(rs, file, inode->name);
}

/* Makes the inode, and whoever is to have its first description. */
static int begin_inode(struct restore *rs, struct file *file, const MemfdInodeEntry *inode)
{
	struct file *first = find_first(rs, inode);

	file->wide_fd = make_inode(rs, inode);
	if (file->wide_fd < 0)
		return file->wide_fd;
	return first ? adopt(rs, first, inode, file->wide_fd) : 0;
}

static int memfd_open(struct restore *rs, struct file *file)
{
	const MemfdFileEntry *record = file->entry->memfd;
	const MemfdInodeEntry *inode = find_inode(rs, record->inode_id);
	int made = find_made(rs, record->inode_id), r;
	bool mapping = is_mapping(rs, file);

	if (made < 0) {
		r = begin_inode(rs, file, inode);
		if (r < 0 || file->fd >= 0)
			return r;
		made = file->wide_fd;
	} else if (mapping) {
		file->wide_fd = sys_dup(made);
		if (file->wide_fd < 0)
			return fail(rs->failure, file->wide_fd, "cannot open memfd '%s'", inode->name);
	}
	r = mapping && is_read_write(rs, file, inode) ?
		    sys_dup(made) :
		    reopen(rs, made, wanted_flags(rs, file, inode), inode->name);
	if (r < 0)
		return r;
	file->fd = r;
	return mapping ? 0 : set_position(rs, file, inode->name);
}

static int memfd_restore_finish(struct restore *rs)
{
	for (size_t i = 0; rs->memfd && i < rs->memfd->n_inodes; i++) {
		const MemfdInodeEntry *inode = rs->memfd->inodes[i];
		int made = find_made(rs, (uint32_t)inode->inode_id), r;

		if (made < 0 || inode->seals == 0 || inode->seals == F_SEAL_SEAL)
			continue;
		r = SYS_CALL(fcntl(made, F_ADD_SEALS, (int)inode->seals));
		if (r < 0)
			return fail(rs->failure, r, "cannot seal memfd '%s'", inode->name);
	}
	return 0;
}

const struct fd_kind fd_kind_memfd = {
	.name = "memfd",
	.type = FD_TYPES__MEMFD,
	.matches = memfd_matches,
	.dump = memfd_dump,
	.check = memfd_check,
	.open = memfd_open,
	.restore_finish = memfd_restore_finish,
};
