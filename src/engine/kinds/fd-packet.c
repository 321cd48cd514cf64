/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packet sockets. Their parameters come from sock_diag. Packets that are not read yet cannot be saved: a dump waits a moment for the program to
 * read them.
 */
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/control/sockdiag.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/sk-opts.h"

#include "packet-sock.pb-c.h"

enum { HARDWARE_ADDRESS_MAX = 32 };

static bool packet_matches(const struct fd_view *view)
{
	return sk_family(view) == AF_PACKET;
}

/* ---- dump ---- */

static int mclist_dump(struct dump *d, const struct packet_diag *diag, PacketSockEntry *e)
{
	e->mclist = arena_array(&d->arena, PacketMclist *, diag->n_mclist);
	if (!e->mclist && diag->n_mclist > 0)
		return fail(d->failure, -ENOMEM, "out of memory");
	for (size_t i = 0; i < diag->n_mclist; i++) {
		PacketMclist *m = arena_new(&d->arena, PacketMclist);
		const struct packet_diag_group *g = &diag->mclist[i];

		if (!m)
			return fail(d->failure, -ENOMEM, "out of memory");
		packet_mclist__init(m);
		m->index = g->index;
		m->type = g->type;
		m->addr.len = g->address_size;
		m->addr.data = (uint8_t *)(uintptr_t)g->address;
		e->mclist[e->n_mclist++] = m;
	}
	return 0;
}

static int ring_dump(struct dump *d, const struct packet_diag_ring_config *r, PacketRing **ret)
{
	PacketRing *ring;

	if (r->block_nr == 0)
		return 0;
	ring = arena_new(&d->arena, PacketRing);
	if (!ring)
		return fail(d->failure, -ENOMEM, "out of memory");
	packet_ring__init(ring);
	ring->block_size = r->block_size;
	ring->block_nr = r->block_nr;
	ring->frame_size = r->frame_size;
	ring->frame_nr = r->frame_nr;
	ring->retire_tmo = r->retire_tmo;
	ring->sizeof_priv = r->sizeof_priv;
	ring->features = r->features;
	*ret = ring;
	return 0;
}

static int packet_dump(struct dump *d, const struct fd_view *view)
{
	PacketSockEntry e = PACKET_SOCK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	struct pollfd pfd = { .fd = view->fd, .events = POLLIN };
	struct packet_diag diag = { 0 };
	int type, r;

	r = sk_get_int(view->fd, SOL_SOCKET, SO_TYPE, &type);
	if (r < 0)
		return fail(d->failure, r, "cannot read its type");
	r = sockdiag_packet_get((uint32_t)view->st.st_ino, &d->arena, &diag);
	if (r < 0)
		return fail(d->failure, r, "cannot look it up by sock_diag");
	r = sk_opts_dump(d, view->fd, AF_PACKET, &opts);
	if (r == 0)
		r = mclist_dump(d, &diag, &e);
	if (r == 0)
		r = ring_dump(d, &diag.rx_ring, &e.rx_ring);
	if (r == 0)
		r = ring_dump(d, &diag.tx_ring, &e.tx_ring);
	if (r < 0)
		return r;
	if (SYS_CALL(poll(&pfd, 1, 0)) > 0 && (pfd.revents & POLLIN))
		return fail(d->failure, -EAGAIN, "packets that the program has not read yet cannot be saved");
	e.id = view->id;
	e.type = (uint32_t)type;
	e.protocol = diag.protocol;
	e.ifindex = diag.index;
	e.flags = view->flags;
	e.fown = view->fown;
	e.opts = &opts;
	e.version = diag.version;
	e.reserve = diag.reserve;
	e.copy_thresh = diag.copy_thresh;
	e.timestamp = diag.timestamp;
	e.aux_data = diag.aux_data;
	e.orig_dev = diag.orig_dev;
	e.vnet_hdr = diag.vnet_hdr;
	e.loss = diag.loss;
	if (diag.has_fanout) {
		e.has_fanout = 1;
		e.fanout = diag.fanout;
	}
	e.has_ns_id = 1;
	e.ns_id = d->ns_id[NS_NET];
	entry.psk = &e;
	return files_put(d, view, &fd_kind_packet, &entry);
}

/* ---- restore ---- */

static int packet_check(struct restore *rs, struct file *file)
{
	const PacketSockEntry *e = file->entry->psk;

	if (!e || !e->opts)
		return fail(rs->failure, -EBADMSG, "record without a socket in it");
	if (e->type != SOCK_RAW && e->type != SOCK_DGRAM && e->type != SOCK_PACKET)
		return fail(rs->failure, -EBADMSG, "socket type %u", e->type);
	if (e->protocol > UINT16_MAX)
		return fail(rs->failure, -EBADMSG, "protocol %u", e->protocol);
	for (size_t i = 0; i < e->n_mclist; i++)
		if (e->mclist[i]->addr.len > HARDWARE_ADDRESS_MAX)
			return fail(rs->failure, -EBADMSG, "address of %zu bytes",
				    e->mclist[i]->addr.len);
	return 0;
}

