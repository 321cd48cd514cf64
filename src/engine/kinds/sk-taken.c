/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/sk-taken.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "basic/sys.h"
#include "engine/control/sockdiag.h"
#include "engine/kinds/fd-unix.h"
#include "engine/preflight.h"

#include "sk-inet.pb-c.h"

enum {
	V6_WORDS = 4,
	ADDRESS_TEXT_MAX = INET6_ADDRSTRLEN + 16,
};

/* Does the caller bring it (--inherit-fd)? */
static bool is_brought(const struct restore *rs, uint32_t ino)
{
	char key[32];

	(void)snprintf(key, sizeof(key), "socket:[%u]", ino);
	return restore_brings(rs, key);
}

/* ---- inet ---- */

/* An address that a socket is bound to. IPv4 as the last word of a mapped one. */
struct bound {
	bool v6, only_v6;
	uint32_t words[V6_WORDS];
};

static bool is_any(const struct bound *b)
{
	for (size_t i = 0; i < (b->v6 ? V6_WORDS : 1); i++) {
		if (b->words[i] != 0)
			return false;
	}
	return true;
}

static void unmap(struct bound *b)
{
	if (!b->v6 || !IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)b->words))
		return;
	b->v6 = false;
	b->words[0] = b->words[V6_WORDS - 1];
}

/* Could one packet be for both? */
static bool addresses_meet(struct bound a, struct bound b)
{
	unmap(&a);
	unmap(&b);
	if (a.v6 == b.v6)
		return is_any(&a) || is_any(&b) ||
		       memcmp(a.words, b.words, a.v6 ? sizeof(a.words) : sizeof(a.words[0])) == 0;
	/* The IPv6 wildcard takes IPv4 too, unless it was told not to. */
	return (a.v6 && is_any(&a) && !a.only_v6) || (b.v6 && is_any(&b) && !b.only_v6);
}

/* Does it hold its port alone? Connections share theirs with the listener, and datagram sockets may have agreed to share. */
static bool binds_alone(const struct restore *rs, const InetSkEntry *e)
{
	bool shares = e->opts->has_so_reuseport && e->opts->so_reuseport;

	if (e->src_port == 0 || shares || is_brought(rs, e->ino))
		return false;
	if (e->type == SOCK_STREAM)
		return e->state == TCP_LISTEN || (e->state == TCP_CLOSE && e->dst_port == 0);
	return (e->proto == IPPROTO_UDP || e->proto == IPPROTO_UDPLITE) && !e->opts->reuseaddr;
}

static bool holds(const struct restore *rs, const struct inet_diag *d, int family,
		  const InetSkEntry *e)
{
	struct bound theirs = { .v6 = family == AF_INET6, .only_v6 = d->only_v6 };
	struct bound ours = { .v6 = e->family == AF_INET6, .only_v6 = e->has_v6only && e->v6only };

	if (d->port != e->src_port || d->ino == 0 || preflight_socket_is_free(rs, d->ino) ||
	    (e->type == SOCK_STREAM && d->state != TCP_LISTEN))
		return false;
	memcpy(theirs.words, d->address, sizeof(theirs.words));
	memcpy(ours.words, e->src_addr, MIN(e->n_src_addr * sizeof(uint32_t), sizeof(ours.words)));
	return addresses_meet(theirs, ours);
}

static int look_in_table(struct restore *rs, const InetSkEntry *e, int family)
{
	char ip[INET6_ADDRSTRLEN] = "?", object[ADDRESS_TEXT_MAX + 8], owner[PREFLIGHT_OWNER_MAX];
	struct inet_diag *items;
	size_t n;
	int r;

	r = sockdiag_inet_list(family, (int)e->proto, &rs->arena, &items, &n);
	if (r == -ENOENT)
		return 0; /* this kernel has no such table */
	if (r < 0)
		return fail(rs->failure, r, "cannot list sockets of protocol %u", e->proto);
	for (size_t i = 0; i < n; i++) {
		if (!holds(rs, &items[i], family, e))
			continue;
		(void)inet_ntop((int)e->family, e->src_addr, ip, sizeof(ip));
		(void)snprintf(object, sizeof(object),
			       e->family == AF_INET6 ? "%s [%s]:%u" : "%s %s:%u",
			       e->type == SOCK_STREAM ? "tcp" : "udp", ip, e->src_port);
		return preflight_add(rs, OBSTACLE_PORT, object, "%s is in use by %s", object,
				     preflight_socket_owner(rs, items[i].ino, owner));
	}
	return 0;
}

