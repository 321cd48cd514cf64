/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IPv4 and IPv6 sockets: TCP, UDP, UDP-Lite, ICMP, raw.
 *
 * Nearly everything is asked through our copy of the descriptor; only the shutdown state is sock_diag's to tell. What
 * stands in the receive queue of a datagram socket is dropped, as a network may.
 *
 * Restore binds with everything allowed that could be in the way (reuse, free binding) and sets the final options in
 * link, when all sockets of the tree stand at their addresses.
 *
 * Connections (--tcp-established) are read last, in dump_finish, behind a network lock, and are put under repair when the
 * tree ends: their peers do not notice. A socket under repair is of no use to its task, so it must not be so for longer,
 * and a guard undoes it all should we die. They are rebuilt in open and begin to speak in restore_finish, when
 * nothing can go wrong any more; the lock ends just before.
 */
#include <arpa/inet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "basic/sys.h"
#include "engine/control/deadman.h"
#include "engine/control/netlock.h"
#include "engine/control/sockdiag.h"
#include "engine/kinds/fd-tcp.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/sk-datagrams.h"
#include "engine/kinds/sk-multicast.h"
#include "engine/kinds/sk-opts.h"
#include "engine/kinds/sk-taken.h"

#include "sk-inet.pb-c.h"

#ifndef ICMP_FILTER
#define ICMP_FILTER 1
#endif
#ifndef ICMPV6_FILTER
#define ICMPV6_FILTER 1
#endif
#ifndef SO_PEERNAME
#define SO_PEERNAME 28
#endif
#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36
#endif

enum {
	V4_WORDS = 1,
	V6_WORDS = 4,
	ICMP_FILTER_WORDS = 1,
	ICMPV6_FILTER_WORDS = 8,
	ADDRESS_TEXT_MAX = INET6_ADDRSTRLEN + 16,
};

union inet_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static bool inet_matches(const struct fd_view *view)
{
	int family = sk_family(view);

	return family == AF_INET || family == AF_INET6;
}

static const char *address_text(uint32_t family, const uint32_t *words, uint32_t port,
				char buf[static ADDRESS_TEXT_MAX])
{
	char ip[INET6_ADDRSTRLEN] = "?";

	(void)inet_ntop((int)family, words, ip, sizeof(ip));
	(void)snprintf(buf, ADDRESS_TEXT_MAX, family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip, port);
	return buf;
}

/* ---- dump ---- */

enum { RUN_ID_CHARS = 36 }; /* a UUID */

/* A connection to be written at the end. */
struct inet_connection {
	InetSkEntry e; /* addresses are in the arena, options are not */
	bool reuse;    /* SO_REUSEADDR, which repair forgets */
	const struct task *task;
	int number;
	int fd; /* a dup */
};

struct inet_dump {
	struct inet_connection *connections;
	size_t n_connections;
	struct deadman deadman; /* while connections are under repair */
	const char *run_id;	/* the dump's */
	/* Tables of sock_diag, each read when first needed. */
	struct inet_table {
		int family, protocol;
		struct inet_diag *items;
		size_t n;
	} *tables;
	size_t n_tables;
};

static struct inet_dump *inet_dump_state(struct dump *d)
{
	if (!d->inet_socks)
		d->inet_socks = arena_new(&d->arena, struct inet_dump);
	return d->inet_socks;
}

static int inet_table(struct dump *d, int family, int protocol, const struct inet_table **ret)
{
	struct inet_dump *s = inet_dump_state(d);
	struct inet_table *t;
	int r;

	if (!s)
		return fail(d->failure, -ENOMEM, "out of memory");
	for (size_t i = 0; i < s->n_tables; i++) {
		if (s->tables[i].family == family && s->tables[i].protocol == protocol) {
			*ret = &s->tables[i];
			return 0;
		}
	}
	r = arena_grow(&d->arena, &s->tables, s->n_tables);
	if (r < 0)
		return fail(d->failure, r, "out of memory");
	t = &s->tables[s->n_tables];
	*t = (struct inet_table){ .family = family, .protocol = protocol };
	r = sockdiag_inet_list(family, protocol, &d->arena, &t->items, &t->n);
	/* Protocols without a table have no shutdown state that anybody could ask for. */
	if (r < 0 && r != -ENOENT)
		return fail(d->failure, r, "cannot list sockets of protocol %d", protocol);
	s->n_tables++;
	*ret = t;
	return 0;
}

static int shutdown_dump(struct dump *d, InetSkEntry *e)
{
	const struct inet_table *table = NULL;
	int r;

	r = inet_table(d, (int)e->family, (int)e->proto, &table);
	if (r < 0)
		return r;
	for (size_t i = 0; i < table->n; i++) {
		if (table->items[i].ino != e->ino || table->items[i].shutdown == 0)
			continue;
		e->has_shutdown = 1;
		e->shutdown = table->items[i].shutdown;
	}
	return 0;
}

