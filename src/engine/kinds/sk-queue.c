/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SO_PEEK_OFF makes MSG_PEEK walk through a queue. It belongs to the description, that is, also to the target's
 * descriptor, and is put back to what it was; it is touched only when one peek does not show everything.
 *
 * In a stream a peek runs on until behind the first bytes that carry descriptors, and any read that touches those bytes
 * shows the descriptors. Where they begin is found by bisection: the shortest peek that shows descriptors ends with their
 * first byte.
 */
#include "engine/kinds/sk-queue.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>

#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/far.h"
#include "engine/kinds/sk-opts.h"
#include "engine/restore-as.h"

#include "sk-packet.pb-c.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

enum {
	MAX_RIGHTS = 253, /* SCM_MAX_FD */
	MAX_QUEUE_BYTES = 256 << 20,
	FIRST_BUFFER_BYTES = 64 << 10,
	MAX_EMPTY_PACKETS = 1 << 16,
	FDINFO_MAX = 1 << 20,
};

struct peeker {
	struct failure *failure;
	struct dump *dump; /* descriptors that come are looked at by far.h first; NULL: they are not */
	int fd;
	uint8_t *buf;
	size_t buf_size;
	int offset_before; /* SO_PEEK_OFF of the target */
	bool offset_set;
	int fds[MAX_RIGHTS];
	size_t n_fds;
	struct ucred sender;
	bool has_sender;
	bool truncated;
};

static void peeker_close_fds(struct peeker *p)
{
	for (size_t i = 0; i < p->n_fds; i++)
		(void)close_fd(p->fds[i]);
	p->n_fds = 0;
}

static void peeker_done(struct peeker *p)
{
	peeker_close_fds(p);
	if (p->offset_set)
		(void)sk_set_int(p->fd, SOL_SOCKET, SO_PEEK_OFF, p->offset_before);
	free(p->buf);
}

static int peeker_init(struct peeker *p, struct failure *f, struct dump *d, int fd, size_t buf_size)
{
	int r;

	*p = (struct peeker){ .failure = f, .dump = d, .fd = fd, .buf_size = buf_size };
	p->buf = malloc(MAX(buf_size, (size_t)1));
	if (!p->buf)
		return fail(f, -ENOMEM, "queue of %zu bytes", buf_size);
	r = sk_get_int(fd, SOL_SOCKET, SO_PEEK_OFF, &p->offset_before);
	if (r < 0)
		return fail(f, r, "cannot read SO_PEEK_OFF");
	return 0;
}

static int peeker_seek(struct peeker *p, size_t offset)
{
	int r;

	if (offset > INT32_MAX)
		return fail(p->failure, -EFBIG, "queue of more than %d bytes", INT32_MAX);
	p->offset_set = true;
	r = sk_set_int(p->fd, SOL_SOCKET, SO_PEEK_OFF, (int)offset);
	if (r < 0)
		return fail(p->failure, r, "cannot set SO_PEEK_OFF");
	return 0;
}

/* Nobody's, by a message that was sent when nobody asked for them, reads as of process 0. */
static void peeker_collect_sender(struct peeker *p, const struct cmsghdr *c)
{
	if (c->cmsg_len < CMSG_LEN(sizeof(p->sender)))
		return;
	memcpy(&p->sender, CMSG_DATA(c), sizeof(p->sender));
	p->has_sender = p->sender.pid > 0;
}

static void peeker_collect(struct peeker *p, struct msghdr *msg)
{
	p->has_sender = false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			peeker_collect_sender(p, c);
		} else if (c->cmsg_type == SCM_PIDFD) {
			/* Made for us by SO_PASSPIDFD, not in flight. */
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
			(void)close_fd(fd);
		} else if (c->cmsg_type == SCM_RIGHTS) {
			n = MIN(n, (size_t)MAX_RIGHTS - p->n_fds);
			memcpy(p->fds + p->n_fds, CMSG_DATA(c), n * sizeof(int));
			p->n_fds += n;
		}
	}
}

