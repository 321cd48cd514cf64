/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/sockdiag.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink_diag.h>
#include <linux/packet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <netlink/attr.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/netlink.h>

#include "basic/netlink.h"

enum { UNIX_SHOW = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN };

/* Attributes behind a fixed head of @head bytes. */
#define for_each_attr(at, left, payload, size, head)                                               \
	for ((left) = (int)((size) - NLMSG_ALIGN(head)),                                           \
	    (at) = (const struct nlattr *)((const char *)(payload) + NLMSG_ALIGN(head));           \
	     nla_ok(at, left); (at) = nla_next(at, &(left)))

/* One question to sock_diag(7). @flags: NLM_F_DUMP for all sockets that match, 0 for one. */
static int ask(const void *request, size_t size, int flags, netlink_row_fn *row, void *userdata)
{
	return netlink_query(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, flags, request, size, row, userdata);
}

/* ---- unix ---- */

struct unix_list {
	struct arena *arena;
	struct unix_diag *items;
	size_t n;
};

static int unix_attr(struct unix_diag *u, const struct nlattr *at, struct arena *a)
{
	const void *data = nla_data(at);
	size_t size = (size_t)nla_len(at);

	switch (nla_type(at)) {
	case UNIX_DIAG_NAME:
		u->name = arena_copy(a, data, size);
		u->name_size = size;
		return u->name || size == 0 ? 0 : -ENOMEM;
	case UNIX_DIAG_PEER:
		if (size < sizeof(u->peer))
			return -EPROTO;
		memcpy(&u->peer, data, sizeof(u->peer));
		u->has_peer = true;
		return 0;
	case UNIX_DIAG_ICONS:
		u->icons = arena_copy(a, data, size);
		u->n_icons = size / sizeof(u->icons[0]);
		return u->icons || size == 0 ? 0 : -ENOMEM;
	case UNIX_DIAG_RQLEN: {
		struct unix_diag_rqlen len;

		if (size < sizeof(len))
			return -EPROTO;
		memcpy(&len, data, sizeof(len));
		u->rqueue = len.udiag_rqueue;
		u->wqueue = len.udiag_wqueue;
		return 0;
	}
	case UNIX_DIAG_VFS: {
		struct unix_diag_vfs vfs;

		if (size < sizeof(vfs))
			return -EPROTO;
		memcpy(&vfs, data, sizeof(vfs));
		u->vfs_dev = vfs.udiag_vfs_dev;
		u->vfs_ino = vfs.udiag_vfs_ino;
		return 0;
	}
	case UNIX_DIAG_SHUTDOWN:
		if (size < 1)
			return -EPROTO;
		u->shutdown = *(const uint8_t *)data;
		return 0;
	default:
		return 0;
	}
}

static int unix_row(void *userdata, const void *payload, size_t size)
{
	struct unix_list *list = userdata;
	const struct unix_diag_msg *msg = payload;
	const struct nlattr *at;
	struct unix_diag *u;
	int left, r;

	if (size < sizeof(*msg))
		return -EPROTO;
	r = arena_grow(list->arena, &list->items, list->n);
	if (r < 0)
		return r;
	u = &list->items[list->n];
	*u = (struct unix_diag){
		.ino = msg->udiag_ino,
		.type = msg->udiag_type,
		.state = msg->udiag_state,
	};
	for_each_attr(at, left, payload, size, sizeof(*msg)) {
		r = unix_attr(u, at, list->arena);
		if (r < 0)
			return r;
	}
	list->n++;
	return 0;
}

int sockdiag_unix_get(uint32_t ino, struct arena *a, struct unix_diag *ret)
{
	struct unix_diag_req req = {
		.sdiag_family = AF_UNIX,
		.udiag_ino = ino,
		.udiag_states = UINT32_MAX,
		.udiag_show = UNIX_SHOW,
		.udiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
	};
	struct unix_list list = { .arena = a };
	int r;

	r = ask(&req, sizeof(req), 0, unix_row, &list);
	if (r < 0)
		return r;
	if (list.n != 1)
		return -ENOENT;
	*ret = list.items[0];
	return 0;
}

static int unix_list(uint32_t states, struct arena *a, struct unix_diag **ret, size_t *ret_n)
{
	struct unix_diag_req req = {
		.sdiag_family = AF_UNIX,
		.udiag_states = states,
		.udiag_show = UNIX_SHOW,
	};
	struct unix_list list = { .arena = a };
	int r;

	r = ask(&req, sizeof(req), NLM_F_DUMP, unix_row, &list);
	if (r < 0)
		return r;
	*ret = list.items;
	*ret_n = list.n;
	return 0;
}

