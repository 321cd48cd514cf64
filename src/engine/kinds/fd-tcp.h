/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fd-tcp - connected TCP sockets; called by fd-inet.c only
 *
 * A connection is taken apart and put together by TCP_REPAIR: sequence numbers, queues, window, negotiated options.
 */

#include "engine/kinds/kind.h"

#include "sk-inet.pb-c.h"

/* Is there, or was there just now, somebody at the other end? @state: TCP_ESTABLISHED, ... */
bool tcp_state_is_connected(uint32_t state);

/* Options of any TCP socket. @ret: in d->arena. */
int tcp_opts_dump(struct dump *d, int fd, TcpOptsEntry **ret) _must_check_;
int tcp_opts_restore(struct restore *rs, int fd, const TcpOptsEntry *e) _must_check_;
