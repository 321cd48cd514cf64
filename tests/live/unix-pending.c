/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that wait in the backlog. Had they written already, the dump would refuse: no
 * descriptor leads to the data.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "live.h"

int main(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int listener, client, server;
	char text[16] = "";

	live_start();
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", live_path("socket"));
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	live_need(bind(listener, (struct sockaddr *)&un, sizeof(un)) == 0 &&
			  listen(listener, 3) == 0,
		  "bind");
	live_need(connect(client, (struct sockaddr *)&un, sizeof(un)) == 0, "connect");

	live_wait();

	server = accept(listener, NULL, NULL);
	live_check(server >= 0, "the pending connection is accepted");
	live_check(write(client, "early", 5) == 5 && recv(server, text, 15, MSG_DONTWAIT) == 5 &&
			   strcmp(text, "early") == 0,
		   "what it writes arrives ('%s')", text);
	live_check(write(server, "at last", 7) == 7 && recv(client, text, 15, MSG_DONTWAIT) == 7,
		   "and back");
	return live_end();
}