int sockdiag_unix_listeners(struct arena *a, struct unix_diag **ret, size_t *ret_n)
{
	return unix_list(1 << TCP_LISTEN, a, ret, ret_n);
}

int sockdiag_unix_list(struct arena *a, struct unix_diag **ret, size_t *ret_n)
{
	return unix_list(UINT32_MAX, a, ret, ret_n);
}

/* ---- inet ---- */

struct inet_list {
	struct arena *arena;
	struct inet_diag *items;
	size_t n;
};

static int inet_row(void *userdata, const void *payload, size_t size)
{
	struct inet_list *list = userdata;
	const struct inet_diag_msg *msg = payload;
	const struct nlattr *at;
	struct inet_diag *i;
	int left, r;

	if (size < sizeof(*msg))
		return -EPROTO;
	r = arena_grow(list->arena, &list->items, list->n);
	if (r < 0)
		return r;
	i = &list->items[list->n++];
	*i = (struct inet_diag){
		.ino = msg->idiag_inode,
		.state = msg->idiag_state,
		.rqueue = msg->idiag_rqueue,
		.wqueue = msg->idiag_wqueue,
		.port = ntohs(msg->id.idiag_sport),
	};
	_Static_assert(sizeof(i->address) == sizeof(msg->id.idiag_src), "an address");
	memcpy(i->address, msg->id.idiag_src, sizeof(i->address));
	for_each_attr(at, left, payload, size, sizeof(*msg)) {
		if (nla_len(at) < 1)
			continue;
		if (nla_type(at) == INET_DIAG_SHUTDOWN)
			i->shutdown = *(const uint8_t *)nla_data(at);
		else if (nla_type(at) == INET_DIAG_SKV6ONLY)
			i->only_v6 = *(const uint8_t *)nla_data(at);
	}
	return 0;
}

int sockdiag_inet_list(int family, int protocol, struct arena *a, struct inet_diag **ret,
		       size_t *ret_n)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = (uint8_t)family,
		.sdiag_protocol = (uint8_t)protocol,
		.idiag_ext = 1 << (INET_DIAG_SHUTDOWN - 1),
		.idiag_states = UINT32_MAX,
	};
	struct inet_list list = { .arena = a };
	int r;

	r = ask(&req, sizeof(req), NLM_F_DUMP, inet_row, &list);
	if (r < 0)
		return r;
	*ret = list.items;
	*ret_n = list.n;
	return 0;
}

/* ---- netlink ---- */

struct netlink_search {
	struct arena *arena;
	uint32_t ino;
	bool found;
	struct netlink_diag diag;
};

static int netlink_row(void *userdata, const void *payload, size_t size)
{
	struct netlink_search *s = userdata;
	const struct netlink_diag_msg *msg = payload;
	const struct nlattr *at;
	int left;

	if (size < sizeof(*msg))
		return -EPROTO;
	if (msg->ndiag_ino != s->ino || s->found)
		return 0;
	s->found = true;
	s->diag = (struct netlink_diag){
		.ino = msg->ndiag_ino,
		.protocol = msg->ndiag_protocol,
		.state = msg->ndiag_state,
		.portid = msg->ndiag_portid,
		.dst_portid = msg->ndiag_dst_portid,
		.dst_group = msg->ndiag_dst_group,
	};
	for_each_attr(at, left, payload, size, sizeof(*msg)) {
		if (nla_type(at) != NETLINK_DIAG_GROUPS)
			continue;
		s->diag.groups = arena_copy(s->arena, nla_data(at), (size_t)nla_len(at));
		s->diag.n_groups = (size_t)nla_len(at) / sizeof(s->diag.groups[0]);
		if (!s->diag.groups && s->diag.n_groups > 0)
			return -ENOMEM;
	}
	return 0;
}

int sockdiag_netlink_get(uint32_t ino, struct arena *a, struct netlink_diag *ret)
{
	struct netlink_diag_req req = {
		.sdiag_family = AF_NETLINK,
		.sdiag_protocol = NDIAG_PROTO_ALL,
		.ndiag_show = NDIAG_SHOW_GROUPS,
	};
	struct netlink_search search = { .arena = a, .ino = ino };
	int r;

	r = ask(&req, sizeof(req), NLM_F_DUMP, netlink_row, &search);
	if (r < 0)
		return r;
	if (!search.found)
		return -ENOENT;
	*ret = search.diag;
	return 0;
}

