/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Probes of sockets and network devices. What changes a network, and what may load rules of a firewall, does so in a
 * child with a network namespace of its own.
 */
#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/inet_diag.h>
#include <linux/net_namespace.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/check.h"

/* Newer than some headers. */
#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif
#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE 0x89E0
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif
#define LINK_NEW_IFINDEX 49 /* IFLA_NEW_IFINDEX, Linux 5.13 */

/* A request with room for attributes, and the kernel's answer. */
struct netlink_message {
	union {
		struct nlmsghdr head;
		char space[4096];
	};
};

static void *message_start(struct netlink_message *m, int type, int flags, const void *body,
			   size_t size)
{
	memset(m, 0, sizeof(*m));
	m->head.nlmsg_type = type;
	m->head.nlmsg_flags = NLM_F_REQUEST | flags;
	m->head.nlmsg_len = NLMSG_LENGTH(size);
	return memcpy(NLMSG_DATA(&m->head), body, size);
}

static void message_add_u32(struct netlink_message *m, int type, uint32_t value)
{
	struct rtattr *a = (struct rtattr *)(m->space + NLMSG_ALIGN(m->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(sizeof(value));
	memcpy(RTA_DATA(a), &value, sizeof(value));
	m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + a->rta_len;
}

/* Sends @m and takes one message of the answer into it. Return: bytes, or -errno (also of the answer). */
static ssize_t talk(int protocol, struct netlink_message *m)
{
	_cleanup_close_ int fd = SYS_CALL(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
	struct timeval limit = { .tv_sec = 2 };
	ssize_t n;

	if (fd < 0)
		return fd;
	(void)SYS_CALL(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	n = SYS_CALL(send(fd, m, m->head.nlmsg_len, 0));
	if (n < 0)
		return n;
	n = SYS_CALL(recv(fd, m, sizeof(*m), 0));
	if (n < 0)
		return n;
	if (n < (ssize_t)sizeof(m->head) || m->head.nlmsg_len > (size_t)n)
		return -EBADMSG;
	if (m->head.nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = NLMSG_DATA(&m->head);

		return m->head.nlmsg_len < NLMSG_LENGTH(sizeof(*e)) ? -EBADMSG : e->error;
	}
	return n;
}

static bool answer_has(struct netlink_message *m, size_t body, int type)
{
	struct rtattr *a = (struct rtattr *)(m->space + NLMSG_SPACE(body));
	int left = (int)m->head.nlmsg_len - (int)NLMSG_SPACE(body);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == type)
			return true;
	return false;
}

bool probe_tun(void)
{
	_cleanup_close_ int fd = sys_open("/dev/net/tun", O_RDWR, 0);
	unsigned features = 0;

	return fd >= 0 && SYS_CALL(ioctl(fd, TUNGETFEATURES, &features)) == 0 && features & IFF_TUN;
}

bool probe_tun_ns(void)
{
	_cleanup_close_ int fd = sys_open("/dev/net/tun", O_RDWR, 0), ns = -EBADF;

	if (fd < 0)
		return false;
	ns = SYS_CALL(ioctl(fd, SIOCGSKNS));
	return ns >= 0;
}

bool probe_socket_ns(void)
{
	_cleanup_close_ int fd = SYS_CALL(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	_cleanup_close_ int ns = -EBADF;

	if (fd < 0)
		return false;
	ns = SYS_CALL(ioctl(fd, SIOCGSKNS));
	return ns >= 0;
}

/* A socket that is bound to nothing has no file; an unknown request is another error. */
bool probe_unix_file(void)
{
	_cleanup_close_ int fd = SYS_CALL(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	return fd >= 0 && SYS_CALL(ioctl(fd, SIOCUNIXFILE)) == -ENOENT;
}

/* Raw sockets are saved through their descriptors: nothing is asked of sock_diag, which may not list them. */
bool probe_raw_diag(void)
{
	_cleanup_close_ int fd = SYS_CALL(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));

	return fd >= 0;
}

bool probe_unix_diag(void)
{
	struct unix_diag_req req = { .sdiag_family = AF_UNIX, .udiag_states = ~0u };
	struct netlink_message m;
	int pair[2];
	ssize_t n;

	if (sys_socketpair(SOCK_STREAM, pair) < 0)
		return false;
	(void)message_start(&m, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &req, sizeof(req));
	n = talk(NETLINK_SOCK_DIAG, &m);
	close_fd(pair[0]);
	close_fd(pair[1]);
	return n > 0 && m.head.nlmsg_type == SOCK_DIAG_BY_FAMILY;
}

/* Gives our own, new namespace the number 7 among those it knows. */
static bool number_own_ns(void)
{
	struct rtgenmsg body = { .rtgen_family = AF_UNSPEC };
	struct netlink_message m;

	if (SYS_CALL(unshare(CLONE_NEWNET)) < 0)
		return false;
	(void)message_start(&m, RTM_NEWNSID, NLM_F_ACK, &body, sizeof(body));
	message_add_u32(&m, NETNSA_PID, getpid());
	message_add_u32(&m, NETNSA_NSID, 7);
	return talk(NETLINK_ROUTE, &m) == 0;
}

static bool answers_nsid(void)
{
	struct rtgenmsg body = { .rtgen_family = AF_UNSPEC };
	struct netlink_message m;

	if (!number_own_ns())
		return false;
	(void)message_start(&m, RTM_GETNSID, 0, &body, sizeof(body));
	message_add_u32(&m, NETNSA_PID, getpid());
	return talk(NETLINK_ROUTE, &m) > 0 && m.head.nlmsg_type == RTM_NEWNSID &&
	       answer_has(&m, sizeof(body), NETNSA_NSID);
}

bool probe_nsid(void)
{
	return probe_in_child(answers_nsid);
}

/* A link can be asked for in a namespace that is named by number. */
static bool answers_link_nsid(void)
{
	struct ifinfomsg body = { .ifi_family = AF_UNSPEC, .ifi_index = 1 };
	struct netlink_message m;

	if (!number_own_ns())
		return false;
	(void)message_start(&m, RTM_GETLINK, 0, &body, sizeof(body));
	message_add_u32(&m, IFLA_TARGET_NETNSID, 7);
	return talk(NETLINK_ROUTE, &m) > 0 && answer_has(&m, sizeof(body), IFLA_TARGET_NETNSID);
}

bool probe_link_nsid(void)
{
	return probe_in_child(answers_link_nsid);
}

/* A kernel that knows the attribute refuses a number below 1; others do not look at it. */
static bool knows_new_ifindex(void)
{
	struct ifinfomsg body = { .ifi_family = AF_UNSPEC, .ifi_index = 1 };
	struct netlink_message m;

	if (SYS_CALL(unshare(CLONE_NEWNET)) < 0)
		return false;
	(void)message_start(&m, RTM_NEWLINK, NLM_F_ACK, &body, sizeof(body));
	message_add_u32(&m, LINK_NEW_IFINDEX, (uint32_t)-1);
	return talk(NETLINK_ROUTE, &m) == -ERANGE;
}

bool probe_new_ifindex(void)
{
	return probe_in_child(knows_new_ifindex);
}

/* Into another namespace and back. */
static bool enters_net_ns(void)
{
	_cleanup_close_ int home = sys_open("/proc/self/ns/net", O_RDONLY, 0);

	return home >= 0 && SYS_CALL(unshare(CLONE_NEWNET)) == 0 &&
	       SYS_CALL(setns(home, CLONE_NEWNET)) == 0;
}

bool probe_external_net_ns(void)
{
	return probe_in_child(enters_net_ns);
}

/* A connection that is closed on one side can be taken into repair mode. */
bool probe_half_closed_repair(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	_cleanup_close_ int listener = SYS_CALL(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	_cleanup_close_ int client = SYS_CALL(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	socklen_t size = sizeof(address);
	int on = 1;

	return listener >= 0 && client >= 0 &&
	       SYS_CALL(bind(listener, (struct sockaddr *)&address, size)) == 0 &&
	       SYS_CALL(listen(listener, 1)) == 0 &&
	       SYS_CALL(getsockname(listener, (struct sockaddr *)&address, &size)) == 0 &&
	       SYS_CALL(connect(client, (struct sockaddr *)&address, size)) == 0 &&
	       SYS_CALL(shutdown(client, SHUT_WR)) == 0 &&
	       SYS_CALL(setsockopt(client, SOL_TCP, TCP_REPAIR, &on, sizeof(on))) == 0;
}

bool probe_buf_lock(void)
{
	_cleanup_close_ int fd = SYS_CALL(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	socklen_t size = sizeof(int);
	int value;

	return fd >= 0 && SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &value, &size)) == 0;
}

bool probe_ipv6_freebind(void)
{
	_cleanup_close_ int fd = SYS_CALL(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int on = 1;

	return fd >= 0 && SYS_CALL(setsockopt(fd, SOL_IPV6, IPV6_FREEBIND, &on, sizeof(on))) == 0;
}

static bool asks_nftables(void)
{
	struct nfgenmsg body = { .nfgen_family = AF_UNSPEC };
	struct netlink_message m;
	int type = NFNL_SUBSYS_NFTABLES << 8;

	if (SYS_CALL(unshare(CLONE_NEWNET)) < 0)
		return false;
	(void)message_start(&m, type | NFT_MSG_GETGEN, 0, &body, sizeof(body));
	return talk(NETLINK_NETFILTER, &m) > 0 && m.head.nlmsg_type == (type | NFT_MSG_NEWGEN);
}

bool probe_nftables(void)
{
	return probe_in_child(asks_nftables);
}

static bool has_filter_table(void)
{
	struct ipt_getinfo info = { .name = "filter" };
	socklen_t size = sizeof(info);
	_cleanup_close_ int fd = -EBADF;

	if (SYS_CALL(unshare(CLONE_NEWNET)) < 0)
		return false;
	fd = SYS_CALL(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
	return fd >= 0 && SYS_CALL(getsockopt(fd, SOL_IP, IPT_SO_GET_INFO, &info, &size)) == 0;
}

bool probe_iptables_legacy(void)
{
	return probe_in_child(has_filter_table);
}
