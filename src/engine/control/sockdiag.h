/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sockdiag - what only sock_diag(7) tells about a socket
 *
 * Of the network namespace we are in. Most about a socket is asked through our copy of its descriptor; here is the rest:
 * inodes of peers, lengths of queues, connections that wait to be accepted, shutdown states.
 *
 * Ownership  Lists are in the caller's arena.
 * Errors     0 or -errno, without fail(). -ENOENT: no such socket, or no such table in this kernel.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/arena.h"

struct unix_diag {
	uint32_t ino;
	uint8_t type, state, shutdown;
	bool has_peer;
	uint32_t peer; /* inode; 0: it was closed, or nobody has accepted it yet */
	uint32_t rqueue, wqueue; /* of a listener: connections waiting, and how many may */
	const char *name;
	size_t name_size;
	uint32_t vfs_dev, vfs_ino; /* of the file that it is bound to; 0: none. The device in the kernel's own encoding. */
	const uint32_t *icons; /* of a listener: inodes of those who wait, 0 for one that is closed */
	size_t n_icons;
};

int sockdiag_unix_get(uint32_t ino, struct arena *a, struct unix_diag *ret) _must_check_;
/* All unix sockets that listen. */
int sockdiag_unix_listeners(struct arena *a, struct unix_diag **ret, size_t *ret_n) _must_check_;
/* All unix sockets. */
int sockdiag_unix_list(struct arena *a, struct unix_diag **ret, size_t *ret_n) _must_check_;

struct inet_diag {
	uint32_t ino;
	uint8_t state, shutdown;
	uint32_t rqueue, wqueue;
	uint16_t port;	     /* local */
	uint32_t address[4]; /* local; IPv4 has the first word */
	bool only_v6;
};
int sockdiag_inet_list(int family, int protocol, struct arena *a, struct inet_diag **ret,
		       size_t *ret_n) _must_check_;

struct netlink_diag {
	uint32_t ino;
	uint8_t protocol, state;
	uint32_t portid, dst_portid, dst_group;
	const uint32_t *groups; /* bit mask */
	size_t n_groups;	/* words */
};
int sockdiag_netlink_get(uint32_t ino, struct arena *a, struct netlink_diag *ret) _must_check_;

struct packet_diag_ring_config {
	uint32_t block_size, block_nr, frame_size, frame_nr, retire_tmo, sizeof_priv, features;
};

struct packet_diag_group {
	uint32_t index, type;
	const uint8_t *address;
	size_t address_size;
};

struct packet_diag {
	uint16_t protocol; /* network byte order */
	uint32_t index, version, reserve, copy_thresh, timestamp;
	bool aux_data, orig_dev, vnet_hdr, loss;
	bool has_fanout;
	uint32_t fanout;
	const struct packet_diag_group *mclist;
	size_t n_mclist;
	struct packet_diag_ring_config rx_ring, tx_ring; /* block_nr 0: none */
};
int sockdiag_packet_get(uint32_t ino, struct arena *a, struct packet_diag *ret) _must_check_;