static int address_put(struct dump *d, const union inet_address *a, InetSkEntry *e, bool is_source)
{
	uint32_t n = e->family == AF_INET6 ? V6_WORDS : V4_WORDS;
	const void *from = e->family == AF_INET6 ? (const void *)&a->v6.sin6_addr :
						   (const void *)&a->v4.sin_addr;
	uint32_t port = ntohs(e->family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port);
	uint32_t *words = arena_copy(&d->arena, from, n * sizeof(uint32_t));
	char ifname[IF_NAMESIZE];

	if (!words)
		return fail(d->failure, -ENOMEM, "out of memory");
	if (is_source) {
		e->src_addr = words;
		e->n_src_addr = n;
		e->src_port = port;
	} else {
		e->dst_addr = words;
		e->n_dst_addr = n;
		e->dst_port = port;
	}
	/* A link-local address is nothing without its link. */
	if (e->family == AF_INET6 && a->v6.sin6_scope_id != 0 && !e->ifname) {
		if (!if_indextoname(a->v6.sin6_scope_id, ifname))
			return fail(d->failure, -errno, "interface %u of its address is gone",
				    a->v6.sin6_scope_id);
		e->ifname = arena_strdup(&d->arena, ifname);
		if (!e->ifname)
			return fail(d->failure, -ENOMEM, "out of memory");
	}
	return 0;
}

static int addresses_dump(struct dump *d, int fd, InetSkEntry *e)
{
	union inet_address a = { 0 };
	socklen_t size = sizeof(a);
	int r;

	r = (int)SYS_CALL(getsockname(fd, &a.any, &size));
	if (r < 0)
		return fail(d->failure, r, "cannot read its address");
	r = address_put(d, &a, e, /* is_source= */ true);
	if (r < 0)
		return r;

	a = (union inet_address){ 0 };
	/* SO_PEERNAME refuses more room than it fills. */
	size = e->family == AF_INET6 ? sizeof(a.v6) : sizeof(a.v4);
	/* Not getpeername(2): this answers for connections that are over, or not there yet, too. */
	if (e->type == SOCK_STREAM)
		r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &a, &size));
	else
		r = (int)SYS_CALL(getpeername(fd, &a.any, &size));
	if (r < 0 && r != -ENOTCONN)
		return fail(d->failure, r, "cannot read the address of its peer");
	if (r == 0 && e->type != SOCK_STREAM)
		e->state = TCP_ESTABLISHED;
	return address_put(d, &a, e, /* is_source= */ false);
}

static int raw_opts_dump(struct dump *d, int fd, const InetSkEntry *e, IpOptsRawEntry **ret)
{
	IpOptsRawEntry *raw = arena_new(&d->arena, IpOptsRawEntry);
	bool v6 = e->family == AF_INET6;
	uint32_t filter[ICMPV6_FILTER_WORDS] = { 0 };
	socklen_t size = 0;
	int value, r = 0;

	if (!raw)
		return fail(d->failure, -ENOMEM, "out of memory");
	ip_opts_raw_entry__init(raw);
	if (sk_get_int(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HDRINCL : IP_HDRINCL, &value) ==
	    0)
		raw->has_hdrincl = raw->hdrincl = value != 0;
	if (!v6 && sk_get_int(fd, IPPROTO_IP, IP_NODEFRAG, &value) == 0)
		raw->has_nodefrag = raw->nodefrag = value != 0;

	if (!v6 && e->proto == IPPROTO_ICMP) {
		size = ICMP_FILTER_WORDS * sizeof(uint32_t);
		r = (int)SYS_CALL(getsockopt(fd, SOL_RAW, ICMP_FILTER, filter, &size));
	} else if (v6 && e->proto == IPPROTO_ICMPV6) {
		size = ICMPV6_FILTER_WORDS * sizeof(uint32_t);
		r = (int)SYS_CALL(getsockopt(fd, IPPROTO_ICMPV6, ICMPV6_FILTER, filter, &size));
	}
	if (r < 0)
		return fail(d->failure, r, "cannot read its ICMP filter");
	if (size > 0) {
		raw->icmpv_filter = arena_copy(&d->arena, filter, size);
		raw->n_icmpv_filter = size / sizeof(uint32_t);
		if (!raw->icmpv_filter)
			return fail(d->failure, -ENOMEM, "out of memory");
	}
	*ret = raw;
	return 0;
}