/*
 * To receive a descriptor is to close it again, which may wait for a file system that waits for the tree. So the queue is asked
 * without room for descriptors; where it would have brought some, a helper looks at them.
 */
static int peeker_check_rights(struct peeker *p, size_t size)
{
	struct iovec iov = { .iov_base = p->buf, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int offset, r;
	ssize_t n;

	r = sk_get_int(p->fd, SOL_SOCKET, SO_PEEK_OFF, &offset);
	if (r < 0)
		return fail(p->failure, r, "cannot read SO_PEEK_OFF");
	n = SYS_CALL(recvmsg(p->fd, &msg, MSG_PEEK | MSG_DONTWAIT));
	if (n >= 0 && offset >= 0)
		r = sk_set_int(p->fd, SOL_SOCKET, SO_PEEK_OFF, offset);
	if (n < 0 || r < 0 || !(msg.msg_flags & MSG_CTRUNC))
		return r < 0 ? fail(p->failure, r, "cannot set SO_PEEK_OFF") : 0;
	r = far_check_rights(p->dump, p->fd, size);
	if (r == 0 && offset >= 0) {
		r = sk_set_int(p->fd, SOL_SOCKET, SO_PEEK_OFF, offset);
		if (r < 0)
			return fail(p->failure, r, "cannot set SO_PEEK_OFF");
	}
	return r;
}

/*
 * Peeks at most @size bytes from where SO_PEEK_OFF is. Return: bytes (of a packet: all it has, also those that did not
 * fit), -EAGAIN at the end of the queue, or -errno after fail().
 */
static ssize_t peeker_peek(struct peeker *p, size_t size)
{
	union {
		char bytes[CMSG_SPACE(MAX_RIGHTS * sizeof(int)) + 4096];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = p->buf, .iov_len = size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	int r;

	peeker_close_fds(p);
	r = p->dump ? peeker_check_rights(p, size) : 0;
	if (r < 0)
		return r;
	n = SYS_CALL(recvmsg(p->fd, &msg,
			     MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC));
	if (n == -EAGAIN)
		return n;
	if (n < 0)
		return fail(p->failure, (int)n, "cannot look into its queue");
	peeker_collect(p, &msg);
	if (msg.msg_flags & MSG_CTRUNC)
		return fail(p->failure, -EIO, "descriptors in its queue cannot be received");
	p->truncated = msg.msg_flags & MSG_TRUNC;
	return n;
}

static const struct ucred *peeker_sender(const struct peeker *p)
{
	return p->has_sender ? &p->sender : NULL;
}

/* Shortest peek from @offset that shows descriptors; one of @size bytes does. */
static int stream_find_rights(struct peeker *p, size_t offset, size_t size, size_t *ret)
{
	size_t low = 1, high = size;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		ssize_t n;
		int r;

		r = peeker_seek(p, offset);
		if (r < 0)
			return r;
		n = peeker_peek(p, middle);
		if (n < 0)
			return (int)n;
		if (p->n_fds > 0)
			high = middle;
		else
			low = middle + 1;
	}
	*ret = low;
	return 0;
}

/* One run of bytes from @offset. */
static int stream_run(struct peeker *p, size_t offset, size_t left, sk_queue_packet_fn *packet,
		      void *userdata, size_t *ret_size)
{
	size_t size, first = 1;
	ssize_t n;
	int r;

	n = peeker_peek(p, left);
	if (n <= 0)
		return n < 0 && n != -EAGAIN ?
			       (int)n :
			       fail(p->failure, -ESTALE, "its queue got shorter while we looked");
	size = (size_t)n;
	if (p->n_fds > 0) {
		r = stream_find_rights(p, offset, size, &first);
		if (r == 0)
			r = peeker_seek(p, offset);
		if (r < 0)
			return r;
		n = peeker_peek(p, left);
		if (n < 0 || (size_t)n != size || p->n_fds == 0)
			return fail(p->failure, -ESTALE, "its queue changed while we looked");
	}
	if (first > 1) {
		r = packet(userdata, p->buf, first - 1, NULL, 0, peeker_sender(p));
		if (r < 0)
			return r;
	}
	*ret_size = size;
	return packet(userdata, p->buf + (first - 1), size - (first - 1), p->fds, p->n_fds, peeker_sender(p));
}

static int stream_peek(struct failure *f, struct dump *d, int fd, sk_queue_packet_fn *packet, void *userdata)
{
	_cleanup_(peeker_done) struct peeker p = { .fd = -EBADF };
	size_t offset = 0, total, size = 0;
	int n = 0, r;

	r = (int)SYS_CALL(ioctl(fd, SIOCINQ, &n));
	if (r < 0)
		return fail(f, r, "cannot read the length of its queue");
	if (n <= 0)
		return 0;
	total = (size_t)n;
	if (total > MAX_QUEUE_BYTES)
		return fail(f, -EFBIG, "%zu bytes in its queue", total);
	r = peeker_init(&p, f, d, fd, total);
	if (r < 0)
		return r;

	/* A target that peeks itself may stand anywhere. */
	if (p.offset_before >= 0) {
		r = peeker_seek(&p, 0);
		if (r < 0)
			return r;
	}
	while (offset < total) {
		if (offset > 0) {
			r = peeker_seek(&p, offset);
			if (r < 0)
				return r;
		}
		r = stream_run(&p, offset, total - offset, packet, userdata, &size);
		if (r < 0)
			return r;
		offset += size;
	}
	return 0;
}

/* The end of a connection reads as an empty packet; told apart by what poll(2) says. */
static bool packet_is_end(int fd, int type)
{
	struct pollfd pfd = { .fd = fd, .events = POLLRDHUP };

	return type == SOCK_SEQPACKET && SYS_CALL(poll(&pfd, 1, 0)) == 1 &&
	       (pfd.revents & (POLLRDHUP | POLLHUP));
}

static int packets_peek(struct failure *f, struct dump *d, int fd, int type, sk_queue_packet_fn *packet,
			void *userdata)
{
	_cleanup_(peeker_done) struct peeker p = { .fd = -EBADF };
	size_t offset = 0;
	unsigned n_empty = 0;
	int r;

	r = peeker_init(&p, f, d, fd, FIRST_BUFFER_BYTES);
	if (r < 0)
		return r;
	r = peeker_seek(&p, 0);
	if (r < 0)
		return r;
	for (;;) {
		ssize_t n = peeker_peek(&p, p.buf_size);

		if (n == -EAGAIN || (n == 0 && packet_is_end(fd, type)))
			return 0;
		if (n < 0)
			return (int)n;
		if (n == 0 && ++n_empty > MAX_EMPTY_PACKETS)
			return fail(f, -ELOOP, "too many empty packets in its queue");
		if ((size_t)n > p.buf_size) {
			if (n > MAX_QUEUE_BYTES)
				return fail(f, -EFBIG, "packet of %zd bytes in its queue", n);
			free(p.buf);
			p.buf_size = (size_t)n;
			p.buf = malloc(p.buf_size);
			if (!p.buf)
				return fail(f, -ENOMEM, "packet of %zd bytes", n);
			r = peeker_seek(&p, offset);
			if (r < 0)
				return r;
			continue;
		}
		r = packet(userdata, p.buf, (size_t)n, p.fds, p.n_fds, peeker_sender(&p));
		if (r < 0)
			return r;
		offset += (size_t)n;
	}
}

static int queue_peek(struct failure *f, struct dump *d, int fd, int type, sk_queue_packet_fn *packet, void *userdata)
{
	if (type == SOCK_STREAM)
		return stream_peek(f, d, fd, packet, userdata);
	return packets_peek(f, d, fd, type, packet, userdata);
}

int sk_queue_peek(struct failure *f, int fd, int type, sk_queue_packet_fn *packet, void *userdata)
{
	return queue_peek(f, NULL, fd, type, packet, userdata);
}

/* ---- dump ---- */

struct queue_dump {
	struct dump *d;
	const struct task *task;
	uint32_t id;
};

static int queue_put(void *userdata, const void *data, size_t size, const int *fds, size_t n_fds,
		     const struct ucred *sender)
{
	struct queue_dump *q = userdata;
	SkPacketEntry e = SK_PACKET_ENTRY__INIT;
	ScmEntry scm = SCM_ENTRY__INIT, *scms[] = { &scm };
	SkUcredEntry ucred = SK_UCRED_ENTRY__INIT;
	uint32_t rights[MAX_RIGHTS];
	struct image *img;
	int r;

	for (size_t i = 0; i < n_fds; i++) {
		FAILURE_SCOPE(q->d->failure, "descriptor %zu in flight", i);

		r = files_put_open(q->d, q->task, fds[i], &rights[i]);
		if (r < 0)
			return r;
	}
	e.id_for = q->id;
	e.length = (uint32_t)size;
	if (n_fds > 0) {
		scm.type = SCM_RIGHTS;
		scm.rights = rights;
		scm.n_rights = n_fds;
		e.scm = scms;
		e.n_scm = 1;
	}
	if (sender) {
		ucred.uid = sender->uid;
		ucred.gid = sender->gid;
		ucred.pid = (uint32_t)dump_vpid(q->d, sender->pid);
		*(ucred.pid > 0 ? &e.ucred : &e.snapmgr_ucred) = &ucred;
	}
	r = dump_image(q->d, IMAGE_SK_QUEUES, &img);
	if (r == 0)
		r = image_put(img, &e.base);
	if (r == 0 && size > 0)
		r = image_put_raw(img, data, size);
	return r;
}

/* From Linux 5.8 on fdinfo counts the descriptors in a queue. */
static bool may_have_rights(int fd)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	const char *value;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (sys_read_file_at(AT_FDCWD, path, FDINFO_MAX, &text, NULL) < 0)
		return true;
	value = proc_field(text, "scm_fds");
	return !value || *value != '0';
}

