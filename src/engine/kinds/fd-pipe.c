/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pipe, fifo - pipes with and without a name, and the bytes in them
 *
 * Ends join by pipe_id, the inode number. Bytes are read without taking them: tee(2) into a pipe of ours. One record of data
 * per pipe that has a readable end. Packets (O_DIRECT) stay apart: a read of the copy ends where they do. An end may be missing (its readers or writers are gone): such a pipe is made whole, filled,
 * and the end nobody has is closed with the restore.
 */
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/kinds/kind.h"

#include "pipe-data.pb-c.h"

enum {
	PIPE_BYTES_MAX = 1 << 30,
	PIPE_BYTES_ONCE = 4096,
};

/* Pipes whose data is written already. */
struct pipe_seen {
	uint32_t id;
	struct pipe_seen *next;
};

static bool is_pipe(const struct fd_view *view)
{
	return S_ISFIFO(view->st.st_mode) && !(view->flags & O_PATH);
}

static bool pipe_matches(const struct fd_view *view)
{
	return is_pipe(view) && view->fs_magic == PIPEFS_MAGIC;
}

static bool fifo_matches(const struct fd_view *view)
{
	return is_pipe(view) && view->fs_magic != PIPEFS_MAGIC;
}

/* ---- dump ---- */

/* Pipes of ours that hold copies of what is in one. */
struct copies {
	int whole[2], tasted[2];
};

static void copies_close(struct copies *c)
{
	for (int i = 0; i < 2; i++) {
		c->whole[i] = close_fd(c->whole[i]);
		c->tasted[i] = close_fd(c->tasted[i]);
	}
}

/* @n: how many bytes there are. */
static int tee_out(struct dump *d, const struct fd_view *view, int size, int copy[2], int n)
{
	int r;

	r = sys_pipe2(copy, O_NONBLOCK);
	if (r < 0)
		return fail(d->failure, r, "cannot make a pipe");
	r = SYS_CALL(fcntl(copy[1], F_SETPIPE_SZ, size));
	if (r < 0)
		return fail(d->failure, r, "cannot make a pipe of %d bytes", size);
	r = SYS_CALL(tee(view->fd, copy[1], n, SPLICE_F_NONBLOCK));
	if (r != n)
		return fail(d->failure, r < 0 ? r : -EOPNOTSUPP, "%d of its %d bytes can be copied", r, n);
	return 0;
}

/*
 * What is next in a pipe as a packet goes as a whole when one byte of it is read.
 * @n:	bytes of the next read. They are read here too. Return: 1, 0 or -errno.
 */
static int is_packet(int fd, ssize_t n)
{
	uint8_t bytes[PIPE_BYTES_ONCE];
	int before = 0, after = 0, r;

	r = SYS_CALL(ioctl(fd, FIONREAD, &before));
	if (r == 0)
		r = sys_read(fd, bytes, 1) == 1 ? SYS_CALL(ioctl(fd, FIONREAD, &after)) : -EIO;
	if (r < 0)
		return r;
	if (n > 1 && before - after == n)
		return 1;
	for (ssize_t done = 1; done < n;) {
		ssize_t more = sys_read(fd, bytes, MIN(n - done, (ssize_t)sizeof(bytes)));

		if (more <= 0)
			return more < 0 ? (int)more : -EIO;
		done += more;
	}
	return 0;
}

/* Reads a copy in the pieces that its reader would get. @pieces: room for one for each byte. */
static int read_pieces(struct copies *c, uint8_t *data, int n, uint32_t *pieces, size_t *ret_n)
{
	bool packets = false;
	size_t count = 0;

	for (int done = 0; done < n;) {
		ssize_t size = sys_read(c->whole[0], data + done, n - done);
		int packet = size > 0 ? is_packet(c->tasted[0], size) : -EIO;

		if (size < 0 || packet < 0)
			return size < 0 ? (int)size : packet;
		/* Of a single byte nobody can tell; in front of others it can only have been a packet. */
		packet |= size == 1 && (count > 0 || size < n);
		packets |= packet;
		pieces[count++] = (uint32_t)size * 2 + (packet != 0);
		done += (int)size;
	}
	*ret_n = packets ? count : 0;
	return 0;
}

static int read_data(struct dump *d, const struct fd_view *view, PipeDataEntry *e, uint8_t *data)
{
	struct copies c = { { -EBADF, -EBADF }, { -EBADF, -EBADF } };
	int n = (int)e->bytes, r;

	r = tee_out(d, view, (int)e->size, c.whole, n);
	if (r == 0)
		r = tee_out(d, view, (int)e->size, c.tasted, n);
	if (r == 0) {
		r = read_pieces(&c, data, n, e->snapmgr_pieces, &e->n_snapmgr_pieces);
		if (r < 0)
			r = fail(d->failure, r, "cannot read the copy");
	}
	copies_close(&c);
	return r;
}

