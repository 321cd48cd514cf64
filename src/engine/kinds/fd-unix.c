/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix sockets.
 *
 * Dump. Every socket is one record; peers are named by inode. Queues and what needs the whole picture (is the peer in
 * the tree, who waits on a listener) come in dump_finish, when all sockets are known. A socket that has connected to a
 * listener but was not accepted yet has a peer without inode; sock_diag lists it under the listener, and the record
 * names the listener as its peer.
 *
 * Restore. open: connected streams are made in pairs, by socketpair(2), or by accept(2) where one has a name it got from
 * a listener; the others are created and bound. The end of a pair whose owner is gone is a helper of ours until the
 * queue is refilled. link, once for all: queues while everybody can still send, then what would stand in the
 * way: datagram peers, connections not accepted yet, options, shutdown states.
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

/* unix_sk_entry.uflags */
enum { USK_EXTERN = 1, USK_SERVICE = 2, USK_CALLBACK = 4 };

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

static const struct unix_dumped *dumped_find(const struct unix_dump *u, uint32_t ino)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->items[i].ino == ino)
			return &u->items[i];
	return NULL;
}

static int type_is_connected(int type)
{
	return type == SOCK_STREAM || type == SOCK_SEQPACKET;
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
		return fail(d->failure, -EOPNOTSUPP,
			    "it has sent data to a connection that nobody has accepted yet");
	return 0;
}