static int ip_opts_dump(struct dump *d, int fd, InetSkEntry *e)
{
	IpOptsEntry *o = arena_new(&d->arena, IpOptsEntry);
	bool v6 = e->family == AF_INET6;
	int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int freebind, pktinfo, tos, ttl, only, r;

	if (!o)
		return fail(d->failure, -ENOMEM, "out of memory");
	ip_opts_entry__init(o);
	r = sk_get_int(fd, level, v6 ? IPV6_FREEBIND : IP_FREEBIND, &freebind);
	if (r == 0)
		r = sk_get_int(fd, level, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, &pktinfo);
	if (r == 0 && v6)
		r = sk_get_int(fd, level, IPV6_V6ONLY, &only);
	if (r == 0 && !v6)
		r = sk_get_int(fd, level, IP_TOS, &tos);
	if (r == 0 && !v6)
		r = sk_get_int(fd, level, IP_TTL, &ttl);
	if (r < 0)
		return fail(d->failure, r, "cannot read IP options");
	o->has_freebind = o->freebind = freebind != 0;
	o->has_pktinfo = o->pktinfo = pktinfo != 0;
	if (v6) {
		e->has_v6only = 1;
		e->v6only = only != 0;
	} else {
		o->has_tos = tos != 0;
		o->tos = (uint32_t)tos;
		o->has_ttl = 1;
		o->ttl = (uint32_t)ttl;
	}
	e->ip_opts = o;
	return e->type == SOCK_RAW ? raw_opts_dump(d, fd, e, &o->raw) : 0;
}

/* A listener: how many may wait, and whether somebody does. */
static int listener_dump(struct dump *d, const struct tcp_info *info, InetSkEntry *e)
{
	e->backlog = info->tcpi_sacked;
	if (info->tcpi_unacked == 0)
		return 0;
	if (!d->options->skip_in_flight && !d->options->tcp_close)
		return fail(d->failure, -EAGAIN,
			    "tcp: %u connections wait to be accepted; --skip-in-flight drops them",
			    info->tcpi_unacked);
	dump_note(d, "%u TCP connections that wait to be accepted on port %u are dropped",
		  info->tcpi_unacked, e->src_port);
	return 0;
}

static int connection_keep(struct dump *d, const struct fd_view *view, const InetSkEntry *e)
{
	struct inet_dump *s = inet_dump_state(d);
	struct inet_connection *c;
	int fd;

	if (!s || arena_grow(&d->arena, &s->connections, s->n_connections) < 0)
		return fail(d->failure, -ENOMEM, "out of memory");
	fd = sys_dup(view->fd);
	if (fd < 0)
		return fail(d->failure, fd, "cannot keep it for its queues");
	c = &s->connections[s->n_connections++];
	*c = (struct inet_connection){
		.e = *e,
		.reuse = e->opts->reuseaddr,
		.task = view->task,
		.number = view->number,
		.fd = fd,
	};
	return 0;
}

/*
 * Never connected, or not any more: the latter reads as at its end, behind what may still be in the queue. So does one that
 * a restore with --tcp-close made, which has no peer. sock_diag does not know it.
 */
static int closed_dump(struct dump *d, const struct fd_view *view, InetSkEntry *e)
{
	struct pollfd pfd = { .fd = view->fd, .events = POLLRDHUP };
	int unread = 0, r;

	r = (int)SYS_CALL(poll(&pfd, 1, 0));
	if (r < 0)
		return fail(d->failure, r, "cannot poll");
	if (pfd.revents & POLLRDHUP) {
		e->has_shutdown = 1;
		e->shutdown = SK_SHUTDOWN__READ;
	}
	if (e->dst_port == 0)
		return 0;
	r = (int)SYS_CALL(ioctl(view->fd, SIOCINQ, &unread));
	if (r < 0)
		return fail(d->failure, r, "cannot read the length of its queue");
	return unread > 0 ? connection_keep(d, view, e) : 0;
}

static int tcp_dump(struct dump *d, const struct fd_view *view, InetSkEntry *e)
{
	int fd = view->fd;
	char text[ADDRESS_TEXT_MAX];
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);
	int r;

	r = (int)SYS_CALL(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	if (r < 0)
		return fail(d->failure, r, "cannot read TCP_INFO");
	e->state = info.tcpi_state;
	r = tcp_opts_dump(d, fd, &e->tcp_opts);
	if (r < 0)
		return r;
	if (e->state == TCP_LISTEN)
		return listener_dump(d, &info, e);
	if (e->state == TCP_CLOSE)
		return closed_dump(d, view, e);
	r = shutdown_dump(d, e);
	if (r < 0 || d->options->tcp_close)
		return r;
	if (!d->options->tcp_established)
		return fail(d->failure, -EOPNOTSUPP,
			    "tcp: established connection to %s; use --tcp-close to have it closed at "
			    "restore, or --tcp-established",
			    address_text(e->family, e->dst_addr, e->dst_port, text));
	r = tcp_stream_check_dump(d, fd, e);
	return r < 0 ? r : connection_keep(d, view, e);
}

