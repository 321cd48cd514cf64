/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/pty-queue.h"

#include <asm/termbits.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "basic/sys.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

enum {
	CHUNK = 256, /* less than a pty has room for when poll(2) says it has room */
	WAIT_TRIES = 200,
	TICK_NSEC = 1000000,
};

_Static_assert(sizeof(struct pty_termios) == sizeof(struct termios), "size of termios");

int pty_get_termios(int fd, struct pty_termios *ret)
{
	return SYS_CALL(ioctl(fd, TCGETS, ret));
}

int pty_set_termios(int fd, const struct pty_termios *t)
{
	return SYS_CALL(ioctl(fd, TCSETS, t));
}

int pty_open_slave(int master, int flags)
{
	int fd, r;

	/*
	 * This call leaves O_CLOEXEC in the flags of the description, for all to see who have it
	 * later.
	 */
	fd = SYS_CALL(ioctl(master, TIOCGPTPEER, (flags & ~O_CLOEXEC) | O_NOCTTY));
	if (fd < 0)
		return fd;
	r = SYS_CALL(fcntl(fd, F_SETFD, FD_CLOEXEC));
	if (r < 0) {
		close_fd(fd);
		return r;
	}
	return fd;
}

/* ---- taking out ---- */

struct bytes {
	uint8_t *data;
	size_t n;
};

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return SYS_CALL(poll(&p, 1, 0)) == 1 && (p.revents & POLLIN);
}

bool pty_queue_waits(int fd)
{
	int n = 0;

	/* Asking also makes the kernel move on what is on its way. In raw mode fewer bytes than VMIN wait unseen. */
	return readable(fd) || (SYS_CALL(ioctl(fd, FIONREAD, &n)) == 0 && n > 0);
}

/* Reads what is there. */
static int drain(int fd, struct bytes *b)
{
	while (readable(fd)) {
		ssize_t n;

		if (b->n == PTY_QUEUE_MAX)
			return -EFBIG;
		n = sys_read(fd, b->data + b->n, PTY_QUEUE_MAX - b->n);
		if (n == -EAGAIN || n == 0)
			break;
		if (n < 0)
			return (int)n;
		b->n += (size_t)n;
	}
	return 0;
}

/* All there is, also a line that is not complete yet and fewer bytes than a reader waits for. */
static int drain_raw(int slave, const struct pty_termios *old, struct bytes *b)
{
	struct pty_termios raw = *old;
	int r;

	raw.c_lflag &= ~(uint32_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	r = pty_set_termios(slave, &raw);
	if (r < 0)
		return r;
	r = drain(slave, b);
	return MIN(pty_set_termios(slave, old), r);
}

static int take_input(int slave, struct bytes *b)
{
	struct pty_termios old;
	int r;

	r = pty_get_termios(slave, &old);
	if (r < 0)
		return r;
	if (old.c_lflag & ICANON) {
		r = drain(slave, b);
		if (r < 0 || b->n == 0)
			return r;
	} else if (!pty_queue_waits(slave)) {
		return 0;
	}
	return drain_raw(slave, &old, b);
}

int pty_queue_copy(int master, struct arena *a, struct failure *f, struct pty_queue *ret)
{
	_cleanup_close_ int slave = pty_open_slave(master, O_RDWR | O_NONBLOCK);
	_cleanup_free_ uint8_t *in_room = malloc(PTY_QUEUE_MAX), *out_room = malloc(PTY_QUEUE_MAX);
	struct bytes in = { in_room, 0 }, out = { out_room, 0 };
	struct pty_queue q = {};
	int packet = 0, off = 0, r, put = 0;

	if (!in_room || !out_room)
		return fail(f, -ENOMEM, "no room for what waits in a terminal");
	if (slave < 0)
		return fail(f, slave, "cannot open the other side of a terminal");

	/* In packet mode a read begins with a byte of state. */
	r = SYS_CALL(ioctl(master, TIOCGPKT, &packet));
	if (r == 0 && packet)
		r = SYS_CALL(ioctl(master, TIOCPKT, &off));
	if (r == 0)
		r = drain(master, &out);
	if (r == 0)
		r = take_input(slave, &in);

	/* Whatever happened, what was taken goes back. */
	q = (struct pty_queue){ in.data, in.n, out.data, out.n };
	if (in.n + out.n > 0)
		put = pty_queue_put(master, &q, f);
	if (packet)
		put = MIN(put, (int)SYS_CALL(ioctl(master, TIOCPKT, &packet)));
	if (r < 0 || put < 0)
		return fail(f, r < 0 ? r : put, "cannot copy what waits in a terminal");

	q.input = arena_copy(a, in.data, in.n);
	q.output = arena_copy(a, out.data, out.n);
	if (!q.input || !q.output)
		return fail(f, -ENOMEM, "no room for what waits in a terminal");
	*ret = q;
	return 0;
}

/* ---- putting in ---- */

static void tick(void)
{
	(void)SYS_CALL_ONCE(
		clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, TICK_NSEC }, NULL));
}

