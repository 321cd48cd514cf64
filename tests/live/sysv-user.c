/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For sysv-owner.py: an ordinary user's program with one SysV object.
 *
 *	sysv-user USER DIR KEY KIND...		KIND: segment, set, queue; or read ID (attaches a segment for reading), wait ID (waits
 *						for zero in a set)
 *
 * Writes DIR/ready, with the id of each object. At each SIGUSR1 it says in DIR/said what the objects hold, and writes to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

enum { SIZE = 8192, N_SEMS = 2 };

struct text {
	long type;
	char text[16];
};

struct things {
	int segment, set, queue, only_waits;
	char *memory;
	const char *read_only;
};

static void need(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void make(struct things *t, const char *kind, key_t key, int id)
{
	const struct text mine = { .type = 3, .text = "mine" };

	if (strcmp(kind, "segment") == 0) {
		t->segment = shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0640);
		t->memory = shmat(t->segment, NULL, 0);
		need(t->segment >= 0 && t->memory != (void *)-1, "segment");
		strcpy(t->memory, "mine");
	} else if (strcmp(kind, "set") == 0) {
		t->set = semget(key, N_SEMS, IPC_CREAT | IPC_EXCL | 0640);
		need(t->set >= 0 && semctl(t->set, 0, SETVAL, 5) == 0 &&
			     semctl(t->set, 1, SETVAL, 6) == 0,
		     "set");
	} else if (strcmp(kind, "queue") == 0) {
		t->queue = msgget(key, IPC_CREAT | IPC_EXCL | 0640);
		need(t->queue >= 0 && msgsnd(t->queue, &mine, 5, 0) == 0, "queue");
	} else if (strcmp(kind, "read") == 0) {
		t->read_only = shmat(id, NULL, SHM_RDONLY);
		need(t->read_only != (void *)-1, "read");
	} else {
		struct sembuf zero = { .sem_num = 0, .sem_op = 0, .sem_flg = IPC_NOWAIT };

		t->only_waits = id;
		need(semop(id, &zero, 1) == 0, "wait");
	}
}

static void say(const struct things *t, FILE *f)
{
	struct text got = {};
	int r;

	if (t->memory) {
		(void)fprintf(f, "segment '%s'\n", t->memory);
		strcpy(t->memory, "written");
	}
	if (t->set >= 0) {
		(void)fprintf(f, "set %d %d\n", semctl(t->set, 0, GETVAL),
			      semctl(t->set, 1, GETVAL));
		(void)semctl(t->set, 0, SETVAL, 55);
	}
	if (t->queue >= 0) {
		r = (int)msgrcv(t->queue, &got, sizeof(got.text), 0, IPC_NOWAIT);
		(void)fprintf(f, "queue %d %ld '%s'\n", r, got.type, got.text);
		strcpy(got.text, "sent");
		(void)msgsnd(t->queue, &got, 5, IPC_NOWAIT);
	}
	if (t->read_only) {
		r = mprotect((void *)t->read_only, SIZE, PROT_READ | PROT_WRITE);
		(void)fprintf(f, "reads '%s', %s\n", t->read_only,
			      r < 0 ? strerror(errno) : "writable now");
		if (r == 0)
			strcpy((char *)t->read_only, "written");
	}
	(void)fprintf(f, ".\n");
	(void)fflush(f);
}

static void nothing(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	struct things t = { .segment = -1, .set = -1, .queue = -1, .only_waits = -1 };
	sigset_t usr1, none;
	FILE *f;
	uid_t user;

	need(argc >= 5 && chdir(argv[2]) == 0, "sysv-user USER DIR KEY KIND...");
	user = (uid_t)atoi(argv[1]);
	need(setgroups(0, NULL) == 0 && setgid(user) == 0 && setuid(user) == 0, "another user");
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	need(signal(SIGUSR1, nothing) != SIG_ERR && sigprocmask(SIG_BLOCK, &usr1, NULL) == 0,
	     "signals");
	for (int i = 4; i < argc; i++) {
		int takes_id = strcmp(argv[i], "read") == 0 || strcmp(argv[i], "wait") == 0;

		make(&t, argv[i], (key_t)strtol(argv[3], NULL, 0),
		     takes_id ? atoi(argv[i + 1]) : 0);
		i += takes_id;
	}
	f = fopen("ready.new", "w");
	need(f && fprintf(f, "%d %d %d\n", t.segment, t.set, t.queue) > 0 && fclose(f) == 0 &&
		     rename("ready.new", "ready") == 0,
	     "ready");
	for (;;) {
		(void)sigsuspend(&none);
		f = fopen("said", "a");
		need(f != NULL, "said");
		say(&t, f);
		(void)fclose(f);
	}
}
