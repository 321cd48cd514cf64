/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel lists the groups of each interface, not those of a socket. But it tells of a socket that is a member of a
 * group what its filter there is, and says EADDRNOTAVAIL of one that is not: so each group that anybody has joined is
 * tried. Those that only the kernel itself is in are not.
 */
#include "engine/kinds/sk-multicast.h"

#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "basic/parse.h"
#include "basic/sys.h"

enum {
	TABLE_MAX = 4 << 20,
	SOURCES_MAX = 1024, /* of a group; the kernel's own default limits are 10 and 64 */
	V4_BYTES = 4,
	V6_BYTES = 16,
};

struct group {
	char ifname[IF_NAMESIZE];
	uint8_t address[V6_BYTES];
	size_t size;
};

struct group_table {
	struct group *items;
	size_t n;
};

static int table_add(struct dump *d, struct group_table *t, const char *ifname, const void *address, size_t size)
{
	struct group *g;

	if (arena_grow(&d->arena, &t->items, t->n) < 0)
		return fail(d->failure, -ENOMEM, "no memory for multicast groups");
	g = &t->items[t->n++];
	(void)snprintf(g->ifname, sizeof(g->ifname), "%s", ifname);
	memcpy(g->address, address, size);
	g->size = size;
	return 0;
}

/* Groups of IPv4 stand below the line of their interface: "INDEX NAME : ...", then "\t\tGROUP USERS ...". */
static int read_v4(struct dump *d, char *text, struct group_table *t)
{
	const uint32_t all_hosts = htonl(INADDR_ALLHOSTS_GROUP);
	char ifname[IF_NAMESIZE] = "", *save = NULL;
	int r = 0;

	for (char *line = strtok_r(text, "\n", &save); r == 0 && line; line = strtok_r(NULL, "\n", &save)) {
		uint32_t group, users;

		if (*line != '\t') {
			if (sscanf(line, "%*u %15s", ifname) != 1)
				ifname[0] = '\0';
		} else if (sscanf(line, "%8x %u", &group, &users) == 2 && (group != all_hosts || users > 1)) {
			r = table_add(d, t, ifname, &group, V4_BYTES);
		}
	}
	return r;
}

static bool parse_v6(const char *hex, uint8_t address[static V6_BYTES])
{
	for (int i = 0; i < V6_BYTES; i++) {
		if (sscanf(hex + 2 * i, "%2hhx", &address[i]) != 1)
			return false;
	}
	return true;
}

/* All nodes, and the groups in which a host waits for questions about its addresses. */
static bool is_kernels_own(const uint8_t a[static V6_BYTES])
{
	static const uint8_t nodes[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };
	static const uint8_t solicited[] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff };

	return (a[0] == 0xff && memcmp(a + 2, nodes, sizeof(nodes)) == 0) ||
	       memcmp(a, solicited, sizeof(solicited)) == 0;
}

/* "INDEX NAME GROUP USERS ..." */
static int read_v6(struct dump *d, char *text, struct group_table *t)
{
	char *save = NULL;
	int r = 0;

	for (char *line = strtok_r(text, "\n", &save); r == 0 && line; line = strtok_r(NULL, "\n", &save)) {
		char ifname[IF_NAMESIZE], hex[2 * V6_BYTES + 1];
		uint8_t group[V6_BYTES];
		uint32_t users;

		if (sscanf(line, "%*u %15s %32s %u", ifname, hex, &users) == 3 && strlen(hex) == 2 * V6_BYTES &&
		    parse_v6(hex, group) && (users > 1 || !is_kernels_own(group)))
			r = table_add(d, t, ifname, group, V6_BYTES);
	}
	return r;
}

/* A file is missing where the kernel has no IPv6. */
static int read_table(struct dump *d, const struct task *task, const char *path,
		      int (*parse)(struct dump *d, char *text, struct group_table *t), struct group_table *t)
{
	_cleanup_free_ char *text = NULL;
	int r = sys_read_file_at(task->proc_fd, path, TABLE_MAX, &text, NULL);

	if (r == -ENOENT)
		return 0;
	return r < 0 ? fail(d->failure, r, "cannot read the multicast groups in %s", path) : parse(d, text, t);
}

/* Read once per dump: nobody joins while the tree is frozen but others, and those do not matter. */
static int get_table(struct dump *d, const struct task *task, const struct group_table **ret)
{
	struct group_table *t = d->multicast;
	int r = 0;

	if (!t) {
		t = arena_new(&d->arena, struct group_table);
		if (!t)
			return fail(d->failure, -ENOMEM, "no memory for multicast groups");
		r = read_table(d, task, "net/igmp", read_v4, t);
		if (r == 0)
			r = read_table(d, task, "net/igmp6", read_v6, t);
		if (r < 0)
			return r;
		d->multicast = t;
	}
	*ret = t;
	return 0;
}

static void fill_address(struct sockaddr_storage *to, const void *address, size_t size)
{
	*to = (struct sockaddr_storage){ .ss_family = size == V6_BYTES ? AF_INET6 : AF_INET };
	if (size == V6_BYTES)
		memcpy(&((struct sockaddr_in6 *)to)->sin6_addr, address, size);
	else
		memcpy(&((struct sockaddr_in *)to)->sin_addr, address, size);
}

static const void *address_of(const struct sockaddr_storage *from)
{
	return from->ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)from)->sin6_addr :
					     (const void *)&((const struct sockaddr_in *)from)->sin_addr;
}

static int level_of(size_t size)
{
	return size == V6_BYTES ? IPPROTO_IPV6 : IPPROTO_IP;
}

