/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fd-tcp - connected TCP sockets; called by fd-inet.c only
 *
 * A connection is taken apart and put together by TCP_REPAIR: sequence numbers, queues, window, negotiated options. A
 * socket under repair neither sends nor, when it is closed, tells its peer.
 *
 * Errors     0 or -errno after fail().
 */

#include <sys/socket.h>

#include "engine/kinds/kind.h"

#include "sk-inet.pb-c.h"

/* Is there, or was there just now, somebody at the other end? @state: TCP_ESTABLISHED, ... */
bool tcp_state_is_connected(uint32_t state);

/* Options of any TCP socket. @ret: in d->arena. */
int tcp_opts_dump(struct dump *d, int fd, TcpOptsEntry **ret) _must_check_;
int tcp_opts_restore(struct restore *rs, int fd, const TcpOptsEntry *e) _must_check_;

/* Could this connection be saved? Touches nothing. */
int tcp_stream_check_dump(struct dump *d, int fd, const InetSkEntry *e) _must_check_;

/* Writes tcp-stream-INO.img. The socket is under repair for that moment only. */
int tcp_stream_dump(struct dump *d, int fd, const InetSkEntry *e) _must_check_;

/* From here on the end of the socket is not noticed by its peer. */
void tcp_repair_on(int fd);
void tcp_repair_off(int fd, bool reuse); /* @reuse: SO_REUSEADDR, which repair forgets */

/* A connection being restored. */
struct tcp_stream;

/* Reads and checks the image. -ENOENT, without fail(), when there is none. @ret: in rs->arena */
int tcp_stream_load(struct restore *rs, const InetSkEntry *e, struct tcp_stream **ret) _must_check_;

/*
 * The steps of a restore, in order. tcp_stream_prepare() comes between socket(2) and bind(2);
 * tcp_stream_connect() after bind(2); tcp_stream_finish() when both ends of local connections are there.
 */
int tcp_stream_prepare(struct restore *rs, int fd, const struct tcp_stream *s) _must_check_;
int tcp_stream_connect(struct restore *rs, int fd, const struct tcp_stream *s,
		       const struct sockaddr *to, socklen_t to_size) _must_check_;
/* Closing states (by what the peer would send), then the end of repair and what was never sent. */
int tcp_stream_close_states(struct restore *rs, int fd, const struct tcp_stream *s,
			    const struct sockaddr_storage *local,
			    const struct sockaddr_storage *remote) _must_check_;
int tcp_stream_finish(struct restore *rs, int fd, const struct tcp_stream *s) _must_check_;
