/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix sockets, dump side; fd-unix-restore.c is the other.
 *
 * Peers are named by inode. Queues and what needs the whole picture (is the peer in the tree, who waits on a
 * listener) come in dump_finish, when all sockets are known, and the records after that. A socket that has connected to a
 * listener but was not accepted yet has a peer without inode; sock_diag lists it under the listener, and the record names
 * the listener as its peer.
 */
#include "engine/kinds/fd-unix.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "basic/sys.h"
#include "engine/control/sockdiag.h"
#include "engine/kinds/sk-opts.h"
#include "engine/kinds/sk-queue.h"
#include "engine/kinds/sk-taken.h"

static bool unix_matches(const struct fd_view *view)
{
	return sk_family(view) == AF_UNIX;
}

/* ---- dump ---- */

struct unix_dumped {
	uint32_t ino, id, peer;
	int type;
	const struct task *task;
	int number;
	int fd;		/* a dup for its queue; -EBADF: nothing in it */
	bool in_flight; /* peer is the listener */
	const uint32_t *icons;
	size_t n_icons;
	UnixSkEntry *e; /* its record, written when its peer is known */
	bool put;
};

struct unix_dump {
	struct unix_dumped *items;
	size_t n;
	struct unix_diag *listeners; /* of the whole machine */
	size_t n_listeners;
	bool has_listeners;
};

static struct unix_dump *unix_dump_state(struct dump *d)
{
	if (!d->unix_socks)
		d->unix_socks = arena_new(&d->arena, struct unix_dump);
	return d->unix_socks;
}

static struct unix_dumped *dumped_find(const struct unix_dump *u, uint32_t ino)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->items[i].ino == ino)
			return &u->items[i];
	return NULL;
}

/* The listener on which a socket that nobody has accepted yet waits; 0: none. */
static int find_listener(struct dump *d, struct unix_dump *u, uint32_t ino, uint32_t *ret)
{
	int r;

	if (!u->has_listeners) {
		r = sockdiag_unix_listeners(&d->arena, &u->listeners, &u->n_listeners);
		if (r < 0)
			return fail(d->failure, r, "cannot list listening sockets");
		u->has_listeners = true;
	}
	*ret = 0;
	for (size_t i = 0; i < u->n_listeners; i++)
		for (size_t k = 0; k < u->listeners[i].n_icons; k++)
			if (u->listeners[i].icons[k] == ino)
				*ret = u->listeners[i].ino;
	return 0;
}

/* What it has sent is in a socket that no descriptor leads to. */
static int check_in_flight(struct dump *d, int fd)
{
	int unread = 0, r;

	r = (int)SYS_CALL(ioctl(fd, SIOCOUTQ, &unread));
	if (r < 0)
		return fail(d->failure, r, "cannot read how much it has sent");
	if (unread > 0)
		return fail(d->failure, -EAGAIN,
			    "it has sent data to a connection that nobody has accepted yet");
	return 0;
}

static int unix_peer_dump(struct dump *d, const struct fd_view *view, struct unix_dump *u,
			  const struct unix_diag *diag, struct unix_dumped *item)
{
	int r;

	item->peer = diag->peer;
	if (!unix_type_is_connected(item->type) || !diag->has_peer || diag->peer != 0)
		return 0;
	/* Either the other end is closed or it has not been accepted. */
	r = find_listener(d, u, item->ino, &item->peer);
	if (r < 0 || item->peer == 0)
		return r;
	item->in_flight = true;
	return check_in_flight(d, view->fd);
}

static int unix_queue_keep(struct dump *d, const struct fd_view *view, struct unix_dumped *item)
{
	struct pollfd pfd = { .fd = view->fd, .events = POLLIN | POLLRDNORM };
	int r;

	item->fd = -EBADF;
	r = (int)SYS_CALL(poll(&pfd, 1, 0));
	if (r < 0)
		return fail(d->failure, r, "cannot poll");
	if (!(pfd.revents & (POLLIN | POLLRDNORM)))
		return 0;
	item->fd = sys_dup(view->fd);
	if (item->fd < 0)
		return fail(d->failure, item->fd, "cannot keep it for its queue");
	return 0;
}

