/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * client - keeps writing to a redis server, and tells how long the answers take
 *
 *	client PORT RATE SECONDS KEYS BYTES
 *
 * Sends RATE requests a second over one connection to 127.0.0.1, each setting one of the keys "key:0" to "key:KEYS-1"
 * (as DEBUG POPULATE names them) to BYTES bytes. A request is sent when it is due, whether or not earlier ones were
 * answered, and its latency counts from when it was due: a server that stands still for a second makes RATE requests
 * late, not one. Prints answers, then p50, p99, p99.9 and the longest latency in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BYTES_MAX = 64 * 1024,
	RATE_MAX = 1000 * 1000,
	SECONDS_MAX = 3600,
	ANSWER_BYTES = 5,	/* "+OK\r\n" */
	LAST_ANSWERS_SEC = 30,	/* how long to wait for them */
};

#define NSEC_PER_SEC UINT64_C(1000000000)

struct client {
	int fd;
	uint64_t start, period_nsec;
	uint64_t n_due, n_sent, n_answered; /* requests */
	uint64_t *latency_nsec;
	char request[BYTES_MAX + 128];
	size_t request_size, request_sent;
	size_t partial; /* bytes of the next answer that are here */
	uint64_t random;
	unsigned long keys;
	size_t bytes;
};

static uint64_t now_nsec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static int connect_to(int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -1 : fd;
}

static void request_make(struct client *c)
{
	char key[32];
	int n;

	c->random = c->random * 6364136223846793005 + 1442695040888963407;
	(void)snprintf(key, sizeof(key), "key:%lu", (unsigned long)(c->random >> 20) % c->keys);
	n = snprintf(c->request, sizeof(c->request), "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(key), key, c->bytes);
	memset(c->request + n, 'a' + c->random % 26, c->bytes);
	memcpy(c->request + n + c->bytes, "\r\n", 2);
	c->request_size = n + c->bytes + 2;
	c->request_sent = 0;
}

/* Return: whether the connection is as it should be. */
static bool send_due(struct client *c)
{
	while (c->n_sent < c->n_due) {
		ssize_t n;

		if (c->request_size == 0)
			request_make(c);
		n = send(c->fd, c->request + c->request_sent, c->request_size - c->request_sent, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		c->request_sent += n;
		if (c->request_sent == c->request_size) {
			c->request_size = 0;
			c->n_sent++;
		}
	}
	return true;
}

static bool receive(struct client *c)
{
	static const char answer[] = "+OK\r\n";
	char data[4096];
	ssize_t n;

	while ((n = recv(c->fd, data, sizeof(data), 0)) > 0) {
		uint64_t now = now_nsec();

		for (ssize_t i = 0; i < n; i++) {
			if (data[i] != answer[c->partial])
				return false;
			if (++c->partial < ANSWER_BYTES)
				continue;
			if (c->n_answered == c->n_sent)
				return false;
			c->latency_nsec[c->n_answered] = now - (c->start + c->n_answered * c->period_nsec);
			c->n_answered++;
			c->partial = 0;
		}
	}
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static bool run(struct client *c, uint64_t total)
{
	uint64_t limit;

	c->start = now_nsec();
	limit = c->start + total * c->period_nsec + LAST_ANSWERS_SEC * NSEC_PER_SEC;
	while (c->n_answered < total) {
		uint64_t now = now_nsec(), next;
		struct pollfd p = { .fd = c->fd, .events = POLLIN };
		struct timespec wait = {};

		if (now > limit)
			return false;
		c->n_due = (now - c->start) / c->period_nsec + 1;
		c->n_due = c->n_due < total ? c->n_due : total;
		if (!send_due(c) || !receive(c))
			return false;
		if (c->n_sent < c->n_due)
			p.events |= POLLOUT;
		next = c->n_due < total ? c->start + c->n_due * c->period_nsec : now + NSEC_PER_SEC;
		now = now_nsec();
		wait.tv_sec = next > now ? (next - now) / NSEC_PER_SEC : 0;
		wait.tv_nsec = next > now ? (next - now) % NSEC_PER_SEC : 0;
		(void)ppoll(&p, 1, &wait, NULL);
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char *argv[])
{
	static struct client c = { .random = 1 };
	long rate, seconds;
	uint64_t total;

	if (argc != 6) {
		fprintf(stderr, "usage: client PORT RATE SECONDS KEYS BYTES\n");
		return 2;
	}
	rate = strtol(argv[2], NULL, 10);
	seconds = strtol(argv[3], NULL, 10);
	c.keys = strtoul(argv[4], NULL, 10);
	c.bytes = strtoul(argv[5], NULL, 10);
	if (rate < 1 || rate > RATE_MAX || seconds < 1 || seconds > SECONDS_MAX || c.keys < 1 || c.bytes < 1 ||
	    c.bytes > BYTES_MAX)
		return 2;
	total = rate * seconds;
	c.period_nsec = NSEC_PER_SEC / rate;
	c.latency_nsec = calloc(total, sizeof(*c.latency_nsec));
	c.fd = connect_to(strtol(argv[1], NULL, 10));
	if (!c.latency_nsec || c.fd < 0 || !run(&c, total)) {
		fprintf(stderr, "client: %" PRIu64 " of %" PRIu64 " requests answered\n", c.n_answered, total);
		return 1;
	}
	qsort(c.latency_nsec, total, sizeof(*c.latency_nsec), compare);
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", total,
	       c.latency_nsec[total / 2] / 1000, c.latency_nsec[total - 1 - total / 100] / 1000,
	       c.latency_nsec[total - 1 - total / 1000] / 1000, c.latency_nsec[total - 1] / 1000);
	return 0;
}
