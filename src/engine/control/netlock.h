/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * netlock - keep the peers of connections silent while nobody is at our end
 *
 * Between the dump of a connection and its restore, a packet of the peer would find no socket and be answered with a
 * reset. A table of nftables drops what belongs to the connections, both ways; it is named after the run id of the
 * dump, which the inventory carries, so that the restore (also CRIU's) finds and removes it. Packets with NETLOCK_MARK
 * pass.
 *
 * Errors     0 or -errno after fail().
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/failure.h"

#define NETLOCK_MARK 0xc114

struct netlock_connection {
	int family; /* AF_INET or AF_INET6 */
	uint32_t local[4], remote[4]; /* network byte order */
	uint16_t local_port, remote_port;
};

/* @hold: a descriptor that stays open until nft(8) has ended, also when we end before; -EBADF: none */
int netlock_set(struct failure *f, const char *run_id, const struct netlock_connection *items,
		size_t n, int hold) _must_check_;
/* Removes the table; that there is none is no error. */
void netlock_clear(const char *run_id);

/* Removes the rules a CRIU has made with iptables(8), its default, for one connection. */
void netlock_clear_iptables(const struct netlock_connection *c);