static int unix_peer_dump(struct dump *d, const struct fd_view *view, struct unix_dump *u,
			  const struct unix_diag *diag, struct unix_dumped *item)
{
	int r;

	item->peer = diag->peer;
	if (!type_is_connected(item->type) || !diag->has_peer || diag->peer != 0)
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
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	struct unix_diag diag;
	int r;

	if (!u)
		return fail(d->failure, -ENOMEM, "out of memory");
	item.ino = (uint32_t)view->st.st_ino;
	r = sockdiag_unix_get(item.ino, &d->arena, &diag);
	if (r < 0)
		return fail(d->failure, r, "sock_diag does not know socket:[%u]", item.ino);
	r = sk_get_int(view->fd, SOL_SOCKET, SO_TYPE, &item.type);
	if (r < 0)
		return fail(d->failure, r, "cannot read its type");
	r = unix_peer_dump(d, view, u, &diag, &item);
	if (r == 0)
		r = unix_name_dump(d, view, &e);
	if (r == 0)
		r = sk_opts_dump(d, view->fd, AF_UNIX, &opts);
	if (r < 0)
		return r;

	e.id = view->id;
	e.ino = item.ino;
	e.type = (uint32_t)item.type;
	e.state = diag.state;
	e.flags = view->flags;
	e.backlog = diag.wqueue;
	e.peer = item.peer;
	e.fown = view->fown;
	e.opts = &opts;
	e.has_ns_id = 1;
	e.ns_id = d->ns_id[NS_NET];
	if (diag.shutdown != 0) {
		e.has_shutdown = 1;
		e.shutdown = diag.shutdown;
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
	entry.usk = &e;
	return files_put(d, view, &fd_kind_unix, &entry);
}

/* A peer outside of the tree, as a record of its own: restore connects to its name again. */
static int external_put(struct dump *d, const struct unix_diag *diag)
{
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	SkOptsEntry opts = SK_OPTS_ENTRY__INIT;
	FownEntry fown = FOWN_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;

	e.id = files_new_id(d);
	e.ino = diag->ino;
	e.type = diag->type;
	e.state = TCP_LISTEN;
	e.uflags = USK_EXTERN;
	e.fown = &fown;
	e.opts = &opts;
	e.name.data = (uint8_t *)(uintptr_t)diag->name;
	e.name.len = diag->name_size;
	entry.type = FD_TYPES__UNIXSK;
	entry.id = e.id;
	entry.usk = &e;
	return dump_put(d, IMAGE_FILES, &entry.base);
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
	if (!external_allowed(d, item->peer))
		return fail(d->failure, -EOPNOTSUPP,
			    "its peer %s, socket:[%u], is outside of the tree; --ext-unix-sk connects "
			    "datagram sockets to it again at restore",
			    name, item->peer);
	if (type_is_connected(item->type) && !sk_is_external(d, "unix", item->peer))
		return fail(d->failure, -EOPNOTSUPP,
			    "its peer %s, socket:[%u], is outside of the tree, and a stream cannot be "
			    "connected again",
			    name, item->peer);
	if (!type_is_connected(item->type) && diag.name_size == 0)
		return fail(d->failure, -EOPNOTSUPP,
			    "its peer socket:[%u] is outside of the tree and has no name to connect to",
			    item->peer);
	/* Once, whoever else talks to it. */
	for (const struct unix_dumped *other = u->items; other < item; other++)
		if (other->peer == item->peer)
			return 0;
	return external_put(d, &diag);
}

/* Who waits on our listeners and is not ours would be lost. */
static int icons_check(struct dump *d, struct unix_dump *u, const struct unix_dumped *item)
{
	for (size_t i = 0; i < item->n_icons; i++) {
		if (item->icons[i] != 0 && dumped_find(u, item->icons[i]))
			continue;
		if (!d->options->skip_in_flight)
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
	return r < 0 ? r : icons_check(d, u, item);
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
	for (size_t i = 0; u && i < u->n; i++)
		u->items[i].fd = close_fd(u->items[i].fd);
	return r;
}

/* ---- restore ---- */

struct unix_sock {
	struct file *file;
	const UnixSkEntry *e;
	struct unix_sock *peer; /* in the images */
	size_t n_from;		/* datagram sockets whose peer it is, itself not counted */
	int helper;		/* end of a pair whose owner is gone */
	bool connected;		/* to its peer */
};

struct unix_restore {
	struct unix_sock **socks; /* sorted by inode when resolved */
	size_t n;
	bool resolved, linked;
	struct sk_packets packets;
};

static int unix_open_sock(struct restore *rs, struct unix_restore *u, struct unix_sock *s);

static struct unix_restore *unix_restore_state(struct restore *rs)
{
	if (!rs->unix_socks)
		rs->unix_socks = arena_new(&rs->arena, struct unix_restore);
	return rs->unix_socks;
}

static bool sock_is_connected_type(const struct unix_sock *s)
{
	return type_is_connected((int)s->e->type);
}

static bool sock_is_external(const struct unix_sock *s)
{
	return s->e->uflags & USK_EXTERN;
}

static bool sock_names_equal(const struct unix_sock *a, const struct unix_sock *b)
{
	return a->e->name.len == b->e->name.len &&
	       memcmp(a->e->name.data, b->e->name.data, a->e->name.len) == 0;
}

static int unix_check(struct restore *rs, struct file *file)
{
	struct unix_restore *u = unix_restore_state(rs);
	const UnixSkEntry *e = file->entry->usk;
	struct unix_sock *s;
	int r;

	if (!u)
		return fail(rs->failure, -ENOMEM, "out of memory");
	if (!e || !e->opts)
		return fail(rs->failure, -EBADMSG, "record without a socket in it");
	if (e->type != SOCK_STREAM && e->type != SOCK_DGRAM && e->type != SOCK_SEQPACKET)
		return fail(rs->failure, -EBADMSG, "socket type %u", e->type);
	if (e->state != TCP_ESTABLISHED && e->state != TCP_CLOSE && e->state != TCP_LISTEN)
		return fail(rs->failure, -EBADMSG, "socket state %u", e->state);
	if (e->name.len > UNIX_NAME_MAX)
		return fail(rs->failure, -EBADMSG, "name of %zu bytes", e->name.len);
	if (e->has_shutdown && (unsigned)e->shutdown > SK_SHUTDOWN__BOTH)
		return fail(rs->failure, -EBADMSG, "shutdown state %d", (int)e->shutdown);
	if (e->uflags & (USK_SERVICE | USK_CALLBACK))
		return fail(rs->failure, -EOPNOTSUPP,
			    "it was connected to a service of the dumper (flags %#x)", e->uflags);
	r = sk_packets_load(rs, &u->packets);
	if (r < 0)
		return r;

	s = arena_new(&rs->arena, struct unix_sock);
	if (!s || arena_grow(&rs->arena, &u->socks, u->n) < 0)
		return fail(rs->failure, -ENOMEM, "out of memory");
	s->file = file;
	s->e = e;
	s->helper = -EBADF;
	u->socks[u->n++] = s;
	file->priv = s;
	return 0;
}

static int sock_compare(const void *a, const void *b)
{
	const struct unix_sock *x = *(struct unix_sock *const *)a;
	const struct unix_sock *y = *(struct unix_sock *const *)b;

	return x->e->ino < y->e->ino ? -1 : x->e->ino > y->e->ino;
}

static struct unix_sock *sock_find(struct unix_restore *u, uint32_t ino)
{
	UnixSkEntry e = { .ino = ino };
	struct unix_sock key = { .e = &e }, *k = &key;
	struct unix_sock **found =
		bsearch(&k, u->socks, u->n, sizeof(struct unix_sock *), sock_compare);

	return found ? *found : NULL;
}

static int sock_resolve(struct restore *rs, struct unix_restore *u, struct unix_sock *s)
{
	struct unix_sock *p;

	if (s->e->peer == 0)
		return 0;
	p = sock_find(u, s->e->peer);
	if (!p)
		return fail(rs->failure, -EBADMSG, "peer socket:[%u] is not in the images",
			    s->e->peer);
	if (p->e->type != s->e->type)
		return fail(rs->failure, -EBADMSG, "peer socket:[%u] has another type",
			    s->e->peer);
	if (sock_is_connected_type(s) && p->e->state == TCP_ESTABLISHED &&
	    p->e->peer != s->e->ino)
		return fail(rs->failure, -EBADMSG, "peer socket:[%u] is connected to another",
			    s->e->peer);
	if (sock_is_connected_type(s) && p->e->state == TCP_CLOSE)
		return fail(rs->failure, -EBADMSG, "peer socket:[%u] is not connected",
			    s->e->peer);
	s->peer = p;
	if (p != s)
		p->n_from++;
	return 0;
}

static int unix_resolve(struct restore *rs, struct unix_restore *u)
{
	int r;

	if (u->resolved)
		return 0;
	if (u->n > 0)
		qsort(u->socks, u->n, sizeof(u->socks[0]), sock_compare);
	for (size_t i = 1; i < u->n; i++)
		if (u->socks[i]->e->ino == u->socks[i - 1]->e->ino)
			return fail(rs->failure, -EBADMSG, "socket:[%u] is in the images twice",
				    u->socks[i]->e->ino);
	for (size_t i = 0; i < u->n; i++) {
		FAILURE_SCOPE(rs->failure, "socket:[%u]", u->socks[i]->e->ino);

		r = sock_resolve(rs, u, u->socks[i]);
		if (r < 0)
			return r;
	}
	u->resolved = true;
	return 0;
}

static int pair_new(struct restore *rs, const struct unix_sock *s, int fds[2])
{
	int r = sys_socketpair((int)s->e->type, fds);

	if (r < 0)
		return fail(rs->failure, r, "cannot create a pair of sockets");
	return 0;
}

static int make_listener(struct restore *rs, const struct unix_sock *s, enum unix_bind how)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = sk_new(rs, AF_UNIX, (int)s->e->type, 0);
	if (fd < 0)
		return fd;
	r = unix_name_restore(rs, fd, s->e, how);
	if (r < 0)
		return r;
	r = (int)SYS_CALL(listen(fd, (int)MIN(s->e->backlog, (uint32_t)INT_MAX)));
	if (r < 0)
		return fail(rs->failure, r, "cannot listen");
	return TAKE_FD(fd);
}

/* connect(2) to a bound socket of ours. */
static int connect_to(struct restore *rs, int fd, int to)
{
	_cleanup_(unix_address_done) struct unix_address address = { .fd = -EBADF };
	int r;

	r = unix_address_of(rs, to, &address);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "its peer has no name to connect to");
	if (r < 0)
		return r;
	r = (int)SYS_CALL(connect(fd, (struct sockaddr *)&address.sun, address.size));
	if (r < 0)
		return fail(rs->failure, r, "cannot connect it to its peer");
	return 0;
}

