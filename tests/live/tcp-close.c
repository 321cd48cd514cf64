/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Established TCP connections over the loopback, which --tcp-close gives back closed: the original
 * keeps talking, in the restored both ends are there and report the end, and the listener goes on.
 * live-options: --tcp-close
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "live.h"

static int client_of(int family, int listener)
{
	struct sockaddr_storage a;
	socklen_t length = sizeof(a);
	int fd = socket(family, SOCK_STREAM, 0);

	live_need(getsockname(listener, (struct sockaddr *)&a, &length) == 0, "getsockname");
	live_need(fd >= 0 && connect(fd, (struct sockaddr *)&a, length) == 0, "connect");
	return fd;
}

/* The end of a connection: no data, and no error but those that say so. */
static void check_over(const char *what, int fd)
{
	char text[64];
	ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);

	live_check(n == 0 || (n < 0 &&
			      (errno == ENOTCONN || errno == ECONNRESET || errno == ETIMEDOUT)),
		   "%s reports its end (%zd, errno %d)", what, n, errno);
	n = send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	live_check(n < 0 && (errno == EPIPE || errno == ENOTCONN || errno == ECONNRESET),
		   "%s cannot be written (%zd, errno %d)", what, n, errno);
}

static int start(int family)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in v4 = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(family, SOCK_STREAM, 0), one = 1;

	live_need(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0,
		  "socket");
	if (family == AF_INET)
		live_need(bind(fd, (struct sockaddr *)&v4, sizeof(v4)) == 0, "bind");
	else
		live_need(bind(fd, (struct sockaddr *)&v6, sizeof(v6)) == 0, "bind");
	live_need(listen(fd, 5) == 0, "listen");
	return fd;
}

int main(void)
{
	int families[] = { AF_INET, AF_INET6 };
	int listener[2], client[2], server[2], fd;
	struct linger off = { .l_onoff = 1 };
	char text[64] = "";
	ssize_t n;

	live_start();
	(void)signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 2; i++) {
		listener[i] = start(families[i]);
		client[i] = client_of(families[i], listener[i]);
		server[i] = accept(listener[i], NULL, NULL);
		live_need(server[i] >= 0 && write(client[i], "unread", 6) == 6, "accept");
	}

	live_wait();

	for (int i = 0; i < 2; i++) {
		n = recv(server[i], text, sizeof(text), MSG_DONTWAIT);
		if (n == 6) {
			/* The original: nothing has happened to it. */
			live_check(write(server[i], "alive", 5) == 5 &&
					   read(client[i], text, 64) == 5,
				   "the connection of the original lives");
		} else {
			check_over("the client", client[i]);
			check_over("the server", server[i]);
		}
		(void)setsockopt(client[i], SOL_SOCKET, SO_LINGER, &off, sizeof(off));
		(void)close(client[i]);
		(void)close(server[i]);
		client[i] = client_of(families[i], listener[i]);
		fd = accept(listener[i], NULL, NULL);
		live_check(fd >= 0 && write(fd, "new", 3) == 3 && read(client[i], text, 64) == 3,
			   "a new connection to the old listener talks");
		(void)setsockopt(client[i], SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	}
	return live_end();
}
