/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/control/tcp-segment.h"

/* A connection over loopback of which we hold both ends. */
struct connection {
	int ends[2];
	struct sockaddr_storage local, remote; /* of ends[0] */
	uint32_t seq, ack;		       /* what the peer would send next */
};

static void loopback(int family, struct sockaddr_storage *ret, socklen_t *ret_size)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };

	memset(ret, 0, sizeof(*ret));
	if (family == AF_INET)
		memcpy(ret, &v4, sizeof(v4));
	else
		memcpy(ret, &v6, sizeof(v6));
	*ret_size = family == AF_INET ? sizeof(v4) : sizeof(v6);
}

static uint32_t queue_seq(int fd, int queue)
{
	int seq = 0;
	socklen_t size = sizeof(seq);

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)), 0);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &size), 0);
	return (uint32_t)seq;
}

/* Return: false when this machine or user cannot. */
static bool connection_make(int family, struct connection *c)
{
	struct sockaddr_storage a;
	int on = TCP_REPAIR_ON, off = TCP_REPAIR_OFF_NO_WP, listener;
	socklen_t size;

	loopback(family, &a, &size);
	listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, size) < 0)
		return false;
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &size), 0);
	c->ends[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(c->ends[0], (struct sockaddr *)&a, size), 0);
	c->ends[1] = accept(listener, NULL, NULL);
	assert_true(c->ends[1] >= 0);
	close(listener);
	c->remote = a;
	assert_int_equal(getsockname(c->ends[0], (struct sockaddr *)&c->local, &size), 0);
	if (setsockopt(c->ends[0], IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) < 0)
		return false;
	c->seq = queue_seq(c->ends[0], TCP_RECV_QUEUE);
	c->ack = queue_seq(c->ends[0], TCP_SEND_QUEUE);
	assert_int_equal(setsockopt(c->ends[0], IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)), 0);
	return true;
}

static void speak(int family, bool reset, int *ret_result, int *ret_errno)
{
	struct connection c;
	struct tcp_segment segment = { .window = 1000, .fin = !reset, .reset = reset };
	char byte;
	int r;

	if (!connection_make(family, &c))
		skip();
	segment.seq = c.seq;
	segment.ack = c.ack;
	assert_int_equal(recv(c.ends[0], &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	r = tcp_segment_send(&c.remote, &c.local, &segment);
	if (r == -EPERM)
		skip();
	assert_int_equal(r, 0);
	*ret_result = (int)recv(c.ends[0], &byte, 1, MSG_DONTWAIT);
	*ret_errno = errno;
	close(c.ends[0]);
	close(c.ends[1]);
}

static void a_fin_in_the_name_of_the_peer_ends_the_stream(void **state)
{
	int families[] = { AF_INET, AF_INET6 }, result, error;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		speak(families[i], /* reset= */ false, &result, &error);
		assert_int_equal(result, 0);
	}
}

static void a_reset_in_the_name_of_the_peer_breaks_the_connection(void **state)
{
	int families[] = { AF_INET, AF_INET6 }, result, error;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		speak(families[i], /* reset= */ true, &result, &error);
		assert_int_equal(result, -1);
		assert_int_equal(error, ECONNRESET);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fin_in_the_name_of_the_peer_ends_the_stream),
		cmocka_unit_test(a_reset_in_the_name_of_the_peer_breaks_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
