/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams that nobody has read yet: with their senders, in their order, empty and large ones; on a socket that is bound to one address, to
 * all, that is connected, of IPv6, of both families; and where the program asks to which address they were sent.
 * live-across: no, CRIU drops them
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "live.h"

#define LARGE 60000

static char large[LARGE], got[LARGE + 1];

static struct line {
	const char *name;
	int to, from; /* sockets */
	struct sockaddr_storage sender;
} lines[8];
static size_t n;

static int on(int family, const char *address)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	int fd = socket(family, SOCK_DGRAM, 0), both = 0, size = 1 << 20;
	bool is_v4 = family == AF_INET;

	live_need(inet_pton(family, address, is_v4 ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr) == 1, "address");
	if (!is_v4)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &both, sizeof(both));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	live_need(fd >= 0 && bind(fd, is_v4 ? (void *)&v4 : (void *)&v6, is_v4 ? sizeof(v4) : sizeof(v6)) == 0, "a socket on %s",
		  address);
	return fd;
}

static in_port_t port_of(int fd)
{
	struct sockaddr_storage a;
	socklen_t size = sizeof(a);

	live_need(getsockname(fd, (struct sockaddr *)&a, &size) == 0, "getsockname");
	return a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port : ((struct sockaddr_in6 *)&a)->sin6_port;
}

static void connect_to(int fd, int family, const char *address, in_port_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = port };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = port };
	bool is_v4 = family == AF_INET;

	live_need(inet_pton(family, address, is_v4 ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr) == 1 &&
			  connect(fd, is_v4 ? (void *)&v4 : (void *)&v6, is_v4 ? sizeof(v4) : sizeof(v6)) == 0,
		  "connect");
}

static void fill(const char *name, int to, int from, int family, const char *address)
{
	struct line *l = &lines[n++];
	socklen_t size = sizeof(l->sender);

	*l = (struct line){ .name = name, .to = to, .from = from };
	connect_to(from, family, address, port_of(to));
	live_need(getsockname(from, (struct sockaddr *)&l->sender, &size) == 0, "getsockname");
	live_need(send(from, "one", 3, 0) == 3 && send(from, "", 0, 0) == 0 && send(from, large, LARGE, 0) == LARGE &&
			  send(from, "last", 4, 0) == 4,
		  "%s: send", name);
}

static void take(const struct line *l, const char *text, size_t size)
{
	struct sockaddr_storage from = {};
	union {
		struct cmsghdr align;
		char bytes[256];
	} control;
	struct iovec iov = { got, sizeof(got) };
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes) };
	ssize_t r = recvmsg(l->to, &msg, MSG_DONTWAIT);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	live_check(r == (ssize_t)size && memcmp(got, text, size) == 0, "%s: %zd bytes, not %zu", l->name, r, size);
	if (from.ss_family == l->sender.ss_family)
		live_check(memcmp(&from, &l->sender, from.ss_family == AF_INET ? 8 : 24) == 0, "%s: the sender", l->name);
	if (r >= 0 && c && c->cmsg_type == IP_PKTINFO)
		live_check(((struct in_pktinfo *)(void *)CMSG_DATA(c))->ipi_addr.s_addr == inet_addr("127.0.0.7"),
			   "%s: where it was sent to", l->name);
}

int main(void)
{
	int asks, yes = 1, connected, peer;

	live_start();
	live_fill(large, LARGE, 3);
	fill("one address", on(AF_INET, "127.0.0.1"), on(AF_INET, "127.0.0.2"), AF_INET, "127.0.0.1");
	fill("all addresses", on(AF_INET, "0.0.0.0"), on(AF_INET, "127.0.0.2"), AF_INET, "127.0.0.1");
	asks = on(AF_INET, "0.0.0.0");
	live_need(setsockopt(asks, IPPROTO_IP, IP_PKTINFO, &yes, sizeof(yes)) == 0, "IP_PKTINFO");
	fill("all addresses, and asks", asks, on(AF_INET, "127.0.0.3"), AF_INET, "127.0.0.7");
	connected = on(AF_INET, "127.0.0.1");
	peer = on(AF_INET, "127.0.0.1");
	connect_to(connected, AF_INET, "127.0.0.1", port_of(peer));
	fill("connected", connected, peer, AF_INET, "127.0.0.1");
	fill("IPv6", on(AF_INET6, "::1"), on(AF_INET6, "::1"), AF_INET6, "::1");
	fill("both families", on(AF_INET6, "::"), on(AF_INET, "127.0.0.2"), AF_INET, "127.0.0.1");

	live_wait();

	for (size_t i = 0; i < n; i++) {
		take(&lines[i], "one", 3);
		take(&lines[i], "", 0);
		take(&lines[i], large, LARGE);
		take(&lines[i], "last", 4);
		live_check(recv(lines[i].to, got, 1, MSG_DONTWAIT) < 0, "%s: nothing more", lines[i].name);
	}
	return live_end();
}