/* Writes what is in @left, and leaves there what did not get through. */
static int feed(int fd, struct bytes *left)
{
	unsigned tries = 0;

	while (left->n > 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		ssize_t k = -EAGAIN;

		if (SYS_CALL(poll(&p, 1, 0)) == 1 && (p.revents & POLLOUT))
			k = sys_write(fd, left->data, MIN(left->n, (size_t)CHUNK));
		if (k == -EAGAIN || k == 0) {
			if (++tries == WAIT_TRIES)
				return -EAGAIN;
			tick();
			continue;
		}
		if (k < 0)
			return (int)k;
		left->data += k;
		left->n -= (size_t)k;
	}
	return 0;
}

/* Output stopped by ^S does not flow: let it for a moment. */
static int feed_output(int slave, struct bytes left)
{
	int r = feed(slave, &left);

	if (r != -EAGAIN)
		return r;
	r = SYS_CALL(ioctl(slave, TCXONC, TCOON));
	if (r == 0)
		r = feed(slave, &left);
	return MIN(r, (int)SYS_CALL(ioctl(slave, TCXONC, TCOOFF)));
}

/* Bytes a reader of the slave will see: in canonical mode up to the end of the last line. */
static size_t visible(const struct pty_queue *q, const struct pty_termios *t)
{
	size_t n = q->n_input;

	if (!(t->c_lflag & ICANON))
		return n;
	while (n > 0 && q->input[n - 1] != '\n' &&
	       (t->c_cc[VEOL] == 0 || q->input[n - 1] != t->c_cc[VEOL]))
		n--;
	return n;
}

/*
 * Input travels on through a worker of the kernel. Only when it has arrived may the settings change
 * back. When nothing can be read yet, poll(2) on a terminal waits for that worker.
 */
static void wait_for_input(int slave, size_t n)
{
	int there = 0;

	for (unsigned i = 0; i < WAIT_TRIES; i++) {
		(void)readable(slave);
		if (SYS_CALL(ioctl(slave, FIONREAD, &there)) < 0 ||
		    (size_t)there >= MIN(n, (size_t)4095))
			return;
		tick();
	}
}

int pty_queue_put(int master, const struct pty_queue *q, struct failure *f)
{
	_cleanup_close_ int slave = pty_open_slave(master, O_RDWR | O_NONBLOCK);
	struct pty_termios old, plain;
	int r;

	if (slave < 0)
		return fail(f, slave, "cannot open the other side of a terminal");
	r = pty_get_termios(slave, &old);
	if (r < 0)
		return fail(f, r, "cannot read the settings of a terminal");

	/* Lines stay lines; nothing is echoed, translated, or a command. */
	plain = old;
	plain.c_iflag = 0;
	plain.c_oflag &= ~(uint32_t)OPOST;
	plain.c_lflag &= ICANON;
	if (plain.c_lflag & ICANON) {
		memset(plain.c_cc, 0, sizeof(plain.c_cc));
		plain.c_cc[VEOL] = old.c_cc[VEOL];
	}
	r = pty_set_termios(slave, &plain);
	if (r == 0 && q->n_output > 0)
		r = feed_output(slave, (struct bytes){ q->output, q->n_output });
	if (r == 0 && q->n_input > 0) {
		r = feed(master, &(struct bytes){ q->input, q->n_input });
		wait_for_input(slave, visible(q, &old));
	}
	r = MIN(pty_set_termios(slave, &old), r);
	return r < 0 ? fail(f, r, "cannot put bytes into a terminal") : 0;
}
