/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pseudo terminal whose both ends are in the tree: settings, window size, bytes on their way,
 * and a child for which it is the controlling terminal.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "live.h"

static char slave_name[64];
static int master;

static void child_body(void *arg)
{
	int tty;

	(void)arg;
	(void)close(master);
	live_need(setsid() == getpid(), "setsid");
	tty = open(slave_name, O_RDWR);
	live_need(tty >= 0 && tcgetpgrp(tty) == getpid(), "controlling terminal");
	live_child_ready();
	live_wait_term();
	tty = open("/dev/tty", O_RDWR);
	live_check(tty >= 0, "/dev/tty can be opened: errno %d", errno);
	live_same("foreground group", tcgetpgrp(tty), getpid());
	live_same("session of the terminal", tcgetsid(tty), getpid());
	live_check(write(tty, "out\n", 4) == 4, "write to the terminal");
}

static void expect(const char *what, int fd, const char *wanted)
{
	char text[64] = "";
	size_t have = 0;
	ssize_t n;

	while (have < strlen(wanted) && (n = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
		have += (size_t)n;
	live_check(strcmp(text, wanted) == 0, "%s: '%s' is read, should be '%s'", what, text,
		   wanted);
}

int main(void)
{
	struct winsize size = { .ws_row = 33, .ws_col = 111 }, size_now = { 0 };
	struct termios termios, now;
	int slave, flags = 0;
	pid_t child;

	live_start();
	master = posix_openpt(O_RDWR | O_NOCTTY);
	live_need(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "posix_openpt");
	live_need(ptsname_r(master, slave_name, sizeof(slave_name)) == 0, "ptsname");
	slave = open(slave_name, O_RDWR | O_NOCTTY);
	live_need(slave >= 0, "open slave");
	live_need(tcgetattr(slave, &termios) == 0, "tcgetattr");
	termios.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
	termios.c_cc[VINTR] = 7;
	termios.c_cc[VMIN] = 1;
	termios.c_oflag &= ~(tcflag_t)OPOST;
	live_need(tcsetattr(slave, TCSANOW, &termios) == 0, "tcsetattr");
	live_need(ioctl(slave, TIOCSWINSZ, &size) == 0, "TIOCSWINSZ");
	child = live_fork(child_body, NULL);

	live_wait();

	live_check(tcgetattr(slave, &now) == 0 && now.c_lflag == termios.c_lflag &&
			   now.c_oflag == termios.c_oflag && now.c_iflag == termios.c_iflag &&
			   now.c_cflag == termios.c_cflag,
		   "the modes are kept (c_lflag 0%o, should be 0%o)", now.c_lflag, termios.c_lflag);
	live_check(memcmp(now.c_cc, termios.c_cc, 17) == 0, "the control characters are kept");
	live_check(ioctl(master, TIOCGWINSZ, &size_now) == 0 && size_now.ws_row == 33 &&
			   size_now.ws_col == 111,
		   "the window is %d x %d", size_now.ws_row, size_now.ws_col);
	live_check(write(master, "typed", 5) == 5, "write to the master");
	expect("slave", slave, "typed");
	live_check(write(slave, "shown", 5) == 5, "write to the slave");
	expect("master", master, "shown");
	live_check(ioctl(master, TIOCGPTLCK, &flags) == 0 && flags == 0, "the slave is unlocked");
	live_join(child);
	expect("from the child", master, "out\n");
	return live_end();
}