static int put_data(struct dump *d, const struct fd_view *view, enum image_id image, uint32_t pipe_id)
{
	PipeDataEntry e = PIPE_DATA_ENTRY__INIT;
	_cleanup_free_ uint32_t *pieces = NULL;
	_cleanup_free_ uint8_t *data = NULL;
	int n = 0, size, r;
	struct image *img;

	size = SYS_CALL(fcntl(view->fd, F_GETPIPE_SZ));
	if (size < 0)
		return fail(d->failure, size, "cannot read its size");
	r = SYS_CALL(ioctl(view->fd, FIONREAD, &n));
	if (r < 0)
		return fail(d->failure, r, "cannot tell how much is in it");
	e.pipe_id = pipe_id;
	e.bytes = n;
	e.has_size = true;
	e.size = size;
	if (n > 0) {
		data = malloc(n);
		pieces = reallocarray(NULL, n, sizeof(*pieces));
		if (!data || !pieces)
			return fail(d->failure, -ENOMEM, "no memory for %d bytes", n);
		e.snapmgr_pieces = pieces;
		r = read_data(d, view, &e, data);
		if (r < 0)
			return r;
	}
	r = dump_image(d, image, &img);
	if (r == 0)
		r = image_put(img, &e.base);
	return r < 0 ? r : image_put_raw(img, data, n);
}

static int put_data_once(struct dump *d, const struct fd_view *view, enum image_id image)
{
	uint32_t id = view->st.st_ino;
	struct pipe_seen *seen;

	if ((view->flags & O_ACCMODE) == O_WRONLY)
		return 0;
	for (seen = d->pipes; seen; seen = seen->next) {
		if (seen->id == id)
			return 0;
	}
	seen = arena_new(&d->arena, struct pipe_seen);
	if (!seen)
		return fail(d->failure, -ENOMEM, "no memory for a pipe");
	*seen = (struct pipe_seen){ id, d->pipes };
	d->pipes = seen;
	return put_data(d, view, image, id);
}

static int pipe_dump(struct dump *d, const struct fd_view *view)
{
	PipeEntry e = PIPE_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	int r;

	e.id = view->id;
	e.pipe_id = view->st.st_ino;
	e.flags = view->flags;
	e.fown = view->fown;
	fe.pipe = &e;
	r = files_put(d, view, &fd_kind_pipe, &fe);
	return r < 0 ? r : put_data_once(d, view, IMAGE_PIPES_DATA);
}

static int fifo_dump(struct dump *d, const struct fd_view *view)
{
	FifoEntry e = FIFO_ENTRY__INIT;
	FileEntry fe = FILE_ENTRY__INIT;
	int r;

	e.id = view->id;
	e.pipe_id = view->st.st_ino;
	e.has_regf_id = true;
	r = files_put_companion(d, view, &e.regf_id);
	if (r < 0)
		return r;
	fe.fifo = &e;
	r = files_put(d, view, &fd_kind_fifo, &fe);
	return r < 0 ? r : put_data_once(d, view, IMAGE_FIFO_DATA);
}

/* ---- restore ---- */

/* What is in the pipes, by pipe_id; read once. */
struct pipe_data {
	enum image_id image;
	uint32_t pipe_id, size, bytes;
	bool has_size, filled;
	uint8_t *data;
	struct pipe_data *next;
	const uint32_t *pieces; /* as in the record */
	size_t n_pieces;
};

static bool pieces_fit(const PipeDataEntry *e)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < e->n_snapmgr_pieces; i++)
		sum += e->snapmgr_pieces[i] / 2;
	return e->n_snapmgr_pieces == 0 || sum == e->bytes;
}

static int load_data(struct restore *rs, enum image_id image)
{
	_cleanup_(image_freep) struct image *img = NULL;
	int r;

	r = image_open(&rs->set, image, 0, rs->failure, &img);
	if (r == -ENOENT)
		return 0;
	while (r >= 0) {
		struct pipe_data *pd = arena_new(&rs->arena, struct pipe_data);
		ProtobufCMessage *msg;
		PipeDataEntry *e;

		if (!pd)
			return fail(rs->failure, -ENOMEM, "no memory for a pipe");
		r = image_get_in(img, &pipe_data_entry__descriptor, &rs->arena, &msg);
		if (r <= 0)
			break;
		e = (PipeDataEntry *)msg;
		*pd = (struct pipe_data){ image, e->pipe_id, e->size,	e->bytes,
					  e->has_size, false,	    NULL, rs->pipe_data };
		pd->pieces = e->snapmgr_pieces;
		pd->n_pieces = e->n_snapmgr_pieces;
		if (pd->bytes > PIPE_BYTES_MAX || pd->bytes > image_left(img) || !pieces_fit(e))
			return fail(rs->failure, -EBADMSG, "pipe %u has %u bytes", pd->pipe_id, pd->bytes);
		pd->data = arena_alloc(&rs->arena, pd->bytes);
		if (!pd->data)
			return fail(rs->failure, -ENOMEM, "no memory for a pipe");
		r = image_get_raw(img, pd->data, pd->bytes);
		rs->pipe_data = pd;
	}
	return r;
}