/*
 * The listener may stand where everybody finds it: those who come before the tree is there are turned away, as if they had
 * come a moment earlier.
 */
static int accept_ours(struct restore *rs, int listener)
{
	for (;;) {
		_cleanup_close_ int fd = -EBADF;
		struct ucred cred = { 0 };
		socklen_t size = sizeof(cred);
		int r;

		fd = (int)SYS_CALL(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
		if (fd < 0)
			return fail(rs->failure, fd, "cannot accept the connection of a pair");
		r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size));
		if (r < 0)
			return fail(rs->failure, r, "cannot tell who connected");
		if (cred.pid == getpid())
			return TAKE_FD(fd);
	}
}

/*
 * A pair of which @server has a name, as accept(2) gives it one. Where its listener is in the images, that one is
 * used, so that abstract names and inodes are the shared ones; else a passing one.
 */
static int accept_pair(struct restore *rs, struct unix_restore *u, struct unix_sock *server,
		       struct unix_sock *client, int *ret_server, int *ret_client)
{
	_cleanup_close_ int own = -EBADF, fd = -EBADF;
	int listener = -EBADF, accepted, r;

	for (size_t i = 0; i < u->n; i++) {
		struct unix_sock *l = u->socks[i];

		if (l->e->state != TCP_LISTEN || sock_is_external(l) ||
		    l->e->type != server->e->type || !sock_names_equal(l, server) ||
		    (l->e->has_deleted && l->e->deleted) !=
			    (server->e->has_deleted && server->e->deleted))
			continue;
		r = unix_open_sock(rs, u, l);
		if (r < 0)
			return r;
		listener = l->file->fd;
		break;
	}
	if (listener < 0) {
		own = make_listener(rs, server, UNIX_BIND_HIDDEN);
		if (own < 0)
			return own;
		listener = own;
	}
	fd = sk_new(rs, AF_UNIX, (int)server->e->type, 0);
	if (fd < 0)
		return fd;
	if (client) {
		r = unix_name_restore(rs, fd, client->e, UNIX_BIND_REAL);
		if (r < 0)
			return r;
	}
	r = connect_to(rs, fd, listener);
	if (r < 0)
		return r;
	accepted = accept_ours(rs, listener);
	if (accepted < 0)
		return accepted;
	*ret_server = accepted;
	*ret_client = TAKE_FD(fd);
	return 0;
}

