/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/sk-extra.h"

#include <string.h>
#include <sys/socket.h>

#include "basic/sys.h"
#include "engine/kinds/sk-opts.h"

enum { VALUE_MAX = 16 };

/* The kernel's numbers, some newer than the headers we are built with. */
static const struct option {
	uint32_t level, name;
	const char *text;
	bool is_text; /* else an int */
	bool restricts; /* the socket is never made without it */
} options[] = {
	{ 1, 29, "SO_TIMESTAMP", false },
	{ 1, 35, "SO_TIMESTAMPNS", false },
	{ 1, 37, "SO_TIMESTAMPING", false },
	{ 1, 40, "SO_RXQ_OVFL", false },
	{ 1, 41, "SO_WIFI_STATUS", false },
	{ 1, 42, "SO_PEEK_OFF", false },
	{ 1, 45, "SO_SELECT_ERR_QUEUE", false },
	{ 1, 46, "SO_BUSY_POLL", false },
	{ 1, 60, "SO_ZEROCOPY", false },
	{ 1, 69, "SO_PREFER_BUSY_POLL", false },
	{ 1, 70, "SO_BUSY_POLL_BUDGET", false },
	{ 1, 75, "SO_RCVMARK", false },
	{ 1, 76, "SO_PASSPIDFD", false },
	{ 1, 83, "SO_PASSRIGHTS", false, true }, /* 6.16 */
	{ 6, 7, "TCP_SYNCNT", false },
	{ 6, 8, "TCP_LINGER2", false },
	{ 6, 9, "TCP_DEFER_ACCEPT", false },
	{ 6, 13, "TCP_CONGESTION", true },
	{ 6, 16, "TCP_THIN_LINEAR_TIMEOUTS", false },
	{ 6, 18, "TCP_USER_TIMEOUT", false },
	{ 6, 23, "TCP_FASTOPEN", false },
	{ 6, 25, "TCP_NOTSENT_LOWAT", false },
	{ 6, 27, "TCP_SAVE_SYN", false },
	{ 6, 30, "TCP_FASTOPEN_CONNECT", false },
	{ 6, 34, "TCP_FASTOPEN_NO_COOKIE", false },
	{ 6, 36, "TCP_INQ", false },
	{ 6, 37, "TCP_TX_DELAY", false },
	{ 0, 6, "IP_RECVOPTS", false },
	{ 0, 7, "IP_RETOPTS", false },
	{ 0, 10, "IP_MTU_DISCOVER", false },
	{ 0, 11, "IP_RECVERR", false },
	{ 0, 12, "IP_RECVTTL", false },
	{ 0, 13, "IP_RECVTOS", false },
	{ 0, 19, "IP_TRANSPARENT", false },
	{ 0, 20, "IP_RECVORIGDSTADDR", false },
	{ 0, 21, "IP_MINTTL", false },
	{ 0, 24, "IP_BIND_ADDRESS_NO_PORT", false },
	{ 0, 25, "IP_RECVFRAGSIZE", false },
	{ 0, 32, "IP_MULTICAST_IF", false },
	{ 0, 33, "IP_MULTICAST_TTL", false },
	{ 0, 34, "IP_MULTICAST_LOOP", false },
	{ 0, 49, "IP_MULTICAST_ALL", false },
	{ 0, 50, "IP_UNICAST_IF", false },
	{ 0, 51, "IP_LOCAL_PORT_RANGE", false },
	{ 41, 16, "IPV6_UNICAST_HOPS", false },
	{ 41, 17, "IPV6_MULTICAST_IF", false },
	{ 41, 18, "IPV6_MULTICAST_HOPS", false },
	{ 41, 19, "IPV6_MULTICAST_LOOP", false },
	{ 41, 23, "IPV6_MTU_DISCOVER", false },
	{ 41, 25, "IPV6_RECVERR", false },
	{ 41, 29, "IPV6_MULTICAST_ALL", false },
	{ 41, 51, "IPV6_RECVHOPLIMIT", false },
	{ 41, 56, "IPV6_RECVRTHDR", false },
	{ 41, 60, "IPV6_RECVPATHMTU", false },
	{ 41, 62, "IPV6_DONTFRAG", false },
	{ 41, 66, "IPV6_RECVTCLASS", false },
	{ 41, 67, "IPV6_TCLASS", false },
	{ 41, 70, "IPV6_AUTOFLOWLABEL", false },
	{ 41, 72, "IPV6_ADDR_PREFERENCES", false },
	{ 41, 73, "IPV6_MINHOPCOUNT", false },
	{ 41, 74, "IPV6_RECVORIGDSTADDR", false },
	{ 41, 75, "IPV6_TRANSPARENT", false },
	{ 41, 76, "IPV6_UNICAST_IF", false },
	{ 17, 101, "UDP_NO_CHECK6_TX", false },
	{ 17, 102, "UDP_NO_CHECK6_RX", false },
	{ 17, 103, "UDP_SEGMENT", false },
	{ 17, 104, "UDP_GRO", false },
	{ 270, 3, "NETLINK_PKTINFO", false },
	{ 270, 4, "NETLINK_BROADCAST_ERROR", false },
	{ 270, 5, "NETLINK_NO_ENOBUFS", false },
	{ 270, 8, "NETLINK_LISTEN_ALL_NSID", false },
	{ 270, 10, "NETLINK_CAP_ACK", false },
	{ 270, 11, "NETLINK_EXT_ACK", false },
	{ 270, 12, "NETLINK_GET_STRICT_CHK", false },
	/* Last: nothing can be said about the filter behind it. */
	{ 1, 44, "SO_LOCK_FILTER", false, true },
};

