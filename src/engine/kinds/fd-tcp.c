/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sequence numbers in the image are the kernel's: of the next byte to receive and of the next to be written, FINs
 * counted. The queues end there, so the number to start from is found by going back: over the bytes of the queue and
 * over a FIN, which takes a number but is no byte.
 *
 * A restored connection is first an established one; the states of its end are then walked through again, by shutdown(2)
 * for our part and by a segment in the peer's name for its.
 */
#include "engine/kinds/fd-tcp.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "basic/sys.h"
#include "engine/control/tcp-segment.h"
#include "engine/kinds/sk-opts.h"

#include "tcp-stream.pb-c.h"

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

/* ---- connections ---- */

enum {
	MAX_STREAM_BYTES = 256 << 20,
	CHUNK_BYTES = 32 << 10,
	WSCALE_MAX = 14,
	READ_TRIES = 16,
	OPTION_MSS = 2, /* numbers of the protocol, as TCP_REPAIR_OPTIONS takes them */
	OPTION_WSCALE = 3,
	OPTION_SACK = 4,
	OPTION_TIMESTAMP = 8,
};

/* The peer's FIN is in the sequence of what was received. */
static bool state_has_peer_fin(uint32_t state)
{
	return state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK || state == TCP_CLOSING;
}

/* Our FIN is in the sequence of what was sent. */
static bool state_has_own_fin(uint32_t state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING ||
	       state == TCP_LAST_ACK;
}

static int repair_set(struct failure *f, int fd, int value)
{
	int r = sk_set_int(fd, IPPROTO_TCP, TCP_REPAIR, value);

	if (r < 0)
		return fail(f, r, "tcp: cannot %s", value == TCP_REPAIR_ON ? "begin repair" :
									     "end repair");
	return 0;
}

static int queue_select(struct failure *f, int fd, int queue)
{
	int r = sk_set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);

	return r < 0 ? fail(f, r, "tcp: cannot select a queue") : 0;
}