int inet_preflight(struct restore *rs, struct file *file)
{
	const InetSkEntry *e = file->entry->isk;
	int r;

	if (e->family == AF_INET6 && e->ifname &&
	    IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)e->src_addr) &&
	    if_nametoindex(e->ifname) == 0) {
		r = preflight_add(rs, OBSTACLE_PORT, e->ifname, "there is no interface '%s'",
				  e->ifname);
		if (r < 0)
			return r;
	}
	if (!binds_alone(rs, e))
		return 0;
	r = look_in_table(rs, e, AF_INET);
	return r < 0 ? r : look_in_table(rs, e, AF_INET6);
}

/* ---- unix ---- */

/* Those that share a listener's name, as accept(2) gives it, hold nothing. */
static bool binds_name(const struct restore *rs, const UnixSkEntry *e)
{
	if (e->name.len == 0 || (e->has_deleted && e->deleted) || (e->uflags & USK_EXTERN) ||
	    is_brought(rs, e->ino))
		return false;
	return e->type == SOCK_DGRAM || e->state != TCP_ESTABLISHED;
}

static int note_name(struct restore *rs, const char *name, uint32_t ino)
{
	char owner[PREFLIGHT_OWNER_MAX];

	return preflight_add(rs, OBSTACLE_PORT, name, "unix socket '%s' is in use by %s", name,
			     preflight_socket_owner(rs, ino, owner));
}

static bool is_held_by(const struct restore *rs, const struct unix_diag *d, const UnixSkEntry *e)
{
	return d->type == e->type &&
	       (d->state == TCP_LISTEN || d->state == TCP_CLOSE || e->type == SOCK_DGRAM) &&
	       !preflight_socket_is_free(rs, d->ino);
}

static int look_for_abstract(struct restore *rs, const UnixSkEntry *e, const struct unix_diag *all,
			     size_t n)
{
	char text[UNIX_NAME_MAX + 1];

	for (size_t i = 0; i < n; i++) {
		if (is_held_by(rs, &all[i], e) && all[i].name_size == e->name.len &&
		    memcmp(all[i].name, e->name.data, e->name.len) == 0)
			return note_name(rs, unix_name_text(e->name.data, e->name.len, text),
					 all[i].ino);
	}
	return 0;
}

/* Device numbers of subvolumes differ from their file system's: the name is as good. */
static bool is_bound_to(const struct unix_diag *d, const struct stat *st, const UnixSkEntry *e)
{
	bool same_name =
		d->name_size == e->name.len && memcmp(d->name, e->name.data, e->name.len) == 0;

	return d->vfs_ino == (uint32_t)st->st_ino &&
	       (same_name || d->vfs_dev == (major(st->st_dev) << 20 | minor(st->st_dev)));
}

static int look_for_path(struct restore *rs, const UnixSkEntry *e, const struct unix_diag *all,
			 size_t n)
{
	_cleanup_(restore_dir_done) struct restore_dir dir = RESTORE_DIR_NONE;
	char path[UNIX_PATH_MAX] = "";
	struct stat st;
	int r;

	if (e->name.data[0] != '/' && !e->name_dir)
		return 0; /* relative to a directory that nobody noted */
	r = unix_name_open_dir(rs, e, path, &dir);
	if (r < 0)
		return preflight_add_failure(rs, OBSTACLE_FILE, path, r);
	r = SYS_CALL(syscall(SYS_faccessat2, dir.fd, "", W_OK | X_OK, AT_EACCESS | AT_EMPTY_PATH));
	if (r < 0)
		return preflight_add(rs, OBSTACLE_FILE, path, "socket '%s' cannot be made: %s", path, strerror(-r));
	r = sys_fstatat(dir.fd, dir.name, &st, AT_SYMLINK_NOFOLLOW);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return preflight_add(rs, OBSTACLE_FILE, path, "'%s': %s", path, strerror(-r));
	if (!S_ISSOCK(st.st_mode))
		return preflight_add(rs, OBSTACLE_FILE, path,
				     "'%s' is now something else than a socket", path);
	for (size_t i = 0; i < n; i++) {
		if (is_bound_to(&all[i], &st, e) &&
		    (all[i].state == TCP_LISTEN || all[i].state == TCP_CLOSE ||
		     all[i].type == SOCK_DGRAM) &&
		    !preflight_socket_is_free(rs, all[i].ino))
			return note_name(rs, path, all[i].ino);
	}
	return 0;
}

int unix_preflight(struct restore *rs, struct file *file)
{
	const UnixSkEntry *e = file->entry->usk;
	struct unix_diag *all;
	size_t n;
	int r;

	if (!binds_name(rs, e))
		return 0;
	r = sockdiag_unix_list(&rs->arena, &all, &n);
	if (r < 0)
		return fail(rs->failure, r, "cannot list the unix sockets");
	return e->name.data[0] == '\0' ? look_for_abstract(rs, e, all, n)
				       : look_for_path(rs, e, all, n);
}
