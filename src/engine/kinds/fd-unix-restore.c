/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix sockets, restore side; fd-unix.c is the other.
 *
 * open: connected streams are made in pairs, by socketpair(2), or by accept(2) where one has a name it got from a listener;
 * the others are created and bound. When the tasks are there, empty yet: they make what tells its maker (fd-unix-maker.c). The end of a pair whose owner is gone is a helper of ours until the queue is
 * refilled. link, once for all: queues while everybody can still send, then what would stand in the way: datagram
 * peers, connections not accepted yet, options, shutdown states.
 */
#include "engine/kinds/fd-unix.h"

#include <netinet/tcp.h>
#include <string.h>

#include "basic/sys.h"
#include "basic/text.h"
#include "engine/kinds/sk-opts.h"
#include "engine/kinds/sk-queue.h"
#include "engine/restore-open.h"

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
	return unix_type_is_connected((int)s->e->type);
}

static bool sock_is_external(const struct unix_sock *s)
{
	return s->e->uflags & USK_EXTERN;
}

static bool sock_names_equal(const struct unix_sock *a, const struct unix_sock *b)
{
	return a->e->name.len == b->e->name.len && a->e->name.len > 0 &&
	       memcmp(a->e->name.data, b->e->name.data, a->e->name.len) == 0;
}

int unix_check(struct restore *rs, struct file *file)
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
	r = unix_maker_check(rs, e->snapmgr_maker);
	if (r == 0)
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
	if (p == s && sock_is_connected_type(s))
		return fail(rs->failure, -EBADMSG, "it is connected to itself");
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

/* Both ends have the same maker. */
static int pair_new(struct restore *rs, const struct unix_sock *s, const struct unix_sock *p, int fds[2])
{
	const SnapmgrUnixMaker *e = s->e->snapmgr_maker;
	struct unix_maker m = unix_maker_of(rs, s->file, e || !p ? e : p->e->snapmgr_maker);

	return unix_maker_pair(rs, &m, (int)s->e->type, fds);
}

static int listen_as(struct restore *rs, const struct unix_sock *s, int fd, const SnapmgrUnixMaker *e)
{
	struct unix_maker m = unix_maker_of(rs, s->file, e);

	return unix_maker_listen(rs, &m, fd, s->e->backlog);
}

static int make_listener(struct restore *rs, const struct unix_sock *s, const SnapmgrUnixMaker *maker,
			 enum unix_bind how)
{
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = sk_new_for(rs, s->file, AF_UNIX, (int)s->e->type, 0);
	if (fd < 0)
		return fd;
	r = unix_name_restore(rs, fd, s->e, how);
	if (r == 0)
		r = listen_as(rs, s, fd, maker);
	return r < 0 ? r : TAKE_FD(fd);
}

/* connect(2) to a bound socket of ours, without waiting. -EAGAIN, without fail(): too many wait there already. */
static int try_connect(struct restore *rs, const struct unix_maker *m, int fd, int to, pid_t *ret_pid)
{
	_cleanup_(unix_address_done) struct unix_address address = { .fd = -EBADF };
	int r;

	r = (int)SYS_CALL(fcntl(fd, F_SETFL, O_NONBLOCK));
	if (r < 0)
		return fail(rs->failure, r, "cannot set its flags");
	r = unix_address_of(rs, to, &address);
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "its peer has no name to connect to");
	if (r == 0)
		r = unix_maker_connect(rs, m, fd, &address, ret_pid);
	return r < 0 && r != -EAGAIN ? fail(rs->failure, r, "cannot connect it to its peer") : r;
}

/*
 * The maker of a listener is who called listen(2) last. Has it the one of before, for those who connected then.
 * Return: 1, 0 where it is the same, -errno after fail().
 */
static int turn_back(struct restore *rs, const struct unix_sock *l, const SnapmgrUnixMaker *before)
{
	const SnapmgrUnixMaker *now = l->e->snapmgr_maker;
	int r;

	if (!before || !now || unix_maker_is_same(before, now))
		return 0;
	r = listen_as(rs, l, l->file->fd, before);
	return r < 0 ? r : 1;
}

/* @s is a datagram socket, or nobody has accepted it yet. */
static int connect_to(struct restore *rs, const struct unix_sock *s, const struct unix_sock *to)
{
	struct unix_maker m = unix_maker_of(rs, s->file, NULL);
	int turned = to->e->state == TCP_LISTEN ? turn_back(rs, to, s->e->snapmgr_maker) : 0, r;
	pid_t pid;

	r = turned < 0 ? turned : try_connect(rs, &m, s->file->fd, to->file->fd, &pid);
	if (r == 0 && turned)
		r = listen_as(rs, to, to->file->fd, to->e->snapmgr_maker);
	return r == -EAGAIN ? fail(rs->failure, r, "cannot connect it to its peer") : r;
}

