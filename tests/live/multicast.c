/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multicast groups: joined by all sources, by all but one, by one only, by IPv6, and by nobody. What counts is which
 * datagrams arrive.
 * live-across: no, the format of CRIU has no field for groups
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "live.h"

enum { PORT = 42100 };

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage a = { .ss_family = strchr(text, ':') ? AF_INET6 : AF_INET };
	void *to = a.ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&a)->sin6_addr :
					     (void *)&((struct sockaddr_in *)&a)->sin_addr;

	live_need(inet_pton(a.ss_family, text, to) == 1, "inet_pton");
	return a;
}

/* Hears the group at its own port, and what comes to no group it is in never (IP_MULTICAST_ALL). */
static int receiver(const char *group, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), off = 0;

	live_need(inet_pton(AF_INET, group, &a.sin_addr) == 1, "inet_pton");
	live_need(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "bind");
	live_need(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof(off)) == 0, "IP_MULTICAST_ALL");
	return fd;
}

static void join(int fd, int level, const char *group)
{
	struct group_req req = { .gr_interface = if_nametoindex("lo"), .gr_group = address(group) };

	live_need(setsockopt(fd, level, MCAST_JOIN_GROUP, &req, sizeof(req)) == 0, "join %s", group);
}

static void with_source(int fd, int how, const char *group, const char *source)
{
	struct group_source_req req = {
		.gsr_interface = if_nametoindex("lo"),
		.gsr_group = address(group),
		.gsr_source = address(source),
	};

	live_need(setsockopt(fd, IPPROTO_IP, how, &req, sizeof(req)) == 0, "source %s of %s", source, group);
}

static bool arrives(int sender, const char *group, uint16_t port, int fd)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	char text[8] = "";

	live_need(inet_pton(AF_INET, group, &to.sin_addr) == 1, "inet_pton");
	if (!live_check(sendto(sender, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)) == 5, "it is sent to %s", group))
		return false;
	return recv(fd, text, sizeof(text), MSG_DONTWAIT) == 5;
}

static int make_sender(void)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	live_need(fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0, "bind");
	live_need(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &from.sin_addr, sizeof(from.sin_addr)) == 0,
		  "IP_MULTICAST_IF");
	return fd;
}

static void check_v6(int fd, const char *group)
{
	struct {
		struct group_filter f;
		struct sockaddr_storage room[4];
	} f = { .f = { .gf_interface = if_nametoindex("lo"), .gf_group = address(group), .gf_numsrc = 4 } };
	socklen_t size = sizeof(f);

	live_check(getsockopt(fd, IPPROTO_IPV6, MCAST_MSFILTER, &f, &size) == 0, "the IPv6 socket is in its group");
	live_same("mode in the IPv6 group", f.f.gf_fmode, MCAST_EXCLUDE);
	live_same("sources of the IPv6 group", f.f.gf_numsrc, 0);
}

static void check_all(const int fd[5], int sender)
{
	live_check(arrives(sender, "239.7.0.1", PORT, fd[0]), "the group of all sources hears");
	live_check(!arrives(sender, "239.7.0.2", PORT + 1, fd[1]), "one that shuts out the source does not");
	live_check(arrives(sender, "232.7.0.3", PORT + 2, fd[2]), "one of this source hears");
	live_check(!arrives(sender, "232.7.0.4", PORT + 3, fd[3]), "one of another source does not");
	live_check(!arrives(sender, "239.7.0.1", PORT + 4, fd[4]), "one that did not join does not");
}

int main(void)
{
	int fd[5], v6, sender;

	live_start();
	sender = make_sender();
	fd[0] = receiver("239.7.0.1", PORT);
	join(fd[0], IPPROTO_IP, "239.7.0.1");
	fd[1] = receiver("239.7.0.2", PORT + 1);
	join(fd[1], IPPROTO_IP, "239.7.0.2");
	with_source(fd[1], MCAST_BLOCK_SOURCE, "239.7.0.2", "127.0.0.1");
	fd[2] = receiver("232.7.0.3", PORT + 2);
	with_source(fd[2], MCAST_JOIN_SOURCE_GROUP, "232.7.0.3", "127.0.0.1");
	with_source(fd[2], MCAST_JOIN_SOURCE_GROUP, "232.7.0.3", "10.1.2.3");
	fd[3] = receiver("232.7.0.4", PORT + 3);
	with_source(fd[3], MCAST_JOIN_SOURCE_GROUP, "232.7.0.4", "10.1.2.3");
	fd[4] = receiver("239.7.0.1", PORT + 4);
	v6 = socket(AF_INET6, SOCK_DGRAM, 0);
	live_need(v6 >= 0, "socket");
	join(v6, IPPROTO_IPV6, "ff15::7:1");
	check_all(fd, sender);

	live_wait();

	check_all(fd, sender);
	check_v6(v6, "ff15::7:1");
	return live_end();
}
