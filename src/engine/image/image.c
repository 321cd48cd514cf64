/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Framing of images. Writing is buffered by stdio's full buffering in a block of our own; reading maps nothing and
 * trusts nothing: the size of the file bounds every record.
 */
#include "engine/image/image.h"

#include <inttypes.h>
#include <string.h>

#include "basic/sys.h"

enum {
	WRITE_BYTES = 128 * 1024,
};

#define MAGIC_COMMON  0x54564319u
#define MAGIC_SERVICE 0x55105940u

static const struct {
	const char *format;
	uint32_t head_magic; /* 0: none */
	uint32_t magic;	     /* 0: raw */
} kinds[N_IMAGE_IDS] = {
	[IMAGE_INVENTORY] = { "inventory.img", 0, 0x58313116 },
	[IMAGE_PSTREE] = { "pstree.img", MAGIC_COMMON, 0x50273030 },
	[IMAGE_CORE] = { "core-%" PRIu64 ".img", MAGIC_COMMON, 0x55053847 },
	[IMAGE_IDS] = { "ids-%" PRIu64 ".img", MAGIC_COMMON, 0x54432030 },
	[IMAGE_MM] = { "mm-%" PRIu64 ".img", MAGIC_COMMON, 0x57492820 },
	[IMAGE_FS] = { "fs-%" PRIu64 ".img", MAGIC_COMMON, 0x51403912 },
	[IMAGE_PAGEMAP] = { "pagemap-%" PRIu64 ".img", MAGIC_COMMON, 0x56084025 },
	[IMAGE_PAGEMAP_SHMEM] = { "pagemap-shmem-%" PRIu64 ".img", MAGIC_COMMON, 0x56084025 },
	[IMAGE_PAGES] = { "pages-%" PRIu64 ".img", 0, 0 },
	[IMAGE_FILES] = { "files.img", MAGIC_COMMON, 0x56303138 },
	[IMAGE_FDINFO] = { "fdinfo-%" PRIu64 ".img", MAGIC_COMMON, 0x56213732 },
	[IMAGE_SK_QUEUES] = { "sk-queues.img", MAGIC_COMMON, 0x56264026 },
	[IMAGE_PIPES_DATA] = { "pipes-data.img", MAGIC_COMMON, 0x56453709 },
	[IMAGE_FIFO_DATA] = { "fifo-data.img", MAGIC_COMMON, 0x59333054 },
	[IMAGE_TTY_INFO] = { "tty-info.img", MAGIC_COMMON, 0x59453036 },
	[IMAGE_TTY_DATA] = { "tty-data.img", MAGIC_COMMON, 0x59413026 },
	[IMAGE_REMAP_FPATH] = { "remap-fpath.img", MAGIC_COMMON, 0x59133954 },
	[IMAGE_GHOST_FILE] = { "ghost-file-%" PRIx64 ".img", MAGIC_COMMON, 0x52583605 },
	[IMAGE_FILE_HASHES] = { "file-hashes.img", MAGIC_COMMON, 0x46485348 },
	[IMAGE_CGROUP] = { "cgroup.img", MAGIC_COMMON, 0x59383330 },
	[IMAGE_FILE_LOCKS] = { "filelocks.img", MAGIC_COMMON, 0x54323616 },
	[IMAGE_SECCOMP] = { "seccomp.img", MAGIC_COMMON, 0x64413049 },
	[IMAGE_MEMFD_INODE] = { "memfd.img", MAGIC_COMMON, 0x48453499 },
	[IMAGE_TCP_STREAM] = { "tcp-stream-%" PRIx64 ".img", MAGIC_COMMON, 0x51465506 },
	[IMAGE_UTSNS] = { "utsns-%" PRIu64 ".img", MAGIC_COMMON, 0x54473203 },
	[IMAGE_MNTS] = { "mountpoints-%" PRIu64 ".img", MAGIC_COMMON, 0x55563928 },
	[IMAGE_USERNS] = { "userns-%" PRIu64 ".img", MAGIC_COMMON, 0x55474906 },
	[IMAGE_TIMENS] = { "timens-%" PRIu64 ".img", MAGIC_COMMON, 0x43114433 },
	[IMAGE_PIDNS] = { "pidns-%" PRIu64 ".img", MAGIC_COMMON, 0x61157326 },
	[IMAGE_IPC_VAR] = { "ipcns-var-%" PRIu64 ".img", MAGIC_COMMON, 0x53115007 },
	[IMAGE_IPCNS_SHM] = { "ipcns-shm-%" PRIu64 ".img", MAGIC_COMMON, 0x46283044 },
	[IMAGE_IPCNS_MSG] = { "ipcns-msg-%" PRIu64 ".img", MAGIC_COMMON, 0x55453737 },
	[IMAGE_IPCNS_SEM] = { "ipcns-sem-%" PRIu64 ".img", MAGIC_COMMON, 0x59573019 },
	[IMAGE_NETNS] = { "netns-%" PRIu64 ".img", MAGIC_COMMON, 0x55933752 },
	[IMAGE_CPUINFO] = { "cpuinfo.img", MAGIC_COMMON, 0x61404013 },
	[IMAGE_STATS_DUMP] = { "stats-dump", MAGIC_SERVICE, 0x57093306 },
	[IMAGE_STATS_RESTORE] = { "stats-restore", MAGIC_SERVICE, 0x57093306 },
};