void tcp_repair_on(int fd)
{
	(void)sk_set_int(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
}

void tcp_repair_off(int fd, bool reuse)
{
	(void)sk_set_int(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	if (reuse)
		(void)sk_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

int tcp_stream_check_dump(struct dump *d, int fd, const InetSkEntry *e)
{
	char ulp[16] = "";
	socklen_t size = sizeof(ulp);

	if (e->state == TCP_SYN_SENT)
		return 0;
	if (e->state == TCP_SYN_RECV || e->state == TCP_TIME_WAIT)
		return fail(d->failure, -EOPNOTSUPP, "tcp: connection in state %u", e->state);
	if (SYS_CALL(getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &size)) == 0 && size > 0 && ulp[0])
		return fail(d->failure, -EOPNOTSUPP,
			    "tcp: the kernel does '%.15s' for the connection, which cannot be saved",
			    ulp);
	return sk_check_urgent(d, fd);
}

static int queue_length(struct dump *d, int fd, unsigned long request, uint32_t *ret)
{
	int n = 0, r;

	r = (int)SYS_CALL(ioctl(fd, request, &n));
	if (r < 0)
		return fail(d->failure, r, "tcp: cannot read the length of a queue");
	if (n < 0 || n > MAX_STREAM_BYTES)
		return fail(d->failure, -EFBIG, "tcp: %d bytes in a queue", n);
	*ret = (uint32_t)n;
	return 0;
}

/* @ret_data: in the arena. */
static int queue_read(struct dump *d, int fd, int queue, uint32_t size, uint32_t *ret_seq,
		      void **ret_data)
{
	int seq, r;
	ssize_t n;

	*ret_data = NULL;
	r = queue_select(d->failure, fd, queue);
	if (r < 0)
		return r;
	r = sk_get_int(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq);
	if (r < 0)
		return fail(d->failure, r, "tcp: cannot read a sequence number");
	*ret_seq = (uint32_t)seq;
	if (size == 0)
		return 0;
	*ret_data = arena_alloc(&d->arena, size);
	if (!*ret_data)
		return fail(d->failure, -ENOMEM, "tcp: queue of %u bytes", size);
	n = SYS_CALL(recv(fd, *ret_data, size, MSG_PEEK | MSG_DONTWAIT));
	if (n < 0 || (size_t)n != size)
		return fail(d->failure, n < 0 ? (int)n : -ESTALE,
			    "tcp: got %zd of %u bytes of a queue", n, size);
	return 0;
}

static int negotiated_dump(struct dump *d, int fd, TcpStreamEntry *t)
{
	struct tcp_info info = { 0 };
	struct tcp_repair_window window = { 0 };
	socklen_t size = sizeof(info);
	int mss, stamp, r;

	r = (int)SYS_CALL(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	if (r == 0)
		r = sk_get_int(fd, IPPROTO_TCP, TCP_MAXSEG, &mss);
	if (r == 0)
		r = sk_get_int(fd, IPPROTO_TCP, TCP_TIMESTAMP, &stamp);
	size = sizeof(window);
	if (r == 0)
		r = (int)SYS_CALL(getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &size));
	if (r < 0)
		return fail(d->failure, r, "tcp: cannot read what the peers agreed on");
	t->opt_mask = info.tcpi_options &
		      (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
	t->snd_wscale = info.tcpi_snd_wscale;
	t->has_rcv_wscale = 1;
	t->rcv_wscale = info.tcpi_rcv_wscale;
	t->mss_clamp = (uint32_t)mss;
	t->has_timestamp = (t->opt_mask & TCPI_OPT_TIMESTAMPS) != 0;
	t->timestamp = (uint32_t)stamp;
	t->has_snd_wl1 = t->has_snd_wnd = t->has_max_window = 1;
	t->has_rcv_wnd = t->has_rcv_wup = 1;
	t->snd_wl1 = window.snd_wl1;
	t->snd_wnd = window.snd_wnd;
	t->max_window = window.max_window;
	t->rcv_wnd = window.rcv_wnd;
	t->rcv_wup = window.rcv_wup;
	return 0;
}

static int stream_put(struct dump *d, uint32_t ino, const TcpStreamEntry *t, const void *in,
		      const void *out)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_create(d->dir_fd, IMAGE_TCP_STREAM, ino, d->failure, &img);
	if (r == 0)
		r = image_put(img, &t->base);
	if (r == 0 && t->inq_len > 0)
		r = image_put_raw(img, in, t->inq_len);
	if (r == 0 && t->outq_len > 0)
		r = image_put_raw(img, out, t->outq_len);
	return r == 0 ? image_finish(TAKE_PTR(img)) : r;
}

/* Everything that can be seen under repair only. */
static int stream_read(struct dump *d, int fd, uint32_t state, TcpStreamEntry *t, void **ret_in,
		       void **ret_out)
{
	int r;

	r = queue_length(d, fd, SIOCINQ, &t->inq_len);
	if (r == 0)
		r = queue_length(d, fd, SIOCOUTQ, &t->outq_len);
	if (r == 0)
		r = queue_length(d, fd, SIOCOUTQNSD, &t->unsq_len);
	if (r < 0)
		return r;
	/* A FIN counts as a byte that nobody can read. */
	if (state_has_own_fin(state) && t->outq_len > 0) {
		t->outq_len--;
		if (t->unsq_len > 0)
			t->unsq_len--;
	}
	/* What could not be sent any more is gone, though still counted. */
	if (state == TCP_CLOSE)
		t->outq_len = t->unsq_len = 0;
	t->has_unsq_len = 1;
	r = queue_read(d, fd, TCP_RECV_QUEUE, t->inq_len, &t->inq_seq, ret_in);
	if (r == 0)
		r = queue_read(d, fd, TCP_SEND_QUEUE, t->outq_len, &t->outq_seq, ret_out);
	if (r == 0)
		r = queue_select(d->failure, fd, TCP_NO_QUEUE);
	return r == 0 ? negotiated_dump(d, fd, t) : r;
}

/* Has anything moved since @t was read? Packets that were under way when the lock came are still worked off. */
static int stream_moved(struct dump *d, int fd, uint32_t state, const TcpStreamEntry *t, bool *ret)
{
	TcpStreamEntry now = TCP_STREAM_ENTRY__INIT;
	void *in = NULL, *out = NULL;
	int r;

	r = stream_read(d, fd, state, &now, &in, &out);
	if (r < 0)
		return r;
	*ret = now.inq_len != t->inq_len || now.inq_seq != t->inq_seq ||
	       now.outq_len != t->outq_len || now.outq_seq != t->outq_seq ||
	       now.unsq_len != t->unsq_len || now.rcv_wup != t->rcv_wup ||
	       now.snd_wl1 != t->snd_wl1;
	return 0;
}

static int stream_read_still(struct dump *d, int fd, uint32_t state, TcpStreamEntry *t,
			     void **ret_in, void **ret_out)
{
	bool moved = true;
	int r = 0;

	for (int i = 0; r == 0 && moved && i < READ_TRIES; i++) {
		*t = (TcpStreamEntry)TCP_STREAM_ENTRY__INIT;
		r = stream_read(d, fd, state, t, ret_in, ret_out);
		if (r == 0)
			r = stream_moved(d, fd, state, t, &moved);
	}
	if (r == 0 && moved)
		return fail(d->failure, -EAGAIN, "tcp: its queues do not hold still");
	return r;
}

int tcp_stream_dump(struct dump *d, int fd, const InetSkEntry *e)
{
	TcpStreamEntry t = TCP_STREAM_ENTRY__INIT;
	void *in = NULL, *out = NULL;
	int reuse, r;

	r = sk_get_int(fd, SOL_SOCKET, SO_REUSEADDR, &reuse);
	if (r < 0)
		return fail(d->failure, r, "cannot read SO_REUSEADDR");
	r = repair_set(d->failure, fd, TCP_REPAIR_ON);
	if (r == 0)
		r = stream_read_still(d, fd, e->state, &t, &in, &out);
	tcp_repair_off(fd, reuse != 0);
	return r == 0 ? stream_put(d, e->ino, &t, in, out) : r;
}

/* ---- restore ---- */

struct tcp_stream {
	const TcpStreamEntry *t;
	uint32_t state;
	const uint8_t *in, *out;
	uint32_t in_seq, out_seq; /* of the first byte of each queue */
};

static int stream_check(struct restore *rs, const TcpStreamEntry *t, uint64_t left)
{
	if (t->inq_len > MAX_STREAM_BYTES || t->outq_len > MAX_STREAM_BYTES ||
	    (uint64_t)t->inq_len + t->outq_len > left)
		return fail(rs->failure, -EBADMSG, "tcp: queues of %u and %u bytes", t->inq_len,
			    t->outq_len);
	if (!t->has_unsq_len || t->unsq_len > t->outq_len)
		return fail(rs->failure, -EBADMSG, "tcp: %u unsent bytes of %u", t->unsq_len,
			    t->outq_len);
	if (t->snd_wscale > WSCALE_MAX || t->rcv_wscale > WSCALE_MAX)
		return fail(rs->failure, -EBADMSG, "tcp: window scales %u and %u", t->snd_wscale,
			    t->rcv_wscale);
	return 0;
}

int tcp_stream_load(struct restore *rs, const InetSkEntry *e, struct tcp_stream **ret)
{
	_cleanup_(image_freep) struct image *img = NULL;
	struct tcp_stream *s = arena_new(&rs->arena, struct tcp_stream);
	ProtobufCMessage *msg = NULL;
	uint8_t *data;
	size_t size;
	int r;

	if (!s)
		return fail(rs->failure, -ENOMEM, "out of memory");
	r = image_open(&rs->set, IMAGE_TCP_STREAM, e->ino, rs->failure, &img);
	if (r < 0)
		return r;
	r = image_get_in(img, &tcp_stream_entry__descriptor, &rs->arena, &msg);
	if (r <= 0)
		return r < 0 ? r : fail(rs->failure, -EBADMSG, "tcp: empty image of a connection");
	s->t = (const TcpStreamEntry *)msg;
	r = stream_check(rs, s->t, image_left(img));
	if (r < 0)
		return r;
	size = (size_t)s->t->inq_len + s->t->outq_len;
	data = arena_alloc(&rs->arena, MAX(size, (size_t)1));
	if (!data)
		return fail(rs->failure, -ENOMEM, "tcp: queues of %zu bytes", size);
	if (size > 0) {
		r = image_get_raw(img, data, size);
		if (r < 0)
			return r;
	}
	s->in = data;
	s->out = data + s->t->inq_len;
	s->state = e->state;
	s->in_seq = s->t->inq_seq - s->t->inq_len - state_has_peer_fin(e->state);
	s->out_seq = s->t->outq_seq - s->t->outq_len - state_has_own_fin(e->state);
	*ret = s;
	return 0;
}

static int seq_set(struct restore *rs, int fd, int queue, uint32_t seq)
{
	int r = queue_select(rs->failure, fd, queue);

	if (r < 0)
		return r;
	r = sk_set_int(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, (int)seq);
	return r < 0 ? fail(rs->failure, r, "tcp: cannot set a sequence number") : 0;
}

int tcp_stream_prepare(struct restore *rs, int fd, const struct tcp_stream *s)
{
	int r;

	r = repair_set(rs->failure, fd, TCP_REPAIR_ON);
	if (r == 0)
		r = seq_set(rs, fd, TCP_RECV_QUEUE, s->in_seq);
	if (r == 0)
		r = seq_set(rs, fd, TCP_SEND_QUEUE, s->out_seq);
	return r;
}

static int negotiated_restore(struct restore *rs, int fd, const TcpStreamEntry *t)
{
	struct tcp_repair_opt opts[4];
	size_t n = 0;
	int r;

	opts[n++] = (struct tcp_repair_opt){ OPTION_MSS, t->mss_clamp };
	if (t->opt_mask & TCPI_OPT_SACK)
		opts[n++] = (struct tcp_repair_opt){ OPTION_SACK, 0 };
	if (t->opt_mask & TCPI_OPT_WSCALE)
		opts[n++] = (struct tcp_repair_opt){ OPTION_WSCALE,
						     t->snd_wscale | t->rcv_wscale << 16 };
	if (t->opt_mask & TCPI_OPT_TIMESTAMPS)
		opts[n++] = (struct tcp_repair_opt){ OPTION_TIMESTAMP, 0 };
	r = (int)SYS_CALL(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, opts,
				     (socklen_t)(n * sizeof(opts[0]))));
	if (r == 0 && t->has_timestamp)
		r = sk_set_int(fd, IPPROTO_TCP, TCP_TIMESTAMP, (int)t->timestamp);
	if (r < 0)
		return fail(rs->failure, r, "tcp: cannot set what the peers agreed on");
	return 0;
}

/* Sends nothing while under repair: fills the selected queue. */
static int queue_fill(struct restore *rs, int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		ssize_t n = SYS_CALL(send(fd, data, MIN(size, (size_t)CHUNK_BYTES),
					  MSG_DONTWAIT | MSG_NOSIGNAL));

		if (n <= 0)
			return fail(rs->failure, n < 0 ? (int)n : -EIO,
				    "tcp: cannot put %zu bytes back in a queue", size);
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

static int queues_fill(struct restore *rs, int fd, const struct tcp_stream *s)
{
	int widest = (int)MIN((uint64_t)(s->t->inq_len + s->t->outq_len) * 2 + (1 << 20),
			      (uint64_t)INT32_MAX / 2);
	int r;

	r = sk_set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, widest);
	if (r == 0)
		r = sk_set_int(fd, SOL_SOCKET, SO_SNDBUFFORCE, widest);
	if (r < 0)
		return fail(rs->failure, r, "tcp: cannot widen a buffer");
	r = queue_select(rs->failure, fd, TCP_RECV_QUEUE);
	if (r == 0)
		r = queue_fill(rs, fd, s->in, s->t->inq_len);
	if (r == 0)
		r = queue_select(rs->failure, fd, TCP_SEND_QUEUE);
	/* Behind our FIN nothing can be sent: what was not sent counts as sent and lost, and goes out again. */
	if (r == 0)
		r = queue_fill(rs, fd, s->out,
			       s->t->outq_len - (state_has_own_fin(s->state) ? 0 : s->t->unsq_len));
	return r == 0 ? queue_select(rs->failure, fd, TCP_NO_QUEUE) : r;
}

static int window_restore(struct restore *rs, int fd, const struct tcp_stream *s)
{
	const TcpStreamEntry *t = s->t;
	uint32_t rcv_nxt = s->in_seq + t->inq_len;
	struct tcp_repair_window window = {
		.snd_wl1 = t->snd_wl1,
		.snd_wnd = t->snd_wnd,
		.max_window = t->max_window,
		.rcv_wnd = t->rcv_wnd,
		.rcv_wup = t->rcv_wup,
	};
	int r;

	if (!t->has_snd_wl1)
		return 0;
	/* The FIN has not come yet. */
	if (state_has_peer_fin(s->state)) {
		window.rcv_wup--;
		window.rcv_wnd++;
	}
	/* The kernel wants the numbers to fit each other; what does not is brought back to what does. */
	if ((int32_t)(window.rcv_wup - rcv_nxt) > 0)
		window.rcv_wup = rcv_nxt;
	if ((int32_t)(window.snd_wl1 - (rcv_nxt + window.rcv_wnd)) > 0)
		window.snd_wl1 = rcv_nxt;
	window.max_window = MAX(window.max_window, window.snd_wnd);
	r = (int)SYS_CALL(
		setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, sizeof(window)));
	if (r < 0)
		return fail(rs->failure, r, "tcp: cannot set the window");
	return 0;
}