/* Has another socket of the images the same name, as those of one listener do? */
static bool name_is_shared(const struct unix_restore *u, const struct unix_sock *s)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->socks[i] != s && sock_names_equal(u->socks[i], s))
			return true;
	return false;
}

/* Both ends of a connection; the peer may be gone. */
static int open_connected(struct restore *rs, struct unix_restore *u, struct unix_sock *s)
{
	struct unix_sock *p = s->peer;
	int fds[2] = { -EBADF, -EBADF }, r;

	if (s->e->name.len == 0 && (!p || p->e->name.len == 0)) {
		r = pair_new(rs, s, fds);
	} else if (p && p->e->name.len > 0 && (s->e->name.len == 0 || name_is_shared(u, p))) {
		r = accept_pair(rs, u, p, s, &fds[1], &fds[0]);
	} else {
		r = accept_pair(rs, u, s, p, &fds[0], &fds[1]);
	}
	if (r < 0)
		return r;
	s->file->fd = fds[0];
	s->connected = true;
	if (p) {
		p->file->fd = fds[1];
		p->connected = true;
	} else {
		s->helper = fds[1];
	}
	return 0;
}

/* Datagram sockets can be a pair without being each other's peer for good. */
static int open_dgram(struct restore *rs, struct unix_restore *u, struct unix_sock *s)
{
	struct unix_sock *partner = s->peer && s->peer->peer == s && s->peer != s ? s->peer : NULL;
	int fds[2], r;

	/* Without a name the only way to a peer is to be born with it. */
	if (!partner && s->peer && s->peer != s && s->peer->e->name.len == 0)
		partner = s->peer;
	for (size_t i = 0; !partner && s->e->name.len == 0 && i < u->n; i++)
		if (u->socks[i]->peer == s && u->socks[i] != s)
			partner = u->socks[i];
	if (partner && sock_is_external(partner))
		partner = NULL;

	if (partner && partner->file->fd >= 0)
		return fail(rs->failure, -EBADMSG,
			    "several sockets are connected to one without a name");
	if (partner || (s->e->name.len == 0 && sk_packets_has(&u->packets, s->e->id))) {
		r = pair_new(rs, s, fds);
		if (r < 0)
			return r;
		s->file->fd = fds[0];
		s->connected = partner && s->peer == partner;
		if (!partner) {
			s->helper = fds[1];
			return 0;
		}
		partner->file->fd = fds[1];
		partner->connected = partner->peer == s;
		r = unix_name_restore(rs, partner->file->fd, partner->e, UNIX_BIND_REAL);
	} else {
		r = sk_new(rs, AF_UNIX, SOCK_DGRAM, 0);
		if (r < 0)
			return r;
		s->file->fd = r;
		r = 0;
	}
	return r < 0 ? r : unix_name_restore(rs, s->file->fd, s->e, UNIX_BIND_REAL);
}

