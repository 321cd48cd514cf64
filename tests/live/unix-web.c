/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix sockets that do not come in pairs: datagram sockets in a row and in a star, both ends of a connection named,
 * accepted sockets whose listener or client is gone, a socket in flight inside a socket in flight.
 * live-across: from, CRIU 4.2 forgets the names of accepted sockets
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "live.h"

/* @name: "@..." is abstract and gets our pid, else a file of the scratch directory. */
static socklen_t address(const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (name[0] != '@') {
		(void)snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", live_path(name));
		return sizeof(*ret);
	}
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "%s-%d",
					    name + 1, getpid()));
}

static int named(int type, const char *name)
{
	struct sockaddr_un a;
	socklen_t size = address(name, &a);
	int fd = socket(AF_UNIX, type, 0);

	live_need(fd >= 0 && bind(fd, (struct sockaddr *)&a, size) == 0, "bind %s", name);
	return fd;
}

static int connect_to(int fd, const char *name)
{
	struct sockaddr_un a;
	socklen_t size = address(name, &a);

	return connect(fd, (struct sockaddr *)&a, size);
}

/* Does @fd have the name, or its peer? */
static void check_name(const char *what, int fd, bool of_peer, const char *name)
{
	struct sockaddr_un is = { 0 }, wanted;
	socklen_t size = sizeof(is), wanted_size = address(name, &wanted);
	int r = of_peer ? getpeername(fd, (struct sockaddr *)&is, &size) :
			  getsockname(fd, (struct sockaddr *)&is, &size);

	if (name[0] != '@')
		wanted_size = size;
	live_check(r == 0 && size == wanted_size &&
			   memcmp(is.sun_path, wanted.sun_path,
				  size - offsetof(struct sockaddr_un, sun_path)) == 0,
		   "%s has the name %s", what, name);
}

static void expect(const char *what, int fd, const char *wanted)
{
	char text[64] = "";
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	live_check(n == (ssize_t)strlen(wanted) && strcmp(text, wanted) == 0,
		   "%s: '%s' is received, should be '%s'", what, text, wanted);
}

static void pass(int over, int fd, const char *text)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { .room = { 0 } };
	struct iovec iov = { .iov_base = (void *)text, .iov_len = strlen(text) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	live_need(sendmsg(over, &msg, 0) == (ssize_t)strlen(text) && close(fd) == 0, "pass");
}

static int taken(int from)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { .room = { 0 } };
	char text[64];
	struct iovec iov = { .iov_base = text, .iov_len = sizeof(text) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(from, &msg, MSG_DONTWAIT) > 0 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	live_check(fd >= 0, "a socket arrives");
	return fd;
}

int main(void)
{
	int star, left, right, end, listener, client, server, by_path, orphan, widow, gone;
	int outer[2], middle[2], inner[2], fd;
	char text[8] = "";
	struct stat st;

	live_start();
	/* left and right -> star -> end */
	star = named(SOCK_DGRAM, "star");
	end = named(SOCK_DGRAM, "@end");
	left = named(SOCK_DGRAM, "@left");
	right = socket(AF_UNIX, SOCK_DGRAM, 0);
	live_need(connect_to(left, "star") == 0 && connect_to(right, "star") == 0 &&
			  send(left, "left", 4, 0) == 4 && send(right, "right", 5, 0) == 5,
		  "star");
	live_need(send(star, "x", 1, 0) < 0 && errno == ENOTCONN, "star has no peer");

	listener = named(SOCK_STREAM, "@listener");
	client = named(SOCK_STREAM, "client");
	live_need(listen(listener, 2) == 0 && connect_to(client, "@listener") == 0, "connect");
	server = accept(listener, NULL, NULL);
	live_need(server >= 0 && write(client, "both have names", 15) == 15, "accept");

	by_path = named(SOCK_STREAM, "left-behind");
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	live_need(listen(by_path, 1) == 0 && connect_to(fd, "left-behind") == 0, "connect");
	orphan = accept(by_path, NULL, NULL);
	live_need(orphan >= 0 && close(by_path) == 0 && unlink(live_path("left-behind")) == 0,
		  "the listener goes");

	by_path = named(SOCK_SEQPACKET, "packets");
	gone = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	live_need(listen(by_path, 1) == 0 && connect_to(gone, "packets") == 0, "connect");
	widow = accept(by_path, NULL, NULL);
	live_need(widow >= 0 && send(gone, "one", 3, 0) == 3 && send(gone, "two", 3, 0) == 3 &&
			  close(gone) == 0,
		  "the client goes");

	live_need(socketpair(AF_UNIX, SOCK_STREAM, 0, outer) == 0 &&
			  socketpair(AF_UNIX, SOCK_STREAM, 0, middle) == 0 &&
			  socketpair(AF_UNIX, SOCK_STREAM, 0, inner) == 0 &&
			  write(inner[0], "deep", 4) == 4,
		  "pairs");
	pass(middle[0], inner[0], "i");
	pass(outer[0], middle[1], "m");

	live_wait();

	expect("star", star, "left");
	expect("star, second", star, "right");
	live_check(send(right, "new", 3, 0) == 3, "right still reaches it");
	expect("star, new", star, "new");
	check_name("left", left, /* of_peer= */ false, "@left");
	check_name("the peer of left", left, /* of_peer= */ true, "star");
	live_check(connect_to(star, "@end") == 0 && send(star, "on", 2, 0) == 2, "star goes on");
	expect("end", end, "on");

	expect("named connection", server, "both have names");
	check_name("server", server, /* of_peer= */ false, "@listener");
	check_name("the peer of server", server, /* of_peer= */ true, "client");
	live_check(write(server, "ok", 2) == 2, "it writes");
	expect("named connection, other way", client, "ok");

	live_check(write(fd, "who", 3) == 3, "to the orphan");
	expect("orphan", orphan, "who");
	check_name("orphan", orphan, /* of_peer= */ false, "left-behind");
	live_check(stat(live_path("left-behind"), &st) != 0, "which is no file");

	expect("widow", widow, "one");
	expect("widow, second", widow, "two");
	live_same("end behind them", recv(widow, text, 1, MSG_DONTWAIT), 0);
	check_name("widow", widow, /* of_peer= */ false, "packets");

	fd = taken(taken(outer[1]));
	live_check(write(fd, "er", 2) == 2 && recv(inner[1], text, 6, MSG_WAITALL) == 6 &&
			   memcmp(text, "deeper", 6) == 0,
		   "the innermost is the one that was sent");
	return live_end();
}
