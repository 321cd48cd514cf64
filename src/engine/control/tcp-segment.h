/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * tcp-segment - speak for the peer of a connection
 *
 * A restored socket must hear again what its peer has said in its former life. The segment, without data or options, is
 * made by hand and sent to a local address (raw-packet.h).
 *
 * Errors     0 or -errno, without fail().
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "basic/cleanup.h"

struct tcp_segment {
	uint32_t seq, ack;
	uint16_t window;
	bool fin, reset; /* ACK is always set */
};

/* @from, @to: sockaddr_in or sockaddr_in6, both of one family; mapped addresses count as IPv4. */
int tcp_segment_send(const struct sockaddr_storage *from, const struct sockaddr_storage *to,
		     const struct tcp_segment *segment) _must_check_;
