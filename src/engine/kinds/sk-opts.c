/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The image has one record for the options of every socket. Booleans and small numbers are in a table; buffers, timeouts,
 * the bound device and the filter have their own code. Options are set only where they differ from what a fresh socket has.
 */
#include "engine/kinds/sk-opts.h"

#include <inttypes.h>
#include <linux/filter.h>
#include <net/if.h>
#include <string.h>
#include <sys/time.h>

#include "basic/sys.h"
#include "engine/control/transport.h"
#include "engine/kinds/sk-extra.h"
#include "engine/restore-as.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

int sk_family(const struct fd_view *view)
{
	int family;

	if (!S_ISSOCK(view->st.st_mode) ||
	    sk_get_int(view->fd, SOL_SOCKET, SO_DOMAIN, &family) < 0)
		return AF_UNSPEC;
	return family;
}

int sk_check_urgent(struct dump *d, int fd)
{
	char byte;
	ssize_t n = SYS_CALL(recv(fd, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT));

	/* -EAGAIN: it is announced, and still to come. */
	if (n != 1 && n != -EAGAIN)
		return 0;
	return fail(d->failure, -EAGAIN, "an urgent byte (MSG_OOB) that the program has not read yet cannot be saved");
}

int sk_get_int(int fd, int level, int name, int *ret)
{
	int value = 0;
	socklen_t size = sizeof(value);
	int r;

	r = (int)SYS_CALL(getsockopt(fd, level, name, &value, &size));
	if (r < 0)
		return r;
	*ret = value;
	return 0;
}

int sk_set_int(int fd, int level, int name, int value)
{
	return (int)SYS_CALL(setsockopt(fd, level, name, &value, sizeof(value)));
}

int sk_make_int(int fd, int level, int name, int value)
{
	int now, r;

	r = sk_get_int(fd, level, name, &now);
	if (r < 0)
		return r;
	return now == value ? 0 : sk_set_int(fd, level, name, value);
}

/* ---- dump ---- */

struct number {
	int name;
	const char *text;
	size_t offset, has_offset;
	bool is_bool;
	bool credentials; /* of families that carry credentials only */
	bool only_set;	  /* left out when 0 */
};

#define NUMBER(opt, field)                                                                         \
	.name = (opt), .text = #opt, .offset = offsetof(SkOptsEntry, field),                       \
	.has_offset = offsetof(SkOptsEntry, has_##field)

static const struct number numbers[] = {
	/* First: TCP may widen the receive buffer for it. */
	{ NUMBER(SO_RCVLOWAT, so_rcvlowat) },
	{ NUMBER(SO_REUSEADDR, reuseaddr), .is_bool = true },
	{ NUMBER(SO_REUSEPORT, so_reuseport), .is_bool = true },
	{ NUMBER(SO_PRIORITY, so_priority) },
	{ NUMBER(SO_MARK, so_mark), .only_set = true },
	{ NUMBER(SO_PASSCRED, so_passcred), .is_bool = true, .credentials = true },
	{ NUMBER(SO_PASSSEC, so_passsec), .is_bool = true, .credentials = true },
	{ NUMBER(SO_DONTROUTE, so_dontroute), .is_bool = true },
	{ NUMBER(SO_NO_CHECK, so_no_check), .is_bool = true },
	{ NUMBER(SO_BROADCAST, so_broadcast), .is_bool = true },
	{ NUMBER(SO_KEEPALIVE, so_keepalive), .is_bool = true },
	{ NUMBER(SO_OOBINLINE, so_oobinline) },
};

static void number_put(SkOptsEntry *e, const struct number *n, int value)
{
	char *base = (char *)e;
	protobuf_c_boolean yes = 1, flag = value != 0;
	uint32_t number = (uint32_t)value;

	memcpy(base + n->has_offset, &yes, sizeof(yes));
	if (n->is_bool)
		memcpy(base + n->offset, &flag, sizeof(flag));
	else
		memcpy(base + n->offset, &number, sizeof(number));
}

/* Return: whether the image has it. */
static bool number_get(const SkOptsEntry *e, const struct number *n, int *ret)
{
	const char *base = (const char *)e;
	protobuf_c_boolean has, flag;
	uint32_t number;

	memcpy(&has, base + n->has_offset, sizeof(has));
	if (!has)
		return false;
	if (n->is_bool) {
		memcpy(&flag, base + n->offset, sizeof(flag));
		*ret = flag != 0;
	} else {
		memcpy(&number, base + n->offset, sizeof(number));
		*ret = (int)number;
	}
	return true;
}

static bool family_has_credentials(int family)
{
	return family == AF_UNIX || family == AF_NETLINK;
}

static int timeout_dump(struct dump *d, int fd, int name, uint64_t *ret_sec, uint64_t *ret_usec)
{
	struct timeval tv = { 0 };
	socklen_t size = sizeof(tv);
	int r;

	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, name, &tv, &size));
	if (r < 0)
		return fail(d->failure, r, "cannot read a timeout");
	*ret_sec = (uint64_t)tv.tv_sec;
	*ret_usec = (uint64_t)tv.tv_usec;
	return 0;
}