static int unix_dump(struct dump *d, const struct fd_view *view)
{
	struct unix_dump *u = unix_dump_state(d);
	struct unix_dumped item = { .id = view->id, .task = view->task, .number = view->number };
	UnixSkEntry *e = arena_new(&d->arena, UnixSkEntry);
	SkOptsEntry *opts = arena_new(&d->arena, SkOptsEntry);
	struct unix_diag diag;
	int r;

	if (!u || !e || !opts)
		return fail(d->failure, -ENOMEM, "out of memory");
	unix_sk_entry__init(e);
	item.e = e;
	item.ino = (uint32_t)view->st.st_ino;
	r = sockdiag_unix_get(item.ino, &d->arena, &diag);
	if (r < 0)
		return fail(d->failure, r, "sock_diag does not know socket:[%u]", item.ino);
	r = sk_get_int(view->fd, SOL_SOCKET, SO_TYPE, &item.type);
	if (r < 0)
		return fail(d->failure, r, "cannot read its type");
	r = item.type == SOCK_STREAM ? sk_check_urgent(d, view->fd) : 0;
	if (r == 0)
		r = unix_peer_dump(d, view, u, &diag, &item);
	if (r == 0)
		r = unix_name_dump(d, view, e);
	if (r == 0)
		r = unix_maker_dump(d, view->fd, &e->snapmgr_maker);
	if (r == 0)
		r = sk_opts_dump(d, view->fd, AF_UNIX, opts);
	if (r < 0)
		return r;

	e->id = view->id;
	e->ino = item.ino;
	e->type = (uint32_t)item.type;
	e->state = diag.state;
	e->flags = view->flags;
	e->backlog = diag.wqueue;
	e->peer = item.peer;
	e->fown = view->fown;
	e->opts = opts;
	e->has_ns_id = 1;
	e->ns_id = d->ns_id[NS_NET];
	if (diag.shutdown != 0) {
		e->has_shutdown = 1;
		e->shutdown = diag.shutdown;
	}
	if (diag.state == TCP_LISTEN) {
		item.icons = diag.icons;
		item.n_icons = diag.n_icons;
		item.fd = -EBADF;
	} else {
		r = unix_queue_keep(d, view, &item);
		if (r < 0)
			return r;
	}
	r = arena_grow(&d->arena, &u->items, u->n);
	if (r < 0) {
		(void)close_fd(item.fd);
		return fail(d->failure, r, "out of memory");
	}
	u->items[u->n++] = item;
	return 0;
}

static int record_put(struct dump *d, UnixSkEntry *e)
{
	FileEntry entry = FILE_ENTRY__INIT;

	entry.type = FD_TYPES__UNIXSK;
	entry.id = e->id;
	entry.usk = e;
	return dump_put(d, IMAGE_FILES, &entry.base);
}

/* A peer outside of the tree, as a record of its own: restore connects to its name again. */
static int external_put(struct dump *d, const struct unix_diag *diag)
{
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FownEntry fown = FOWN_ENTRY__INIT;

	e.id = files_new_id(d);
	e.ino = diag->ino;
	e.type = diag->type;
	e.state = TCP_LISTEN;
	e.uflags = USK_EXTERN;
	e.fown = &fown;
	e.opts = &opts;
	e.name.data = (uint8_t *)(uintptr_t)diag->name;
	e.name.len = diag->name_size;
	return record_put(d, &e);
}

static bool external_allowed(const struct dump *d, uint32_t ino)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", ino);
	for (size_t i = 0; i < d->options->external_unix_inodes.n; i++)
		if (strcmp(d->options->external_unix_inodes.items[i], text) == 0)
			return true;
	return d->options->ext_unix_sk || sk_is_external(d, "unix", ino);
}

/* A stream whose other end is somebody else's. */
static int external_stream(struct dump *d, const struct unix_dumped *item,
			   const struct unix_diag *diag, const char *name)
{
	if (sk_is_external(d, "unix", item->peer) ||
	    (d->options->ext_unix_sk && unix_name_is_journal(diag->name, diag->name_size)))
		return external_put(d, diag);
	if (!d->options->tcp_close)
		return fail(d->failure, -EOPNOTSUPP,
			    "its peer %s, socket:[%u], is outside of the tree; %s at restore", name,
			    item->peer,
			    unix_name_is_journal(diag->name, diag->name_size) ?
				    "--ext-unix-sk connects to it again" :
				    "--tcp-close has the connection closed");
	dump_note(d, "task %d: fd %d: the connection to %s outside of the tree will be closed",
		  item->task->vpid, item->number, name);
	item->e->peer = 0;
	item->e->has_shutdown = 1;
	item->e->shutdown = SK_SHUTDOWN__BOTH;
	return 0;
}

