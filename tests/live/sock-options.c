/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Socket options that CRIU's image format has no field for.
 * live-across: no, CRIU 4.2 forgets them
 */
#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "live.h"

enum { PASS_RIGHTS = 83 }; /* SO_PASSRIGHTS, Linux 6.16 */

static const struct row {
	int family, type, level, name, value;
	const char *text;
} rows[] = {
	{ AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345, "TCP_USER_TIMEOUT" },
	{ AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_DEFER_ACCEPT, 7, "TCP_DEFER_ACCEPT" },
	{ AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_SYNCNT, 3, "TCP_SYNCNT" },
	{ AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_RECVERR, 1, "IP_RECVERR" },
	{ AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MULTICAST_TTL, 9, "IP_MULTICAST_TTL" },
	{ AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO, "IP_MTU_DISCOVER" },
	{ AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_TIMESTAMP, 1, "SO_TIMESTAMP" },
	{ AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_TCLASS, 32, "IPV6_TCLASS" },
	{ AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 5, "IPV6_UNICAST_HOPS" },
	{ AF_UNIX, SOCK_DGRAM, SOL_SOCKET, SO_PEEK_OFF, 3, "SO_PEEK_OFF" },
	{ AF_UNIX, SOCK_STREAM, SOL_SOCKET, PASS_RIGHTS, 0, "SO_PASSRIGHTS" },
	{ AF_NETLINK, SOCK_RAW, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1, "NETLINK_NO_ENOBUFS" },
	{ AF_NETLINK, SOCK_RAW, SOL_NETLINK, NETLINK_EXT_ACK, 1, "NETLINK_EXT_ACK" },
};

enum { N_ROWS = sizeof(rows) / sizeof(rows[0]) };

static int get(int fd, const struct row *row)
{
	int value = -1;
	socklen_t size = sizeof(value);

	live_check(getsockopt(fd, row->level, row->name, &value, &size) == 0, "%s can be read",
		   row->text);
	return value;
}

static bool can_pass_rights(int fd)
{
	int value;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, PASS_RIGHTS, &value, &size) == 0 || errno != ENOPROTOOPT;
}

int main(void)
{
	int fds[N_ROWS], plain[N_ROWS], usual[N_ROWS];

	live_start();
	for (int i = 0; i < N_ROWS; i++) {
		fds[i] = socket(rows[i].family, rows[i].type, 0);
		plain[i] = socket(rows[i].family, rows[i].type, 0);
		live_need(fds[i] >= 0 && plain[i] >= 0, "socket");
		if (rows[i].name == PASS_RIGHTS && !can_pass_rights(fds[i])) {
			fds[i] = -1;
			continue;
		}
		live_need(setsockopt(fds[i], rows[i].level, rows[i].name, &rows[i].value,
				     sizeof(int)) == 0,
			  "%s", rows[i].text);
		usual[i] = get(plain[i], &rows[i]);
	}

	live_wait();

	for (int i = 0; i < N_ROWS; i++) {
		if (fds[i] < 0)
			continue;
		live_same(rows[i].text, get(fds[i], &rows[i]), rows[i].value);
		live_same("where it was not set", get(plain[i], &rows[i]), usual[i]);
	}
	return live_end();
}