static int unix_open_sock(struct restore *rs, struct unix_restore *u, struct unix_sock *s)
{
	int r;

	if (s->file->fd >= 0)
		return 0;
	r = sk_inherited(rs, s->e->ino);
	if (r >= 0) {
		s->file->fd = r;
		s->connected = true;
		return 0;
	}
	if (r != -ENOENT)
		return r;
	if (s->peer && sock_is_external(s->peer) && sock_is_connected_type(s))
		return fail(rs->failure, -EOPNOTSUPP,
			    "its peer is outside of the tree; bring it by --inherit-fd "
			    "fd[N]:socket:[%u]",
			    s->e->ino);

	if (sock_is_external(s)) {
		/* It stands for somebody else's; nobody gets it. */
		r = sk_new(rs, AF_UNIX, (int)s->e->type, 0);
		if (r < 0)
			return r;
		s->file->fd = r;
		return 0;
	}
	if (s->e->type == SOCK_DGRAM)
		return open_dgram(rs, u, s);
	if (s->e->state == TCP_LISTEN) {
		r = make_listener(rs, s, UNIX_BIND_REAL);
		if (r < 0)
			return r;
		s->file->fd = r;
		return 0;
	}
	if (s->e->state == TCP_ESTABLISHED && !(s->peer && s->peer->e->state == TCP_LISTEN))
		return open_connected(rs, u, s);

	/* Not connected, or not accepted yet. */
	r = sk_new(rs, AF_UNIX, (int)s->e->type, 0);
	if (r < 0)
		return r;
	s->file->fd = r;
	return unix_name_restore(rs, s->file->fd, s->e, UNIX_BIND_REAL);
}

static int unix_open(struct restore *rs, struct file *file)
{
	struct unix_restore *u = rs->unix_socks;
	int r;

	r = unix_resolve(rs, u);
	return r < 0 ? r : unix_open_sock(rs, u, file->priv);
}

/* ---- restore: link ---- */

/* A pair that was only a means: the end without a peer of its own lets go. */
static int unpair(struct restore *rs, struct unix_restore *u)
{
	static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	for (size_t i = 0; i < u->n; i++) {
		struct unix_sock *s = u->socks[i];
		struct unix_sock *from = NULL;
		int r;

		if (s->e->type != SOCK_DGRAM || s->connected || s->helper >= 0 || s->file->fd < 0)
			continue;
		for (size_t k = 0; !from && k < u->n; k++)
			if (u->socks[k]->peer == s && u->socks[k]->connected)
				from = u->socks[k];
		if (!from)
			continue;
		r = (int)SYS_CALL(connect(s->file->fd, &nobody, sizeof(nobody)));
		if (r < 0)
			return fail(rs->failure, r, "cannot disconnect socket:[%u]", s->e->ino);
	}
	return 0;
}

/* The only one that can have sent to @s, as far as the images know; else NULL. */
static struct unix_sock *likely_sender(struct unix_restore *u, struct unix_sock *s)
{
	struct unix_sock *found = NULL;