static int load_all_data(struct restore *rs)
{
	int r;

	if (rs->pipe_data_loaded)
		return 0;
	rs->pipe_data_loaded = true;
	r = load_data(rs, IMAGE_PIPES_DATA);
	return r < 0 ? r : load_data(rs, IMAGE_FIFO_DATA);
}

static int write_bytes(int fd, const uint8_t *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = sys_write(fd, data + done, size - done);

		if (n < 0)
			return (int)n;
		done += n;
	}
	return 0;
}

static int write_pieces(int fd, const struct pipe_data *pd)
{
	int flags = SYS_CALL(fcntl(fd, F_GETFL)), r = MIN(flags, 0);
	size_t done = 0;

	for (size_t i = 0; r >= 0 && i < pd->n_pieces; i++) {
		uint32_t size = pd->pieces[i] / 2;

		r = SYS_CALL(fcntl(fd, F_SETFL, pd->pieces[i] & 1 ? flags | O_DIRECT : flags & ~O_DIRECT));
		if (r == 0)
			r = write_bytes(fd, pd->data + done, size);
		done += size;
	}
	return r < 0 ? r : SYS_CALL(fcntl(fd, F_SETFL, flags));
}

/* Size and contents, by any descriptor that can be written through. */
static int fill(struct restore *rs, enum image_id image, uint32_t pipe_id, int fd)
{
	struct pipe_data *pd;
	int r;

	for (pd = rs->pipe_data; pd; pd = pd->next) {
		if (pd->image == image && pd->pipe_id == pipe_id)
			break;
	}
	if (!pd || pd->filled)
		return 0;
	pd->filled = true;
	if (pd->has_size) {
		r = SYS_CALL(fcntl(fd, F_SETPIPE_SZ, pd->size));
		if (r < 0)
			return fail(rs->failure, r, "cannot set its size to %u", pd->size);
	}
	r = pd->n_pieces > 0 ? write_pieces(fd, pd) : write_bytes(fd, pd->data, pd->bytes);
	return r < 0 ? fail(rs->failure, r, "cannot put %u bytes back", pd->bytes) : 0;
}

static int pipe_check(struct restore *rs, struct file *file)
{
	const PipeEntry *e = file->entry->pipe;

	if (!e || e->id != file->id)
		return fail(rs->failure, -EBADMSG, "the record has no pipe");
	return load_all_data(rs);
}

/* The pipe itself: one end for each id, from which the records' ends are opened. */
struct pipe_made {
	uint32_t id;
	int ends[2];
	bool given[2]; /* whether a record has the very description of an end */
	struct pipe_made *next;
};

/* A pipe that the caller brings: it goes on with what is in it. Return: 1 made, 0 there is none, or -errno. */
static int inherit(struct restore *rs, uint32_t id, int ends[2])
{
	char key[32];
	int fd;

	(void)snprintf(key, sizeof(key), "pipe:[%u]", id);
	fd = restore_inherited(rs, key);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	ends[0] = fd;
	ends[1] = sys_dup(fd);
	if (ends[1] >= 0)
		return 1;
	close_fd(fd);
	return fail(rs->failure, ends[1], "cannot copy a descriptor");
}

static int find_or_make(struct restore *rs, uint32_t id, struct pipe_made **ret)
{
	bool inherited;
	struct pipe_made *p;
	int r;

	for (p = rs->pipes; p; p = p->next) {
		if (p->id == id) {
			*ret = p;
			return 0;
		}
	}
	p = arena_new(&rs->arena, struct pipe_made);
	if (!p)
		return fail(rs->failure, -ENOMEM, "no memory for a pipe");
	r = inherit(rs, id, p->ends);
	if (r < 0)
		return r;
	inherited = r > 0;
	if (!inherited) {
		r = sys_pipe2(p->ends, O_NONBLOCK);
		if (r < 0)
			return fail(rs->failure, r, "cannot make a pipe");
	}
	p->id = id;
	p->next = rs->pipes;
	rs->pipes = p;
	*ret = p;
	return inherited ? 0 : fill(rs, IMAGE_PIPES_DATA, id, p->ends[1]);
}

