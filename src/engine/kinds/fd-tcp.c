/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/fd-tcp.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "basic/sys.h"
#include "engine/kinds/sk-opts.h"

bool tcp_state_is_connected(uint32_t state)
{
	return state != TCP_CLOSE && state != TCP_LISTEN;
}

int tcp_opts_dump(struct dump *d, int fd, TcpOptsEntry **ret)
{
	TcpOptsEntry *e = arena_new(&d->arena, TcpOptsEntry);
	int cork, nodelay, cnt, idle, interval, r;

	if (!e)
		return fail(d->failure, -ENOMEM, "out of memory");
	tcp_opts_entry__init(e);
	r = sk_get_int(fd, IPPROTO_TCP, TCP_CORK, &cork);
	if (r == 0)
		r = sk_get_int(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay);
	if (r == 0)
		r = sk_get_int(fd, IPPROTO_TCP, TCP_KEEPCNT, &cnt);
	if (r == 0)
		r = sk_get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle);
	if (r == 0)
		r = sk_get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval);
	if (r < 0)
		return fail(d->failure, r, "cannot read TCP options");
	e->has_cork = cork != 0;
	e->cork = cork != 0;
	e->has_nodelay = nodelay != 0;
	e->nodelay = nodelay != 0;
	e->has_keepcnt = e->has_keepidle = e->has_keepintvl = 1;
	e->keepcnt = (uint32_t)cnt;
	e->keepidle = (uint32_t)idle;
	e->keepintvl = (uint32_t)interval;
	*ret = e;
	return 0;
}

int tcp_opts_restore(struct restore *rs, int fd, const TcpOptsEntry *e)
{
	const struct {
		int name;
		const char *text;
		bool has;
		uint32_t value;
	} opts[] = {
		{ TCP_NODELAY, "TCP_NODELAY", e->has_nodelay, (uint32_t)e->nodelay },
		{ TCP_CORK, "TCP_CORK", e->has_cork, (uint32_t)e->cork },
		{ TCP_KEEPCNT, "TCP_KEEPCNT", e->has_keepcnt, e->keepcnt },
		{ TCP_KEEPIDLE, "TCP_KEEPIDLE", e->has_keepidle, e->keepidle },
		{ TCP_KEEPINTVL, "TCP_KEEPINTVL", e->has_keepintvl, e->keepintvl },
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(opts); i++) {
		if (!opts[i].has)
			continue;
		r = sk_make_int(fd, IPPROTO_TCP, opts[i].name, (int)opts[i].value);
		if (r < 0)
			return fail(rs->failure, r, "cannot set %s to %u", opts[i].text,
				    opts[i].value);
	}
	return 0;
}
