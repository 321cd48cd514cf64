/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/tcp-segment.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/control/netlock.h"

enum { HOPS = 64 };

/* What a checksum of TCP covers in front of the header. */
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

struct packet_v4 {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct packet_v6 {
	struct ip6_hdr ip;
	struct tcphdr tcp;
};

static uint32_t sum_add(uint32_t sum, const void *data, size_t size)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < size; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static struct tcphdr header(const struct tcp_segment *s, in_port_t from, in_port_t to)
{
	return (struct tcphdr){
		.source = from,
		.dest = to,
		.seq = htonl(s->seq),
		.ack_seq = htonl(s->ack),
		.doff = sizeof(struct tcphdr) / 4,
		.fin = s->fin,
		.rst = s->reset,
		.ack = 1,
		.window = htons(s->window),
	};
}

static int packet_send(int family, const void *packet, size_t size, const struct sockaddr *to,
		       socklen_t to_size)
{
	_cleanup_close_ int fd = -EBADF;
	int mark = NETLOCK_MARK;
	ssize_t n;

	fd = (int)SYS_CALL(socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
	if (fd < 0)
		return fd;
	n = SYS_CALL(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)));
	if (n == 0)
		n = SYS_CALL(sendto(fd, packet, size, 0, to, to_size));
	return n < 0 ? (int)n : 0;
}

static int send_v4(const struct sockaddr_in *from, const struct sockaddr_in *to,
		   const struct tcp_segment *segment)
{
	struct packet_v4 packet = {
		.ip = {
			.version = 4,
			.ihl = sizeof(struct iphdr) / 4,
			.ttl = HOPS,
			.protocol = IPPROTO_TCP,
			.saddr = from->sin_addr.s_addr,
			.daddr = to->sin_addr.s_addr,
		},
		.tcp = header(segment, from->sin_port, to->sin_port),
	};
	struct pseudo_v4 pseudo = {
		.from = from->sin_addr,
		.to = to->sin_addr,
		.protocol = IPPROTO_TCP,
		.size = htons(sizeof(packet.tcp)),
	};
	uint32_t sum = sum_add(0, &pseudo, sizeof(pseudo));

	packet.tcp.check = sum_fold(sum_add(sum, &packet.tcp, sizeof(packet.tcp)));
	return packet_send(AF_INET, &packet, sizeof(packet), (const struct sockaddr *)to,
			   sizeof(*to));
}

static int send_v6(const struct sockaddr_in6 *from, const struct sockaddr_in6 *to,
		   const struct tcp_segment *segment)
{
	struct sockaddr_in6 raw = *to;
	struct packet_v6 packet = {
		.ip = {
			.ip6_flow = htonl(6U << 28),
			.ip6_plen = htons(sizeof(packet.tcp)),
			.ip6_nxt = IPPROTO_TCP,
			.ip6_hlim = HOPS,
			.ip6_src = from->sin6_addr,
			.ip6_dst = to->sin6_addr,
		},
		.tcp = header(segment, from->sin6_port, to->sin6_port),
	};
	struct pseudo_v6 pseudo = {
		.from = from->sin6_addr,
		.to = to->sin6_addr,
		.size = htonl(sizeof(packet.tcp)),
		.protocol = IPPROTO_TCP,
	};
	uint32_t sum = sum_add(0, &pseudo, sizeof(pseudo));

	packet.tcp.check = sum_fold(sum_add(sum, &packet.tcp, sizeof(packet.tcp)));
	/* To a raw socket a port is a protocol. */
	raw.sin6_port = 0;
	return packet_send(AF_INET6, &packet, sizeof(packet), (const struct sockaddr *)&raw,
			   sizeof(raw));
}

static struct sockaddr_in unmapped(const struct sockaddr_in6 *a)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = a->sin6_port };

	memcpy(&v4.sin_addr, &a->sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
	return v4;
}

int tcp_segment_send(const struct sockaddr_storage *from, const struct sockaddr_storage *to,
		     const struct tcp_segment *segment)
{
	const struct sockaddr_in6 *from6 = (const struct sockaddr_in6 *)from;
	const struct sockaddr_in6 *to6 = (const struct sockaddr_in6 *)to;

	if (from->ss_family == AF_INET)
		return send_v4((const struct sockaddr_in *)from, (const struct sockaddr_in *)to,
			       segment);
	if (IN6_IS_ADDR_V4MAPPED(&to6->sin6_addr)) {
		struct sockaddr_in a = unmapped(from6), b = unmapped(to6);

		return send_v4(&a, &b, segment);
	}
	return send_v6(from6, to6, segment);
}