static int datagram_dump(struct dump *d, const struct fd_view *view, InetSkEntry *e)
{
	struct pollfd pfd = { .fd = view->fd, .events = POLLIN };
	TcpOptsEntry *none;
	int cork, begun = 0, r;

	if ((e->proto == IPPROTO_UDP || e->proto == IPPROTO_UDPLITE) &&
	    sk_get_int(view->fd, IPPROTO_UDP, UDP_CORK, &cork) == 0 && cork)
		return fail(d->failure, -EOPNOTSUPP,
			    "udp: it is corked, and the datagram begun cannot be read");
	/* Also for a moment, while a driver has a datagram that was sent. */
	if (e->type == SOCK_DGRAM && SYS_CALL(ioctl(view->fd, SIOCOUTQ, &begun)) == 0 && begun > 0)
		return fail(d->failure, -EAGAIN, "udp: a datagram that was begun with MSG_MORE cannot be read");
	if (e->type == SOCK_DGRAM && e->proto == IPPROTO_UDP) {
		r = datagrams_dump(d, view->fd, e);
		if (r < 0)
			return r;
	} else if (SYS_CALL(poll(&pfd, 1, 0)) > 0 && (pfd.revents & POLLIN) && !(pfd.revents & (POLLRDHUP | POLLHUP))) {
		dump_note(d, "task %d: fd %d: packets not read yet are dropped", view->task->vpid, view->number);
	}
	none = arena_new(&d->arena, TcpOptsEntry);
	if (!none)
		return fail(d->failure, -ENOMEM, "out of memory");
	tcp_opts_entry__init(none);
	e->tcp_opts = none;
	return e->type == SOCK_RAW ? 0 : shutdown_dump(d, e);
}

static bool protocol_is_known(int type, int protocol)
{
	switch (type) {
	case SOCK_STREAM:
		return protocol == IPPROTO_TCP;
	case SOCK_DGRAM:
		return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ||
		       protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
	default:
		return type == SOCK_RAW;
	}
}

static int inet_dump(struct dump *d, const struct fd_view *view)
{
	InetSkEntry e = INET_SK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	int type, protocol, r;

	r = sk_get_int(view->fd, SOL_SOCKET, SO_TYPE, &type);
	if (r == 0)
		r = sk_get_int(view->fd, SOL_SOCKET, SO_PROTOCOL, &protocol);
	if (r < 0)
		return fail(d->failure, r, "cannot read its type");
	if (!protocol_is_known(type, protocol))
		return fail(d->failure, -EOPNOTSUPP,
			    "sockets of type %d, protocol %d cannot be saved", type, protocol);
	e.id = view->id;
	e.ino = (uint32_t)view->st.st_ino;
	e.family = (uint32_t)sk_family(view);
	e.type = (uint32_t)type;
	e.proto = (uint32_t)protocol;
	e.state = TCP_CLOSE;
	e.flags = view->flags;
	e.fown = view->fown;
	e.opts = &opts;
	e.has_ns_id = 1;
	e.ns_id = d->ns_id[NS_NET];

	r = addresses_dump(d, view->fd, &e);
	if (r == 0)
		r = sk_opts_dump(d, view->fd, (int)e.family, &opts);
	if (r == 0)
		r = ip_opts_dump(d, view->fd, &e);
	if (r == 0)
		r = type == SOCK_STREAM ? tcp_dump(d, view, &e) : datagram_dump(d, view, &e);
	if (r == 0 && type != SOCK_STREAM)
		r = sk_multicast_dump(d, view, &opts);
	if (r < 0)
		return r;
	entry.isk = &e;
	return files_put(d, view, &fd_kind_inet, &entry);
}

/* ---- dump: connections ---- */

static int run_id_make(struct dump *d)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = sys_read_file_at(AT_FDCWD, "/proc/sys/kernel/random/uuid", RUN_ID_CHARS + 1, &text, NULL);
	if (r < 0 || strlen(text) < RUN_ID_CHARS)
		return fail(d->failure, r < 0 ? r : -EIO, "cannot make an id for the network lock");
	text[RUN_ID_CHARS] = '\0';
	_Static_assert(sizeof(d->run_id) == RUN_ID_CHARS + 1, "a UUID and its NUL");
	memcpy(d->run_id, text, sizeof(d->run_id));
	return 0;
}

static struct netlock_connection lock_item(const InetSkEntry *e)
{
	struct netlock_connection c = {
		.family = (int)e->family,
		.local_port = (uint16_t)e->src_port,
		.remote_port = (uint16_t)e->dst_port,
	};
	const uint32_t *src = e->src_addr, *dst = e->dst_addr;
	size_t words = e->n_src_addr;

	/* On the wire, mapped addresses are IPv4. */
	if (words == V6_WORDS && IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)dst)) {
		c.family = AF_INET;
		src += V6_WORDS - V4_WORDS;
		dst += V6_WORDS - V4_WORDS;
		words = V4_WORDS;
	}
	memcpy(c.local, src, words * sizeof(uint32_t));
	memcpy(c.remote, dst, words * sizeof(uint32_t));
	return c;
}