/* A fresh socket of the same sort. Return: -errno where there can be none. */
static int fresh_like(int fd)
{
	int family, type, protocol, r;

	r = sk_get_int(fd, SOL_SOCKET, SO_DOMAIN, &family);
	if (r == 0)
		r = sk_get_int(fd, SOL_SOCKET, SO_TYPE, &type);
	if (r == 0)
		r = sk_get_int(fd, SOL_SOCKET, SO_PROTOCOL, &protocol);
	return r < 0 ? r : (int)SYS_CALL(socket(family, type | SOCK_CLOEXEC, protocol));
}

/* Return: size of the value, -errno when the socket has no such option. */
static int value_get(int fd, const struct option *o, char value[static VALUE_MAX])
{
	socklen_t size = o->is_text ? VALUE_MAX : sizeof(int);
	int r;

	memset(value, 0, VALUE_MAX);
	r = (int)SYS_CALL(getsockopt(fd, (int)o->level, (int)o->name, value, &size));
	if (r < 0)
		return r;
	return o->is_text ? (int)strnlen(value, VALUE_MAX) : (int)sizeof(int);
}

int sk_extra_dump(struct dump *d, int fd, SkOptsEntry *e)
{
	_cleanup_close_ int fresh = fresh_like(fd);

	if (fresh < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		char is[VALUE_MAX], usual[VALUE_MAX];
		int size = value_get(fd, &options[i], is);
		SkExtraOption *x;

		if (size <= 0 || (value_get(fresh, &options[i], usual) == size &&
				  memcmp(is, usual, (size_t)size) == 0))
			continue;
		x = arena_new(&d->arena, SkExtraOption);
		if (!x || arena_grow(&d->arena, &e->extra, e->n_extra) < 0)
			return fail(d->failure, -ENOMEM, "out of memory");
		sk_extra_option__init(x);
		x->level = options[i].level;
		x->name = options[i].name;
		x->value.data = arena_copy(&d->arena, is, (size_t)size);
		x->value.len = (size_t)size;
		if (!x->value.data)
			return fail(d->failure, -ENOMEM, "out of memory");
		e->extra[e->n_extra++] = x;
	}
	return 0;
}

static const struct option *option_find(const SkExtraOption *x)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].level == x->level && options[i].name == x->name)
			return &options[i];
	return NULL;
}

int sk_extra_restore(struct restore *rs, int fd, const SkOptsEntry *e)
{
	for (size_t i = 0; i < e->n_extra; i++) {
		const SkExtraOption *x = e->extra[i];
		const struct option *o = option_find(x);
		char now[VALUE_MAX];
		int r;

		if (!o || (o->is_text ? x->value.len >= VALUE_MAX : x->value.len != sizeof(int)))
			return fail(rs->failure, -EBADMSG, "option %u of level %u with %zu bytes",
				    x->name, x->level, x->value.len);
		if (value_get(fd, o, now) == (int)x->value.len &&
		    memcmp(now, x->value.data, x->value.len) == 0)
			continue;
		r = (int)SYS_CALL(setsockopt(fd, (int)x->level, (int)x->name, x->value.data,
					     (socklen_t)x->value.len));
		if (r < 0 && o->restricts)
			return fail(rs->failure, r, "cannot set %s of a socket as it was", o->text);
		if (r < 0)
			restore_note(rs, "%s of a socket cannot be set as it was: %s", o->text,
				     strerror(-r));
	}
	return 0;
}