int tcp_stream_connect(struct restore *rs, int fd, const struct tcp_stream *s,
		       const struct sockaddr *to, socklen_t to_size)
{
	int r;

	r = (int)SYS_CALL(connect(fd, to, to_size));
	if (r < 0)
		return fail(rs->failure, r, "tcp: cannot connect under repair");
	r = negotiated_restore(rs, fd, s->t);
	if (r == 0)
		r = queues_fill(rs, fd, s);
	if (r == 0)
		r = window_restore(rs, fd, s);
	return r;
}

/* One step out of the established state: our FIN is queued, and counts as sent. */
static int own_fin(struct restore *rs, int fd)
{
	int r;

	r = queue_select(rs->failure, fd, TCP_SEND_QUEUE);
	if (r < 0)
		return r;
	r = (int)SYS_CALL(shutdown(fd, SHUT_WR));
	if (r < 0)
		return fail(rs->failure, r, "tcp: cannot shut it down");
	return queue_select(rs->failure, fd, TCP_NO_QUEUE);
}

enum peer_word { PEER_FIN, PEER_ACK, PEER_RESET };

/* What the peer said last: its FIN, that it has ours, or that the connection is no more. */
static int peer_says(struct restore *rs, const struct tcp_stream *s, enum peer_word word,
		     const struct sockaddr_storage *local, const struct sockaddr_storage *remote)
{
	struct tcp_segment segment = {
		.seq = s->in_seq + s->t->inq_len,
		.ack = word == PEER_ACK ? s->t->outq_seq : s->out_seq,
		.window = (uint16_t)MIN(s->t->snd_wnd >> s->t->snd_wscale, (uint32_t)UINT16_MAX),
		.fin = word == PEER_FIN,
		.reset = word == PEER_RESET,
	};
	int r = tcp_segment_send(remote, local, &segment);

	return r < 0 ? fail(rs->failure, r, "tcp: cannot speak for its peer") : 0;
}