static int open_end(struct restore *rs, int end, uint32_t flags)
{
	char path[64];
	int fd, r;

	/* A new description, not a copy: records with different ids do not share flags. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", end);
	fd = sys_open(path, (flags & (O_ACCMODE | O_DIRECT)) | O_NONBLOCK, 0);
	if (fd < 0)
		return fail(rs->failure, fd, "cannot open an end of a pipe");
	r = files_apply_flags(rs, fd, flags);
	if (r < 0) {
		close_fd(fd);
		return r;
	}
	return fd;
}

static int pipe_open(struct restore *rs, struct file *file)
{
	const PipeEntry *e = file->entry->pipe;
	struct pipe_made *p = NULL;
	bool writes;
	int r;

	r = find_or_make(rs, e->pipe_id, &p);
	if (r < 0)
		return r;
	writes = (e->flags & O_ACCMODE) == O_WRONLY;
	if (p->given[writes] || (e->flags & O_ACCMODE) == O_RDWR) {
		file->fd = open_end(rs, p->ends[writes], e->flags);
		return MIN(file->fd, 0);
	}
	/* The first record of an end gets what pipe(2) made: an opened one shows O_LARGEFILE besides. */
	p->given[writes] = true;
	file->fd = sys_dup(p->ends[writes]);
	if (file->fd < 0)
		return fail(rs->failure, file->fd, "cannot copy an end of a pipe");
	return files_apply_flags(rs, file->fd, e->flags);
}

static int pipe_restore_finish(struct restore *rs)
{
	for (struct pipe_made *p = rs->pipes; p; p = p->next) {
		p->ends[0] = close_fd(p->ends[0]);
		p->ends[1] = close_fd(p->ends[1]);
	}
	return 0;
}

static int fifo_check(struct restore *rs, struct file *file)
{
	const FifoEntry *e = file->entry->fifo;

	if (!e || e->id != file->id || !fd_file_path(rs, e->has_regf_id ? e->regf_id : e->id))
		return fail(rs->failure, -EBADMSG, "the record has no fifo");
	return load_all_data(rs);
}

/* Flags and owner are those of the companion that has the path. */
static uint32_t fifo_flags(const struct restore *rs, const FifoEntry *e)
{
	return files_find(rs, e->has_regf_id ? e->regf_id : e->id)->entry->reg->flags;
}

static int fifo_preflight(struct restore *rs, struct file *file)
{
	const FifoEntry *e = file->entry->fifo;

	return fd_file_preflight(rs, e->has_regf_id ? e->regf_id : e->id,
				 file->n_users > 0 ? file->users[0].task : NULL, O_RDWR);
}

/* The record of the path is in nobody's table: those who have the fifo have it. */
static int open_fifo(struct restore *rs, const struct file *file, const FifoEntry *e)
{
	const struct rtask *task = file->n_users > 0 ? file->users[0].task : NULL;

	return fd_file_open_id(rs, e->has_regf_id ? e->regf_id : e->id, task, O_RDWR | O_NONBLOCK);
}

static int fifo_open(struct restore *rs, struct file *file)
{
	const FifoEntry *e = file->entry->fifo;
	struct pipe_made *p;
	int r;

	/* Opened for both first, so that no opening waits for its peer. */
	for (p = rs->fifos; p && p->id != e->pipe_id; p = p->next)
		;
	if (!p) {
		p = arena_new(&rs->arena, struct pipe_made);
		if (!p)
			return fail(rs->failure, -ENOMEM, "no memory for a fifo");
		p->id = e->pipe_id;
		p->ends[1] = -EBADF;
		p->ends[0] = open_fifo(rs, file, e);
		if (p->ends[0] < 0)
			return p->ends[0];
		p->next = rs->fifos;
		rs->fifos = p;
		r = fill(rs, IMAGE_FIFO_DATA, e->pipe_id, p->ends[0]);
		if (r < 0)
			return r;
	}
	file->fd = open_end(rs, p->ends[0], fifo_flags(rs, e));
	return MIN(file->fd, 0);
}

static int fifo_restore_finish(struct restore *rs)
{
	for (struct pipe_made *p = rs->fifos; p; p = p->next)
		p->ends[0] = close_fd(p->ends[0]);
	return 0;
}

const struct fd_kind fd_kind_pipe = {
	.name = "pipe",
	.type = FD_TYPES__PIPE,
	.matches = pipe_matches,
	.dump = pipe_dump,
	.check = pipe_check,
	.open = pipe_open,
	.restore_finish = pipe_restore_finish,
};

const struct fd_kind fd_kind_fifo = {
	.name = "fifo",
	.type = FD_TYPES__FIFO,
	.matches = fifo_matches,
	.dump = fifo_dump,
	.check = fifo_check,
	.preflight = fifo_preflight,
	.open = fifo_open,
	.restore_finish = fifo_restore_finish,
};
