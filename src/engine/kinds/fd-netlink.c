/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Netlink sockets. Their messages are the kernel's news of a machine that is not there any more at restore: what is
 * in the queue is dropped, with a note.
 */
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/control/sockdiag.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/sk-opts.h"

#include "sk-netlink.pb-c.h"

enum { MAX_GROUP_WORDS = 64, BITS_PER_WORD = 32, STATE_CONNECTED = 1 };

static bool netlink_matches(const struct fd_view *view)
{
	return sk_family(view) == AF_NETLINK;
}

static int netlink_dump(struct dump *d, const struct fd_view *view)
{
	NetlinkSkEntry e = NETLINK_SK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	struct netlink_diag diag = { 0 };
	struct pollfd pfd = { .fd = view->fd, .events = POLLIN };
	int protocol, r;

	e.ino = (uint32_t)view->st.st_ino;
	r = sk_get_int(view->fd, SOL_SOCKET, SO_PROTOCOL, &protocol);
	if (r < 0)
		return fail(d->failure, r, "cannot read its protocol");
	/* One that was never bound is in no table. */
	r = sockdiag_netlink_get(e.ino, &d->arena, &diag);
	if (r < 0 && r != -ENOENT)
		return fail(d->failure, r, "cannot look it up by sock_diag");
	r = sk_opts_dump(d, view->fd, AF_NETLINK, &opts);
	if (r < 0)
		return r;
	if (SYS_CALL(poll(&pfd, 1, 0)) > 0 && (pfd.revents & POLLIN))
		return fail(d->failure, -EAGAIN, "netlink: messages that the program has not read yet cannot be saved");

	e.id = view->id;
	e.protocol = (uint32_t)protocol;
	e.state = diag.state;
	e.flags = view->flags;
	e.portid = diag.portid;
	e.dst_portid = diag.dst_portid;
	e.dst_group = diag.dst_group;
	/* The mask has room for all groups of the protocol; the image has the words in use. */
	e.n_groups = diag.n_groups;
	while (e.n_groups > 0 && diag.groups[e.n_groups - 1] == 0)
		e.n_groups--;
	e.groups = (uint32_t *)(uintptr_t)diag.groups;
	e.fown = view->fown;
	e.opts = &opts;
	e.has_ns_id = 1;
	e.ns_id = d->ns_id[NS_NET];
	entry.nlsk = &e;
	return files_put(d, view, &fd_kind_netlink, &entry);
}

static int netlink_check(struct restore *rs, struct file *file)
{
	const NetlinkSkEntry *e = file->entry->nlsk;

	if (!e || !e->opts)
		return fail(rs->failure, -EBADMSG, "record without a socket in it");
	if (e->n_groups > MAX_GROUP_WORDS)
		return fail(rs->failure, -EBADMSG, "%zu words of groups", e->n_groups);
	return 0;
}

static int netlink_bind(struct restore *rs, int fd, const NetlinkSkEntry *e)
{
	struct sockaddr_nl a = {
		.nl_family = AF_NETLINK,
		.nl_pid = e->portid,
		.nl_groups = e->n_groups > 0 ? e->groups[0] : 0,
	};
	int r;

	r = (int)SYS_CALL(bind(fd, (struct sockaddr *)&a, sizeof(a)));
	if (r == -EADDRINUSE) {
		restore_note(rs, "netlink port %u is taken, another is used", e->portid);
		a.nl_pid = 0;
		r = (int)SYS_CALL(bind(fd, (struct sockaddr *)&a, sizeof(a)));
	}
	if (r < 0)
		return fail(rs->failure, r, "cannot bind port %u", e->portid);
	/* Beyond the 32 groups an address has room for. */
	for (size_t i = BITS_PER_WORD; i < e->n_groups * BITS_PER_WORD; i++) {
		if (!(e->groups[i / BITS_PER_WORD] & (1U << (i % BITS_PER_WORD))))
			continue;
		r = sk_set_int(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, (int)i + 1);
		if (r < 0)
			return fail(rs->failure, r, "cannot join group %zu", i + 1);
	}
	return 0;
}

static int netlink_open(struct restore *rs, struct file *file)
{
	const NetlinkSkEntry *e = file->entry->nlsk;
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = sk_new_for(rs, file, AF_NETLINK, SOCK_RAW, (int)e->protocol);
	if (fd < 0)
		return fd;
	if (e->portid != 0 || e->n_groups > 0) {
		r = netlink_bind(rs, fd, e);
		if (r < 0)
			return r;
	}
	if (e->state == STATE_CONNECTED) {
		struct sockaddr_nl a = {
			.nl_family = AF_NETLINK,
			.nl_pid = e->dst_portid,
			.nl_groups = e->dst_group > 0 && e->dst_group <= BITS_PER_WORD ?
					     1U << (e->dst_group - 1) :
					     0,
		};

		r = (int)SYS_CALL(connect(fd, (struct sockaddr *)&a, sizeof(a)));
		if (r < 0)
			return fail(rs->failure, r, "cannot connect to port %u", e->dst_portid);
	}
	file->fd = TAKE_FD(fd);
	return 0;
}

static int netlink_link(struct restore *rs, struct file *file)
{
	const NetlinkSkEntry *e = file->entry->nlsk;
	int r;

	r = sk_opts_restore(rs, file->fd, e->opts);
	return r == 0 ? files_apply_flags(rs, file->fd, e->flags) : r;
}

const struct fd_kind fd_kind_netlink = {
	.name = "netlink socket",
	.type = FD_TYPES__NETLINKSK,
	.matches = netlink_matches,
	.dump = netlink_dump,
	.check = netlink_check,
	.open = netlink_open,
	.link = netlink_link,
};