	for (size_t i = 0; i < u->n; i++) {
		if (u->socks[i]->peer != s || u->socks[i]->file->fd < 0)
			continue;
		if (found)
			return NULL;
		found = u->socks[i];
	}
	return found;
}

static int refill_dgram(struct restore *rs, struct unix_restore *u, struct unix_sock *s,
			struct sk_packet *packet)
{
	_cleanup_(unix_address_done) struct unix_address address = { .fd = -EBADF };
	_cleanup_close_ int passing = -EBADF;
	struct unix_sock *sender = likely_sender(u, s);
	int r;

	if (s->helper >= 0)
		return sk_packet_send(rs, packet, s->helper, NULL, 0);
	if (sender && sender->connected)
		return sk_packet_send(rs, packet, sender->file->fd, NULL, 0);
	r = unix_address_of(rs, s->file->fd, &address);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "data in its queue, but nobody can send to it");
	if (r < 0)
		return r;
	if (!sender) {
		passing = sk_new(rs, AF_UNIX, SOCK_DGRAM, 0);
		if (passing < 0)
			return passing;
	}
	return sk_packet_send(rs, packet, sender ? sender->file->fd : passing, &address.sun,
			      address.size);
}

static int refill(struct restore *rs, struct unix_restore *u)
{
	for (size_t i = 0; i < u->packets.n; i++) {
		struct sk_packet *packet = &u->packets.items[i];
		const struct file *file = files_find(rs, packet->id_for);
		struct unix_sock *s;
		int r, from;

		if (!file)
			return fail(rs->failure, -EBADMSG, "sk-queues: file %u is not in the images",
				    packet->id_for);
		if (file->kind != &fd_kind_unix || file->fd < 0)
			continue;
		s = file->priv;
		FAILURE_SCOPE(rs->failure, "socket:[%u]", s->e->ino);
		if (!sock_is_connected_type(s)) {
			r = refill_dgram(rs, u, s, packet);
		} else {
			from = s->helper >= 0 ? s->helper : s->peer ? s->peer->file->fd : -EBADF;
			if (from < 0 || !s->connected)
				return fail(rs->failure, -EBADMSG,
					    "data in its queue, but nobody can send to it");
			r = sk_packet_send(rs, packet, from, NULL, 0);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* What does not fit into default buffers must pass all the same; final sizes come with the options. */
static int widen(struct restore *rs, struct unix_restore *u)
{
	uint64_t total = 0;
	int r;

	for (size_t i = 0; i < u->packets.n; i++)
		total += u->packets.items[i].size + 4096;
	if (total == 0)
		return 0;
	total = MIN(total * 2, (uint64_t)INT32_MAX / 2);
	for (size_t i = 0; i < u->n; i++) {
		struct unix_sock *s = u->socks[i];
		int fds[] = { s->file->fd, s->helper };

		for (size_t k = 0; k < ARRAY_SIZE(fds); k++) {
			if (fds[k] < 0)
				continue;
			r = sk_set_int(fds[k], SOL_SOCKET, SO_SNDBUFFORCE, (int)total);
			if (r == -EPERM)
				r = sk_set_int(fds[k], SOL_SOCKET, SO_SNDBUF, (int)total);
			if (r < 0)
				return fail(rs->failure, r, "cannot widen a buffer");
		}
	}
	return 0;
}

static int connect_external(struct restore *rs, struct unix_sock *s)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const UnixSkEntry *p = s->peer->e;
	char text[UNIX_NAME_MAX + 1];
	int r;

	if (!rs->options->ext_unix_sk)
		return fail(rs->failure, -EOPNOTSUPP,
			    "its peer %s is outside of the tree; --ext-unix-sk connects to it again",
			    unix_name_text(p->name.data, p->name.len, text));
	memcpy(sun.sun_path, p->name.data, p->name.len);
	r = (int)SYS_CALL(connect(s->file->fd, (struct sockaddr *)&sun,
				  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + p->name.len)));
	if (r < 0)
		return fail(rs->failure, r, "cannot connect to %s again",
			    unix_name_text(p->name.data, p->name.len, text));
	return 0;
}

static int connect_peer(struct restore *rs, struct unix_sock *s)
{
	FAILURE_SCOPE(rs->failure, "socket:[%u]", s->e->ino);
	int r;

	if (sock_is_external(s->peer))
		r = connect_external(rs, s);
	else if (s->peer->file->fd >= 0)
		r = connect_to(rs, s->file->fd, s->peer->file->fd);
	else
		r = fail(rs->failure, -EBADMSG, "nobody has its peer socket:[%u]", s->e->peer);
	if (r < 0)
		return r;
	s->connected = true;
	return 0;
}

/*
 * A datagram socket that has a peer accepts no connection but that peer's: those who are connected to it must come
 * before its own. n_from counts who has not come yet.
 */
static int connect_dgrams(struct restore *rs, struct unix_restore *u)
{
	bool progress = true, left = true;
	int r;

	for (size_t i = 0; i < u->n; i++) {
		struct unix_sock *s = u->socks[i];

		if (s->peer && s->peer != s && s->connected)
			s->peer->n_from--;
	}
	while (left && progress) {
		left = progress = false;
		for (size_t i = 0; i < u->n; i++) {
			struct unix_sock *s = u->socks[i];

			if (s->e->type != SOCK_DGRAM || !s->peer || s->connected || s->file->fd < 0)
				continue;
			if (s->n_from > 0 && !(s->n_from == 1 && s->peer->peer == s)) {
				left = true;
				continue;
			}
			r = connect_peer(rs, s);
			if (r < 0)
				return r;
			if (s->peer != s)
				s->peer->n_from--;
			progress = true;
		}
	}
	if (left)
		return fail(rs->failure, -EBADMSG, "datagram sockets are connected in a circle");
	return 0;
}

/* In the order of the images: that in which they will be accepted. */
static int connect_waiting(struct restore *rs, struct unix_restore *u)
{
	const struct file *file;
	int r;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		struct unix_sock *s = file->kind == &fd_kind_unix ? file->priv : NULL;

		if (!s || !sock_is_connected_type(s) || !s->peer || s->connected || s->file->fd < 0)
			continue;
		/* A full queue is an error, not a reason to wait: nobody accepts yet. */
		r = (int)SYS_CALL(fcntl(s->file->fd, F_SETFL, O_NONBLOCK));
		if (r < 0)
			return fail(rs->failure, r, "cannot set its flags");
		r = connect_peer(rs, s);
		if (r < 0)
			return r;
	}
	(void)u;
	return 0;
}

