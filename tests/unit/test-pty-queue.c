/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/pty-queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

struct pair {
	int master, slave;
};

static int open_pair(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (p->master < 0 || unlockpt(p->master) < 0)
		return -1;
	p->slave = pty_open_slave(p->master, O_RDWR);
	*state = p;
	return p->slave < 0 ? -1 : 0;
}

static int close_pair(void **state)
{
	struct pair *p = *state;

	(void)close(p->slave);
	(void)close(p->master);
	free(p);
	return 0;
}

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* The kernel moves bytes from side to side in the background. */
static void settle(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 2000), 1);
}

static void assert_reads(int fd, const char *wanted)
{
	char text[256] = "";
	size_t have = 0;

	while (have < strlen(wanted)) {
		ssize_t n;

		settle(fd);
		n = read(fd, text + have, sizeof(text) - 1 - have);
		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_string_equal(text, wanted);
}

static bool nothing_waits(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 20) == 0;
}

static void an_idle_terminal_has_nothing(void **state)
{
	struct pair *p = *state;
	_cleanup_(arena_done) struct arena a = {};
	struct failure f = {};
	struct pty_queue q;

	assert_int_equal(pty_queue_copy(p->master, &a, &f, &q), 0);
	assert_int_equal(q.n_input, 0);
	assert_int_equal(q.n_output, 0);
}

static void what_waits_is_copied_and_still_waits(void **state)
{
	struct pair *p = *state;
	_cleanup_(arena_done) struct arena a = {};
	struct failure f = {};
	struct pty_queue q;
	struct pty_termios before, after;
	struct termios t;

	assert_int_equal(tcgetattr(p->slave, &t), 0);
	t.c_lflag &= ~(tcflag_t)ECHO;
	assert_int_equal(tcsetattr(p->slave, TCSANOW, &t), 0);
	assert_int_equal(pty_get_termios(p->slave, &before), 0);
	put(p->master, "one\ntwo\nthr");
	put(p->slave, "out\n");
	settle(p->slave);
	settle(p->master);

	assert_int_equal(pty_queue_copy(p->master, &a, &f, &q), 0);
	assert_int_equal(q.n_input, 11);
	assert_memory_equal(q.input, "one\ntwo\nthr", 11);
	assert_int_equal(q.n_output, 5);
	assert_memory_equal(q.output, "out\r\n", 5);

	assert_reads(p->master, "out\r\n");
	assert_true(nothing_waits(p->master)); /* no echo */
	assert_reads(p->slave, "one\ntwo\n");
	assert_true(nothing_waits(p->slave)); /* the last line is not complete */
	put(p->master, "ee\n");
	assert_reads(p->slave, "three\n");
	assert_int_equal(pty_get_termios(p->slave, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void special_characters_and_bytes_arrive_as_they_are(void **state)
{
	static const char raw[] = "\x03\x04\r\x7f\x13 end\n";
	struct pair *p = *state;
	struct failure f = {};
	struct pty_queue q = { .input = (uint8_t *)raw,
			       .n_input = sizeof(raw) - 1,
			       .output = (uint8_t *)raw,
			       .n_output = sizeof(raw) - 1 };

	assert_int_equal(pty_queue_put(p->master, &q, &f), 0);
	assert_reads(p->slave, raw);
	assert_reads(p->master, raw);
	assert_true(nothing_waits(p->master));
}

static void long_queues_are_whole(void **state)
{
	struct pair *p = *state;
	_cleanup_(arena_done) struct arena a = {};
	struct failure f = {};
	struct termios t;
	struct pty_queue q;
	char block[1000];

	assert_int_equal(tcgetattr(p->slave, &t), 0);
	cfmakeraw(&t);
	assert_int_equal(tcsetattr(p->slave, TCSANOW, &t), 0);
	for (int i = 0; i < 9; i++) {
		memset(block, 'a' + i, sizeof(block));
		assert_int_equal(write(p->slave, block, sizeof(block)), sizeof(block));
		if (i < 3)
			assert_int_equal(write(p->master, block, sizeof(block)), sizeof(block));
	}
	settle(p->master);
	for (int round = 0; round < 2; round++) { /* what was put back is there the second time */
		assert_int_equal(pty_queue_copy(p->master, &a, &f, &q), 0);
		assert_int_equal(q.n_output, 9000);
		assert_int_equal(q.n_input, 3000);
		for (int i = 0; i < 9; i++)
			assert_int_equal(q.output[i * 1000 + 500], 'a' + i);
	}
}

static void bytes_that_a_reader_waits_for_more_of_are_found(void **state)
{
	struct pair *p = *state;
	_cleanup_(arena_done) struct arena a = {};
	struct failure f = {};
	struct pty_termios now;
	struct termios t;
	struct pty_queue q;

	assert_int_equal(tcgetattr(p->slave, &t), 0);
	cfmakeraw(&t);
	t.c_cc[VMIN] = 10;
	assert_int_equal(tcsetattr(p->slave, TCSANOW, &t), 0);
	assert_false(pty_queue_waits(p->slave));
	put(p->master, "half");
	for (int i = 0; i < 100 && !pty_queue_waits(p->slave); i++)
		(void)usleep(10000);
	assert_true(pty_queue_waits(p->slave));
	assert_int_equal(pty_queue_copy(p->master, &a, &f, &q), 0);
	assert_int_equal(q.n_input, 4);
	assert_int_equal(pty_get_termios(p->slave, &now), 0);
	assert_int_equal(now.c_cc[VMIN], 10);
	put(p->master, "and half");
	assert_reads(p->slave, "halfand half");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_idle_terminal_has_nothing, open_pair,
						close_pair),
		cmocka_unit_test_setup_teardown(what_waits_is_copied_and_still_waits, open_pair,
						close_pair),
		cmocka_unit_test_setup_teardown(special_characters_and_bytes_arrive_as_they_are,
						open_pair, close_pair),
		cmocka_unit_test_setup_teardown(long_queues_are_whole, open_pair, close_pair),
		cmocka_unit_test_setup_teardown(bytes_that_a_reader_waits_for_more_of_are_found,
						open_pair, close_pair),
	};

	if (access("/dev/ptmx", R_OK | W_OK) < 0) {
		(void)puts("no /dev/ptmx here");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