/* A tree that goes on keeps its connections; what the images have is a look at them. */
static bool connections_want_lock(const struct dump *d)
{
	return !d->options->leave_running && !d->options->leave_stopped &&
	       d->options->network_lock != NETWORK_LOCK_SKIP;
}

static int connections_lock(struct dump *d, const struct inet_dump *s)
{
	_cleanup_free_ struct netlock_connection *items = NULL;
	size_t n = 0;

	items = calloc(s->n_connections, sizeof(*items));
	if (!items)
		return fail(d->failure, -ENOMEM, "out of memory");
	for (size_t i = 0; i < s->n_connections; i++)
		if (s->connections[i].e.state != TCP_CLOSE)
			items[n++] = lock_item(&s->connections[i].e);
	if (n == 0)
		return 0;
	return netlock_set(d->failure, d->run_id, items, n, s->deadman.pipe);
}

/* Back to what the tree knows. */
static void connections_release(void *userdata)
{
	struct inet_dump *s = userdata;

	for (size_t i = 0; i < s->n_connections; i++)
		tcp_repair_off(s->connections[i].fd, s->connections[i].reuse);
	if (s->run_id[0])
		netlock_clear(s->run_id);
}

static int connection_dump(struct dump *d, const struct inet_connection *c)
{
	FAILURE_SCOPE(d->failure, "task %d", c->task->vpid);
	FAILURE_SCOPE(d->failure, "fd %d", c->number);

	return tcp_stream_dump(d, c->fd, &c->e);
}

static int inet_dump_finish(struct dump *d)
{
	struct inet_dump *s = d->inet_socks;
	int r;

	if (!s || s->n_connections == 0)
		return 0;
	s->run_id = d->run_id;
	if (connections_want_lock(d)) {
		r = run_id_make(d);
		if (r < 0)
			return r;
	}
	/* Neither repair nor the lock would end with us. */
	r = deadman_start(&s->deadman, connections_release, s);
	if (r < 0)
		return fail(d->failure, r, "cannot start a guard for the connections");
	r = d->run_id[0] ? connections_lock(d, s) : 0;
	for (size_t i = 0; r == 0 && i < s->n_connections; i++)
		r = connection_dump(d, &s->connections[i]);
	return r;
}

static void inet_dump_ending(struct dump *d)
{
	struct inet_dump *s = d->inet_socks;

	for (size_t i = 0; s && i < s->n_connections; i++)
		tcp_repair_on(s->connections[i].fd);
}

/* A tree that was ended has left its connections to the network lock. */
static void inet_dump_done(struct dump *d, bool ended)
{
	struct inet_dump *s = d->inet_socks;

	if (!s || s->n_connections == 0)
		return;
	if (!ended && s->run_id)
		connections_release(s);
	deadman_stop(&s->deadman);
	for (size_t i = 0; i < s->n_connections; i++)
		s->connections[i].fd = close_fd(s->connections[i].fd);
}

/* ---- restore ---- */

static bool is_connected_tcp(const InetSkEntry *e)
{
	return e->type == SOCK_STREAM && tcp_state_is_connected(e->state);
}

static bool words_are_zero(const uint32_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (words[i] != 0)
			return false;
	return true;
}

static int inet_check(struct restore *rs, struct file *file)
{
	const InetSkEntry *e = file->entry->isk;
	struct tcp_stream *stream = NULL;
	char text[ADDRESS_TEXT_MAX];
	size_t n;
	int r;

	if (!e || !e->opts)
		return fail(rs->failure, -EBADMSG, "record without a socket in it");
	if (e->family != AF_INET && e->family != AF_INET6)
		return fail(rs->failure, -EBADMSG, "socket family %u", e->family);
	if (!protocol_is_known((int)e->type, (int)e->proto))
		return fail(rs->failure, -EOPNOTSUPP,
			    "sockets of type %u, protocol %u cannot be restored", e->type,
			    e->proto);
	n = e->family == AF_INET6 ? V6_WORDS : V4_WORDS;
	if (e->n_src_addr != n || (e->n_dst_addr != n && e->n_dst_addr != 0))
		return fail(rs->failure, -EBADMSG, "addresses of %zu and %zu words", e->n_src_addr,
			    e->n_dst_addr);
	if (e->src_port > UINT16_MAX || e->dst_port > UINT16_MAX)
		return fail(rs->failure, -EBADMSG, "ports %u and %u", e->src_port, e->dst_port);
	r = datagrams_check(rs, e);
	if (r < 0)
		return r;
	if (e->has_shutdown && (unsigned)e->shutdown > SK_SHUTDOWN__BOTH)
		return fail(rs->failure, -EBADMSG, "shutdown state %d", (int)e->shutdown);
	if (e->type == SOCK_STREAM && e->state == TCP_CLOSE && e->n_dst_addr == n && e->dst_port != 0) {
		r = tcp_stream_load(rs, e, &stream);
		file->priv = stream;
		return r == -ENOENT ? 0 : r;
	}
	if (!is_connected_tcp(e) || rs->options->tcp_close)
		return 0;
	if (e->n_dst_addr != n)
		return fail(rs->failure, -EBADMSG, "tcp: connection to nowhere");
	if (rs->options->tcp_established) {
		if (e->state == TCP_SYN_SENT)
			return 0;
		r = tcp_stream_load(rs, e, &stream);
		file->priv = stream;
		if (r != -ENOENT)
			return r;
	}
	return fail(rs->failure, -EOPNOTSUPP,
		    "tcp: established connection to %s%s; use --tcp-close to have it closed",
		    address_text(e->family, e->dst_addr, e->dst_port, text),
		    rs->options->tcp_established ? " was not saved" : "");
}

