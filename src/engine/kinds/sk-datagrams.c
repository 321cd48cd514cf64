/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/sk-datagrams.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "basic/sys.h"
#include "engine/control/raw-packet.h"
#include "engine/kinds/sk-opts.h"

enum {
	DATAGRAM_MAX = 65535,
	DATAGRAMS_MAX = 1 << 16,
	CONTROL_BYTES = 1024,
	V4_BYTES = 4,
	V6_BYTES = 16,
	ARRIVAL_MSEC = 100,
};

struct udp_packet {
	struct udphdr udp;
	uint8_t data[DATAGRAM_MAX];
};

/* ---- dump ---- */

static int put_bytes(struct dump *d, ProtobufCBinaryData *ret, const void *data, size_t size)
{
	ret->data = arena_copy(&d->arena, data, size ?: 1);
	ret->len = size;
	return ret->data ? 0 : -ENOMEM;
}

static int put_sender(struct dump *d, const struct sockaddr_storage *from, SnapmgrDatagram *ret)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;

	ret->from_port = ntohs(from->ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
	if (from->ss_family == AF_INET)
		return put_bytes(d, &ret->from, &v4->sin_addr, V4_BYTES);
	return from->ss_family == AF_INET6 ? put_bytes(d, &ret->from, &v6->sin6_addr, V6_BYTES) : -EBADMSG;
}

/* Where it was sent to, if the program has asked to be told (IP_PKTINFO). */
static int put_receiver(struct dump *d, struct msghdr *msg, SnapmgrDatagram *ret)
{
	int r = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c && r == 0; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			r = put_bytes(d, &ret->to, &((struct in_pktinfo *)(void *)CMSG_DATA(c))->ipi_addr, V4_BYTES);
		else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			r = put_bytes(d, &ret->to, &((struct in6_pktinfo *)(void *)CMSG_DATA(c))->ipi6_addr, V6_BYTES);
		else
			continue;
		ret->has_to = true;
	}
	return r;
}

/* The next one, from where SO_PEEK_OFF is. Return: 1, 0: there is none, or -errno. */
static int peek_one(struct dump *d, int fd, uint8_t *data, InetSkEntry *e)
{
	struct iovec iov = { data, DATAGRAM_MAX };
	union {
		struct cmsghdr align;
		char bytes[CONTROL_BYTES];
	} control;
	struct sockaddr_storage from = {};
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes) };
	SnapmgrDatagram *one;
	ssize_t n = SYS_CALL(recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT));
	int r;

	if (n < 0)
		return n == -EAGAIN ? 0 : (int)n;
	one = arena_new(&d->arena, SnapmgrDatagram);
	if (!one || e->n_snapmgr_datagrams == DATAGRAMS_MAX ||
	    arena_grow(&d->arena, &e->snapmgr_datagrams, e->n_snapmgr_datagrams) < 0)
		return -ENOMEM;
	snapmgr_datagram__init(one);
	r = put_bytes(d, &one->data, data, (size_t)n);
	if (r == 0)
		r = put_sender(d, &from, one);
	if (r == 0)
		r = put_receiver(d, &msg, one);
	e->snapmgr_datagrams[e->n_snapmgr_datagrams++] = one;
	return r < 0 ? r : 1;
}

int datagrams_dump(struct dump *d, int fd, InetSkEntry *e)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	_cleanup_free_ uint8_t *data = NULL;
	int before, r;

	if (SYS_CALL(poll(&pfd, 1, 0)) <= 0 || !(pfd.revents & POLLIN))
		return 0;
	data = malloc(DATAGRAM_MAX);
	if (!data)
		return fail(d->failure, -ENOMEM, "no memory for datagrams");
	r = sk_get_int(fd, SOL_SOCKET, SO_PEEK_OFF, &before);
	if (r == 0)
		r = sk_set_int(fd, SOL_SOCKET, SO_PEEK_OFF, 0);
	if (r < 0)
		return fail(d->failure, r, "cannot set SO_PEEK_OFF");
	do
		r = peek_one(d, fd, data, e);
	while (r == 1);
	if (sk_set_int(fd, SOL_SOCKET, SO_PEEK_OFF, before) < 0)
		return fail(d->failure, -EIO, "cannot put SO_PEEK_OFF back");
	return r < 0 ? fail(d->failure, r, "cannot read the datagrams that wait in it") : 0;
}

/* ---- restore ---- */

