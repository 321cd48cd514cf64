/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frame of the live programs. Everything is written with plain system calls and without stdio
 * streams, so that the frame adds no state that could hide or cause a difference.
 */
#include "live.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char scratch[512];
static _Atomic int n_failed;
static int child_pipe = -1;

/* One write to a file of the scratch directory; O_APPEND keeps lines of several processes whole. */
static void say(const char *file, const char *text)
{
	int fd = open(live_path(file), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(99);
	(void)close(fd);
}

__attribute__((format(printf, 2, 0))) /* for clang */
static void
say_sentence(const char *word, const char *format, va_list args, int error)
{
	char line[1024];
	int n;

	n = snprintf(line, sizeof(line), "%s %d: ", word, (int)getpid());
	n += vsnprintf(line + n, sizeof(line) - n - 80, format, args);
	if (n > (int)sizeof(line) - 80)
		n = (int)sizeof(line) - 80;
	if (error)
		n += snprintf(line + n, sizeof(line) - n, ": %s", strerror(error));
	(void)snprintf(line + n, sizeof(line) - n, "\n");
	say("verdict", line);
}

void live_start(void)
{
	sigset_t set;

	if (!getcwd(scratch, sizeof(scratch) - 128))
		_exit(99);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

const char *live_path(const char *name)
{
	static __thread char path[768];

	(void)snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return path;
}

void live_ready(void)
{
	say("ready", "ready\n");
}

void live_wait_term(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	while (sigwaitinfo(&set, NULL) != SIGTERM)
		continue;
}

void live_wait(void)
{
	live_ready();
	live_wait_term();
}

bool live_check(bool ok, const char *format, ...)
{
	va_list args;

	if (ok)
		return true;
	/* What has gone wrong in one place often goes wrong in hundreds. */
	if (n_failed++ < 20) {
		va_start(args, format);
		say_sentence("FAIL", format, args, 0);
		va_end(args);
	}
	return false;
}

bool live_same(const char *what, long long is, long long should_be)
{
	return live_check(is == should_be, "%s is %lld (0x%llx), should be %lld (0x%llx)", what, is,
			  (unsigned long long)is, should_be, (unsigned long long)should_be);
}

void live_need(bool ok, const char *format, ...)
{
	int error = errno;
	va_list args;

	if (ok)
		return;
	va_start(args, format);
	say_sentence("SETUP", format, args, error);
	va_end(args);
	_exit(2);
}

_Noreturn void live_skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_sentence("SKIP", format, args, 0);
	va_end(args);
	_exit(77);
}

bool live_has_failed(void)
{
	return n_failed > 0;
}

int live_end(void)
{
	say("verdict", n_failed ? "FAILED\n" : "PASS\n");
	return n_failed ? 1 : 0;
}

pid_t live_fork(void (*body)(void *arg), void *arg)
{
	int ends[2];
	pid_t child;
	char c;

	live_need(pipe2(ends, O_CLOEXEC) == 0, "pipe");
	child = fork();
	live_need(child >= 0, "fork");
	if (child == 0) {
		(void)close(ends[0]);
		child_pipe = ends[1];
		n_failed = 0;
		body(arg);
		_exit(n_failed ? 1 : 0);
	}
	(void)close(ends[1]);
	live_need(read(ends[0], &c, 1) == 1, "child %d did not become ready", (int)child);
	(void)close(ends[0]);
	return child;
}

void live_child_ready(void)
{
	if (child_pipe < 0 || write(child_pipe, "r", 1) != 1)
		_exit(99);
	(void)close(child_pipe);
	child_pipe = -1;
}

void live_join(pid_t child)
{
	int status = 0;

	live_check(kill(child, SIGTERM) == 0, "child %d is there", (int)child);
	if (!live_check(waitpid(child, &status, 0) == child, "child %d can be waited for",
			(int)child))
		return;
	live_check(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		   "child %d is content (wait status 0x%x)", (int)child, (unsigned)status);
}

static uint32_t pattern(uint32_t seed, size_t i)
{
	uint32_t x = seed * 2654435761u ^ (uint32_t)(i * 2246822519u);

	x ^= x >> 15;
	x *= 2246822519u;
	return (x ^ x >> 13) | 1;
}

void live_fill(void *data, size_t size, uint32_t seed)
{
	unsigned char *p = data;

	for (size_t i = 0; i < size; i += 4) {
		uint32_t v = pattern(seed, i);

		memcpy(p + i, &v, size - i < 4 ? size - i : 4);
	}
}

ssize_t live_differs(const void *data, size_t size, uint32_t seed)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < size; i += 4) {
		uint32_t v = pattern(seed, i);

		if (memcmp(p + i, &v, size - i < 4 ? size - i : 4) != 0)
			return (ssize_t)i;
	}
	return -1;
}

bool live_check_fill(const char *what, const void *data, size_t size, uint32_t seed)
{
	ssize_t at = live_differs(data, size, seed);

	return live_check(at < 0, "%s has its content (%zu bytes at %p differ from offset %zd)",
			  what, size, data, at);
}

ssize_t live_read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (have < size - 1 && (n = read(fd, buffer + have, size - 1 - have)) > 0)
		have += (size_t)n;
	(void)close(fd);
	buffer[have] = '\0';
	return (ssize_t)have;
}

int live_entries(const char *name)
{
	DIR *dir = opendir(live_path(name));
	int n = 0;

	live_need(dir, "opendir");
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n - 2;
}

long long live_proc_number(const char *file, const char *key, int base)
{
	char path[128], text[8192], wanted[64];
	const char *at;

	(void)snprintf(path, sizeof(path), "/proc/self/%s", file);
	(void)snprintf(wanted, sizeof(wanted), "%s:", key);
	if (live_read_file(path, text, sizeof(text)) < 0)
		return -1;
	at = strncmp(text, wanted, strlen(wanted)) == 0 ? text : NULL;
	for (const char *p = text; !at && (p = strchr(p, '\n')); p++)
		if (strncmp(p + 1, wanted, strlen(wanted)) == 0)
			at = p + 1;
	return at ? (long long)strtoull(at + strlen(wanted), NULL, base) : -1;
}

long long live_now_msec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

bool live_vma_has(const void *addr, const char *flag)
{
	static char smaps[1 << 20];
	bool inside = false;

	if (live_read_file("/proc/self/smaps", smaps, sizeof(smaps)) < 0)
		return false;
	for (char *line = strtok(smaps, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned long start, end;
		char pattern[8];

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 &&
		    strchr(line, '-') < strchr(line, ' '))
			inside = (unsigned long)addr >= start && (unsigned long)addr < end;
		(void)snprintf(pattern, sizeof(pattern), " %s", flag);
		if (inside && strncmp(line, "VmFlags:", 8) == 0)
			return strstr(line, pattern);
	}
	return false;
}

bool live_readable(const void *addr)
{
	char byte;
	struct iovec to = { .iov_base = &byte, .iov_len = 1 };
	struct iovec from = { .iov_base = (void *)addr, .iov_len = 1 };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

static unsigned long long start_time(void)
{
	char text[1024], *at;
	unsigned long long value = 0;

	if (live_read_file("/proc/self/stat", text, sizeof(text)) < 0 || !(at = strrchr(text, ')')))
		return 0;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		value = strtoull(at, NULL, 10);
	return value;
}

bool live_was_restored(void)
{
	static unsigned long long first;
	unsigned long long now = start_time();

	if (!first)
		first = now;
	return now != first;
}