static int device_dump(struct dump *d, int fd, SkOptsEntry *e)
{
	char name[IFNAMSIZ] = "";
	socklen_t size = sizeof(name);
	int r;

	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &size));
	if (r == -ENOPROTOOPT || (r == 0 && (size == 0 || name[0] == '\0')))
		return 0;
	if (r < 0)
		return fail(d->failure, r, "cannot read the device it is bound to");
	name[sizeof(name) - 1] = '\0';
	e->so_bound_dev = arena_strdup(&d->arena, name);
	return e->so_bound_dev ? 0 : -ENOMEM;
}

/* The image has an instruction in one number: code, jt, jf, k from the top. */
static uint64_t instruction_pack(const struct sock_filter *i)
{
	return (uint64_t)i->code << 48 | (uint64_t)i->jt << 40 | (uint64_t)i->jf << 32 | i->k;
}

static struct sock_filter instruction_unpack(uint64_t packed)
{
	return (struct sock_filter){
		.code = (uint16_t)(packed >> 48),
		.jt = (uint8_t)(packed >> 40),
		.jf = (uint8_t)(packed >> 32),
		.k = (uint32_t)packed,
	};
}

/* getsockopt(SO_GET_FILTER) counts in instructions, not bytes. */
static int filter_dump(struct dump *d, int fd, SkOptsEntry *e)
{
	struct sock_filter *filter;
	socklen_t n = 0;
	int r;

	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &n));
	if (r == -EACCES)
		return fail(d->failure, -EOPNOTSUPP,
			    "its filter is an eBPF program, which cannot be read back");
	if (r < 0)
		return fail(d->failure, r, "cannot read its filter");
	if (n == 0)
		return 0;
	filter = arena_array(&d->arena, struct sock_filter, n);
	e->so_filter = arena_array(&d->arena, uint64_t, n);
	if (!filter || !e->so_filter)
		return fail(d->failure, -ENOMEM, "filter of %u instructions", n);
	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, filter, &n));
	if (r < 0)
		return fail(d->failure, r, "cannot read its filter");
	for (socklen_t i = 0; i < n; i++)
		e->so_filter[i] = instruction_pack(&filter[i]);
	e->n_so_filter = n;
	return 0;
}

static int buffers_dump(struct dump *d, int fd, SkOptsEntry *e)
{
	int snd, rcv, lock, r;

	r = sk_get_int(fd, SOL_SOCKET, SO_SNDBUF, &snd);
	if (r == 0)
		r = sk_get_int(fd, SOL_SOCKET, SO_RCVBUF, &rcv);
	if (r < 0)
		return fail(d->failure, r, "cannot read buffer sizes");
	e->so_sndbuf = (uint32_t)snd;
	e->so_rcvbuf = (uint32_t)rcv;

	/* Linux 5.14 */
	if (sk_get_int(fd, SOL_SOCKET, SO_BUF_LOCK, &lock) == 0) {
		e->has_so_buf_lock = 1;
		e->so_buf_lock = (uint32_t)lock;
	}
	return 0;
}

