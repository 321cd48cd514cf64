/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/file-hash.h"

#include <linux/magic.h>
#include <string.h>
#include <xxhash.h>

#include "basic/clock.h"
#include "basic/sys.h"
#include "basic/units.h"
#include "engine/file-judge.h"

#include "file-hash.pb-c.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

enum {
	FILE_BYTES_MAX = 256 << 10,
	ALL_BYTES_MAX = 4 << 20,
	KEPT_MAX = 256, /* descriptors that are held through the freeze */
};

struct kept_file {
	const SnapmgrIdentity *id;
	int fd;
	struct kept_file *next;
};

struct file_hashes {
	struct kept_file *kept;
	size_t n;
	uint64_t bytes;
};

/* ---- dump ---- */

/* Local ones, which answer by themselves: a read cannot wait for the tree, or for another machine. */
static bool is_local(uint64_t magic)
{
	return magic == EXT4_SUPER_MAGIC || magic == XFS_SUPER_MAGIC ||
	       magic == BTRFS_SUPER_MAGIC || magic == TMPFS_MAGIC || magic == OVERLAYFS_SUPER_MAGIC;
}

static bool is_to_be_hashed(const struct dump *d, const struct file_hashes *h,
			    const SnapmgrIdentity *id)
{
	int64_t mtime = file_time_nsec(id->mtime_sec, id->mtime_nsec);

	if (!S_ISREG(id->mode) || !is_local(id->fs_magic) || id->size > FILE_BYTES_MAX ||
	    h->n == KEPT_MAX || h->bytes + id->size > ALL_BYTES_MAX ||
	    mtime > (int64_t)d->frozen_realtime_nsec - FILE_TICK_NSEC)
		return false;
	for (const struct kept_file *k = h->kept; k; k = k->next) {
		if (k->id->ino == id->ino && k->id->dev == id->dev)
			return false;
	}
	return true;
}

int file_hash_keep(struct dump *d, const SnapmgrIdentity *id, int fd)
{
	struct kept_file *k;
	char path[64];

	if (!d->file_hashes)
		d->file_hashes = arena_new(&d->arena, struct file_hashes);
	if (!d->file_hashes)
		return fail(d->failure, -ENOMEM, "no memory for a list of files");
	if (d->run->looks_only || !is_to_be_hashed(d, d->file_hashes, id))
		return 0;
	/* To open a file breaks a lease on it, and the tree would hear of that. */
	if (SYS_CALL(fcntl(fd, F_GETLEASE)) != F_UNLCK)
		return 0;
	k = arena_new(&d->arena, struct kept_file);
	if (!k)
		return fail(d->failure, -ENOMEM, "no memory for a list of files");
	/* Anew: the tree's may be write-only, and its flags are the tree's. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	k->fd = sys_open(path, O_RDONLY | O_NONBLOCK | O_NOATIME, 0);
	if (k->fd < 0)
		return 0; /* then there is no hash of it, ignoring */
	k->id = id;
	k->next = d->file_hashes->kept;
	d->file_hashes->kept = k;
	d->file_hashes->n++;
	d->file_hashes->bytes += id->size;
	return 0;
}

static bool is_as_in_the_freeze(const SnapmgrIdentity *id, int fd)
{
	struct stat st;

	return sys_fstat(fd, &st) == 0 && (uint64_t)st.st_size == id->size &&
	       st.st_mtim.tv_sec == id->mtime_sec &&
	       (uint32_t)st.st_mtim.tv_nsec == id->mtime_nsec &&
	       st.st_ctim.tv_sec == id->ctime_sec && (uint32_t)st.st_ctim.tv_nsec == id->ctime_nsec;
}

static int hash(int fd, uint64_t size, XXH128_canonical_t *ret)
{
	_cleanup_free_ uint8_t *buffer = malloc(size + 1);
	int r = buffer ? sys_pread_full(fd, buffer, size, 0) : -ENOMEM;

	if (r == 0)
		XXH128_canonicalFromHash(ret, XXH3_128bits(buffer, size));
	return r;
}

static int write_one(struct image *img, const struct kept_file *k)
{
	SnapmgrFileHash e = SNAPMGR_FILE_HASH__INIT;
	XXH128_canonical_t digest;

	if (hash(k->fd, k->id->size, &digest) < 0 || !is_as_in_the_freeze(k->id, k->fd))
		return 0; /* then there is no hash of it, ignoring */
	e.dev = k->id->dev;
	e.ino = k->id->ino;
	e.size = k->id->size;
	e.xxh3 = (ProtobufCBinaryData){ sizeof(digest.digest), digest.digest };
	return image_put(img, &e.base);
}

int file_hash_write(struct dump *d)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	if (!d->file_hashes || d->file_hashes->n == 0)
		return 0;
	r = image_create(d->dir_fd, IMAGE_FILE_HASHES, 0, d->failure, &img);
	for (const struct kept_file *k = d->file_hashes->kept; r == 0 && k; k = k->next)
		r = write_one(img, k);
	return r < 0 ? r : image_finish(TAKE_PTR(img));
}

void file_hash_done(struct dump *d)
{
	for (struct kept_file *k = d->file_hashes ? d->file_hashes->kept : NULL; k; k = k->next)
		k->fd = close_fd(k->fd);
}

/* ---- restore ---- */

static int compare(const SnapmgrFileHash *e, int fd, enum file_contents *ret)
{
	_cleanup_close_ int readable = -EBADF;
	XXH128_canonical_t digest;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	readable = sys_open(path, O_RDONLY | O_NONBLOCK | O_NOATIME, 0);
	if (readable < 0 || hash(readable, e->size, &digest) < 0 ||
	    e->xxh3.len != sizeof(digest.digest))
		return 0; /* it cannot be told */
	*ret = memcmp(e->xxh3.data, digest.digest, sizeof(digest.digest)) == 0
		       ? FILE_CONTENTS_EQUAL
		       : FILE_CONTENTS_DIFFER;
	return 0;
}

int file_hash_compare(struct restore *rs, const SnapmgrIdentity *id, int fd,
		      enum file_contents *ret)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r = image_open(&rs->set, IMAGE_FILE_HASHES, 0, rs->failure, &img);

	if (r == -ENOENT)
		return 0;
	while (r >= 0) {
		ProtobufCMessage *msg;
		const SnapmgrFileHash *e;

		r = image_get_in(img, &snapmgr_file_hash__descriptor, &rs->arena, &msg);
		if (r <= 0)
			return r;
		e = (const SnapmgrFileHash *)msg;
		if (e->dev == id->dev && e->ino == id->ino && e->size == id->size &&
		    e->size <= FILE_BYTES_MAX)
			return compare(e, fd, ret);
	}
	return r;
}
