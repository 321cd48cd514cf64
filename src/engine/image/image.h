/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * image - files of CRIU's image format (version 4.2)
 *
 * A typed image is: u32 head magic, u32 magic of its kind, then records; a record is a u32 byte count and a
 * protobuf message, for some kinds followed by raw bytes. inventory.img has no head magic. Integers are in host
 * byte order. Raw images (pages) have no magic and no records.
 *
 * Errors     Writers and readers have called fail() when they return an error. A reader never believes a
 *            length: records are bounded by IMAGE_RECORD_MAX and by the file. Of a set with hashes it takes no byte
 *            before the region around it is seen to be the stored one.
 */

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "basic/arena.h"
#include "basic/failure.h"
#include "engine/image/set-checks.h"

enum image_id {
	IMAGE_INVENTORY,
	IMAGE_PSTREE,
	IMAGE_CORE,
	IMAGE_IDS,
	IMAGE_MM,
	IMAGE_FS,
	IMAGE_PAGEMAP,
	IMAGE_PAGEMAP_SHMEM,
	IMAGE_PAGES,
	IMAGE_FILES,
	IMAGE_FDINFO,
	IMAGE_SK_QUEUES,
	IMAGE_PIPES_DATA,
	IMAGE_FIFO_DATA,
	IMAGE_TTY_INFO,
	IMAGE_TTY_DATA,
	IMAGE_REMAP_FPATH,
	IMAGE_GHOST_FILE,
	IMAGE_FILE_HASHES, /* ours, not CRIU's */
	IMAGE_CGROUP,
	IMAGE_FILE_LOCKS,
	IMAGE_SECCOMP,
	IMAGE_MEMFD_INODE,
	IMAGE_TCP_STREAM,
	IMAGE_UTSNS,
	IMAGE_MNTS,
	IMAGE_USERNS,
	IMAGE_TIMENS,
	IMAGE_PIDNS,
	IMAGE_IPC_VAR,
	IMAGE_IPCNS_SHM,
	IMAGE_IPCNS_MSG,
	IMAGE_IPCNS_SEM,
	IMAGE_NETNS,
	IMAGE_CPUINFO,
	IMAGE_STATS_DUMP,
	IMAGE_STATS_RESTORE,
	N_IMAGE_IDS,
};

enum { IMAGE_RECORD_MAX = 64 << 20 };

struct image;

/* Name of an image in its directory; @key fills the kind's number. Return: @buf. */
const char *image_name(enum image_id id, uint64_t key, char buf[static 64]);

/* Is @name what an image of this kind is called? *@ret_key is its number, 0 where the kind has none. */
bool image_is_named(enum image_id id, const char *name, uint64_t *ret_key);

/* image_create() - start an image, replacing what a former dump left under its name */
int image_create(int dir_fd, enum image_id id, uint64_t key, struct failure *f, struct image **ret)
	_must_check_;
int image_put(struct image *img, const ProtobufCMessage *msg) _must_check_;
int image_put_raw(struct image *img, const void *data, size_t size) _must_check_;
/* Writes out what is buffered and closes; the image is freed also when that fails. */
int image_finish(struct image *img) _must_check_;

/* image_open() - open for reading and check the magics. -ENOENT, without fail(), when there is none. */
int image_open(const struct image_set *set, enum image_id id, uint64_t key, struct failure *f, struct image **ret)
	_must_check_;
/*
 * image_get() - next record
 * @ret:	the caller frees it with protobuf_c_message_free_unpacked()
 *
 * Return: 1, 0 at the end of the file, or -errno (-EBADMSG: damaged).
 */
int image_get(struct image *img, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
	_must_check_;
/* Exactly @size bytes. -EBADMSG when there are fewer. */
int image_get_raw(struct image *img, void *data, size_t size) _must_check_;
uint64_t image_left(const struct image *img); /* bytes behind the read position */

/* The descriptor, positioned anywhere; stays the image's. For raw images. */
int image_fd(const struct image *img);
/* What is known of the file; NULL: the set is not checked. Lives as long as the set's checks. */
const struct hashed_file *image_hashes(const struct image *img);

struct image *image_free(struct image *img); /* closes; a half-written one stays half-written */
DEFINE_CLEANUP(struct image *, image_free)

/* The last image of a set, under its name in one step: it is there whole or not at all. */
int image_commit_one(int dir_fd, enum image_id id, const ProtobufCMessage *msg, struct failure *f) _must_check_;

/* One-record images. Missing is -ENOENT without fail(). */
int image_write_one(int dir_fd, enum image_id id, uint64_t key, const ProtobufCMessage *msg,
		    struct failure *f) _must_check_;
int image_read_one(const struct image_set *set, enum image_id id, uint64_t key, const ProtobufCMessageDescriptor *type,
		   struct failure *f, ProtobufCMessage **ret) _must_check_;

/* Adapts an arena for the unpackers of protobuf-c: messages then live as long as the arena. */
ProtobufCAllocator image_allocator(struct arena *a);
int image_get_in(struct image *img, const ProtobufCMessageDescriptor *type, struct arena *a,
		 ProtobufCMessage **ret) _must_check_;
int image_read_one_in(const struct image_set *set, enum image_id id, uint64_t key,
		      const ProtobufCMessageDescriptor *type, struct arena *a, struct failure *f,
		      ProtobufCMessage **ret) _must_check_;