static int address_get(struct restore *rs, const InetSkEntry *e, bool is_source,
		       union inet_address *ret, socklen_t *ret_size)
{
	union inet_address a = { .any.sa_family = (sa_family_t)e->family };
	const uint32_t *words = is_source ? e->src_addr : e->dst_addr;
	uint16_t port = htons((uint16_t)(is_source ? e->src_port : e->dst_port));

	if (e->family == AF_INET) {
		memcpy(&a.v4.sin_addr, words, sizeof(a.v4.sin_addr));
		a.v4.sin_port = port;
		*ret_size = sizeof(a.v4);
	} else {
		memcpy(&a.v6.sin6_addr, words, sizeof(a.v6.sin6_addr));
		a.v6.sin6_port = port;
		if (e->ifname && IN6_IS_ADDR_LINKLOCAL(&a.v6.sin6_addr)) {
			a.v6.sin6_scope_id = if_nametoindex(e->ifname);
			if (a.v6.sin6_scope_id == 0)
				return fail(rs->failure, -ENODEV, "there is no interface '%s'",
					    e->ifname);
		}
		*ret_size = sizeof(a.v6);
	}
	*ret = a;
	return 0;
}

static int inet_bind(struct restore *rs, int fd, const InetSkEntry *e)
{
	bool v6 = e->family == AF_INET6;
	char text[ADDRESS_TEXT_MAX];
	union inet_address a;
	socklen_t size;
	int r;

	r = address_get(rs, e, /* is_source= */ true, &a, &size);
	if (r < 0)
		return r;
	if (e->type == SOCK_RAW) {
		if (v6)
			a.v6.sin6_port = 0;
		else
			a.v4.sin_port = 0;
	}
	r = (int)SYS_CALL(bind(fd, &a.any, size));
	if (r == -EADDRNOTAVAIL) {
		/* It may have been bound freely, or the address comes later. */
		r = sk_set_int(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_FREEBIND : IP_FREEBIND,
			       1);
		if (r == 0)
			r = (int)SYS_CALL(bind(fd, &a.any, size));
		if (r == 0 && !(e->ip_opts && e->ip_opts->freebind))
			restore_note(rs, "address %s is not on this machine, bound all the same",
				     address_text(e->family, e->src_addr, e->src_port, text));
	}
	/* A connection that is over does not hold its port; another socket may. */
	if (r == -EADDRINUSE && e->type == SOCK_STREAM && e->state == TCP_CLOSE && e->dst_port != 0)
		return 0;
	if (r < 0)
		return fail(rs->failure, r, "cannot bind %s",
			    address_text(e->family, e->src_addr, e->src_port, text));
	return 0;
}

/*
 * Of sockets that share a port, those that came first may have withdrawn their consent later. It is lent to all of them
 * until link.
 */
static bool port_is_shared(const struct restore *rs, const InetSkEntry *e)
{
	const struct file *file;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		const InetSkEntry *o = file->kind == &fd_kind_inet ? file->entry->isk : NULL;

		if (o && o != e && o->type == e->type && o->src_port == e->src_port &&
		    o->opts->has_so_reuseport && o->opts->so_reuseport)
			return true;
	}
	return false;
}

