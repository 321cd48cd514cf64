/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/tcp-segment.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "engine/control/raw-packet.h"

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

static int send_v4(const struct sockaddr_in *from, const struct sockaddr_in *to,
		   const struct tcp_segment *segment)
{
	struct tcphdr tcp = header(segment, from->sin_port, to->sin_port);
	uint32_t sum = raw_sum_v4(from->sin_addr, to->sin_addr, IPPROTO_TCP, sizeof(tcp));

	tcp.check = raw_sum_fold(raw_sum_add(sum, &tcp, sizeof(tcp)));
	return raw_packet_send_v4(from->sin_addr, to->sin_addr, IPPROTO_TCP, &tcp, sizeof(tcp));
}

static int send_v6(const struct sockaddr_in6 *from, const struct sockaddr_in6 *to,
		   const struct tcp_segment *segment)
{
	struct tcphdr tcp = header(segment, from->sin6_port, to->sin6_port);
	uint32_t sum = raw_sum_v6(&from->sin6_addr, &to->sin6_addr, IPPROTO_TCP, sizeof(tcp));

	tcp.check = raw_sum_fold(raw_sum_add(sum, &tcp, sizeof(tcp)));
	return raw_packet_send_v6(&from->sin6_addr, &to->sin6_addr, IPPROTO_TCP, &tcp, sizeof(tcp));
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
