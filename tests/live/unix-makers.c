/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What SO_PEERCRED and SO_PEERGROUPS tell: of pairs, listeners and connections that root and a user of the tree made, and
 * that processes made which have ended since; of a listener that another has taken over; of a connection that nobody
 * has accepted yet; of descriptors in flight. And who sent the messages in a queue (SCM_CREDENTIALS).
 */
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

enum { USER = 54321, DEAD = 54400, N_GROUPS = 2 };

static const gid_t groups[N_GROUPS] = { 7, 70000 };

struct note {
	struct ucred cred;
	gid_t groups[32];
	int n_groups;
};

static struct note note_of(int fd)
{
	struct note n = { 0 };
	socklen_t size = sizeof(n.cred), bytes = sizeof(n.groups);

	live_need(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &n.cred, &size) == 0, "SO_PEERCRED");
	live_need(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, n.groups, &bytes) == 0, "SO_PEERGROUPS");
	n.n_groups = (int)(bytes / sizeof(gid_t));
	return n;
}

/* Made by @pid, whose group is its user's number, and who has the groups above or none at all. */
static void expect(const char *what, int fd, pid_t pid, uid_t uid, bool with_groups)
{
	struct note n = note_of(fd);
	int n_groups = with_groups ? N_GROUPS : 0;

	live_check(n.cred.pid == pid && n.cred.uid == uid && n.cred.gid == uid,
		   "%s: made by process %d, user %u, group %u; should be process %d, user and group %u", what,
		   n.cred.pid, n.cred.uid, n.cred.gid, pid, uid);
	live_check(n.n_groups == n_groups && memcmp(n.groups, groups, (size_t)n_groups * sizeof(gid_t)) == 0,
		   "%s: %d groups, should be %d", what, n.n_groups, n_groups);
}

static void become(uid_t uid, bool with_groups)
{
	live_need(setgroups(with_groups ? N_GROUPS : 0, groups) == 0 && setresgid(uid, uid, uid) == 0 &&
			  setresuid(uid, uid, uid) == 0,
		  "become user %u", uid);
}

static int listen_at(const char *name, int type, uid_t owner)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", live_path(name));
	live_need(fd >= 0 && bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 &&
			  chown(sun.sun_path, owner, owner) == 0 && listen(fd, 5) == 0,
		  "listen at %s", name);
	return fd;
}

static int connect_at(const char *name, int type)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", live_path(name));
	live_need(fd >= 0 && connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0, "connect to %s", name);
	return fd;
}

static void pass(int socket, const int *fds, size_t n)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = "f", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int))
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	live_need(sendmsg(socket, &msg, 0) == 1, "sendmsg");
}

static void take(int socket, int *fds, size_t n)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 }, byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;

	live_need(recvmsg(socket, &msg, 0) == 1, "recvmsg");
	cmsg = CMSG_FIRSTHDR(&msg);
	live_need(cmsg && cmsg->cmsg_len == CMSG_LEN(n * sizeof(int)), "%zu descriptors come", n);
	memcpy(fds, CMSG_DATA(cmsg), n * sizeof(int));
}

static void send_letters(char text);

/* ---- the user of the tree: its ends come to root by `way` ---- */

static int way[2], root_pair[2], letters[2][2]; /* of streams, of datagrams */
static pid_t root;

static void user_body(void *arg)
{
	int pair[2], client, late, listener, accepted, stream;

	(void)arg;
	(void)close(way[0]);
	live_need(socketpair(AF_UNIX, SOCK_STREAM, 0, root_pair) == 0, "socketpair"); /* as root still */
	listener = listen_at("user.sock", SOCK_STREAM, USER);
	become(USER, true);
	send_letters('u');
	live_need(listen(listener, 5) == 0, "listen again"); /* and its note is the user's */
	live_need(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0, "socketpair");
	client = connect_at("root.sock", SOCK_STREAM);
	late = connect_at("late.sock", SOCK_SEQPACKET);
	pass(way[1], pair, 2);
	live_child_ready();
	accepted = accept(listener, NULL, NULL);
	live_need(accepted >= 0 && write(accepted, "!", 1) == 1, "accept");
	stream = root_pair[0];

	live_wait_term();

	expect("a pair that it made as root", stream, getpid(), 0, false);
	expect("its own pair", pair[0], getpid(), USER, true);
	expect("its connection to root", client, root, 0, false);
	expect("one that waits to be accepted", late, root, 0, false);
	expect("its listener", listener, getpid(), USER, true);
	expect("root's connection to it", accepted, root, 0, false);
}

/* ---- messages in queues ---- */

static void make_letters(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM };
	int yes = 1;

	for (int i = 0; i < 2; i++)
		live_need(socketpair(AF_UNIX, types[i], 0, letters[i]) == 0 &&
				  setsockopt(letters[i][0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)) == 0,
			  "SO_PASSCRED");
}