/* Version and room before a packet fix the layout of rings: they come first. */
static int numbers_restore(struct restore *rs, int fd, const PacketSockEntry *e)
{
	const struct {
		int name;
		const char *text;
		uint32_t value;
	} numbers[] = {
		{ PACKET_VERSION, "PACKET_VERSION", e->version },
		{ PACKET_RESERVE, "PACKET_RESERVE", e->reserve },
		{ PACKET_AUXDATA, "PACKET_AUXDATA", (uint32_t)e->aux_data },
		{ PACKET_ORIGDEV, "PACKET_ORIGDEV", (uint32_t)e->orig_dev },
		{ PACKET_VNET_HDR, "PACKET_VNET_HDR", (uint32_t)e->vnet_hdr },
		{ PACKET_LOSS, "PACKET_LOSS", (uint32_t)e->loss },
		{ PACKET_TIMESTAMP, "PACKET_TIMESTAMP", e->timestamp },
		{ PACKET_COPY_THRESH, "PACKET_COPY_THRESH", e->copy_thresh },
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		int r;

		if (numbers[i].value == 0)
			continue;
		r = sk_set_int(fd, SOL_PACKET, numbers[i].name, (int)numbers[i].value);
		if (r < 0)
			return fail(rs->failure, r, "cannot set %s to %u", numbers[i].text,
				    numbers[i].value);
	}
	return 0;
}

static int mclist_restore(struct restore *rs, int fd, const PacketSockEntry *e)
{
	for (size_t i = 0; i < e->n_mclist; i++) {
		const PacketMclist *m = e->mclist[i];
		struct {
			struct packet_mreq req;
			uint8_t room[HARDWARE_ADDRESS_MAX];
		} group = { .req = {
				    .mr_ifindex = (int)m->index,
				    .mr_type = (unsigned short)m->type,
				    .mr_alen = (unsigned short)m->addr.len,
			    } };
		int r;

		memcpy((uint8_t *)&group + offsetof(struct packet_mreq, mr_address), m->addr.data,
		       m->addr.len);
		r = (int)SYS_CALL(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &group,
					     sizeof(group)));
		if (r < 0)
			return fail(rs->failure, r, "cannot join group %zu on interface %u", i,
				    m->index);
	}
	return 0;
}

static int ring_restore(struct restore *rs, int fd, int name, const PacketSockEntry *e,
			const PacketRing *r)
{
	struct tpacket_req3 req;
	int error;

	if (!r)
		return 0;
	req = (struct tpacket_req3){
		.tp_block_size = r->block_size,
		.tp_block_nr = r->block_nr,
		.tp_frame_size = r->frame_size,
		.tp_frame_nr = r->frame_nr,
		.tp_retire_blk_tov = r->retire_tmo,
		.tp_sizeof_priv = r->sizeof_priv,
		.tp_feature_req_word = r->features,
	};
	error = (int)SYS_CALL(setsockopt(fd, SOL_PACKET, name, &req,
					 e->version == TPACKET_V3 ? sizeof(req) :
								    sizeof(struct tpacket_req)));
	if (error < 0)
		return fail(rs->failure, error, "cannot make a ring of %u blocks of %u bytes",
			    r->block_nr, r->block_size);
	return 0;
}

static int packet_bind(struct restore *rs, int fd, const PacketSockEntry *e)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = (uint16_t)e->protocol,
		.sll_ifindex = (int)e->ifindex,
	};
	struct sockaddr named = { .sa_family = AF_PACKET };
	char name[IF_NAMESIZE];
	int r;

	if (e->ifindex == 0)
		return 0;
	if (e->type == SOCK_PACKET) {
		/* The old type is bound by as much of the name as fits. */
		if (!if_indextoname(e->ifindex, name))
			return fail(rs->failure, -errno, "there is no interface %u", e->ifindex);
		memcpy(named.sa_data, name, strnlen(name, sizeof(named.sa_data) - 1));
		r = (int)SYS_CALL(bind(fd, &named, sizeof(named)));
	} else {
		r = (int)SYS_CALL(bind(fd, (struct sockaddr *)&address, sizeof(address)));
	}
	return r < 0 ? fail(rs->failure, r, "cannot bind to interface %u", e->ifindex) : 0;
}

static int packet_open(struct restore *rs, struct file *file)
{
	const PacketSockEntry *e = file->entry->psk;
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = sk_new_for(rs, file, AF_PACKET, (int)e->type, (int)e->protocol);
	if (fd < 0)
		return fd;
	r = numbers_restore(rs, fd, e);
	if (r == 0)
		r = packet_bind(rs, fd, e);
	if (r == 0)
		r = mclist_restore(rs, fd, e);
	if (r == 0)
		r = ring_restore(rs, fd, PACKET_RX_RING, e, e->rx_ring);
	if (r == 0)
		r = ring_restore(rs, fd, PACKET_TX_RING, e, e->tx_ring);
	if (r < 0)
		return r;
	if (e->has_fanout && e->fanout != UINT32_MAX) {
		r = sk_set_int(fd, SOL_PACKET, PACKET_FANOUT, (int)e->fanout);
		if (r < 0)
			return fail(rs->failure, r, "cannot join fanout %#x", e->fanout);
	}
	file->fd = TAKE_FD(fd);
	return 0;
}

static int packet_link(struct restore *rs, struct file *file)
{
	const PacketSockEntry *e = file->entry->psk;
	int r;

	r = sk_opts_restore(rs, file->fd, e->opts);
	return r == 0 ? files_apply_flags(rs, file->fd, e->flags) : r;
}

const struct fd_kind fd_kind_packet = {
	.name = "packet socket",
	.type = FD_TYPES__PACKETSK,
	.matches = packet_matches,
	.dump = packet_dump,
	.check = packet_check,
	.open = packet_open,
	.link = packet_link,
};
