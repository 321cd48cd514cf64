/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Owners of sockets: those of root and of a user; TCP, UDP, unix and netlink; given away by fchown(2); two of a user that
 * share a port. The kernel has the owner twice: as that of the inode, and in the socket, which /proc/net tells.
 */
#include <arpa/inet.h>
#include <grp.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

enum { USER = 54321, GROUP = 54322, OTHER = 54400 };

static const struct sockaddr *loopback(uint16_t port)
{
	static struct sockaddr_in sin;

	sin = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return (const struct sockaddr *)&sin;
}

static int inet_at(int type, uint16_t port, bool shared)
{
	int fd = socket(AF_INET, type, 0), yes = 1;

	live_need(fd >= 0, "socket");
	if (shared)
		live_need(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) == 0, "SO_REUSEPORT");
	live_need(bind(fd, loopback(port), sizeof(struct sockaddr_in)) == 0, "bind");
	if (type == SOCK_STREAM)
		live_need(listen(fd, 3) == 0, "listen");
	return fd;
}

/* The user in the line of /proc/net/@table that has the inode; -1: it has none. */
static long user_in(const char *table, unsigned long ino)
{
	char path[32], line[512];
	unsigned long found;
	long uid, result = -1;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/net/%s", table);
	file = fopen(path, "r");
	live_need(file != NULL, "open %s", path);
	while (result < 0 && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %ld %*s %lu", &uid, &found) == 2 && found == ino)
			result = uid;
	}
	(void)fclose(file);
	return result;
}

static void check_owner(const char *what, int fd, const char *table, uid_t uid, gid_t gid)
{
	struct stat st;

	live_need(fstat(fd, &st) == 0, "fstat");
	live_check(st.st_uid == uid && st.st_gid == gid, "%s: it belongs to user %u, group %u; should be %u and %u", what,
		   st.st_uid, st.st_gid, uid, gid);
	if (table)
		live_same(what, user_in(table, st.st_ino), uid);
}

struct set {
	int udp, tcp, pair[2], netlink;
};

static struct set make_set(uint16_t port)
{
	struct set s;

	s.udp = inet_at(SOCK_DGRAM, port, false);
	s.tcp = inet_at(SOCK_STREAM, port, false);
	s.netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	live_need(s.netlink >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s.pair) == 0, "socketpair");
	return s;
}

static void check_set(const struct set *s, uid_t uid, gid_t gid)
{
	check_owner("UDP", s->udp, "udp", uid, gid);
	check_owner("TCP", s->tcp, "tcp", uid, gid);
	check_owner("one end of a pair", s->pair[0], NULL, uid, gid);
	check_owner("the other end", s->pair[1], NULL, uid, gid);
	check_owner("netlink", s->netlink, NULL, uid, gid);
}

static void user_body(void *arg)
{
	int shared[2];
	struct set s;

	(void)arg;
	live_need(setgroups(0, NULL) == 0 && setresgid(GROUP, GROUP, GROUP) == 0 && setresuid(USER, USER, USER) == 0,
		  "become a user");
	s = make_set(23600);
	shared[0] = inet_at(SOCK_DGRAM, 23700, true);
	shared[1] = inet_at(SOCK_DGRAM, 23700, true);
	live_child_ready();
	live_wait_term();
	check_set(&s, USER, GROUP);
	check_owner("one that shares its port", shared[0], "udp", USER, GROUP);
	check_owner("the other one", shared[1], "udp", USER, GROUP);
}

int main(void)
{
	int given, fresh, client, unix_given[2];
	struct set s;
	pid_t user;

	live_start();
	user = live_fork(user_body, NULL);
	s = make_set(23601);
	given = inet_at(SOCK_DGRAM, 23602, false);
	live_need(socketpair(AF_UNIX, SOCK_DGRAM, 0, unix_given) == 0 && fchown(given, USER, GROUP) == 0 &&
			  fchown(unix_given[1], OTHER, OTHER) == 0,
		  "fchown");
	client = socket(AF_INET, SOCK_DGRAM, 0);
	fresh = socket(AF_INET6, SOCK_DGRAM, 0);
	live_need(client >= 0 && fresh >= 0 && connect(client, loopback(23600), sizeof(struct sockaddr_in)) == 0,
		  "connect");

	live_wait();

	check_set(&s, 0, 0);
	check_owner("given away", given, "udp", USER, GROUP);
	check_owner("not given away", unix_given[0], NULL, 0, 0);
	check_owner("a unix socket given away", unix_given[1], NULL, OTHER, OTHER);
	check_owner("a UDP socket that is connected", client, "udp", 0, 0);
	check_owner("one that is not bound", fresh, NULL, 0, 0);
	live_join(user);
	return live_end();
}
