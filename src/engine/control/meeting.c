/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/meeting.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "basic/sys.h"

enum {
	RANDOM_BYTES = 16,
	NAME_MAX_BYTES = 80, /* with the prefix it fits an address */
	SOCKETS_TEXT_MAX = 64 * 1024 * 1024,
	PATIENCE_USEC = 500 * 1000,
};

static socklen_t address_of(const char *prefix, const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	(void)snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "%s%s", prefix, name);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(ret->sun_path + 1);
}

static uint64_t read_u64(const unsigned char *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

/* PID-START-RANDOM: by the first two a listener is found that nothing else leads to. */
static char *make_name(pid_t root, uint64_t start_time)
{
	unsigned char random[RANDOM_BYTES];
	char *name;

	if (SYS_CALL(getrandom(random, sizeof(random), 0)) != (int)sizeof(random) ||
	    asprintf(&name, "%d-%" PRIu64 "-%016" PRIx64 "%016" PRIx64, root, start_time, read_u64(random),
		     read_u64(random + 8)) < 0)
		return NULL;
	return name;
}

int meeting_listen(const char *prefix, pid_t root, uint64_t start_time, char **ret_name)
{
	_cleanup_close_ int sock = SYS_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	_cleanup_free_ char *name = make_name(root, start_time);
	struct sockaddr_un addr;
	socklen_t size;
	int r = sock;

	if (!name)
		return -ENOMEM;
	size = address_of(prefix, name, &addr);
	if (r >= 0)
		r = SYS_CALL(bind(sock, (struct sockaddr *)&addr, size));
	if (r >= 0)
		r = SYS_CALL(listen(sock, 1));
	if (r < 0)
		return r;
	if (ret_name)
		*ret_name = TAKE_PTR(name);
	return TAKE_FD(sock);
}

bool meeting_is_ours(int sock)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	return SYS_CALL(getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &size)) == 0 &&
	       (cred.uid == 0 || cred.uid == geteuid());
}

static bool is_name(const char *text)
{
	size_t n = strlen(text);

	return n < NAME_MAX_BYTES && strspn(text, "0123456789abcdef-") == n;
}

int meeting_connect(const char *prefix, const char *name)
{
	_cleanup_close_ int sock = SYS_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	const struct timeval patience = { .tv_usec = PATIENCE_USEC };
	struct sockaddr_un addr;
	int r = sock;

	if (!is_name(name))
		return -EINVAL;
	if (r >= 0)
		r = SYS_CALL(connect(sock, (struct sockaddr *)&addr, address_of(prefix, name, &addr)));
	if (r >= 0 && !meeting_is_ours(sock))
		r = -EPERM;
	if (r >= 0) /* from here on it may wait: for a process of ours */
		r = SYS_CALL(fcntl(sock, F_SETFL, 0));
	if (r >= 0)
		r = SYS_CALL(setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
	return r < 0 ? r : TAKE_FD(sock);
}

void meeting_find(const char *prefix, pid_t root, uint64_t start_time, void (*fn)(void *userdata, const char *name),
		  void *userdata)
{
	_cleanup_free_ char *text = NULL, *wanted = NULL;
	char *save = NULL;

	if (asprintf(&wanted, "@%s%d-%" PRIu64 "-", prefix, root, start_time) < 0) {
		wanted = NULL;
		return;
	}
	if (sys_read_file_at(AT_FDCWD, "/proc/net/unix", SOCKETS_TEXT_MAX, &text, NULL) < 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *at = strstr(line, wanted);
		char name[NAME_MAX_BYTES];

		if (!at)
			continue;
		(void)snprintf(name, sizeof(name), "%s", at + 1 + strlen(prefix));
		fn(userdata, name);
	}
}
