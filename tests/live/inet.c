/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP and UDP over IPv4 and IPv6: listening, bound, connected UDP with and without a peer in the
 * tree, options.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "live.h"

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union address loopback(int family, uint16_t port)
{
	union address a = { .any.sa_family = (sa_family_t)family };

	if (family == AF_INET) {
		a.v4.sin_port = htons(port);
		a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else {
		a.v6.sin6_port = htons(port);
		a.v6.sin6_addr = in6addr_loopback;
	}
	return a;
}

static void set(int fd, int level, int option, int value)
{
	live_need(setsockopt(fd, level, option, &value, sizeof(value)) == 0, "setsockopt %d",
		  option);
}

static void check_option(const char *what, int fd, int level, int option, int should_be)
{
	int value = -1;
	socklen_t length = sizeof(value);

	live_need(getsockopt(fd, level, option, &value, &length) == 0, "getsockopt %s", what);
	live_same(what, value, should_be);
}

static int bound(int family, int type, uint16_t port)
{
	union address a = loopback(family, port);
	int fd = socket(family, type, 0);

	live_need(fd >= 0, "socket");
	set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (family == AF_INET6)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	live_need(bind(fd, &a.any, sizeof(a)) == 0, "bind %d", port);
	return fd;
}

static void check_name(const char *what, int fd, int family, uint16_t port)
{
	union address a = { 0 }, wanted = loopback(family, port);
	socklen_t length = sizeof(a);

	live_check(getsockname(fd, &a.any, &length) == 0 && a.any.sa_family == family,
		   "%s has its family", what);
	if (family == AF_INET)
		live_check(a.v4.sin_port == wanted.v4.sin_port &&
				   a.v4.sin_addr.s_addr == wanted.v4.sin_addr.s_addr,
			   "%s has its address", what);
	else
		live_check(a.v6.sin6_port == wanted.v6.sin6_port &&
				   memcmp(&a.v6.sin6_addr, &wanted.v6.sin6_addr, 16) == 0,
			   "%s has its address", what);
}

static void check_listener(const char *what, int listener, int family, uint16_t port)
{
	union address a = loopback(family, port);
	int client = socket(family, SOCK_STREAM, 0), server;
	struct linger off = { .l_onoff = 1 };
	char text[8] = "";

	check_name(what, listener, family, port);
	check_option(what, listener, SOL_SOCKET, SO_ACCEPTCONN, 1);
	live_check(connect(client, &a.any, sizeof(a)) == 0, "%s can be connected to", what);
	server = accept(listener, NULL, NULL);
	live_check(server >= 0 && write(client, "tcp", 3) == 3 && read(server, text, 8) == 3 &&
			   strcmp(text, "tcp") == 0,
		   "%s talks", what);
	/* A reset leaves nothing in TIME_WAIT for the next restore to stumble over. */
	(void)setsockopt(client, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	(void)close(client);
	(void)close(server);
}

static void check_udp(const char *what, int receiver, int sender)
{
	char text[8] = "";

	live_check(write(sender, "udp", 3) == 3 && recv(receiver, text, 8, MSG_DONTWAIT) == 3 &&
			   strcmp(text, "udp") == 0,
		   "%s: a datagram arrives", what);
}

int main(void)
{
	int tcp4, tcp6, idle, udp4, udp6, to4, to6, fresh;
	union address a;

	live_start();
	tcp4 = bound(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 42001);
	tcp6 = bound(AF_INET6, SOCK_STREAM, 42002);
	set(tcp4, IPPROTO_TCP, TCP_NODELAY, 1);
	set(tcp4, SOL_SOCKET, SO_KEEPALIVE, 1);
	live_need(listen(tcp4, 17) == 0 && listen(tcp6, 5) == 0, "listen");
	idle = bound(AF_INET, SOCK_STREAM, 42003);
	udp4 = bound(AF_INET, SOCK_DGRAM, 42004);
	udp6 = bound(AF_INET6, SOCK_DGRAM, 42005);
	set(udp4, SOL_SOCKET, SO_BROADCAST, 1);
	set(udp4, SOL_SOCKET, SO_RCVBUF, 65536);
	set(udp4, SOL_SOCKET, SO_PRIORITY, 5);
	to4 = bound(AF_INET, SOCK_DGRAM, 42006);
	a = loopback(AF_INET, 42004);
	live_need(connect(to4, &a.any, sizeof(a)) == 0, "connect");
	to6 = socket(AF_INET6, SOCK_DGRAM, 0);
	a = loopback(AF_INET6, 42005);
	live_need(to6 >= 0 && connect(to6, &a.any, sizeof(a)) == 0, "connect");
	fresh = socket(AF_INET, SOCK_STREAM, 0);
	live_need(fresh >= 0, "socket");

	live_wait();

	live_check(accept(tcp4, NULL, NULL) < 0 && errno == EAGAIN, "nobody has connected");
	live_same("flags", fcntl(tcp4, F_GETFL), O_RDWR | O_NONBLOCK);
	live_same("close-on-exec", fcntl(tcp4, F_GETFD), FD_CLOEXEC);
	live_need(fcntl(tcp4, F_SETFL, 0) == 0, "F_SETFL");
	check_listener("TCP v4", tcp4, AF_INET, 42001);
	check_option("TCP_NODELAY", tcp4, IPPROTO_TCP, TCP_NODELAY, 1);
	check_option("SO_KEEPALIVE", tcp4, SOL_SOCKET, SO_KEEPALIVE, 1);
	check_option("SO_REUSEADDR", tcp4, SOL_SOCKET, SO_REUSEADDR, 1);
	check_listener("TCP v6", tcp6, AF_INET6, 42002);
	check_option("IPV6_V6ONLY", tcp6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	check_name("bound TCP", idle, AF_INET, 42003);
	check_option("bound TCP", idle, SOL_SOCKET, SO_ACCEPTCONN, 0);
	live_check(listen(idle, 1) == 0, "bound TCP can start to listen");
	check_listener("bound TCP", idle, AF_INET, 42003);
	check_name("UDP v4", udp4, AF_INET, 42004);
	check_option("SO_BROADCAST", udp4, SOL_SOCKET, SO_BROADCAST, 1);
	check_option("SO_RCVBUF", udp4, SOL_SOCKET, SO_RCVBUF, 131072);
	check_option("SO_PRIORITY", udp4, SOL_SOCKET, SO_PRIORITY, 5);
	check_name("UDP v6", udp6, AF_INET6, 42005);
	check_name("connected UDP v4", to4, AF_INET, 42006);
	check_udp("UDP v4", udp4, to4);
	check_udp("UDP v6", udp6, to6);
	a = loopback(AF_INET, 42001);
	live_check(connect(fresh, &a.any, sizeof(a)) == 0, "an unused socket can connect");
	return live_end();
}
