/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * raw-packet - IP packets in the name of somebody else, to a local address
 *
 * They go through a raw socket (raw(7), ipv6(7)) and carry NETLOCK_MARK, so that a network lock lets them pass. Nothing of it leaves the
 * machine: the address is one of ours.
 *
 * Errors     0 or -errno, without fail().
 */
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"

/* The checksum of the internet (RFC 1071), in parts of even size but for the last. */
uint32_t raw_sum_add(uint32_t sum, const void *data, size_t size);
uint16_t raw_sum_fold(uint32_t sum); /* in network byte order */
/* What TCP and UDP cover in front of their header. */
uint32_t raw_sum_v4(struct in_addr from, struct in_addr to, uint8_t protocol, size_t size);
uint32_t raw_sum_v6(const struct in6_addr *from, const struct in6_addr *to, uint8_t protocol, size_t size);

/* Puts the IP header before what comes behind it. */
int raw_packet_send_v4(struct in_addr from, struct in_addr to, uint8_t protocol, const void *data, size_t size) _must_check_;
int raw_packet_send_v6(const struct in6_addr *from, const struct in6_addr *to, uint8_t protocol, const void *data, size_t size)
	_must_check_;
