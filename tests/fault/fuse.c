/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program on a FUSE file system of its own, and the server of that: in the program's tree, or outside of it.
 *
 * usage: fuse inside|outside WHAT... in a directory with the empty directories `mount` and `there`
 *
 *   file       the file f is open			deleted	   ... and has lost its name
 *   shared     f is mapped shared			private	   f is mapped private, its first page written
 *   cwd        the working directory is there		socket	   a socket is bound there
 *   watch      f is watched by inotify			flight	   f is in the queue of a unix socket only
 *   link       a file in `there`, whose name leads into the file system by now
 *   detached   the file system is mounted nowhere any more
 *
 * Writes `server` and `ready` (pids), then counts in the file `beat`. SIGUSR1 has it read f: the second number of `beat` is
 * what it read, or -1.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NEED(ok)                                                                                   \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			fprintf(stderr, "%s:%d: %s: %m\n", __FILE__, __LINE__, #ok);               \
			exit(2);                                                                   \
		}                                                                                  \
	} while (0)

enum { NODE_ROOT = 1, NODE_FILE = 2, NODE_SOCKET = 3, FILE_BYTES = 8192 };

/* ---- the server ---- */

struct server {
	int fd;
	bool unlinked, bound;
};

static struct fuse_attr attributes(const struct server *s, uint64_t node)
{
	struct fuse_attr a = { .ino = node, .nlink = 1, .blksize = 4096, .mode = S_IFDIR | 0755 };

	if (node == NODE_FILE) {
		a.mode = S_IFREG | 0666;
		a.size = FILE_BYTES;
		a.blocks = FILE_BYTES / 512;
		a.nlink = !s->unlinked;
	} else if (node == NODE_SOCKET) {
		a.mode = S_IFSOCK | 0777;
	}
	return a;
}

static void answer(const struct server *s, const struct fuse_in_header *in, int error, const void *data, size_t size)
{
	struct fuse_out_header out = { .len = sizeof(out) + size, .error = error, .unique = in->unique };
	char buf[sizeof(out) + FILE_BYTES];

	memcpy(buf, &out, sizeof(out));
	if (size > 0)
		memcpy(buf + sizeof(out), data, size);
	(void)!write(s->fd, buf, out.len);
}

static void answer_entry(const struct server *s, const struct fuse_in_header *in, uint64_t node)
{
	const struct fuse_entry_out e = { .nodeid = node, .attr = attributes(s, node) };

	answer(s, in, 0, &e, sizeof(e));
}

static void lookup(const struct server *s, const struct fuse_in_header *in, const char *name)
{
	if (strcmp(name, "f") == 0 && !s->unlinked)
		answer_entry(s, in, NODE_FILE);
	else if (strcmp(name, "s") == 0 && s->bound)
		answer_entry(s, in, NODE_SOCKET);
	else
		answer(s, in, -ENOENT, NULL, 0);
}

static void read_file(const struct server *s, const struct fuse_in_header *in, const struct fuse_read_in *rd)
{
	static char bytes[FILE_BYTES];
	size_t size = rd->offset < FILE_BYTES ? FILE_BYTES - rd->offset : 0;

	memset(bytes, 'x', sizeof(bytes));
	answer(s, in, 0, bytes, size < rd->size ? size : rd->size);
}

static void serve_one(struct server *s, const struct fuse_in_header *in, const void *data)
{
	const struct fuse_init_out init = { .major = 7, .minor = 31, .max_write = 65536 };
	const struct fuse_attr_out attr = { .attr = attributes(s, in->nodeid) };
	const struct fuse_open_out open = { .fh = 1 };
	const struct fuse_statfs_out statfs = { .st = { .bsize = 4096, .namelen = 255 } };

	switch (in->opcode) {
	case FUSE_INIT:
		return answer(s, in, 0, &init, sizeof(init));
	case FUSE_LOOKUP:
		return lookup(s, in, data);
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		return answer(s, in, 0, &attr, sizeof(attr));
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		return answer(s, in, 0, &open, sizeof(open));
	case FUSE_READ:
		return read_file(s, in, data);
	case FUSE_STATFS:
		return answer(s, in, 0, &statfs, sizeof(statfs));
	case FUSE_MKNOD:
		s->bound = true;
		return answer_entry(s, in, NODE_SOCKET);
	case FUSE_UNLINK:
		s->unlinked = true;
		return answer(s, in, 0, NULL, 0);
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		return answer(s, in, 0, NULL, 0);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		return answer(s, in, -ENOSYS, NULL, 0);
	}
}

