/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/image/image-check.h"

#include "cgroup.pb-c.h"
#include "core.pb-c.h"
#include "cpuinfo.pb-c.h"
#include "fdinfo.pb-c.h"
#include "file-lock.pb-c.h"
#include "file-hash.pb-c.h"
#include "fs.pb-c.h"
#include "ghost-file.pb-c.h"
#include "inventory.pb-c.h"
#include "ipc-msg.pb-c.h"
#include "ipc-sem.pb-c.h"
#include "ipc-shm.pb-c.h"
#include "ipc-var.pb-c.h"
#include "memfd.pb-c.h"
#include "mm.pb-c.h"
#include "mnt.pb-c.h"
#include "netdev.pb-c.h"
#include "pidns.pb-c.h"
#include "pipe-data.pb-c.h"
#include "pstree.pb-c.h"
#include "remap-file-path.pb-c.h"
#include "seccomp.pb-c.h"
#include "sk-packet.pb-c.h"
#include "stats.pb-c.h"
#include "tcp-stream.pb-c.h"
#include "timens.pb-c.h"
#include "tty.pb-c.h"
#include "userns.pb-c.h"
#include "utsns.pb-c.h"

enum { SKIP_BYTES = 16384 };

static int skip_bytes(struct image *img, uint64_t size)
{
	uint8_t buffer[SKIP_BYTES];
	int r = 0;

	while (r == 0 && size > 0) {
		size_t n = MIN(size, sizeof(buffer));

		r = image_get_raw(img, buffer, n);
		size -= n;
	}
	return r;
}

static uint64_t padded(uint64_t size, uint64_t to)
{
	return size + (to - size % to) % to;
}

/* What stands behind a record, other than the next. */
typedef int payload_fn(struct image *img, const ProtobufCMessage *msg);

static int pipe_payload(struct image *img, const ProtobufCMessage *msg)
{
	return skip_bytes(img, ((const PipeDataEntry *)msg)->bytes);
}

static int packet_payload(struct image *img, const ProtobufCMessage *msg)
{
	return skip_bytes(img, ((const SkPacketEntry *)msg)->length);
}

static int tcp_payload(struct image *img, const ProtobufCMessage *msg)
{
	const TcpStreamEntry *e = (const TcpStreamEntry *)msg;

	return skip_bytes(img, (uint64_t)e->inq_len + e->outq_len);
}

static int shm_payload(struct image *img, const ProtobufCMessage *msg)
{
	const IpcShmEntry *e = (const IpcShmEntry *)msg;

	if (e->has_in_pagemaps && e->in_pagemaps)
		return 0;
	return skip_bytes(img, e->size <= image_left(img) ? padded(e->size, 4) : e->size);
}

static int sem_payload(struct image *img, const ProtobufCMessage *msg)
{
	return skip_bytes(img, padded((uint64_t)((const IpcSemEntry *)msg)->nsems * sizeof(uint16_t), 8));
}

static int msg_payload(struct image *img, const ProtobufCMessage *msg)
{
	uint32_t left = ((const IpcMsgEntry *)msg)->qnum;
	int r = 1;

	while (r > 0 && left-- > 0) {
		ProtobufCMessage *one;

		r = image_get(img, &ipc_msg__descriptor, &one);
		if (r == 0)
			return -EBADMSG;
		if (r > 0) {
			uint64_t size = ((IpcMsg *)one)->msize;

			protobuf_c_message_free_unpacked(one, NULL);
			r = skip_bytes(img, padded(size, 8));
			r = r < 0 ? r : 1;
		}
	}
	return MIN(r, 0);
}