static int accept_one(struct restore *rs, int listener, pid_t *ret_pid)
{
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
	*ret_pid = cred.pid;
	return TAKE_FD(fd);
}

/*
 * connect(2) and accept(2). The listener may stand where everybody finds it: those who come before the tree is there are
 * turned away, as if they had come a moment earlier. Who comes with the pid of the maker is its task, which does nothing else
 * yet, or the process that has passed: whoever gets that pid next comes later.
 */
static int connect_and_accept(struct restore *rs, const struct unix_maker *m, int fd, int listener)
{
	pid_t ours, pid;
	int r;

	while ((r = try_connect(rs, m, fd, listener, &ours)) == -EAGAIN) {
		r = accept_one(rs, listener, &pid);
		if (r < 0)
			return r;
		(void)close_fd(r);
	}
	if (r < 0)
		return r;
	for (;;) {
		r = accept_one(rs, listener, &pid);
		if (r < 0 || pid == ours)
			return r;
		(void)close_fd(r);
	}
}

/* The socket of the images that is the listener of @server; NULL: none is. */
static struct unix_sock *find_listener(const struct unix_restore *u, const struct unix_sock *server)
{
	for (size_t i = 0; i < u->n; i++) {
		struct unix_sock *l = u->socks[i];

		if (l->e->state == TCP_LISTEN && !sock_is_external(l) && l->e->type == server->e->type &&
		    sock_names_equal(l, server) &&
		    (l->e->has_deleted && l->e->deleted) == (server->e->has_deleted && server->e->deleted))
			return l;
	}
	return NULL;
}

/*
 * A pair of which @server has a name, as accept(2) gives it one. Where its listener is in the images, that one is
 * used, so that abstract names and inodes are the shared ones; else a passing one.
 */
static int accept_pair(struct restore *rs, struct unix_restore *u, struct unix_sock *server,
		       struct unix_sock *client, int *ret_server, int *ret_client)
{
	struct unix_maker m = unix_maker_of(rs, client ? client->file : server->file, server->e->snapmgr_maker);
	const SnapmgrUnixMaker *maker = client ? client->e->snapmgr_maker : NULL;
	struct unix_sock *l = find_listener(u, server);
	_cleanup_close_ int own = -EBADF, fd = -EBADF, accepted = -EBADF;
	int turned = 0, r;

	r = l ? unix_open_sock(rs, u, l) : (own = make_listener(rs, server, maker, UNIX_BIND_HIDDEN));
	if (r < 0)
		return r;
	fd = sk_new_for(rs, (client ?: server)->file, AF_UNIX, (int)server->e->type, 0);
	if (fd < 0)
		return fd;
	r = client ? unix_name_restore(rs, fd, client->e, UNIX_BIND_REAL) : 0;
	if (r == 0 && l)
		r = turned = turn_back(rs, l, maker);
	if (r >= 0)
		r = accepted = connect_and_accept(rs, &m, fd, l ? l->file->fd : own);
	if (r >= 0 && turned)
		r = listen_as(rs, l, l->file->fd, l->e->snapmgr_maker);
	if (r < 0)
		return r;
	*ret_server = TAKE_FD(accepted);
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