static int linger_dump(struct dump *d, int fd, SkOptsEntry *e)
{
	struct linger linger = { 0 };
	socklen_t size = sizeof(linger);
	int r;

	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size));
	if (r < 0)
		return fail(d->failure, r, "cannot read SO_LINGER");
	if (linger.l_onoff) {
		e->has_so_linger = 1;
		e->so_linger = (uint32_t)linger.l_linger;
	}
	return 0;
}

static int owner_dump(struct dump *d, int fd, SkOptsEntry *e)
{
	struct stat st;
	int r = sys_fstat(fd, &st);

	if (r < 0)
		return fail(d->failure, r, "cannot read its owner");
	e->has_snapmgr_uid = e->has_snapmgr_gid = 1;
	e->snapmgr_uid = st.st_uid;
	e->snapmgr_gid = st.st_gid;
	return 0;
}

int sk_opts_dump(struct dump *d, int fd, int family, SkOptsEntry *ret)
{
	SkOptsEntry e = SK_OPTS_ENTRY__INIT;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		const struct number *n = &numbers[i];
		int value;

		if (n->credentials && !family_has_credentials(family))
			continue;
		r = sk_get_int(fd, SOL_SOCKET, n->name, &value);
		/* Not every family knows every option. */
		if (r == -ENOPROTOOPT || r == -EOPNOTSUPP)
			continue;
		if (r < 0)
			return fail(d->failure, r, "cannot read %s", n->text);
		if (value != 0 || !n->only_set)
			number_put(&e, n, value);
	}
	r = owner_dump(d, fd, &e);
	if (r == 0)
		r = buffers_dump(d, fd, &e);
	if (r == 0)
		r = linger_dump(d, fd, &e);
	if (r == 0)
		r = timeout_dump(d, fd, SO_SNDTIMEO, &e.so_snd_tmo_sec, &e.so_snd_tmo_usec);
	if (r == 0)
		r = timeout_dump(d, fd, SO_RCVTIMEO, &e.so_rcv_tmo_sec, &e.so_rcv_tmo_usec);
	if (r == 0)
		r = device_dump(d, fd, &e);
	if (r == 0)
		r = filter_dump(d, fd, &e);
	if (r == 0)
		r = sk_extra_dump(d, fd, &e);
	if (r < 0)
		return r;
	*ret = e;
	return 0;
}

/* ---- restore ---- */

static int device_restore(struct restore *rs, int fd, const char *name)
{
	char now[IFNAMSIZ] = "";
	socklen_t size = sizeof(now);
	int r;

	if (strlen(name) >= IFNAMSIZ)
		return fail(rs->failure, -EBADMSG, "device name '%.32s...' is too long", name);
	r = (int)SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, now, &size));
	if (r == 0 && size > 0 && strncmp(now, name, sizeof(now)) == 0)
		return 0;
	r = (int)SYS_CALL(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name,
				     (socklen_t)strlen(name) + 1));
	if (r < 0)
		return fail(rs->failure, r, "cannot bind to device '%s'", name);
	return 0;
}

/* A socket belongs to the user that made it. Sockets of one user alone may share a port (SO_REUSEPORT). */
static int owner_restore(struct restore *rs, int fd, const SkOptsEntry *e)
{
	const CredsEntry *root = rs->tasks[0]->core->thread_core->creds;
	struct restore_as as = { .uid = AS_KEEP, .euid = e->snapmgr_uid, .egid = AS_KEEP };
	uint32_t uid = e->snapmgr_uid, gid = e->snapmgr_gid;
	int r;

	if (!e->has_snapmgr_uid || !e->has_snapmgr_gid)
		return 0;
	if (uid == UINT32_MAX || gid == UINT32_MAX)
		return fail(rs->failure, -EBADMSG, "it belongs to user %u, group %u", uid, gid);
	if (!restore_as_is_due(rs, &as)) {
		restore_note(rs, "no task of the tree has the user %u of a socket; user %u gets it", uid, root->fsuid);
		uid = root->fsuid;
		gid = root->fsgid;
	}
	r = (int)SYS_CALL(fchown(fd, uid, gid));
	return r < 0 ? fail(rs->failure, r, "cannot give it to user %u", uid) : 0;
}

