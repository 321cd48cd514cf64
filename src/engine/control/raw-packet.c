/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/raw-packet.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sys/uio.h>

#include "basic/sys.h"
#include "engine/control/netlock.h"

enum { HOPS = 64 };

struct pseudo_v4 {
	struct in_addr from, to;
	uint8_t zero, protocol;
	uint16_t size;
};

struct pseudo_v6 {
	struct in6_addr from, to;
	uint32_t size;
	uint8_t zero[3], protocol;
};

uint32_t raw_sum_add(uint32_t sum, const void *data, size_t size)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (size % 2)
		sum += (uint32_t)p[size - 1] << 8;
	return (sum & 0xffff) + (sum >> 16);
}

uint16_t raw_sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

uint32_t raw_sum_v4(struct in_addr from, struct in_addr to, uint8_t protocol, size_t size)
{
	const struct pseudo_v4 pseudo = { .from = from, .to = to, .protocol = protocol, .size = htons((uint16_t)size) };

	return raw_sum_add(0, &pseudo, sizeof(pseudo));
}

uint32_t raw_sum_v6(const struct in6_addr *from, const struct in6_addr *to, uint8_t protocol, size_t size)
{
	const struct pseudo_v6 pseudo = { .from = *from, .to = *to, .protocol = protocol, .size = htonl((uint32_t)size) };

	return raw_sum_add(0, &pseudo, sizeof(pseudo));
}

static int packet_send(int family, const struct iovec pieces[2], struct sockaddr *to, socklen_t to_size)
{
	struct msghdr msg = { .msg_name = to, .msg_namelen = to_size, .msg_iov = (struct iovec *)pieces, .msg_iovlen = 2 };
	_cleanup_close_ int fd = (int)SYS_CALL(socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
	int mark = NETLOCK_MARK;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = SYS_CALL(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)));
	if (n == 0)
		n = SYS_CALL(sendmsg(fd, &msg, 0));
	return n < 0 ? (int)n : 0;
}

int raw_packet_send_v4(struct in_addr from, struct in_addr to, uint8_t protocol, const void *data, size_t size)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = to };
	struct iphdr ip = {
		.version = 4,
		.ihl = sizeof(struct iphdr) / 4,
		.ttl = HOPS,
		.protocol = protocol,
		.saddr = from.s_addr,
		.daddr = to.s_addr,
	};
	const struct iovec pieces[2] = { { &ip, sizeof(ip) }, { (void *)(uintptr_t)data, size } };

	return packet_send(AF_INET, pieces, (struct sockaddr *)&address, sizeof(address));
}

int raw_packet_send_v6(const struct in6_addr *from, const struct in6_addr *to, uint8_t protocol, const void *data, size_t size)
{
	/* To a raw socket a port is a protocol: none. */
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = *to };
	struct ip6_hdr ip = {
		.ip6_flow = htonl(6U << 28),
		.ip6_plen = htons((uint16_t)size),
		.ip6_nxt = protocol,
		.ip6_hlim = HOPS,
		.ip6_src = *from,
		.ip6_dst = *to,
	};
	const struct iovec pieces[2] = { { &ip, sizeof(ip) }, { (void *)(uintptr_t)data, size } };

	return packet_send(AF_INET6, pieces, (struct sockaddr *)&address, sizeof(address));
}