static int finish_sock(struct restore *rs, struct unix_sock *s)
{
	FAILURE_SCOPE(rs->failure, "socket:[%u]", s->e->ino);
	int r;

	if (sock_is_external(s) || s->file->fd < 0)
		return 0;
	r = sk_opts_restore(rs, s->file->fd, s->e->opts);
	if (r == 0 && s->e->has_shutdown)
		r = sk_shutdown_restore(rs, s->file->fd, s->e->shutdown);
	if (r == 0)
		r = files_apply_flags(rs, s->file->fd, s->e->flags);
	return r;
}

static int unix_link(struct restore *rs, struct file *file)
{
	struct unix_restore *u = rs->unix_socks;
	int r;

	(void)file;
	if (u->linked)
		return 0;
	u->linked = true;
	r = unpair(rs, u);
	if (r == 0)
		r = widen(rs, u);
	if (r == 0)
		r = refill(rs, u);
	for (size_t i = 0; i < u->n; i++)
		u->socks[i]->helper = close_fd(u->socks[i]->helper);
	if (r == 0)
		r = connect_dgrams(rs, u);
	if (r == 0)
		r = connect_waiting(rs, u);
	for (size_t i = 0; r == 0 && i < u->n; i++)
		r = finish_sock(rs, u->socks[i]);
	return r;
}

const struct fd_kind fd_kind_unix = {
	.name = "unix socket",
	.type = FD_TYPES__UNIXSK,
	.matches = unix_matches,
	.dump = unix_dump,
	.dump_finish = unix_dump_finish,
	.check = unix_check,
	.open = unix_open,
	.link = unix_link,
};
