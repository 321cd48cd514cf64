/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sk-queue - data in the receive queue of a local socket, with the descriptors that travel in it
 *
 * Dump: the queue is peeked through our copy of the description, nothing is taken out. Restore: packets are read from
 * sk-queues.img once and sent again by whoever can send to the receiver.
 *
 * Errors     0 or -errno after fail().
 */

#include <stddef.h>
#include <stdint.h>

#include <sys/socket.h>

#include "engine/kinds/kind.h"

#include "sk-packet.pb-c.h"

/*
 * One packet, or a run of bytes of a stream. @fds are the callee's to look at, not to keep. @sender: SCM_CREDENTIALS; NULL: none,
 * or the socket does not ask for them (SO_PASSCRED)
 */
typedef int sk_queue_packet_fn(void *userdata, const void *data, size_t size, const int *fds,
			       size_t n_fds, const struct ucred *sender);

/*
 * sk_queue_peek() - hand out what is in the queue of a unix socket, in order
 * @fd:		our copy of the description
 * @type:	SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
 *
 * Descriptors in a stream are handed out with exactly those bytes they were sent with.
 */
int sk_queue_peek(struct failure *f, int fd, int type, sk_queue_packet_fn *packet, void *userdata)
	_must_check_;

/*
 * sk_queue_dump() - write the queue of a unix socket to sk-queues.img
 * @task:	whose it is, for messages and for descriptors in flight
 * @id:		of the receiving socket, in the images
 */
int sk_queue_dump(struct dump *d, const struct task *task, int fd, int type, uint32_t id)
	_must_check_;

/* What is to be sent to one receiver again. */
struct sk_packet {
	uint32_t id_for;
	const void *data;
	size_t size;
	const uint32_t *rights; /* file ids */
	size_t n_rights;
	const SkUcredEntry *sender; /* NULL: unknown */
	bool sent;
};

struct sk_packets {
	bool loaded;
	struct sk_packet *items; /* in rs->arena */
	size_t n;
};

/* Reads sk-queues.img unless that is done. No image: no packets. */
int sk_packets_load(struct restore *rs, struct sk_packets *packets) _must_check_;
bool sk_packets_has(const struct sk_packets *packets, uint32_t id_for);

/*
 * sk_packet_send() - send one again
 * @to, @to_size:	address, or NULL for a connected sender
 */
int sk_packet_send(struct restore *rs, struct sk_packet *packet, int sender, const void *to,
		   size_t to_size) _must_check_;