int sk_queue_dump(struct dump *d, const struct task *task, int fd, int type, uint32_t id)
{
	struct queue_dump q = { .d = d, .task = task, .id = id };

	return queue_peek(d->failure, may_have_rights(fd) ? d : NULL, fd, type, queue_put, &q);
}

/* ---- restore ---- */

static int packet_load(struct restore *rs, struct image *img, const SkPacketEntry *e,
		       struct sk_packets *packets)
{
	struct sk_packet *p;
	void *data;
	int r;

	if (e->length > image_left(img))
		return fail(rs->failure, -EBADMSG, "sk-queues: packet of %u bytes, %llu are left",
			    e->length, (unsigned long long)image_left(img));
	if (e->n_scm > 1 || (e->n_scm == 1 && (e->scm[0]->type != SCM_RIGHTS ||
					       e->scm[0]->n_rights > MAX_RIGHTS)))
		return fail(rs->failure, -EBADMSG, "sk-queues: ancillary data of unknown shape");
	r = arena_grow(&rs->arena, &packets->items, packets->n);
	data = arena_alloc(&rs->arena, MAX(e->length, 1U));
	if (r < 0 || !data)
		return fail(rs->failure, -ENOMEM, "sk-queues: packet of %u bytes", e->length);
	if (e->length > 0) {
		r = image_get_raw(img, data, e->length);
		if (r < 0)
			return r;
	}
	p = &packets->items[packets->n++];
	*p = (struct sk_packet){ .id_for = e->id_for, .data = data, .size = e->length };
	p->sender = e->ucred ?: e->snapmgr_ucred;
	if (e->n_scm == 1) {
		p->rights = e->scm[0]->rights;
		p->n_rights = e->scm[0]->n_rights;
	}
	for (size_t i = 0; i < p->n_rights; i++) {
		struct file *file = files_find(rs, p->rights[i]);

		if (!file)
			return fail(rs->failure, -EBADMSG,
				    "sk-queues: file %u in flight is not in the images", p->rights[i]);
		file->needed = true;
	}
	return 0;
}