int sk_opts_restore_early(struct restore *rs, int fd, const SkOptsEntry *e)
{
	int r;

	r = owner_restore(rs, fd, e);
	if (r < 0)
		return r;
	/*
	 * Sockets that share an address were bound when they, or those before them, allowed it. Some have withdrawn
	 * that since, and we cannot know the order.
	 */
	r = sk_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0 && e->has_so_reuseport && e->so_reuseport)
		r = sk_set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r < 0)
		return fail(rs->failure, r, "cannot allow sharing of the address");
	if (e->has_so_mark && e->so_mark != 0) {
		r = sk_make_int(fd, SOL_SOCKET, SO_MARK, (int)e->so_mark);
		if (r < 0)
			return fail(rs->failure, r, "cannot set SO_MARK to %u", e->so_mark);
	}
	return e->so_bound_dev ? device_restore(rs, fd, e->so_bound_dev) : 0;
}

/* @forced reaches past the limits of net.core; both double what they are given. */
static int buffer_restore(struct restore *rs, int fd, int plain, int forced, uint32_t size)
{
	int now, r;

	r = sk_get_int(fd, SOL_SOCKET, plain, &now);
	if (r == 0 && (uint32_t)now == size)
		return 0;
	r = sk_set_int(fd, SOL_SOCKET, forced, (int)(size / 2));
	if (r == -EPERM)
		r = sk_set_int(fd, SOL_SOCKET, plain, (int)(size / 2));
	if (r < 0)
		return fail(rs->failure, r, "cannot make a buffer of %u bytes", size);
	return 0;
}

static int buffers_restore(struct restore *rs, int fd, const SkOptsEntry *e)
{
	int r;

	r = buffer_restore(rs, fd, SO_SNDBUF, SO_SNDBUFFORCE, e->so_sndbuf);
	if (r == 0)
		r = buffer_restore(rs, fd, SO_RCVBUF, SO_RCVBUFFORCE, e->so_rcvbuf);
	if (r < 0 || !e->has_so_buf_lock)
		return r;
	r = sk_make_int(fd, SOL_SOCKET, SO_BUF_LOCK, (int)(e->so_buf_lock & 3));
	if (r == -ENOPROTOOPT) {
		restore_note(rs, "this kernel has no SO_BUF_LOCK, buffer sizes stay as they are");
		return 0;
	}
	if (r < 0)
		return fail(rs->failure, r, "cannot set SO_BUF_LOCK");
	return 0;
}

static int timeout_restore(struct restore *rs, int fd, int name, uint64_t sec, uint64_t usec)
{
	struct timeval tv = { .tv_sec = (time_t)sec, .tv_usec = (suseconds_t)usec };
	int r;

	if (sec > INT64_MAX || usec > 999999)
		return fail(rs->failure, -EBADMSG, "timeout of %" PRIu64 ".%06" PRIu64 " s", sec,
			    usec);
	if (sec == 0 && usec == 0)
		return 0;
	r = (int)SYS_CALL(setsockopt(fd, SOL_SOCKET, name, &tv, sizeof(tv)));
	if (r < 0)
		return fail(rs->failure, r, "cannot set a timeout");
	return 0;
}

static int filter_restore(struct restore *rs, int fd, const SkOptsEntry *e)
{
	_cleanup_free_ struct sock_filter *filter = NULL;
	struct sock_fprog prog = { 0 };
	int r;

	if (e->n_so_filter == 0)
		return 0;
	if (e->n_so_filter > BPF_MAXINSNS)
		return fail(rs->failure, -EBADMSG, "filter of %zu instructions", e->n_so_filter);
	filter = calloc(e->n_so_filter, sizeof(*filter));
	if (!filter)
		return fail(rs->failure, -ENOMEM, "filter of %zu instructions", e->n_so_filter);
	for (size_t i = 0; i < e->n_so_filter; i++)
		filter[i] = instruction_unpack(e->so_filter[i]);
	prog.len = (unsigned short)e->n_so_filter;
	prog.filter = filter;
	r = (int)SYS_CALL(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)));
	if (r < 0)
		return fail(rs->failure, r, "cannot attach its filter");
	return 0;
}