int datagrams_check(struct restore *rs, const InetSkEntry *e)
{
	for (size_t i = 0; i < e->n_snapmgr_datagrams; i++) {
		const SnapmgrDatagram *one = e->snapmgr_datagrams[i];

		if ((one->from.len != V4_BYTES && one->from.len != V6_BYTES) || one->from_port > UINT16_MAX ||
		    (one->has_to && one->to.len != V4_BYTES && one->to.len != V6_BYTES) || one->data.len > DATAGRAM_MAX)
			return fail(rs->failure, -EBADMSG, "udp: a datagram of %zu bytes is damaged", one->data.len);
	}
	return 0;
}

/* An address of either family as IPv6 has it. */
static struct in6_addr wide(const void *address, size_t size)
{
	struct in6_addr a = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	if (size == V6_BYTES)
		memcpy(&a, address, V6_BYTES);
	else
		memcpy(&a.s6_addr[12], address, V4_BYTES);
	return a;
}

static struct in_addr narrow(const struct in6_addr *a)
{
	struct in_addr v4;

	memcpy(&v4, &a->s6_addr[12], sizeof(v4));
	return v4;
}

static bool is_any(const struct in6_addr *a)
{
	static const struct in6_addr any_v4 = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	return IN6_IS_ADDR_UNSPECIFIED(a) || memcmp(a, &any_v4, sizeof(any_v4)) == 0;
}

/* A socket that takes all is reached at the loopback. */
static struct in6_addr receiver_of(const InetSkEntry *e, const SnapmgrDatagram *one, bool v4)
{
	struct in6_addr to = one->has_to ? wide(one->to.data, one->to.len) :
					   wide(e->src_addr, e->family == AF_INET ? V4_BYTES : V6_BYTES);
	const struct in_addr loopback = { htonl(INADDR_LOOPBACK) };

	if (!is_any(&to) && !IN6_IS_ADDR_MULTICAST(&to))
		return to;
	return v4 ? wide(&loopback, V4_BYTES) : in6addr_loopback;
}

static int send_one(const InetSkEntry *e, const SnapmgrDatagram *one, struct udp_packet *p)
{
	struct in6_addr from = wide(one->from.data, one->from.len), to;
	size_t size = sizeof(p->udp) + one->data.len;
	bool v4 = IN6_IS_ADDR_V4MAPPED(&from);
	uint32_t sum;

	to = receiver_of(e, one, v4);
	if (v4 != !!IN6_IS_ADDR_V4MAPPED(&to) || size > UINT16_MAX)
		return -EBADMSG;
	p->udp = (struct udphdr){ .source = htons((uint16_t)one->from_port), .dest = htons((uint16_t)e->src_port),
				  .len = htons((uint16_t)size) };
	memcpy(p->data, one->data.data, one->data.len);
	sum = v4 ? raw_sum_v4(narrow(&from), narrow(&to), IPPROTO_UDP, size) : raw_sum_v6(&from, &to, IPPROTO_UDP, size);
	p->udp.check = raw_sum_fold(raw_sum_add(sum, p, size)) ?: 0xffff;
	return v4 ? raw_packet_send_v4(narrow(&from), narrow(&to), IPPROTO_UDP, p, size) :
		    raw_packet_send_v6(&from, &to, IPPROTO_UDP, p, size);
}

/* Has anything come? The kernel delivers before the send returns, as a rule. */
static bool has_arrived(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return SYS_CALL(poll(&pfd, 1, ARRIVAL_MSEC)) > 0 && (pfd.revents & POLLIN);
}

void datagrams_restore(struct restore *rs, const InetSkEntry *e, int fd)
{
	struct udp_packet *p = e->n_snapmgr_datagrams > 0 ? malloc(sizeof(*p)) : NULL;
	size_t n = 0;
	int r = p ? 0 : -ENOMEM;

	if (e->n_snapmgr_datagrams == 0)
		return;
	for (; r == 0 && n < e->n_snapmgr_datagrams; n += r == 0)
		r = send_one(e, e->snapmgr_datagrams[n], p);
	free(p);
	if (r < 0)
		log_warn(rs->log, "udp port %u: %zu datagrams that were not read yet are lost: %s", e->src_port,
			 e->n_snapmgr_datagrams - n, strerror(-r));
	else if (!has_arrived(fd))
		log_warn(rs->log, "udp port %u: datagrams that were not read yet are lost: a packet filter?", e->src_port);
}