/* The filter of a socket for a group. Return: 1, 0 it is no member, -errno after fail(). */
static int filter_get(struct dump *d, int fd, const struct group *g, struct group_filter *f)
{
	uint32_t index = if_nametoindex(g->ifname);
	socklen_t size = GROUP_FILTER_SIZE(SOURCES_MAX);
	int r;

	if (!index)
		return 0;
	*f = (struct group_filter){ .gf_interface = index, .gf_numsrc = SOURCES_MAX };
	fill_address(&f->gf_group, g->address, g->size);
	r = SYS_CALL(getsockopt(fd, level_of(g->size), MCAST_MSFILTER, f, &size));
	/* The latter: groups of the other IP, which a socket may not know. */
	if (r == -EADDRNOTAVAIL || r == -EOPNOTSUPP || r == -ENOPROTOOPT || r == -ENODEV)
		return 0;
	if (r < 0)
		return fail(d->failure, r, "cannot read its multicast groups on %s", g->ifname);
	if (f->gf_numsrc > SOURCES_MAX)
		return fail(d->failure, -EOPNOTSUPP, "a multicast group with %u sources cannot be saved", f->gf_numsrc);
	return 1;
}

static int put_membership(struct dump *d, const struct group *g, const struct group_filter *f, SkOptsEntry *e)
{
	SkMembership *m = arena_new(&d->arena, SkMembership);

	if (!m || arena_grow(&d->arena, &e->membership, e->n_membership) < 0)
		return fail(d->failure, -ENOMEM, "no memory for multicast groups");
	sk_membership__init(m);
	m->ifname = arena_strdup(&d->arena, g->ifname);
	m->group = (ProtobufCBinaryData){ g->size, arena_copy(&d->arena, g->address, g->size) };
	m->exclude = f->gf_fmode == MCAST_EXCLUDE;
	m->source = arena_array(&d->arena, ProtobufCBinaryData, f->gf_numsrc + 1);
	if (!m->ifname || !m->group.data || !m->source)
		return fail(d->failure, -ENOMEM, "no memory for multicast groups");
	for (uint32_t i = 0; i < f->gf_numsrc; i++) {
		m->source[i] = (ProtobufCBinaryData){ g->size, arena_copy(&d->arena, address_of(&f->gf_slist[i]),
									  g->size) };
		if (!m->source[i].data)
			return fail(d->failure, -ENOMEM, "no memory for multicast groups");
		m->n_source++;
	}
	e->membership[e->n_membership++] = m;
	return 0;
}

int sk_multicast_dump(struct dump *d, const struct fd_view *view, SkOptsEntry *e)
{
	_cleanup_free_ struct group_filter *f = NULL;
	const struct group_table *t = NULL;
	int r = get_table(d, view->task, &t);

	if (r < 0 || t->n == 0)
		return r;
	f = malloc(GROUP_FILTER_SIZE(SOURCES_MAX));
	if (!f)
		return fail(d->failure, -ENOMEM, "no memory for a multicast filter");
	for (size_t i = 0; r >= 0 && i < t->n; i++) {
		r = filter_get(d, view->fd, &t->items[i], f);
		if (r > 0)
			r = put_membership(d, &t->items[i], f, e);
	}
	return r;
}

/* ---- restore ---- */

static int check(struct restore *rs, const SkMembership *m)
{
	bool good = m->group.len == V4_BYTES || m->group.len == V6_BYTES;

	for (size_t i = 0; i < m->n_source; i++)
		good &= m->source[i].len == m->group.len;
	if (!good || m->n_source > SOURCES_MAX)
		return fail(rs->failure, -EBADMSG, "a multicast group on '%s' that cannot be", m->ifname);
	return 0;
}

/* From everybody, but for some. */
static int join_all(int fd, const SkMembership *m, const struct group_req *req)
{
	_cleanup_free_ struct group_filter *f = NULL;
	int level = level_of(m->group.len), r;

	r = SYS_CALL(setsockopt(fd, level, MCAST_JOIN_GROUP, req, sizeof(*req)));
	if (r < 0 || m->n_source == 0)
		return r;
	f = calloc(1, GROUP_FILTER_SIZE(m->n_source));
	if (!f)
		return -ENOMEM;
	f->gf_interface = req->gr_interface;
	f->gf_group = req->gr_group;
	f->gf_fmode = MCAST_EXCLUDE;
	f->gf_numsrc = m->n_source;
	for (size_t i = 0; i < m->n_source; i++)
		fill_address(&f->gf_slist[i], m->source[i].data, m->source[i].len);
	return SYS_CALL(setsockopt(fd, level, MCAST_MSFILTER, f, GROUP_FILTER_SIZE(m->n_source)));
}

/* From these only. */
static int join_sources(int fd, const SkMembership *m, const struct group_req *req)
{
	struct group_source_req s = { .gsr_interface = req->gr_interface, .gsr_group = req->gr_group };
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_source; i++) {
		fill_address(&s.gsr_source, m->source[i].data, m->source[i].len);
		r = SYS_CALL(setsockopt(fd, level_of(m->group.len), MCAST_JOIN_SOURCE_GROUP, &s, sizeof(s)));
	}
	return r;
}

int sk_multicast_restore(struct restore *rs, int fd, const SkOptsEntry *e)
{
	for (size_t i = 0; i < e->n_membership; i++) {
		const SkMembership *m = e->membership[i];
		struct group_req req = { .gr_interface = if_nametoindex(m->ifname) };
		int r = check(rs, m);

		if (r < 0)
			return r;
		fill_address(&req.gr_group, m->group.data, m->group.len);
		r = !req.gr_interface ? -ENODEV :
		    m->exclude	      ? join_all(fd, m, &req) :
					join_sources(fd, m, &req);
		if (r < 0)
			restore_note(rs, "a multicast group on %s cannot be joined again: %s", m->ifname,
				     strerror(-r));
	}
	return 0;
}
