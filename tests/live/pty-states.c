/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ptys in unusual states: raw with bytes both ways, packet mode, exclusive, a slave that was hung up,
 * a master whose slave was closed, /dev/tty open as such.
 * live-across: no, CRIU loses some of it
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "live.h"

struct pair {
	int master, slave;
};

static struct pair open_pair(bool raw)
{
	struct termios t;
	struct pair p;

	live_need(openpty(&p.master, &p.slave, NULL, NULL, NULL) == 0, "openpty");
	live_need(tcgetattr(p.slave, &t) == 0, "tcgetattr");
	if (raw)
		cfmakeraw(&t);
	else
		t.c_lflag &= ~(tcflag_t)ECHO;
	live_need(tcsetattr(p.slave, TCSANOW, &t) == 0, "tcsetattr");
	return p;
}

static void put(int fd, const char *text)
{
	live_need(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write");
}

static void expect(const char *what, int fd, const char *wanted, size_t n)
{
	char text[256] = "";
	size_t have = 0;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (have < n && poll(&p, 1, 1000) == 1) {
		ssize_t k = read(fd, text + have, sizeof(text) - 1 - have);

		if (k <= 0)
			break;
		have += (size_t)k;
	}
	live_check(have == n && memcmp(text, wanted, n) == 0, "%s: '%s' is read, should be '%s'",
		   what, text, wanted);
}

static void tty_child(void *arg)
{
	struct pair *p = arg;
	int tty;

	live_need(setsid() > 0 && ioctl(p->slave, TIOCSCTTY, 0) == 0, "controlling terminal");
	tty = open("/dev/tty", O_RDWR);
	live_need(tty >= 0, "/dev/tty");
	live_child_ready();
	live_wait_term();
	live_same("session of /dev/tty", tcgetsid(tty), getpid());
	live_check(write(tty, "by tty", 6) == 6, "write");
}

int main(void)
{
	struct pair raw, lines, packet, hung, closed, session;
	int on = 1, off = 0, value = 0;
	char c;
	struct pollfd p;
	pid_t child;

	live_start();
	(void)signal(SIGHUP, SIG_IGN);
	raw = open_pair(true);
	put(raw.master, "to the slave");
	put(raw.slave, "to\nthe master");
	lines = open_pair(false);
	put(lines.master, "one\ntwo\nthr");
	packet = open_pair(true);
	put(packet.slave, "packed");
	live_need(ioctl(packet.master, TIOCPKT, &on) == 0 && ioctl(packet.slave, TIOCEXCL) == 0,
		  "modes");
	hung = open_pair(true);
	(void)close(hung.master);
	closed = open_pair(true);
	(void)close(closed.slave);
	session = open_pair(true);
	child = live_fork(tty_child, &session);

	live_wait();

	expect("raw, to the slave", raw.slave, "to the slave", 12);
	expect("raw, to the master", raw.master, "to\nthe master", 13);
	expect("first line", lines.slave, "one\ntwo\n", 8);
	put(lines.master, "ee\n");
	expect("the line that was not complete", lines.slave, "three\n", 6);
	live_check(ioctl(packet.master, TIOCGPKT, &value) == 0 && value == 1, "packet mode");
	expect("a packet", packet.master, "\0packed", 7);
	live_check(ioctl(packet.slave, TIOCGEXCL, &value) == 0 && value == 1, "exclusive");
	(void)ioctl(packet.master, TIOCPKT, &off);
	live_same("a slave that was hung up ends", read(hung.slave, &c, 1), 0);
	live_check(write(hung.slave, "x", 1) < 0 && errno == EIO, "and takes nothing");
	p = (struct pollfd){ .fd = closed.master, .events = POLLIN };
	live_check(poll(&p, 1, 0) == 1 && (p.revents & POLLHUP), "a closed slave is seen");
	live_join(child);
	expect("from /dev/tty", session.master, "by tty", 6);
	return live_end();
}