static int ghost_payload(struct image *img, const ProtobufCMessage *msg)
{
	const GhostFileEntry *e = (const GhostFileEntry *)msg;

	if (!e->has_chunks || !e->chunks)
		return skip_bytes(img, image_left(img));
	while (image_left(img) > 0) {
		ProtobufCMessage *one;
		uint64_t size;
		int r = image_get(img, &ghost_chunk_entry__descriptor, &one);

		if (r < 0)
			return r;
		size = ((GhostChunkEntry *)one)->len;
		protobuf_c_message_free_unpacked(one, NULL);
		r = skip_bytes(img, size);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct {
	const ProtobufCMessageDescriptor *type; /* NULL: no records */
	bool one;				/* just one record, else any number */
	payload_fn *payload;
} layouts[N_IMAGE_IDS] = {
	[IMAGE_INVENTORY] = { &inventory_entry__descriptor, true, NULL },
	[IMAGE_PSTREE] = { &pstree_entry__descriptor, false, NULL },
	[IMAGE_CORE] = { &core_entry__descriptor, true, NULL },
	[IMAGE_IDS] = { &task_kobj_ids_entry__descriptor, true, NULL },
	[IMAGE_MM] = { &mm_entry__descriptor, true, NULL },
	[IMAGE_FS] = { &fs_entry__descriptor, true, NULL },
	[IMAGE_FILES] = { &file_entry__descriptor, false, NULL },
	[IMAGE_FDINFO] = { &fdinfo_entry__descriptor, false, NULL },
	[IMAGE_SK_QUEUES] = { &sk_packet_entry__descriptor, false, packet_payload },
	[IMAGE_PIPES_DATA] = { &pipe_data_entry__descriptor, false, pipe_payload },
	[IMAGE_FIFO_DATA] = { &pipe_data_entry__descriptor, false, pipe_payload },
	[IMAGE_TTY_INFO] = { &tty_info_entry__descriptor, false, NULL },
	[IMAGE_TTY_DATA] = { &tty_data_entry__descriptor, false, NULL },
	[IMAGE_REMAP_FPATH] = { &remap_file_path_entry__descriptor, false, NULL },
	[IMAGE_GHOST_FILE] = { &ghost_file_entry__descriptor, true, ghost_payload },
	[IMAGE_FILE_HASHES] = { &snapmgr_file_hash__descriptor, false, NULL },
	[IMAGE_CGROUP] = { &cgroup_entry__descriptor, true, NULL },
	[IMAGE_FILE_LOCKS] = { &file_lock_entry__descriptor, false, NULL },
	[IMAGE_SECCOMP] = { &seccomp_entry__descriptor, true, NULL },
	[IMAGE_MEMFD_INODE] = { &memfd_inode_entry__descriptor, false, NULL },
	[IMAGE_TCP_STREAM] = { &tcp_stream_entry__descriptor, true, tcp_payload },
	[IMAGE_UTSNS] = { &utsns_entry__descriptor, true, NULL },
	[IMAGE_MNTS] = { &mnt_entry__descriptor, false, NULL },
	[IMAGE_USERNS] = { &userns_entry__descriptor, true, NULL },
	[IMAGE_TIMENS] = { &timens_entry__descriptor, true, NULL },
	[IMAGE_PIDNS] = { &pidns_entry__descriptor, true, NULL },
	[IMAGE_IPC_VAR] = { &ipc_var_entry__descriptor, true, NULL },
	[IMAGE_IPCNS_SHM] = { &ipc_shm_entry__descriptor, false, shm_payload },
	[IMAGE_IPCNS_MSG] = { &ipc_msg_entry__descriptor, false, msg_payload },
	[IMAGE_IPCNS_SEM] = { &ipc_sem_entry__descriptor, false, sem_payload },
	[IMAGE_NETNS] = { &netns_entry__descriptor, true, NULL },
	[IMAGE_CPUINFO] = { &cpuinfo_entry__descriptor, true, NULL },
	[IMAGE_STATS_DUMP] = { &stats_entry__descriptor, true, NULL },
	[IMAGE_STATS_RESTORE] = { &stats_entry__descriptor, true, NULL },
};

static int check_records(struct image *img, enum image_id id, const char *name, struct failure *f)
{
	unsigned long n = 0;
	int r;

	for (;; n++) {
		ProtobufCMessage *msg;

		r = image_get(img, layouts[id].type, &msg);
		if (r <= 0)
			break;
		r = layouts[id].payload ? layouts[id].payload(img, msg) : 0;
		protobuf_c_message_free_unpacked(msg, NULL);
		if (r < 0)
			break;
	}
	if (r < 0)
		return fail(f, r, "image %s is damaged", name);
	if (layouts[id].one && n != 1)
		return fail(f, -EBADMSG, "image %s has %lu records, not one", name, n);
	return 0;
}

int image_check(const struct image_set *set, enum image_id id, uint64_t key, struct failure *f)
{
	_cleanup_(image_freep) struct image *img = NULL;
	char name[64];
	int r;

	if (!layouts[id].type)
		return 0;
	r = image_open(set, id, key, f, &img);
	if (r < 0)
		return fail(f, r, "cannot open image %s", image_name(id, key, name));
	return check_records(img, id, image_name(id, key, name), f);
}