int sk_opts_restore(struct restore *rs, int fd, const SkOptsEntry *e)
{
	int r;

	r = owner_restore(rs, fd, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		int value;

		if (!number_get(e, &numbers[i], &value))
			continue;
		r = sk_make_int(fd, SOL_SOCKET, numbers[i].name, value);
		/* The record has all options, also those a family knows nothing of. */
		if ((r == -ENOPROTOOPT || r == -EOPNOTSUPP) && value == 0)
			continue;
		if (r < 0)
			return fail(rs->failure, r, "cannot set %s to %d", numbers[i].text, value);
	}
	if (e->has_so_linger) {
		struct linger linger = { .l_onoff = 1, .l_linger = (int)e->so_linger };

		r = (int)SYS_CALL(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
		if (r < 0)
			return fail(rs->failure, r, "cannot set SO_LINGER");
	}
	r = buffers_restore(rs, fd, e);
	if (r == 0)
		r = timeout_restore(rs, fd, SO_SNDTIMEO, e->so_snd_tmo_sec, e->so_snd_tmo_usec);
	if (r == 0)
		r = timeout_restore(rs, fd, SO_RCVTIMEO, e->so_rcv_tmo_sec, e->so_rcv_tmo_usec);
	if (r == 0 && e->so_bound_dev)
		r = device_restore(rs, fd, e->so_bound_dev);
	if (r == 0)
		r = filter_restore(rs, fd, e);
	return r == 0 ? sk_extra_restore(rs, fd, e) : r;
}

int sk_shutdown_restore(struct restore *rs, int fd, SkShutdown how)
{
	int r;

	if (how == SK_SHUTDOWN__NONE)
		return 0;
	/* The image numbers them from 1. */
	r = (int)SYS_CALL(shutdown(fd, (int)how - 1));
	/* An unconnected socket says so and shuts down all the same. */
	if (r < 0 && r != -ENOTCONN)
		return fail(rs->failure, r, "cannot shut it down");
	return 0;
}

int sk_new(struct restore *rs, int family, int type, int protocol)
{
	int fd;

	fd = (int)SYS_CALL(socket(family, type | SOCK_CLOEXEC, protocol));
	if (fd < 0)
		return fail(rs->failure, fd, "cannot create a socket of family %d, type %d, protocol %d",
			    family, type, protocol);
	return fd;
}

int sk_new_for(struct restore *rs, const struct file *file, int family, int type, int protocol)
{
	struct rtask *task = files_holder(rs, file);
	int64_t there;
	int r;

	if (files_phase(rs) == FILES_ALONE)
		return -EAGAIN;
	if (!task->cgroup_set) /* it is in ours */
		return sk_new(rs, family, type, protocol);
	r = restore_drive(rs, task, task->pid);
	if (r < 0)
		return r;
	there = restore_call(rs, task, "cannot create a socket", SYS_socket, (uint64_t)family,
			     (uint64_t)(type | SOCK_CLOEXEC), (uint64_t)protocol, 0, 0, 0);
	return there < 0 ? (int)there : restore_take_fd(rs, task, (int)there);
}

int sk_inherited(struct restore *rs, uint32_t ino)
{
	char key[32];

	(void)snprintf(key, sizeof(key), "socket:[%u]", ino);
	return restore_inherited(rs, key);
}

static bool strv_has(const struct strv *v, const char *text)
{
	for (size_t i = 0; i < v->n; i++)
		if (strcmp(v->items[i], text) == 0)
			return true;
	return false;
}

bool sk_is_external(const struct dump *d, const char *kind, uint32_t ino)
{
	char key[32];

	(void)snprintf(key, sizeof(key), "%s[%u]", kind, ino);
	return strv_has(&d->options->external, key) || strv_has(&d->more_external, key);
}