static int inet_open(struct restore *rs, struct file *file)
{
	const InetSkEntry *e = file->entry->isk;
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = sk_inherited(rs, e->ino);
	if (fd >= 0) {
		file->fd = TAKE_FD(fd);
		return 0;
	}
	if (fd != -ENOENT)
		return fd;
	fd = sk_new_for(rs, file, (int)e->family, (int)e->type, (int)e->proto);
	if (fd < 0)
		return fd;
	if (e->family == AF_INET6 && e->has_v6only) {
		r = sk_make_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, e->v6only);
		if (r < 0 && e->type != SOCK_RAW)
			return fail(rs->failure, r, "cannot set IPV6_V6ONLY");
	}
	r = sk_opts_restore_early(rs, fd, e->opts);
	if (r < 0)
		return r;
	if (e->type != SOCK_RAW && e->src_port != 0 && port_is_shared(rs, e)) {
		r = sk_make_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
		if (r < 0)
			return fail(rs->failure, r, "cannot allow sharing of port %u", e->src_port);
	}
	if (file->priv) {
		r = tcp_stream_prepare(rs, fd, file->priv);
		if (r < 0)
			return r;
	}
	/* A port is the protocol with raw sockets, and a closed connection has let go of its. */
	if ((!is_connected_tcp(e) || !rs->options->tcp_close) && ((e->type != SOCK_RAW && e->src_port != 0) ||
				     !words_are_zero(e->src_addr, e->n_src_addr))) {
		r = inet_bind(rs, fd, e);
		if (r < 0)
			return r;
	}
	if (e->type == SOCK_STREAM && e->state == TCP_LISTEN) {
		r = (int)SYS_CALL(listen(fd, (int)MIN(e->backlog, (uint32_t)INT_MAX)));
		if (r < 0)
			return fail(rs->failure, r, "cannot listen on port %u", e->src_port);
	}
	if (file->priv) {
		union inet_address to;
		socklen_t size;

		r = address_get(rs, e, /* is_source= */ false, &to, &size);
		if (r == 0)
			r = tcp_stream_connect(rs, fd, file->priv, &to.any, size);
		if (r < 0)
			return r;
	}
	file->fd = TAKE_FD(fd);
	return 0;
}

static int raw_opts_restore(struct restore *rs, int fd, const InetSkEntry *e,
			    const IpOptsRawEntry *raw)
{
	bool v6 = e->family == AF_INET6;
	int r = 0;

	if (raw->has_hdrincl)
		r = sk_make_int(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HDRINCL : IP_HDRINCL,
				raw->hdrincl);
	if (r == 0 && !v6 && raw->has_nodefrag)
		r = sk_make_int(fd, IPPROTO_IP, IP_NODEFRAG, raw->nodefrag);
	if (r == 0 && raw->n_icmpv_filter == ICMP_FILTER_WORDS && !v6)
		r = (int)SYS_CALL(setsockopt(fd, SOL_RAW, ICMP_FILTER, raw->icmpv_filter,
					     ICMP_FILTER_WORDS * sizeof(uint32_t)));
	if (r == 0 && raw->n_icmpv_filter == ICMPV6_FILTER_WORDS && v6)
		r = (int)SYS_CALL(setsockopt(fd, IPPROTO_ICMPV6, ICMPV6_FILTER, raw->icmpv_filter,
					     ICMPV6_FILTER_WORDS * sizeof(uint32_t)));
	if (r < 0)
		return fail(rs->failure, r, "cannot set options of a raw socket");
	return 0;
}

static int ip_opts_restore(struct restore *rs, int fd, const InetSkEntry *e)
{
	const IpOptsEntry *o = e->ip_opts;
	bool v6 = e->family == AF_INET6;
	int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int r;

	if (!o)
		return 0;
	r = sk_make_int(fd, level, v6 ? IPV6_FREEBIND : IP_FREEBIND, o->has_freebind && o->freebind);
	if (r == 0 && o->has_pktinfo)
		r = sk_make_int(fd, level, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, o->pktinfo);
	if (r == 0 && !v6 && o->has_tos)
		r = sk_make_int(fd, level, IP_TOS, (int)o->tos);
	if (r == 0 && !v6 && o->has_ttl)
		r = sk_make_int(fd, level, IP_TTL, (int)o->ttl);
	if (r < 0)
		return fail(rs->failure, r, "cannot set IP options");
	return o->raw ? raw_opts_restore(rs, fd, e, o->raw) : 0;
}

static int inet_connect(struct restore *rs, int fd, const InetSkEntry *e)
{
	char text[ADDRESS_TEXT_MAX];
	union inet_address a;
	socklen_t size;
	int r;

	r = address_get(rs, e, /* is_source= */ false, &a, &size);
	if (r < 0)
		return r;
	r = (int)SYS_CALL(connect(fd, &a.any, size));
	if (r < 0)
		return fail(rs->failure, r, "cannot connect to %s",
			    address_text(e->family, e->dst_addr, e->dst_port, text));
	return 0;
}

static int inet_options(struct restore *rs, const struct file *file)
{
	const InetSkEntry *e = file->entry->isk;
	int fd = file->fd, r;

	r = sk_opts_restore(rs, fd, e->opts);
	if (r == 0)
		r = ip_opts_restore(rs, fd, e);
	if (r == 0 && e->type != SOCK_STREAM)
		r = sk_multicast_restore(rs, fd, e->opts);
	if (r == 0 && e->type == SOCK_STREAM && e->tcp_opts)
		r = tcp_opts_restore(rs, fd, e->tcp_opts);
	return r == 0 ? files_apply_flags(rs, fd, e->flags) : r;
}

