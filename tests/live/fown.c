/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Owners of SIGIO (F_SETOWN): with whose rights the signal is sent. Of a user who names himself, one who names a process
 * of root, one whose users differ, and one whose process has ended; a descriptor of root's; one in flight; one of a thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif
#ifndef F_SETSIG
#define F_SETSIG 10
#endif

enum { USER = 54321, OTHER = 54322 };

static volatile sig_atomic_t n_signals;

static void on_signal(int sig)
{
	(void)sig;
	n_signals++;
}

static void own(int fd, pid_t owner)
{
	live_need(fcntl(fd, F_SETOWN, owner) == 0 && fcntl(fd, F_SETSIG, SIGUSR1) == 0 &&
			  fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) == 0,
		  "F_SETOWN");
}

/* A new owner, named by a process of these users that ends then. */
static void own_as(int fd, pid_t owner, uid_t real, uid_t effective)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(setresuid(real, effective, effective) != 0 || fcntl(fd, F_SETOWN, owner) != 0);
	live_need(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "F_SETOWN by another");
}

static void check_owner(const char *what, int fd, pid_t owner, uid_t real, uid_t effective)
{
	uid_t ids[2] = { 77, 77 };

	live_same(what, fcntl(fd, F_GETOWN), owner);
	live_need(fcntl(fd, F_GETOWNER_UIDS, ids) == 0, "F_GETOWNER_UIDS");
	live_check(ids[0] == real && ids[1] == effective,
		   "%s: its users are %u and %u, should be %u and %u", what, ids[0], ids[1], real, effective);
}

/* Does writing to it reach the owner? */
static void check_signal(const char *what, int fd, bool should)
{
	int before = n_signals;

	live_check(write(fd, "x", 1) == 1, "%s: write", what);
	live_same(what, n_signals - before, should);
}

static int sockets[8][2];

/* ---- a thread that owns one ---- */

struct owner {
	pthread_t thread;
	pid_t tid;
	int fd;
};

static void *owner_body(void *arg)
{
	struct owner *o = arg;
	struct f_owner_ex owner = { .type = F_OWNER_TID, .pid = gettid() };

	live_need(fcntl(o->fd, F_SETOWN_EX, &owner) == 0, "F_SETOWN_EX");
	__atomic_store_n(&o->tid, gettid(), __ATOMIC_SEQ_CST);
	while (pause() != 0)
		continue;
	return NULL;
}

static void own_by_thread(struct owner *o, int fd)
{
	o->fd = fd;
	live_need(pthread_create(&o->thread, NULL, owner_body, o) == 0, "pthread_create");
	while (__atomic_load_n(&o->tid, __ATOMIC_SEQ_CST) == 0)
		(void)usleep(1000);
}

static void check_thread_owner(const char *what, const struct owner *o, uid_t user)
{
	struct f_owner_ex owner = { 0 };
	uid_t ids[2] = { 77, 77 };

	live_need(fcntl(o->fd, F_GETOWN_EX, &owner) == 0 && fcntl(o->fd, F_GETOWNER_UIDS, ids) == 0, "F_GETOWN_EX");
	live_check(owner.type == F_OWNER_TID && owner.pid == o->tid, "%s: its owner is %d of type %d", what, owner.pid,
		   owner.type);
	live_check(ids[0] == user && ids[1] == user, "%s: its users are %u and %u", what, ids[0], ids[1]);
}

/* ---- a user ---- */

static void user_body(void *arg)
{
	pid_t root = getppid();
	struct owner thread = { 0 };

	(void)arg;
	live_need(setgroups(0, NULL) == 0 && setresgid(USER, USER, USER) == 0 && setresuid(USER, USER, USER) == 0,
		  "become a user");
	own(sockets[0][0], getpid());
	own(sockets[1][0], root);
	own_by_thread(&thread, sockets[6][0]);
	live_child_ready();
	live_wait_term();
	check_owner("a user's own", sockets[0][0], getpid(), USER, USER);
	check_signal("a user's own signal", sockets[0][1], true);
	check_owner("a process of root, named by a user", sockets[1][0], root, USER, USER);
	check_thread_owner("a user's thread", &thread, USER);
}

static void send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = "f", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	live_need(sendmsg(socket, &msg, 0) == 1, "sendmsg");
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;
	int fd = -1;

	(void)recvmsg(socket, &msg, MSG_DONTWAIT);
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

int main(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct owner thread = { 0 };
	int passing[2], flying[2], fd;
	pid_t user;

	live_start();
	live_need(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
	for (int i = 0; i < 8; i++)
		live_need(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets[i]) == 0, "socketpair");
	live_need(pipe(flying) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, passing) == 0, "pipe");
	user = live_fork(user_body, NULL);
	own_by_thread(&thread, sockets[7][0]);
	own(sockets[2][0], getpid());
	own(sockets[3][0], getpid());
	own_as(sockets[3][0], getpid(), USER, OTHER);
	own(sockets[4][0], getpid());
	own_as(sockets[4][0], getpid(), OTHER, 0);
	own(flying[0], getpid());
	own_as(flying[0], getpid(), USER, USER);
	send_fd(passing[0], flying[0]);
	(void)close(flying[0]);

	live_wait();

	check_owner("root's", sockets[2][0], getpid(), 0, 0);
	check_signal("root's signal", sockets[2][1], true);
	check_owner("users that differ", sockets[3][0], getpid(), USER, OTHER);
	check_signal("a user's signal to root", sockets[3][1], false);
	check_signal("another user's signal to root", sockets[1][1], false);
	check_owner("root in effect", sockets[4][0], getpid(), OTHER, 0);
	check_signal("the signal of root in effect", sockets[4][1], true);
	check_thread_owner("root's thread", &thread, 0);
	fd = receive_fd(passing[1]);
	live_check(fd >= 0, "a descriptor in flight arrives");
	check_owner("in flight", fd, getpid(), USER, USER);
	live_join(user);
	return live_end();
}