int sk_packets_load(struct restore *rs, struct sk_packets *packets)
{
	_cleanup_(image_freep) struct image *img = NULL;
	ProtobufCMessage *msg = NULL;
	int r;

	if (packets->loaded)
		return 0;
	r = image_open(&rs->set, IMAGE_SK_QUEUES, 0, rs->failure, &img);
	if (r == -ENOENT) {
		packets->loaded = true;
		return 0;
	}
	if (r < 0)
		return r;
	for (;;) {
		r = image_get_in(img, &sk_packet_entry__descriptor, &rs->arena, &msg);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		r = packet_load(rs, img, (const SkPacketEntry *)msg, packets);
		if (r < 0)
			return r;
	}
	packets->loaded = true;
	return 0;
}

bool sk_packets_has(const struct sk_packets *packets, uint32_t id_for)
{
	for (size_t i = 0; i < packets->n; i++)
		if (packets->items[i].id_for == id_for)
			return true;
	return false;
}

static int rights_fill(struct restore *rs, const struct sk_packet *packet, int fds[MAX_RIGHTS])
{
	for (size_t i = 0; i < packet->n_rights; i++) {
		const struct file *file = files_find(rs, packet->rights[i]);

		if (!file || file->fd < 0)
			return fail(rs->failure, -EBADMSG,
				    "descriptor in flight: file %u is not in the images",
				    packet->rights[i]);
		fds[i] = file->fd;
	}
	return 0;
}

