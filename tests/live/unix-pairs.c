/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix socket pairs: stream, datagram and packet sockets with queued data, descriptors in flight,
 * half-closed, one whose peer is gone, options, ends in two tasks.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

static void send_fd(int socket, int fd, const char *text)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)text, .iov_len = strlen(text) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	live_need(sendmsg(socket, &msg, 0) == (ssize_t)strlen(text), "sendmsg");
}

static int receive_fd(int socket, char *text, size_t size)
{
	char control[CMSG_SPACE(4 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = text, .iov_len = size - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;
	ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT);
	int fd = -1;

	text[n > 0 ? n : 0] = '\0';
	cmsg = CMSG_FIRSTHDR(&msg);
	if (n > 0 && cmsg && cmsg->cmsg_type == SCM_RIGHTS &&
	    cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static void expect(const char *what, int fd, const char *wanted)
{
	char text[256] = "";
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	live_check(n == (ssize_t)strlen(wanted) && memcmp(text, wanted, strlen(wanted)) == 0,
		   "%s: '%s' is received, should be '%s'", what, text, wanted);
}

static int talk[2];

static void child_body(void *arg)
{
	char text[32] = "";

	(void)arg;
	(void)close(talk[0]);
	live_child_ready();
	live_wait_term();
	live_check(read(talk[1], text, 5) == 5 && memcmp(text, "hello", 5) == 0,
		   "the child hears hello");
	live_check(write(talk[1], "good day", 8) == 8, "the child answers");
}

int main(void)
{
	int stream[2], dgram[2], packet[2], passing[2], half[2], alone[2], file, fd, size = 0;
	int pipe_fds[2];
	socklen_t length = sizeof(size);
	char text[64] = "";
	struct stat a, b;
	pid_t child;

	live_start();
	(void)signal(SIGPIPE, SIG_IGN);
	live_need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) == 0 &&
			  socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, dgram) == 0 &&
			  socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet) == 0 &&
			  socketpair(AF_UNIX, SOCK_STREAM, 0, passing) == 0 &&
			  socketpair(AF_UNIX, SOCK_STREAM, 0, half) == 0 &&
			  socketpair(AF_UNIX, SOCK_STREAM, 0, alone) == 0 &&
			  socketpair(AF_UNIX, SOCK_STREAM, 0, talk) == 0,
		  "socketpair");
	live_need(write(stream[0], "some bytes", 10) == 10 && write(stream[0], " and more", 9) == 9,
		  "write");
	live_need(write(stream[1], "back", 4) == 4, "write");
	live_need(write(dgram[0], "first", 5) == 5 && write(dgram[0], "second one", 10) == 10,
		  "write");
	live_need(write(packet[1], "packet 1", 8) == 8 && write(packet[1], "packet 22", 9) == 9,
		  "write");
	size = 131072;
	live_need(setsockopt(stream[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0,
		  "SO_SNDBUF");

	file = open(live_path("passed"), O_RDWR | O_CREAT, 0600);
	live_need(file >= 0 && write(file, "passed file", 11) == 11 &&
			  lseek(file, 7, SEEK_SET) == 7,
		  "file");
	live_need(pipe(pipe_fds) == 0, "pipe");
	send_fd(passing[0], file, "a");
	send_fd(passing[0], pipe_fds[0], "bb");
	(void)close(file);
	(void)close(pipe_fds[0]);

	live_need(write(half[0], "the end", 7) == 7 && shutdown(half[0], SHUT_WR) == 0, "shutdown");
	live_need(write(alone[0], "testament", 9) == 9 && close(alone[0]) == 0, "close");
	live_need(write(talk[0], "hello", 5) == 5, "write");
	child = live_fork(child_body, NULL);
	(void)close(talk[1]);

	live_wait();

	expect("stream", stream[1], "some bytes and more");
	expect("stream, other way", stream[0], "back");
	live_check(write(stream[1], "!", 1) == 1, "write");
	expect("stream, new", stream[0], "!");
	live_same("close-on-exec", fcntl(stream[0], F_GETFD), FD_CLOEXEC);
	live_check(getsockopt(stream[0], SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 &&
			   size == 262144,
		   "SO_SNDBUF is %d", size);
	expect("datagram 1", dgram[1], "first");
	expect("datagram 2", dgram[1], "second one");
	live_check(recv(dgram[1], text, 1, 0) < 0 && errno == EAGAIN,
		   "an empty nonblocking one does not block");
	expect("packet 1", packet[0], "packet 1");
	expect("packet 2", packet[0], "packet 22");
	live_check(getsockopt(packet[0], SOL_SOCKET, SO_TYPE, &size, &length) == 0 &&
			   size == SOCK_SEQPACKET,
		   "a packet socket is one");

	fd = receive_fd(passing[1], text, sizeof(text));
	live_check(fd >= 0 && strcmp(text, "a") == 0, "a file in flight arrives with '%s'", text);
	live_same("its offset", lseek(fd, 0, SEEK_CUR), 7);
	live_check(read(fd, text, 20) == 4 && memcmp(text, "file", 4) == 0, "it can be read on");
	live_check(fstat(fd, &a) == 0 && stat(live_path("passed"), &b) == 0 && a.st_ino == b.st_ino,
		   "it is that file");
	fd = receive_fd(passing[1], text, sizeof(text));
	live_check(fd >= 0 && strcmp(text, "bb") == 0, "a pipe in flight arrives with '%s'", text);
	live_check(write(pipe_fds[1], "through", 7) == 7 && read(fd, text, 20) == 7,
		   "and is joined");

	expect("half-closed", half[1], "the end");
	live_same("end of file after it", recv(half[1], text, 1, MSG_DONTWAIT), 0);
	live_check(write(half[0], "x", 1) < 0 && errno == EPIPE, "the closed direction is closed");
	live_check(write(half[1], "y", 1) == 1, "the other is open");
	expect("half-closed, other way", half[0], "y");
	expect("peer gone", alone[1], "testament");
	live_same("end of file after the testament", recv(alone[1], text, 1, MSG_DONTWAIT), 0);

	live_join(child);
	expect("from the child", talk[0], "good day");
	live_same("end of file when the child has ended", recv(talk[0], text, 1, 0), 0);
	return live_end();
}