static void send_letters(char text)
{
	for (int i = 0; i < 2; i++)
		live_need(write(letters[i][1], &text, 1) == 1, "write");
}

/* @pid 0: of one that has ended */
static void expect_letter(const char *what, int fd, char text, pid_t pid, uid_t uid)
{
	char control[CMSG_SPACE(sizeof(struct ucred))] = { 0 }, byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct ucred sender = { 0 };
	struct cmsghdr *cmsg;

	live_need(recvmsg(fd, &msg, MSG_DONTWAIT) == 1, "recvmsg");
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_CREDENTIALS)
		memcpy(&sender, CMSG_DATA(cmsg), sizeof(sender));
	live_check(byte == text && sender.uid == uid && sender.gid == uid && (pid == 0 || sender.pid == pid),
		   "%s: '%c' from process %d, user %u, group %u; should be '%c' from %d, %u", what, byte, sender.pid,
		   sender.uid, sender.gid, text, pid, uid);
}

/* ---- one that has ended ---- */

struct dead {
	pid_t pid;
	int pair, client, listener;
};

static struct dead make_dead(void)
{
	struct dead d;
	int ends[2], pair[2], more[2], status;

	live_need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
	d.listener = listen_at("dead.sock", SOCK_STREAM, 0);
	d.pid = fork();
	if (d.pid == 0) {
		become(DEAD, true);
		send_letters('d');
		live_need(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0 && listen(d.listener, 3) == 0, "listen");
		more[0] = pair[0];
		more[1] = connect_at("root.sock", SOCK_STREAM);
		pass(ends[1], more, 2);
		_exit(0);
	}
	take(ends[0], more, 2);
	live_need(waitpid(d.pid, &status, 0) == d.pid && status == 0, "it ends");
	d.pair = more[0];
	d.client = more[1];
	(void)close(ends[0]);
	(void)close(ends[1]);
	return d;
}

int main(void)
{
	int listener, late, of_user, of_dead, to_user, user_pair[2], flying[2], to_dead[2], by_root, fd;
	struct dead dead;
	pid_t user;
	char byte;

	live_start();
	root = getpid();
	live_need(setgroups(0, NULL) == 0, "setgroups");
	live_need(socketpair(AF_UNIX, SOCK_STREAM, 0, way) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, flying) == 0,
		  "socketpair");
	listener = listen_at("root.sock", SOCK_STREAM, USER);
	late = listen_at("late.sock", SOCK_SEQPACKET, USER);
	live_need(chmod(live_path("root.sock"), 0666) == 0, "chmod");
	make_letters();
	send_letters('r');
	user = live_fork(user_body, NULL);
	(void)close(way[1]);
	of_user = accept(listener, NULL, NULL);
	take(way[0], user_pair, 2);
	to_user = connect_at("user.sock", SOCK_STREAM);
	live_need(of_user >= 0 && read(to_user, &byte, 1) == 1, "the user's connection");
	dead = make_dead();
	of_dead = accept(listener, NULL, NULL);
	to_dead[0] = connect_at("dead.sock", SOCK_STREAM);
	by_root = accept(dead.listener, NULL, NULL);
	to_dead[1] = connect_at("dead.sock", SOCK_STREAM);
	live_need(listen(dead.listener, 5) == 0, "the listener is root's now");
	pass(flying[0], &user_pair[1], 1);
	(void)close(user_pair[1]);

	live_wait();

	expect("the user's pair", user_pair[0], user, USER, true);
	expect("the user's connection", of_user, user, USER, true);
	expect("a connection to the user", to_user, user, USER, true);
	expect("root's listener", listener, root, 0, false);
	expect("a pair of one that has ended", dead.pair, dead.pid, DEAD, true);
	expect("a connection of one that has ended", of_dead, dead.pid, DEAD, true);
	expect("its own end", dead.client, root, 0, false);
	expect("a connection to one that has ended", to_dead[0], dead.pid, DEAD, true);
	expect("the other end of it", by_root, root, 0, false);
	expect("one to it that waits", to_dead[1], dead.pid, DEAD, true);
	expect("a listener taken over", dead.listener, root, 0, false);
	take(flying[1], &fd, 1);
	expect("in flight", fd, user, USER, true);
	fd = accept(late, NULL, NULL);
	live_need(fd >= 0, "accept what has waited");
	expect("what has waited to be accepted", fd, user, USER, true);
	for (int i = 0; i < 2; i++) {
		const char *what = i ? "a datagram" : "bytes of a stream";

		expect_letter(what, letters[i][0], 'r', root, 0);
		expect_letter(what, letters[i][0], 'u', user, USER);
		expect_letter(what, letters[i][0], 'd', 0, DEAD);
	}
	live_join(user);
	return live_end();
}