/* SCM_CREDENTIALS, which the receiver may ask for; root may send those of others. Return: whether there are any. */
static bool sender_fill(struct restore *rs, const struct sk_packet *packet, struct ucred *ret)
{
	const SkUcredEntry *e = packet->sender;
	struct restore_as as = { .uid = AS_KEEP };
	const struct rtask *task;

	if (!e || e->uid == UINT32_MAX || e->gid == UINT32_MAX)
		return false;
	as.euid = e->uid;
	as.egid = e->gid;
	if (!restore_as_is_due(rs, &as))
		return false;
	task = restore_find_task(rs, (pid_t)e->pid);
	*ret = (struct ucred){
		/* Of one that is not in the tree: a process that has ended when the tree reads it. */
		.pid = task && !task->zombie ? task->pid : getpid(),
		.uid = e->uid,
		.gid = e->gid,
	};
	return true;
}

static void control_add(struct msghdr *msg, int type, const void *data, size_t size)
{
	struct cmsghdr *c = (struct cmsghdr *)((char *)msg->msg_control + msg->msg_controllen);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), data, size);
	msg->msg_controllen += CMSG_SPACE(size);
}

int sk_packet_send(struct restore *rs, struct sk_packet *packet, int sender, const void *to,
		   size_t to_size)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(MAX_RIGHTS * sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct iovec iov = {
		.iov_base = (void *)(uintptr_t)packet->data,
		.iov_len = packet->size,
	};
	struct msghdr msg = {
		.msg_name = (void *)(uintptr_t)to,
		.msg_namelen = (socklen_t)to_size,
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
	};
	size_t of_sender;
	int fds[MAX_RIGHTS];
	struct ucred ucred;
	ssize_t n;
	int r;

	r = rights_fill(rs, packet, fds);
	if (r < 0)
		return r;
	if (sender_fill(rs, packet, &ucred))
		control_add(&msg, SCM_CREDENTIALS, &ucred, sizeof(ucred));
	of_sender = msg.msg_controllen;
	if (packet->n_rights > 0)
		control_add(&msg, SCM_RIGHTS, fds, packet->n_rights * sizeof(int));
	do {
		n = SYS_CALL(sendmsg(sender, &msg, MSG_DONTWAIT | MSG_NOSIGNAL));
		if (n < 0)
			return fail(rs->failure, (int)n, "cannot put %zu bytes back in its queue",
				    packet->size);
		/* The descriptors went with the first bytes of a stream. */
		msg.msg_controllen = of_sender;
		iov.iov_base = (uint8_t *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
	} while (iov.iov_len > 0);
	packet->sent = true;
	return 0;
}