	/* Brought by the caller, whose business it is what it is connected to. */
	if (p && p->file->fd >= 0)
		return fail(rs->failure, -EOPNOTSUPP,
			    "its peer socket:[%u] was inherited, it must be too", s->e->peer);
	if (s->e->name.len == 0 && (!p || p->e->name.len == 0)) {
		r = pair_new(rs, s, p, fds);
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
		r = pair_new(rs, s, partner, fds);
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
		r = sk_new_for(rs, s->file, AF_UNIX, SOCK_DGRAM, 0);
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
	if (s->peer && sock_is_external(s->peer) && sock_is_connected_type(s) &&
	    !unix_name_is_journal(s->peer->e->name.data, s->peer->e->name.len))
		return fail(rs->failure, -EOPNOTSUPP,
			    "its peer is outside of the tree; bring it by --inherit-fd "
			    "fd[N]:socket:[%u]",
			    s->e->ino);

	if (sock_is_external(s)) {
		/* It stands for somebody else's; nobody gets it. */
		r = sk_new_for(rs, s->file, AF_UNIX, (int)s->e->type, 0);
		if (r < 0)
			return r;
		s->file->fd = r;
		return 0;
	}
	if (s->e->type == SOCK_DGRAM)
		return open_dgram(rs, u, s);
	if (s->e->state == TCP_LISTEN) {
		r = make_listener(rs, s, s->e->snapmgr_maker, UNIX_BIND_REAL);
		if (r < 0)
			return r;
		s->file->fd = r;
		return 0;
	}
	/* An external peer counts as a listener. */
	if (s->e->state == TCP_ESTABLISHED && !(s->peer && s->peer->e->state == TCP_LISTEN))
		return open_connected(rs, u, s);

	/* Not connected, or not accepted yet. */
	r = sk_new_for(rs, s->file, AF_UNIX, (int)s->e->type, 0);
	if (r < 0)
		return r;
	s->file->fd = r;
	return unix_name_restore(rs, s->file->fd, s->e, UNIX_BIND_REAL);
}

int unix_open(struct restore *rs, struct file *file)
{
	struct unix_restore *u = rs->unix_socks;
	int r;

	if (files_phase(rs) == FILES_ALONE)
		return -EAGAIN;
	r = unix_resolve(rs, u);
	return r < 0 ? r : unix_open_sock(rs, u, file->priv);
}

/* ---- link ---- */

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

/* What journald wants to know of a stream: identifier, unit, priority, and whether to forward, line by line. */
static int journal_greet(struct restore *rs, const struct unix_sock *s)
{
	const CoreEntry *core = rs->tasks[0]->core;
	char text[128], name[64];
	int n, r;

	/* A task gives itself its name; a line end in it would be a line of the greeting. */
	(void)text_format(name, sizeof(name), "%.32s", core->tc ? core->tc->comm : "");
	n = snprintf(text, sizeof(text), "%s\n\n30\n1\n0\n0\n0\n", name);
	r = sys_write_full(s->file->fd, text, (size_t)n);
	return r < 0 ? fail(rs->failure, r, "cannot greet the journal") : 0;
}

/*
 * To a socket outside of the tree. Its path may lead to another one by now: root connects only where nobody but root can have
 * changed it; else the task must have the right to (restore-open.h).
 */
static int connect_by_name(struct restore *rs, const struct file *file, const UnixSkEntry *peer)
{
	_cleanup_(unix_address_done) struct unix_address to = {
		.sun.sun_family = AF_UNIX,
		.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + peer->name.len),
		.fd = -EBADF,
	};
	char path[sizeof(to.sun.sun_path)];
	struct restore_path p = { .path = path, .file = file, .type = S_IFSOCK };
	struct unix_maker m = unix_maker_of(rs, file, NULL); /* it is told who connects */
	pid_t pid;

	memcpy(to.sun.sun_path, peer->name.data, MIN(peer->name.len, sizeof(to.sun.sun_path)));
	if (to.sun.sun_path[0] == '\0')
		return unix_maker_connect(rs, &m, file->fd, &to, &pid);
	memcpy(path, to.sun.sun_path, sizeof(path));
	if (path[0] != '/' || memchr(path, '\0', sizeof(path)) == NULL)
		return fail(rs->failure, -EOPNOTSUPP, "the name of its peer is no absolute path");
	to.fd = restore_open(rs, &p, O_PATH);
	if (to.fd < 0)
		return to.fd;
	unix_address_through(&to, to.fd);
	return unix_maker_connect(rs, &m, file->fd, &to, &pid);
}

static int connect_external(struct restore *rs, struct unix_sock *s)
{
	const UnixSkEntry *p = s->peer->e;
	char text[UNIX_NAME_MAX + 1];
	int r;

	if (!rs->options->ext_unix_sk)
		return fail(rs->failure, -EOPNOTSUPP,
			    "its peer %s is outside of the tree; --ext-unix-sk connects to it again",
			    unix_name_text(p->name.data, p->name.len, text));
	r = connect_by_name(rs, s->file, p);
	if (r < 0)
		return fail(rs->failure, r, "cannot connect to %s again",
			    unix_name_text(p->name.data, p->name.len, text));
	return sock_is_connected_type(s) ? journal_greet(rs, s) : 0;
}

static int connect_peer(struct restore *rs, struct unix_sock *s)
{
	FAILURE_SCOPE(rs->failure, "socket:[%u]", s->e->ino);
	int r;

	if (sock_is_external(s->peer))
		r = connect_external(rs, s);
	else if (s->peer->file->fd >= 0)
		r = connect_to(rs, s, s->peer);
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

int unix_link(struct restore *rs, struct file *file)
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