struct image {
	int fd;
	struct failure *failure;
	char name[64];
	uint64_t size, pos; /* reading */
	uint64_t filled;    /* reading: where the buffer ends in the file */
	struct checked_set *checked;
	const struct hashed_file *hashes; /* NULL: not checked */
	size_t used;	    /* writing: bytes in buffer; reading: bytes valid in it */
	size_t taken;	    /* reading: of them, consumed */
	uint8_t buffer[HASH_REGION_BYTES]; /* reading: one region */
};

const char *image_name(enum image_id id, uint64_t key, char buf[static 64])
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(buf, 64, kinds[id].format, key);
#pragma GCC diagnostic pop
	return buf;
}

bool image_is_named(enum image_id id, const char *name, uint64_t *ret_key)
{
	const char *percent = strchr(kinds[id].format, '%');
	size_t n = percent ? (size_t)(percent - kinds[id].format) : 0;
	char *end, expected[64];
	uint64_t key = 0;

	if (percent) {
		if (strncmp(name, kinds[id].format, n) != 0)
			return false;
		errno = 0;
		key = strtoull(name + n, &end, strstr(percent, PRIx64 ".img") ? 16 : 10);
		if (errno || end == name + n)
			return false;
	}
	if (strcmp(image_name(id, key, expected), name) != 0) /* blanks, signs, zeros in front */
		return false;
	*ret_key = key;
	return true;
}

struct image *image_free(struct image *img)
{
	if (img) {
		close_fd(img->fd);
		free(img);
	}
	return NULL;
}

static int image_new(const char *name, struct failure *f, struct image **ret)
{
	struct image *img = malloc(sizeof(*img));

	if (!img)
		return fail(f, -ENOMEM, "no memory for an image buffer");
	img->fd = -EBADF;
	img->failure = f;
	img->size = img->pos = img->filled = 0;
	img->checked = NULL;
	img->hashes = NULL;
	img->used = img->taken = 0;
	(void)snprintf(img->name, sizeof(img->name), "%s", name);
	*ret = img;
	return 0;
}

static int image_create_as(int dir_fd, enum image_id id, const char *name, struct failure *f, struct image **ret)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_new(name, f, &img);
	if (r < 0)
		return r;
	img->fd = sys_openat(dir_fd, img->name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (img->fd < 0)
		return fail(f, img->fd, "cannot create image %s", img->name);

	if (kinds[id].head_magic) {
		r = image_put_raw(img, &kinds[id].head_magic, sizeof(uint32_t));
		if (r < 0)
			return r;
	}
	if (kinds[id].magic) {
		r = image_put_raw(img, &kinds[id].magic, sizeof(uint32_t));
		if (r < 0)
			return r;
	}
	*ret = TAKE_PTR(img);
	return 0;
}

int image_create(int dir_fd, enum image_id id, uint64_t key, struct failure *f, struct image **ret)
{
	char name[64];

	return image_create_as(dir_fd, id, image_name(id, key, name), f, ret);
}

static int image_flush(struct image *img)
{
	int r;

	r = sys_write_full(img->fd, img->buffer, img->used);
	if (r < 0)
		return fail(img->failure, r, "cannot write image %s", img->name);
	img->used = 0;
	return 0;
}

int image_put_raw(struct image *img, const void *data, size_t size)
{
	int r;

	if (size > WRITE_BYTES - img->used) {
		r = image_flush(img);
		if (r < 0)
			return r;
	}
	if (size > WRITE_BYTES) {
		r = sys_write_full(img->fd, data, size);
		if (r < 0)
			return fail(img->failure, r, "cannot write image %s", img->name);
		return 0;
	}
	memcpy(img->buffer + img->used, data, size);
	img->used += size;
	return 0;
}