/* ---- packet ---- */

struct packet_search {
	struct arena *arena;
	uint32_t ino;
	bool found;
	struct packet_diag diag;
};

static int packet_groups(struct packet_search *s, const struct nlattr *at)
{
	const struct packet_diag_mclist *from = nla_data(at);
	size_t n = (size_t)nla_len(at) / sizeof(*from);
	struct packet_diag_group *groups = arena_array(s->arena, struct packet_diag_group, n);

	if (!groups && n > 0)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		groups[i].index = from[i].pdmc_index;
		groups[i].type = from[i].pdmc_type;
		groups[i].address_size = MIN((size_t)from[i].pdmc_alen, sizeof(from[i].pdmc_addr));
		groups[i].address = arena_copy(s->arena, from[i].pdmc_addr, sizeof(from[i].pdmc_addr));
		if (!groups[i].address)
			return -ENOMEM;
	}
	s->diag.mclist = groups;
	s->diag.n_mclist = n;
	return 0;
}

static struct packet_diag_ring_config packet_ring(const struct nlattr *at)
{
	struct packet_diag_ring r = { 0 };

	memcpy(&r, nla_data(at), MIN((size_t)nla_len(at), sizeof(r)));
	return (struct packet_diag_ring_config){
		.block_size = r.pdr_block_size,
		.block_nr = r.pdr_block_nr,
		.frame_size = r.pdr_frame_size,
		.frame_nr = r.pdr_frame_nr,
		.retire_tmo = r.pdr_retire_tmo,
		.sizeof_priv = r.pdr_sizeof_priv,
		.features = r.pdr_features,
	};
}

static int packet_attr(struct packet_search *s, const struct nlattr *at)
{
	struct packet_diag_info info = { 0 };

	switch (nla_type(at)) {
	case PACKET_DIAG_INFO:
		memcpy(&info, nla_data(at), MIN((size_t)nla_len(at), sizeof(info)));
		s->diag.index = info.pdi_index;
		s->diag.version = info.pdi_version;
		s->diag.reserve = info.pdi_reserve;
		s->diag.copy_thresh = info.pdi_copy_thresh;
		s->diag.timestamp = info.pdi_tstamp;
		s->diag.aux_data = info.pdi_flags & PDI_AUXDATA;
		s->diag.orig_dev = info.pdi_flags & PDI_ORIGDEV;
		s->diag.vnet_hdr = info.pdi_flags & PDI_VNETHDR;
		s->diag.loss = info.pdi_flags & PDI_LOSS;
		return 0;
	case PACKET_DIAG_MCLIST:
		return packet_groups(s, at);
	case PACKET_DIAG_RX_RING:
		s->diag.rx_ring = packet_ring(at);
		return 0;
	case PACKET_DIAG_TX_RING:
		s->diag.tx_ring = packet_ring(at);
		return 0;
	case PACKET_DIAG_FANOUT:
		if ((size_t)nla_len(at) < sizeof(s->diag.fanout))
			return -EPROTO;
		memcpy(&s->diag.fanout, nla_data(at), sizeof(s->diag.fanout));
		s->diag.has_fanout = true;
		return 0;
	default:
		return 0;
	}
}

static int packet_row(void *userdata, const void *payload, size_t size)
{
	struct packet_search *s = userdata;
	const struct packet_diag_msg *msg = payload;
	const struct nlattr *at;
	int left, r;

	if (size < sizeof(*msg))
		return -EPROTO;
	if (msg->pdiag_ino != s->ino || s->found)
		return 0;
	s->found = true;
	s->diag.protocol = htons(msg->pdiag_num);
	for_each_attr(at, left, payload, size, sizeof(*msg)) {
		r = packet_attr(s, at);
		if (r < 0)
			return r;
	}
	return 0;
}

int sockdiag_packet_get(uint32_t ino, struct arena *a, struct packet_diag *ret)
{
	struct packet_diag_req req = {
		.sdiag_family = AF_PACKET,
		.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG |
			      PACKET_SHOW_FANOUT,
	};
	struct packet_search search = { .arena = a, .ino = ino };
	int r;

	r = ask(&req, sizeof(req), NLM_F_DUMP, packet_row, &search);
	if (r < 0)
		return r;
	if (!search.found)
		return -ENOENT;
	*ret = search.diag;
	return 0;
}