static int peer_check(struct dump *d, struct unix_dump *u, const struct unix_dumped *item)
{
	char text[UNIX_NAME_MAX + 1];
	struct unix_diag diag;
	const char *name;
	int r;

	if (item->peer == 0 || dumped_find(u, item->peer))
		return 0;
	r = sockdiag_unix_get(item->peer, &d->arena, &diag);
	if (r < 0)
		return fail(d->failure, r, "sock_diag does not know its peer socket:[%u]", item->peer);
	name = diag.name_size > 0 ? unix_name_text(diag.name, diag.name_size, text) : "(no name)";
	/* Once, whoever else talks to it. */
	for (const struct unix_dumped *other = u->items; other < item; other++)
		if (other->e->peer == item->peer)
			return 0;
	if (unix_type_is_connected(item->type))
		return external_stream(d, item, &diag, name);
	if (!external_allowed(d, item->peer))
		return fail(d->failure, -EOPNOTSUPP,
			    "its peer %s, socket:[%u], is outside of the tree; --ext-unix-sk connects "
			    "to it again at restore",
			    name, item->peer);
	if (diag.name_size == 0)
		return fail(d->failure, -EOPNOTSUPP,
			    "its peer socket:[%u] is outside of the tree and has no name to connect to",
			    item->peer);
	return external_put(d, &diag);
}

/* Who waits on our listeners and is not ours would be lost. */
static int icons_check(struct dump *d, struct unix_dump *u, const struct unix_dumped *item)
{
	for (size_t i = 0; i < item->n_icons; i++) {
		if (item->icons[i] != 0 && dumped_find(u, item->icons[i]))
			continue;
		if (!d->options->skip_in_flight && !d->options->tcp_close)
			return fail(d->failure, -EOPNOTSUPP,
				    "a connection from outside of the tree waits to be accepted; "
				    "--skip-in-flight drops it");
		dump_note(d, "task %d: fd %d: a connection that waits to be accepted is dropped",
			  item->task->vpid, item->number);
	}
	return 0;
}

static int unix_dump_finish_one(struct dump *d, struct unix_dump *u, size_t i)
{
	/* A copy: dumping what is in flight may move the array. */
	struct unix_dumped item = u->items[i];
	FAILURE_SCOPE(d->failure, "task %d", item.task->vpid);
	FAILURE_SCOPE(d->failure, "fd %d", item.number);
	FAILURE_SCOPE(d->failure, "%s", fd_kind_unix.name);

	if (item.fd < 0)
		return 0;
	return sk_queue_dump(d, item.task, item.fd, item.type, item.id);
}

static int unix_dump_check(struct dump *d, struct unix_dump *u, size_t i)
{
	const struct unix_dumped *item = &u->items[i];
	FAILURE_SCOPE(d->failure, "task %d", item->task->vpid);
	FAILURE_SCOPE(d->failure, "fd %d", item->number);
	FAILURE_SCOPE(d->failure, "%s", fd_kind_unix.name);
	int r;

	r = peer_check(d, u, item);
	return r == 0 ? icons_check(d, u, item) : r;
}

/* CRIU wants a peer to come first, unless both are each other's. */
static int record_put_after_peer(struct dump *d, struct unix_dump *u, struct unix_dumped *item)
{
	struct unix_dumped *peer;
	int r = 0;

	if (item->put)
		return 0;
	item->put = true;
	peer = item->e->peer != 0 ? dumped_find(u, item->e->peer) : NULL;
	if (peer && peer->e->peer != item->ino)
		r = record_put_after_peer(d, u, peer);
	return r == 0 ? record_put(d, item->e) : r;
}

static int unix_dump_finish(struct dump *d)
{
	struct unix_dump *u = d->unix_socks;
	int r = 0;

	/* Sockets in flight join the array while it is walked. */
	for (size_t i = 0; u && i < u->n && r == 0; i++)
		r = unix_dump_finish_one(d, u, i);
	for (size_t i = 0; u && i < u->n && r == 0; i++)
		r = unix_dump_check(d, u, i);
	for (size_t i = 0; u && i < u->n && r == 0; i++)
		r = record_put_after_peer(d, u, &u->items[i]);
	for (size_t i = 0; u && i < u->n; i++)
		u->items[i].fd = close_fd(u->items[i].fd);
	return r;
}

const struct fd_kind fd_kind_unix = {
	.name = "unix socket",
	.type = FD_TYPES__UNIXSK,
	.matches = unix_matches,
	.dump = unix_dump,
	.dump_finish = unix_dump_finish,
	.check = unix_check,
	.preflight = unix_preflight,
	.open = unix_open,
	.link = unix_link,
};
