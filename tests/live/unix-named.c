/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix sockets with names: listening by path and abstract, connections accepted and waiting to be
 * accepted, bound and connected datagram sockets, a name that was unlinked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "live.h"

static socklen_t address(struct sockaddr_un *un, const char *name)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	if (name[0] != '@') {
		(void)snprintf(un->sun_path, sizeof(un->sun_path), "%s", live_path(name));
		return sizeof(*un);
	}
	(void)snprintf(un->sun_path + 1, sizeof(un->sun_path) - 1, "%s", name + 1);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
}

static int bound(const char *name, int type)
{
	struct sockaddr_un un;
	socklen_t length = address(&un, name);
	int fd = socket(AF_UNIX, type, 0);

	live_need(fd >= 0 && bind(fd, (struct sockaddr *)&un, length) == 0, "bind %s", name);
	live_need((type & 0xf) == SOCK_DGRAM || listen(fd, 5) == 0, "listen %s", name);
	return fd;
}

static int connected(const char *name, int type)
{
	struct sockaddr_un un;
	socklen_t length = address(&un, name);
	int fd = socket(AF_UNIX, type, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&un, length) < 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static void expect(const char *what, int fd, const char *wanted)
{
	char text[256] = "";
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	live_check(n == (ssize_t)strlen(wanted) && memcmp(text, wanted, strlen(wanted)) == 0,
		   "%s: '%s' is received, should be '%s'", what, text, wanted);
}

static void check_listener(const char *name, int listener, int type)
{
	int client = connected(name, type), server;

	live_check(client >= 0, "%s can be connected to", name);
	server = accept(listener, NULL, NULL);
	live_check(server >= 0, "%s accepts", name);
	live_check(write(client, "new", 3) == 3, "write");
	expect(name, server, "new");
	(void)close(client);
	(void)close(server);
}

int main(void)
{
	int by_path, abstract, packets, unlinked, receiver, sender, pending, server, client, fd;
	struct sockaddr_un un = { 0 };
	socklen_t length = sizeof(un);
	struct stat st;

	live_start();
	by_path = bound("socket", SOCK_STREAM | SOCK_NONBLOCK);
	abstract = bound("@snapmgr-live-unix", SOCK_STREAM);
	packets = bound("packets", SOCK_SEQPACKET);
	unlinked = bound("unlinked", SOCK_STREAM);
	client = connected("unlinked", SOCK_STREAM);
	server = accept(unlinked, NULL, NULL);
	live_need(client >= 0 && server >= 0, "connect, accept");
	live_need(unlink(live_path("unlinked")) == 0, "unlink");
	live_need(write(client, "by no name", 10) == 10, "write");

	pending = connected("socket", SOCK_STREAM);
	live_need(pending >= 0, "pending");

	receiver = bound("datagrams", SOCK_DGRAM);
	sender = connected("datagrams", SOCK_DGRAM);
	live_need(receiver >= 0 && sender >= 0 && write(sender, "one", 3) == 3 &&
			  write(sender, "three", 5) == 5,
		  "datagrams");

	live_wait();

	expect("accepted before, name gone", server, "by no name");
	live_check(write(server, "back", 4) == 4, "write");
	expect("other way", client, "back");
	fd = accept(by_path, NULL, NULL);
	live_check(fd >= 0, "the pending connection is accepted");
	live_check(write(pending, "early", 5) == 5, "it can write");
	expect("what it has written", fd, "early");
	live_check(write(fd, "at last", 7) == 7, "write");
	expect("answer", pending, "at last");
	live_check(accept(by_path, NULL, NULL) < 0 && errno == EAGAIN, "nobody else is waiting");
	check_listener("socket", by_path, SOCK_STREAM);
	check_listener("@snapmgr-live-unix", abstract, SOCK_STREAM);
	check_listener("packets", packets, SOCK_SEQPACKET);
	expect("datagram 1", receiver, "one");
	expect("datagram 2", receiver, "three");
	live_check(write(sender, "new", 3) == 3, "write");
	expect("datagram 3", receiver, "new");
	live_check(getsockname(receiver, (struct sockaddr *)&un, &length) == 0 &&
			   strcmp(un.sun_path, live_path("datagrams")) == 0,
		   "the name is '%s'", un.sun_path);
	length = sizeof(un);
	live_check(getpeername(sender, (struct sockaddr *)&un, &length) == 0 &&
			   strcmp(un.sun_path, live_path("datagrams")) == 0,
		   "the peer is '%s'", un.sun_path);
	live_check(stat(live_path("socket"), &st) == 0 && S_ISSOCK(st.st_mode),
		   "the name is there");
	live_check(stat(live_path("unlinked"), &st) != 0, "the unlinked is not");
	live_same("flags", fcntl(by_path, F_GETFL), O_RDWR | O_NONBLOCK);
	return live_end();
}
