/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP connections with both ends in the tree: data under way in both directions, one end that has said its last word,
 * IPv4 and IPv6, options.
 * live-options: --tcp-established
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "live.h"

enum { PLENTY = 200000 };

static char plenty[PLENTY], received[PLENTY];

/* @ret: the connecting and the accepted end. */
static void connection(int family, int ret[2])
{
	struct sockaddr_storage a = { .ss_family = (sa_family_t)family };
	socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) :
					       sizeof(struct sockaddr_in6);
	int listener = socket(family, SOCK_STREAM, 0);

	if (family == AF_INET)
		((struct sockaddr_in *)&a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&a)->sin6_addr = in6addr_loopback;
	live_need(listener >= 0 && bind(listener, (struct sockaddr *)&a, length) == 0 &&
			  listen(listener, 1) == 0 &&
			  getsockname(listener, (struct sockaddr *)&a, &length) == 0,
		  "listen");
	ret[0] = socket(family, SOCK_STREAM, 0);
	live_need(ret[0] >= 0 && connect(ret[0], (struct sockaddr *)&a, length) == 0, "connect");
	ret[1] = accept(listener, NULL, NULL);
	live_need(ret[1] >= 0 && close(listener) == 0, "accept");
}

static void expect(const char *what, int fd, const char *wanted)
{
	char text[64] = "";
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	live_check(n == (ssize_t)strlen(wanted) && strcmp(text, wanted) == 0,
		   "%s: '%s' is received, should be '%s'", what, text, wanted);
}

static void both_ways(const char *what, const int ends[2])
{
	char text[8] = "";

	live_check(write(ends[0], "over", 4) == 4 && recv(ends[1], text, 4, MSG_WAITALL) == 4 &&
			   strcmp(text, "over") == 0,
		   "%s: it goes on", what);
	live_check(write(ends[1], "back", 4) == 4 && recv(ends[0], text, 4, MSG_WAITALL) == 4 &&
			   strcmp(text, "back") == 0,
		   "%s: it goes on, other way", what);
}

int main(void)
{
	int v4[2], v6[2], full[2], half[2], on = 1, value = 0;
	socklen_t length = sizeof(value);
	size_t sent = 0;
	ssize_t n;

	live_start();
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < PLENTY; i++)
		plenty[i] = (char)(i * 7 + i / 251);
	connection(AF_INET, v4);
	connection(AF_INET6, v6);
	connection(AF_INET, full);
	connection(AF_INET, half);
	live_need(setsockopt(v4[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
			  setsockopt(v4[1], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0,
		  "options");
	live_need(write(v4[0], "to the server", 13) == 13 && write(v4[1], "to the client", 13) == 13,
		  "write");
	live_need(write(v6[0], "six", 3) == 3, "write");
	while (sent < PLENTY) {
		n = send(full[0], plenty + sent, PLENTY - sent, MSG_DONTWAIT);
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	live_need(sent > 0 && fcntl(full[1], F_SETFL, O_NONBLOCK) == 0, "fill");
	live_need(write(half[0], "the end", 7) == 7 && shutdown(half[0], SHUT_WR) == 0, "shutdown");

	live_wait();

	expect("IPv4", v4[1], "to the server");
	expect("IPv4, other way", v4[0], "to the client");
	both_ways("IPv4", v4);
	live_check(getsockopt(v4[0], IPPROTO_TCP, TCP_NODELAY, &value, &length) == 0 && value,
		   "TCP_NODELAY is set");
	live_check(getsockopt(v4[1], SOL_SOCKET, SO_KEEPALIVE, &value, &length) == 0 && value,
		   "SO_KEEPALIVE is set");
	expect("IPv6", v6[1], "six");
	both_ways("IPv6", v6);

	live_need(fcntl(full[1], F_SETFL, 0) == 0, "F_SETFL");
	n = recv(full[1], received, sent, MSG_WAITALL);
	live_same("bytes of a full queue", n, (long long)sent);
	live_check(memcmp(received, plenty, sent) == 0, "they are the same");
	both_ways("full", full);

	expect("half-closed", half[1], "the end");
	live_same("end of file after it", recv(half[1], received, 1, 0), 0);
	live_check(write(half[0], "x", 1) < 0 && errno == EPIPE, "the closed direction is closed");
	live_check(write(half[1], "y", 1) == 1 && recv(half[0], received, 1, MSG_WAITALL) == 1,
		   "the other is open");
	return live_end();
}