int image_put(struct image *img, const ProtobufCMessage *msg)
{
	size_t size = protobuf_c_message_get_packed_size(msg);
	_cleanup_free_ uint8_t *data = NULL;
	uint32_t prefix = size;
	int r;

	if (size > IMAGE_RECORD_MAX)
		return fail(img->failure, -EFBIG, "a record of image %s is too large", img->name);
	data = malloc(size + sizeof(prefix));
	if (!data)
		return fail(img->failure, -ENOMEM, "no memory for a record of image %s", img->name);
	memcpy(data, &prefix, sizeof(prefix));
	(void)protobuf_c_message_pack(msg, data + sizeof(prefix));
	r = image_put_raw(img, data, size + sizeof(prefix));
	return r;
}

int image_finish(struct image *img)
{
	int r = image_flush(img);

	image_free(img);
	return r;
}

/* The file, which is there or not as the list of the set says, and as long. */
static int open_listed(struct image *img, const struct image_set *set, enum image_id id)
{
	struct stat st;
	int r, listed;

	listed = image_set_find(set, img->name, &img->hashes);
	img->checked = set->checked;
	img->fd = sys_openat(set->dir_fd, img->name, O_RDONLY | O_NOFOLLOW, 0);
	if (img->fd == -ENOENT)
		return img->hashes ? checked_set_damaged(set->checked, img->failure, "%s is missing", img->name) : -ENOENT;
	if (img->fd < 0)
		return fail(img->failure, img->fd, "cannot open image %s", img->name);
	r = sys_fstat(img->fd, &st);
	if (r < 0)
		return fail(img->failure, r, "cannot stat image %s", img->name);
	if (!S_ISREG(st.st_mode))
		return fail(img->failure, -EBADMSG, "image %s is not a regular file", img->name);
	img->size = st.st_size;
	/* A restore by hand leaves its statistics beside the images; nothing is restored from them. */
	if (listed < 0 && id != IMAGE_STATS_RESTORE)
		return checked_set_damaged(set->checked, img->failure, "%s was not stored with it", img->name);
	if (img->hashes && img->hashes->size != img->size)
		return checked_set_damaged(set->checked, img->failure, "%s has %" PRIu64 " bytes, had %" PRIu64, img->name,
					   img->size, img->hashes->size);
	return 0;
}

int image_open(const struct image_set *set, enum image_id id, uint64_t key, struct failure *f, struct image **ret)
{
	_cleanup_(image_freep) struct image *img = NULL;
	uint32_t magic;
	char name[64];
	int r;

	r = image_new(image_name(id, key, name), f, &img);
	if (r < 0)
		return r;
	r = open_listed(img, set, id);
	if (r < 0)
		return r;

	if (kinds[id].magic) {
		r = image_get_raw(img, &magic, sizeof(magic));
		if (r < 0)
			return r;
		/* img_version 1 sets have no head magic. */
		if (kinds[id].head_magic && magic == kinds[id].head_magic) {
			r = image_get_raw(img, &magic, sizeof(magic));
			if (r < 0)
				return r;
		}
		if (magic != kinds[id].magic)
			return fail(f, -EBADMSG, "image %s has magic %#x, not %#x", img->name, magic,
				    kinds[id].magic);
	}
	*ret = TAKE_PTR(img);
	return 0;
}

uint64_t image_left(const struct image *img)
{
	return img->size - img->pos;
}

/* The next region of the file into the buffer. */
static int fill_buffer(struct image *img)
{
	size_t want = MIN(img->size - img->filled, sizeof(img->buffer));
	uint64_t region = img->filled / HASH_REGION_BYTES;
	int r;

	r = sys_read_full(img->fd, img->buffer, want);
	if (r < 0)
		return fail(img->failure, r == -ENODATA ? -EBADMSG : r, "cannot read image %s", img->name);
	if (img->hashes && !hashed_file_holds(img->hashes, region, img->buffer, want))
		return checked_set_damaged_region(img->checked, img->hashes, region, img->failure);
	img->filled += want;
	img->taken = 0;
	img->used = want;
	return 0;
}