int tcp_stream_close_states(struct restore *rs, int fd, const struct tcp_stream *s,
			    const struct sockaddr_storage *local,
			    const struct sockaddr_storage *remote)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);
	int r = 0;

	switch (s->state) {
	case TCP_CLOSE:
		r = peer_says(rs, s, PEER_RESET, local, remote);
		break;
	case TCP_CLOSE_WAIT:
		r = peer_says(rs, s, PEER_FIN, local, remote);
		break;
	case TCP_LAST_ACK:
		r = peer_says(rs, s, PEER_FIN, local, remote);
		r = r < 0 ? r : own_fin(rs, fd);
		break;
	case TCP_FIN_WAIT1:
		r = own_fin(rs, fd);
		break;
	case TCP_FIN_WAIT2:
		r = own_fin(rs, fd);
		r = r < 0 ? r : peer_says(rs, s, PEER_ACK, local, remote);
		break;
	case TCP_CLOSING:
		r = own_fin(rs, fd);
		r = r < 0 ? r : peer_says(rs, s, PEER_FIN, local, remote);
		break;
	default:
		return 0;
	}
	if (r < 0)
		return r;
	r = (int)SYS_CALL(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size));
	if (r < 0)
		return fail(rs->failure, r, "tcp: cannot read TCP_INFO");
	if (info.tcpi_state != s->state)
		return fail(rs->failure, -EIO, "tcp: it is in state %u instead of %u",
			    info.tcpi_state, s->state);
	return 0;
}

int tcp_stream_finish(struct restore *rs, int fd, const struct tcp_stream *s)
{
	int r;

	r = repair_set(rs->failure, fd,
		       s->state == TCP_CLOSE ? TCP_REPAIR_OFF_NO_WP : TCP_REPAIR_OFF);
	if (r < 0 || s->state == TCP_CLOSE || state_has_own_fin(s->state))
		return r;
	return queue_fill(rs, fd, s->out + (s->t->outq_len - s->t->unsq_len), s->t->unsq_len);
}