/* The handshake begins anew; what there was of it is not missed by anybody. */
static int connect_anew(struct restore *rs, int fd, const InetSkEntry *e)
{
	union inet_address a;
	socklen_t size;
	int r;

	r = (int)SYS_CALL(fcntl(fd, F_SETFL, O_NONBLOCK));
	if (r == 0)
		r = address_get(rs, e, /* is_source= */ false, &a, &size);
	if (r == 0)
		r = (int)SYS_CALL(connect(fd, &a.any, size));
	return r < 0 && r != -EINPROGRESS ? fail(rs->failure, r, "tcp: cannot connect again") : 0;
}

static int inet_link(struct restore *rs, struct file *file)
{
	const InetSkEntry *e = file->entry->isk;
	int fd = file->fd, r = 0;

	if (file->priv)
		return 0;
	if (e->type == SOCK_STREAM && e->state == TCP_SYN_SENT && !rs->options->tcp_close)
		r = connect_anew(rs, fd, e);
	if (e->type != SOCK_STREAM && e->state == TCP_ESTABLISHED && e->n_dst_addr > 0)
		r = inet_connect(rs, fd, e);
	if (r == 0)
		r = inet_options(rs, file);
	/* Whoever had a connection finds it at its end. */
	if (r == 0 && is_connected_tcp(e) && rs->options->tcp_close)
		r = sk_shutdown_restore(rs, fd, SK_SHUTDOWN__BOTH);
	else if (r == 0 && e->has_shutdown && !is_connected_tcp(e))
		r = sk_shutdown_restore(rs, fd, e->shutdown);
	return r;
}

static int closing_states(struct restore *rs, const struct file *file)
{
	const InetSkEntry *e = file->entry->isk;
	union {
		struct sockaddr_storage any;
		union inet_address address;
	} local = { 0 }, remote = { 0 };
	socklen_t size;
	int r;

	r = address_get(rs, e, /* is_source= */ true, &local.address, &size);
	if (r == 0)
		r = address_get(rs, e, /* is_source= */ false, &remote.address, &size);
	return r < 0 ? r : tcp_stream_close_states(rs, file->fd, file->priv, &local.any,
						   &remote.any);
}

static int connection_finish(struct restore *rs, const struct file *file)
{
	int r = tcp_stream_finish(rs, file->fd, file->priv);

	return r < 0 ? r : inet_options(rs, file);
}

/* The lock of whoever dumped. */
static void unlock(struct restore *rs)
{
	const struct file *file;

	if (!rs->inventory->has_network_lock_method ||
	    rs->inventory->network_lock_method == NETWORK_LOCK_NFTABLES)
		netlock_clear(rs->inventory->dump_criu_run_id);
	if (!rs->inventory->has_network_lock_method ||
	    rs->inventory->network_lock_method != NETWORK_LOCK_IPTABLES)
		return;
	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		const InetSkEntry *e = file->kind == &fd_kind_inet ? file->entry->isk : NULL;

		if (e && is_connected_tcp(e) && e->n_dst_addr == e->n_src_addr) {
			struct netlock_connection c = lock_item(e);

			netlock_clear_iptables(&c);
		}
	}
}

/* From here on the peers hear of us. */
static int inet_restore_finish(struct restore *rs)
{
	bool had_connections = false;
	struct file *file;
	int r = 0;

	for (size_t i = 0; r == 0 && (file = files_at(rs, i)); i++) {
		if (file->kind != &fd_kind_inet)
			continue;
		had_connections = had_connections || file->priv || is_connected_tcp(file->entry->isk);
		if (file->priv && file->fd >= 0)
			r = closing_states(rs, file);
		else if (file->fd >= 0)
			datagrams_restore(rs, file->entry->isk, file->fd);
	}
	if (r < 0 || !had_connections)
		return r;
	unlock(rs);
	for (size_t i = 0; r == 0 && (file = files_at(rs, i)); i++)
		if (file->kind == &fd_kind_inet && file->priv && file->fd >= 0)
			r = connection_finish(rs, file);
	return r;
}

const struct fd_kind fd_kind_inet = {
	.name = "inet socket",
	.type = FD_TYPES__INETSK,
	.matches = inet_matches,
	.dump = inet_dump,
	.dump_finish = inet_dump_finish,
	.dump_ending = inet_dump_ending,
	.dump_done = inet_dump_done,
	.check = inet_check,
	.preflight = inet_preflight,
	.open = inet_open,
	.link = inet_link,
	.restore_finish = inet_restore_finish,
};