int image_get_raw(struct image *img, void *data, size_t size)
{
	uint8_t *to = data;
	int r;

	if (size > image_left(img))
		return fail(img->failure, -EBADMSG, "image %s ends early", img->name);
	img->pos += size;
	while (size > 0) {
		size_t n;

		if (img->taken == img->used) {
			r = fill_buffer(img);
			if (r < 0)
				return r;
		}
		n = MIN(size, img->used - img->taken);
		memcpy(to, img->buffer + img->taken, n);
		img->taken += n;
		to += n;
		size -= n;
	}
	return 0;
}

static int image_get_with(struct image *img, const ProtobufCMessageDescriptor *type,
			  ProtobufCAllocator *allocator, ProtobufCMessage **ret)
{
	_cleanup_free_ uint8_t *data = NULL;
	ProtobufCMessage *msg;
	uint32_t size;
	int r;

	if (image_left(img) == 0)
		return 0;
	r = image_get_raw(img, &size, sizeof(size));
	if (r < 0)
		return r;
	if (size > IMAGE_RECORD_MAX || size > image_left(img))
		return fail(img->failure, -EBADMSG, "image %s has a record of %u bytes", img->name, size);
	data = malloc(size ? size : 1);
	if (!data)
		return fail(img->failure, -ENOMEM, "no memory for a record of image %s", img->name);
	r = image_get_raw(img, data, size);
	if (r < 0)
		return r;
	msg = protobuf_c_message_unpack(type, allocator, size, data);
	if (!msg)
		return fail(img->failure, -EBADMSG, "image %s has a damaged %s", img->name, type->name);
	*ret = msg;
	return 1;
}

int image_get(struct image *img, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
	return image_get_with(img, type, NULL, ret);
}

static void *allocator_alloc(void *userdata, size_t size)
{
	return arena_alloc(userdata, size);
}

static void allocator_free(void *userdata, void *p)
{
	(void)userdata;
	(void)p;
}

ProtobufCAllocator image_allocator(struct arena *a)
{
	return (ProtobufCAllocator){
		.alloc = allocator_alloc,
		.free = allocator_free,
		.allocator_data = a,
	};
}

int image_get_in(struct image *img, const ProtobufCMessageDescriptor *type, struct arena *a,
		 ProtobufCMessage **ret)
{
	ProtobufCAllocator allocator = image_allocator(a);

	return image_get_with(img, type, &allocator, ret);
}

int image_fd(const struct image *img)
{
	return img->fd;
}

const struct hashed_file *image_hashes(const struct image *img)
{
	return img->hashes;
}

int image_write_one(int dir_fd, enum image_id id, uint64_t key, const ProtobufCMessage *msg,
		    struct failure *f)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_create(dir_fd, id, key, f, &img);
	if (r < 0)
		return r;
	r = image_put(img, msg);
	if (r < 0)
		return r;
	return image_finish(TAKE_PTR(img));
}

int image_commit_one(int dir_fd, enum image_id id, const ProtobufCMessage *msg, struct failure *f)
{
	char name[64], aside[80];
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	image_name(id, 0, name);
	(void)snprintf(aside, sizeof(aside), "%s.part", name);
	r = image_create_as(dir_fd, id, aside, f, &img);
	if (r == 0)
		r = image_put(img, msg);
	if (r == 0)
		r = image_finish(TAKE_PTR(img));
	if (r < 0) {
		(void)sys_unlinkat(dir_fd, aside, 0); /* it says nothing, ignoring */
		return r;
	}
	r = sys_renameat(dir_fd, aside, dir_fd, name);
	if (r < 0)
		(void)sys_unlinkat(dir_fd, aside, 0);
	return r < 0 ? fail(f, r, "cannot name image %s", name) : 0;
}

int image_read_one(const struct image_set *set, enum image_id id, uint64_t key, const ProtobufCMessageDescriptor *type,
		   struct failure *f, ProtobufCMessage **ret)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_open(set, id, key, f, &img);
	if (r < 0)
		return r;
	r = image_get(img, type, ret);
	if (r == 0)
		return fail(f, -EBADMSG, "image %s is empty", img->name);
	return MIN(r, 0);
}

int image_read_one_in(const struct image_set *set, enum image_id id, uint64_t key,
		      const ProtobufCMessageDescriptor *type, struct arena *a, struct failure *f,
		      ProtobufCMessage **ret)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_open(set, id, key, f, &img);
	if (r < 0)
		return r;
	r = image_get_in(img, type, a, ret);
	if (r == 0)
		return fail(f, -EBADMSG, "image %s is empty", img->name);
	return MIN(r, 0);
}
