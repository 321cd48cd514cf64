/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sk-datagrams - what a UDP socket has received and nobody has read
 *
 * At a dump the queue is gone through by MSG_PEEK with SO_PEEK_OFF (socket(7)), and nothing is taken out. At a restore each datagram comes
 * once more, in the name of who sent it (control/raw-packet.h): the program reads it with its sender, and in its order. When it came and by
 * which interface is lost. An empty datagram that was peeked at before is skipped by the kernel, and so by us.
 */
#include "engine/dump.h"
#include "engine/restore.h"

#include "sk-inet.pb-c.h"

/* Fills e->snapmgr_datagrams. @fd: our copy of the socket's descriptor */
int datagrams_dump(struct dump *d, int fd, InetSkEntry *e) _must_check_;
/* Checks lengths; nothing is touched. */
int datagrams_check(struct restore *rs, const InetSkEntry *e) _must_check_;
/* The socket is as it was: bound, connected, its options set. What does not arrive is told in the log. */
void datagrams_restore(struct restore *rs, const InetSkEntry *e, int fd);
