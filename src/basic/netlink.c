/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/netlink.h"

#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include "basic/sys.h"

struct query {
	netlink_row_fn *row;
	void *userdata;
	int result;
};

DEFINE_CLEANUP(struct nl_sock *, nl_socket_free)

static int query_valid(struct nl_msg *msg, void *arg)
{
	struct query *q = arg;
	struct nlmsghdr *h = nlmsg_hdr(msg);

	q->result = q->row(q->userdata, nlmsg_data(h), (size_t)nlmsg_datalen(h));
	return q->result < 0 ? NL_STOP : NL_OK;
}

/* The library's own error numbers are coarse; the kernel's errno is in the message. */
static int query_refused(struct sockaddr_nl *from, struct nlmsgerr *err, void *arg)
{
	struct query *q = arg;

	(void)from;
	q->result = err->error < 0 ? err->error : -EPROTO;
	return NL_STOP;
}

int netlink_query(int protocol, int type, int flags, const void *request, size_t size,
		  netlink_row_fn *row, void *userdata)
{
	struct query q = { .row = row, .userdata = userdata };
	_cleanup_(nl_socket_freep) struct nl_sock *sk = NULL;
	int r;

	r = sys_fault();
	if (r < 0)
		return r;
	sk = nl_socket_alloc();
	if (!sk)
		return -ENOMEM;
	nl_socket_disable_auto_ack(sk);
	if (nl_connect(sk, protocol) < 0)
		return -EPROTONOSUPPORT;
	if (nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, query_valid, &q) < 0 ||
	    nl_socket_modify_err_cb(sk, NL_CB_CUSTOM, query_refused, &q) < 0)
		return -ENOMEM;
	if (nl_send_simple(sk, type, NLM_F_REQUEST | flags, (void *)(uintptr_t)request, size) < 0)
		return -EIO;

	r = nl_recvmsgs_default(sk);
	if (q.result < 0)
		return q.result;
	return r < 0 ? -EIO : 0;
}
