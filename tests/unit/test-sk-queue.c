/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Before cmocka, which has a macro of the name of our fail(). */
#include "engine/kinds/sk-queue.h"

#include <cmocka.h>

enum { MAX_SEEN = 16, LARGE_BYTES = 150000 };

/* What a peek has shown. */
struct seen {
	size_t n;
	struct {
		size_t size, n_fds;
		char text[16];
		ino_t ino; /* of the first descriptor */
	} items[MAX_SEEN];
};

static int note_packet(void *userdata, const void *data, size_t size, const int *fds, size_t n_fds,
		       const struct ucred *sender)
{
	struct seen *seen = userdata;
	struct stat st;

	(void)sender;
	assert_true(seen->n < MAX_SEEN);
	seen->items[seen->n].size = size;
	seen->items[seen->n].n_fds = n_fds;
	memcpy(seen->items[seen->n].text, data, size < 15 ? size : 15);
	if (n_fds > 0) {
		assert_int_equal(fstat(fds[0], &st), 0);
		seen->items[seen->n].ino = st.st_ino;
	}
	seen->n++;
	return 0;
}

static void peek(int fd, int type, struct seen *ret)
{
	struct failure failure = { 0 };
	int r;

	*ret = (struct seen){ 0 };
	r = sk_queue_peek(&failure, fd, type, note_packet, ret);
	if (r < 0)
		fail_msg("%s", failure.text);
}

static void pair(int type, int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, type, 0, fds), 0);
}

static void send_with_fd(int sock, const char *text, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	assert_int_equal(sendmsg(sock, &msg, 0), strlen(text));
}

static void a_stream_is_shown_whole_and_stays(void **state)
{
	struct seen seen;
	char text[16] = "";
	int fds[2];

	(void)state;
	pair(SOCK_STREAM, fds);
	assert_int_equal(write(fds[0], "one ", 4), 4);
	assert_int_equal(write(fds[0], "two", 3), 3);
	for (int i = 0; i < 2; i++) {
		peek(fds[1], SOCK_STREAM, &seen);
		assert_int_equal(seen.n, 1);
		assert_string_equal(seen.items[0].text, "one two");
	}
	assert_int_equal(read(fds[1], text, sizeof(text)), 7);
	assert_string_equal(text, "one two");
	peek(fds[1], SOCK_STREAM, &seen);
	assert_int_equal(seen.n, 0);
	close(fds[0]);
	close(fds[1]);
}

static void descriptors_in_a_stream_stay_with_the_bytes_they_were_sent_with(void **state)
{
	struct seen seen;
	struct stat st;
	int fds[2], passed;

	(void)state;
	pair(SOCK_STREAM, fds);
	passed = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(passed >= 0);
	assert_int_equal(fstat(passed, &st), 0);
	assert_int_equal(write(fds[0], "abc", 3), 3);
	send_with_fd(fds[0], "defg", passed);
	assert_int_equal(write(fds[0], "hi", 2), 2);
	send_with_fd(fds[0], "j", passed);
	/* Whether bytes before them count as sent with them is up to the kernel; those behind never do. */
	for (int i = 0; i < 2; i++) {
		char text[32] = "", ends[32] = "";

		peek(fds[1], SOCK_STREAM, &seen);
		for (size_t k = 0; k < seen.n; k++) {
			strcat(text, seen.items[k].text);
			if (seen.items[k].n_fds == 0)
				continue;
			assert_int_equal(seen.items[k].n_fds, 1);
			assert_true(seen.items[k].ino == st.st_ino);
			strncat(ends, text + strlen(text) - 1, 1);
		}
		assert_string_equal(text, "abcdefghij");
		assert_string_equal(ends, "gj");
	}
	close(passed);
	close(fds[0]);
	close(fds[1]);
}

static void packets_keep_their_bounds_empty_and_large_ones_too(void **state)
{
	char *large = calloc(1, LARGE_BYTES);
	int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };

	(void)state;
	assert_non_null(large);
	for (size_t t = 0; t < 2; t++) {
		struct seen seen;
		int fds[2];

		pair(types[t], fds);
		assert_int_equal(send(fds[0], "first", 5, 0), 5);
		assert_int_equal(send(fds[0], "", 0, 0), 0);
		assert_int_equal(send(fds[0], large, LARGE_BYTES, 0), LARGE_BYTES);
		assert_int_equal(send(fds[0], "last", 4, 0), 4);
		peek(fds[1], types[t], &seen);
		assert_int_equal(seen.n, 4);
		assert_string_equal(seen.items[0].text, "first");
		assert_int_equal(seen.items[1].size, 0);
		assert_int_equal(seen.items[2].size, LARGE_BYTES);
		assert_string_equal(seen.items[3].text, "last");
		close(fds[0]);
		close(fds[1]);
	}
	free(large);
}

static void the_end_of_a_connection_is_no_packet(void **state)
{
	struct seen seen;
	int fds[2];

	(void)state;
	pair(SOCK_SEQPACKET, fds);
	assert_int_equal(send(fds[0], "x", 1, 0), 1);
	close(fds[0]);
	peek(fds[1], SOCK_SEQPACKET, &seen);
	assert_int_equal(seen.n, 1);
	close(fds[1]);
}

static void a_target_that_peeks_finds_its_place_again(void **state)
{
	int types[] = { SOCK_STREAM, SOCK_DGRAM }, before[] = { -1, 2 };

	(void)state;
	for (size_t t = 0; t < 2; t++) {
		for (size_t b = 0; b < 2; b++) {
			struct seen seen;
			int fds[2], now;
			socklen_t size = sizeof(now);

			pair(types[t], fds);
			assert_int_equal(send(fds[0], "hello", 5, 0), 5);
			assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_PEEK_OFF, &before[b],
						    sizeof(int)),
					 0);
			peek(fds[1], types[t], &seen);
			assert_int_equal(seen.n, 1);
			assert_string_equal(seen.items[0].text, "hello");
			assert_int_equal(getsockopt(fds[1], SOL_SOCKET, SO_PEEK_OFF, &now, &size),
					 0);
			assert_int_equal(now, before[b]);
			close(fds[0]);
			close(fds[1]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_is_shown_whole_and_stays),
		cmocka_unit_test(descriptors_in_a_stream_stay_with_the_bytes_they_were_sent_with),
		cmocka_unit_test(packets_keep_their_bounds_empty_and_large_ones_too),
		cmocka_unit_test(the_end_of_a_connection_is_no_packet),
		cmocka_unit_test(a_target_that_peeks_finds_its_place_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