static _Noreturn void serve(int fd)
{
	static char buf[1 << 18];
	struct server s = { .fd = fd };

	for (;;) {
		const struct fuse_in_header *in = (const void *)buf;
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n >= (ssize_t)sizeof(*in))
			serve_one(&s, in, buf + sizeof(*in));
		else if (n < 0 && errno != EINTR && errno != ENOENT)
			exit(0); /* unmounted */
	}
}

static void note(const char *name, pid_t pid)
{
	FILE *f = fopen(name, "we");

	NEED(f && fprintf(f, "%d\n", pid) > 0 && fclose(f) == 0);
}

/* ---- the program ---- */

static volatile sig_atomic_t asked;

static void on_ask(int sig)
{
	(void)sig;
	asked = 1;
}

static bool has(char **what, const char *name)
{
	for (; *what; what++) {
		if (strcmp(*what, name) == 0)
			return true;
	}
	return false;
}

static void send_away(int file)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { "m", 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	int socks[2];

	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, socks) == 0);
	control.header = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &file, sizeof(file));
	NEED(sendmsg(socks[0], &msg, 0) == 1);
}

static void bind_there(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "mount/s" };
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);

	NEED(sock >= 0 && bind(sock, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(sock, 1) == 0);
}

/* The kernel tells the name that an open file had before it lost it; by now that leads into the file system. */
static void mislead(void)
{
	NEED(open("there/f", O_RDWR | O_CREAT, 0666) >= 0);
	NEED(link("there/f", "there/other") == 0 && unlink("there/f") == 0);
	NEED(rename("there", "there (deleted)") == 0 && mkdir("there", 0755) == 0);
	NEED(symlink("../mount/f", "there/f") == 0 && symlink("../mount/f", "there (deleted)/f") == 0);
}

static void map(bool shared, int file)
{
	char *p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, file, 0);

	NEED(p != MAP_FAILED && p[0] == 'x');
	if (!shared)
		p[0] = 'y';
}

static void set_up(char **what, const char *top)
{
	int file = open("mount/f", O_RDWR);

	NEED(file >= 0);
	if (has(what, "deleted"))
		NEED(unlink("mount/f") == 0);
	if (has(what, "shared") || has(what, "private"))
		map(has(what, "shared"), file);
	if (has(what, "flight"))
		send_away(file);
	if (has(what, "socket"))
		bind_there();
	if (has(what, "watch"))
		NEED(inotify_add_watch(inotify_init1(0), "mount/f", IN_MODIFY) >= 0);
	if (has(what, "link"))
		mislead();
	if (has(what, "cwd"))
		NEED(chdir("mount") == 0);
	if (has(what, "detached")) {
		char path[4200];

		(void)snprintf(path, sizeof(path), "%s/mount", top);
		NEED(umount2(path, MNT_DETACH) == 0);
	}
	if (!has(what, "file") && !has(what, "deleted"))
		(void)close(file);
}

static _Noreturn void run(char **what)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	struct sigaction act = { .sa_handler = on_ask };
	int beat = open("beat", O_RDWR | O_CREAT, 0666), file = has(what, "file") ? open("mount/f", O_RDONLY) : -1;
	int64_t words[2] = {};
	char top[4096];

	NEED(beat >= 0 && getcwd(top, sizeof(top)) && sigaction(SIGUSR1, &act, NULL) == 0);
	NEED(write(beat, words, sizeof(words)) == sizeof(words));
	set_up(what, top);
	NEED(chdir(top) == 0);
	note("ready", getpid());
	if (has(what, "cwd"))
		NEED(chdir("mount") == 0);
	for (;; words[0]++) {
		char byte = 0;

		if (asked) {
			asked = 0;
			words[1] = file >= 0 && pread(file, &byte, 1, 4096) == 1 ? byte : -1;
		}
		NEED(pwrite(beat, words, sizeof(words), 0) == sizeof(words));
		(void)nanosleep(&pause, NULL);
	}
}

int main(int argc, char **argv)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[100];
	bool inside;
	pid_t child;

	if (fd < 0 || argc < 3)
		return 77;
	inside = strcmp(argv[1], "inside") == 0;
	(void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("fuse-test", "mount", "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		return 77;
	child = fork();
	NEED(child >= 0);
	if ((child == 0) == inside) { /* the server: the child of the program, or its parent */
		note("server", getpid());
		if (inside)
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)signal(SIGCHLD, SIG_IGN); /* reaped by the kernel */
		serve(fd);
	}
	(void)close(fd);
	if (!inside)
		NEED(setsid() >= 0);
	run(argv + 2);
}
