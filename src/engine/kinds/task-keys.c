/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keys - keyrings of a thread (keyrings(7)), asked in the thread: root sees none that is not its own
 *
 * A session keyring that has nothing but links to the user's own keyrings and the invocation id of systemd is made again, once for the
 * leader and the threads that share it. Tasks do not share theirs again. Any other key in a session, process or thread keyring is refused by name: it may be a secret that only the
 * kernel holds. So are a session keyring with a name, and a request-key default that was set.
 *
 * First of the kinds: it runs lists of its own, and it takes power to give a keyring away.
 */
#include <linux/keyctl.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"

enum {
	KEYS_MAX = 256,
	DESCRIPTION_MAX = 4096,
	INVOCATION_BYTES = 16,
};

#define ANONYMOUS  "_ses"
#define INVOCATION "invocation_id"

/* "type;uid;gid;perm;description" of KEYCTL_DESCRIBE */
struct key {
	char type[32];
	uint32_t uid, gid, perm;
	const char *description; /* in the remote's scratch */
};

static int64_t one(struct remote *rm, int *ret_error, uint64_t op, uint64_t a, uint64_t b,
		   uint64_t c)
{
	size_t call = remote_add(rm, NULL, SYS_keyctl, op, a, b, c, 0, 0);

	*ret_error = remote_run(rm);
	return *ret_error < 0 ? *ret_error : rm->calls[call].ret;
}

/* Return: 1, 0 when it may not be seen or is not sane, -errno after fail(). */
static int describe(struct remote *rm, int32_t id, struct key *ret)
{
	char *text;
	uint64_t there = remote_alloc(rm, DESCRIPTION_MAX + 1, &text);
	int offset = 0, r;
	int64_t size = one(rm, &r, KEYCTL_DESCRIBE, id, there, DESCRIPTION_MAX);

	if (r < 0 || size <= 0 || size > DESCRIPTION_MAX)
		return MIN(r, 0);
	if (sscanf(text, "%31[^;];%u;%u;%x;%n", ret->type, &ret->uid, &ret->gid, &ret->perm,
		   &offset) < 4 ||
	    offset == 0)
		return 0;
	ret->description = text + offset;
	return 1;
}

/* The keys in a keyring. Return: how many, -errno after fail(); -EOPNOTSUPP without it where it cannot be read. */
static int read_keyring(struct remote *rm, int32_t id, int32_t keys[static KEYS_MAX])
{
	int32_t *here;
	uint64_t there = remote_alloc(rm, KEYS_MAX * sizeof(*here), &here);
	int r;
	int64_t size = one(rm, &r, KEYCTL_READ, id, there, KEYS_MAX * sizeof(*here));

	if (r < 0)
		return r;
	if (size < 0 || size > (int64_t)(KEYS_MAX * sizeof(*here)))
		return -EOPNOTSUPP;
	memcpy(keys, here, size);
	return size / sizeof(*here);
}

static bool is_users_own(const struct key *k)
{
	return strcmp(k->type, "keyring") == 0 && strncmp(k->description, "_uid", 4) == 0;
}

static int refuse_key(struct thread_query *q, const char *where, const struct key *k)
{
	return fail(q->dump->failure, -EOPNOTSUPP,
		    "its %s keyring has the key '%s' of type %s, which cannot be saved", where,
		    k->description, k->type);
}

/* ---- dump ---- */

static int put_invocation(struct thread_query *q, int32_t id, const struct key *k,
			  SessionKeyringEntry *e)
{
	struct remote *rm = q->remote;
	uint8_t *here;
	uint64_t there = remote_alloc(rm, INVOCATION_BYTES, &here);
	int r;
	int64_t size = one(rm, &r, KEYCTL_READ, id, there, INVOCATION_BYTES);

	if (r < 0)
		return r;
	if (size != INVOCATION_BYTES)
		return refuse_key(q, "session", k);
	e->invocation.data = arena_copy(&q->dump->arena, here, INVOCATION_BYTES);
	if (!e->invocation.data)
		return fail(q->dump->failure, -ENOMEM, "no memory for a key");
	e->invocation.len = INVOCATION_BYTES;
	e->has_invocation = e->has_invocation_perm = true;
	e->invocation_perm = k->perm;
	return 0;
}

static int put_session_key(struct thread_query *q, int32_t id, SessionKeyringEntry *e)
{
	struct key k;
	int r = describe(q->remote, id, &k);

	if (r < 0)
		return r;
	if (r == 0)
		return fail(q->dump->failure, -EOPNOTSUPP,
			    "its session keyring has a key that it may not see itself");
	if (is_users_own(&k)) {
		e->has_links_user = e->links_user = true;
		return 0;
	}
	if (strcmp(k.type, "user") == 0 && strcmp(k.description, INVOCATION) == 0)
		return put_invocation(q, id, &k, e);
	return refuse_key(q, "session", &k);
}

static int put_session(struct thread_query *q, int32_t id)
{
	SessionKeyringEntry *e =
		dump_new(q->dump, SessionKeyringEntry, session_keyring_entry__init);
	int32_t keys[KEYS_MAX];
	struct key k;
	int n, r;

	if (!e)
		return fail(q->dump->failure, -ENOMEM, "no memory for a keyring");
	r = describe(q->remote, id, &k);
	if (r < 0)
		return r;
	if (r == 1 && is_users_own(&k)) /* it has none of its own */
		return 0;
	if (r == 1 && strcmp(k.description, ANONYMOUS) != 0)
		return fail(q->dump->failure, -EOPNOTSUPP,
			    "its session keyring '%s' cannot be saved", k.description);
	n = r == 1 ? read_keyring(q->remote, id, keys) : -EOPNOTSUPP;
	if (n < 0)
		return fail(q->dump->failure, n, "its session keyring may not be read");
	e->uid = k.uid;
	e->gid = k.gid;
	e->has_serial = true;
	e->serial = (uint32_t)id;
	for (int i = 0; i < n; i++) {
		r = put_session_key(q, keys[i], e);
		if (r < 0)
			return r;
	}
	q->core->thread_core->session_keyring = e;
	return 0;
}

/* A keyring that is there and empty is as good as none. */
static int refuse_keys_in(struct thread_query *q, const char *where, int32_t id)
{
	int32_t keys[KEYS_MAX];
	struct key k;
	int n, r;

	n = read_keyring(q->remote, id, keys);
	if (n == 0)
		return 0;
	r = n > 0 ? describe(q->remote, keys[0], &k) : 0;
	if (r == 1)
		return refuse_key(q, where, &k);
	return fail(q->dump->failure, r < 0 ? r : -EOPNOTSUPP, "its %s keyring cannot be saved",
		    where);
}

static int keys_ask(struct thread_query *q)
{
	struct remote *rm = q->remote;
	int r;
	int64_t own, process, session, destination;

	own = one(rm, &r, KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 0, 0);
	if (r < 0 || own == -ENOSYS) /* a kernel without keys */
		return r;
	process = one(rm, &r, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 0, 0);
	session = r < 0 ? r : one(rm, &r, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0);
	destination =
		r < 0 ? r : one(rm, &r, KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_NO_CHANGE, 0, 0);
	if (r == 0 && own > 0)
		r = refuse_keys_in(q, "thread", own);
	if (r == 0 && process > 0)
		r = refuse_keys_in(q, "process", process);
	if (r == 0 && session > 0)
		r = put_session(q, session);
	if (r == 0 && destination > KEY_REQKEY_DEFL_DEFAULT)
		r = fail(q->dump->failure, -EOPNOTSUPP,
			 "its default keyring for new keys, %d, cannot be saved", (int)destination);
	return r;
}

/* ---- restore ---- */

static int keys_check(struct restore *rs, const struct rtask *task, const CoreEntry *core,
		      bool leader)
{
	const SessionKeyringEntry *e = core->thread_core->session_keyring;

	(void)task;
	(void)leader;
	if (e && e->has_invocation && e->invocation.len != INVOCATION_BYTES)
		return fail(rs->failure, -EBADMSG, "the image has an invocation id of %zu bytes",
			    e->invocation.len);
	return 0;
}

/* In the thread that @rm drives. */
static int make_session(struct restore *rs, struct remote *rm, const SessionKeyringEntry *e)
{
	int64_t keyring, key = 0;
	int r;

	keyring = one(rm, &r, KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0);
	if (r < 0 || keyring < 0)
		return r < 0 ? r : fail(rs->failure, keyring, "cannot make a session keyring");
	if (e->has_invocation) {
		size_t call = remote_add(rm, "cannot add the invocation id", SYS_add_key,
					 remote_push(rm, "user", sizeof("user")),
					 remote_push(rm, INVOCATION, sizeof(INVOCATION)),
					 remote_push(rm, e->invocation.data, e->invocation.len),
					 e->invocation.len, KEY_SPEC_SESSION_KEYRING, 0);

		r = remote_run(rm);
		if (r < 0)
			return r;
		key = rm->calls[call].ret;
		remote_add(rm, "cannot protect the invocation id", SYS_keyctl, KEYCTL_SETPERM, key,
			   e->invocation_perm, 0, 0, 0);
	}
	if (e->uid != 0 || e->gid != 0)
		remote_add(rm, "cannot give its session keyring away", SYS_keyctl, KEYCTL_CHOWN,
			   keyring, e->uid, e->gid, 0, 0);
	return remote_run(rm);
}

/* Can the keyring of the leader be there before the threads? A thread without one would get it. */
static bool comes_first(const struct rtask *task)
{
	for (size_t i = 0; i < task->n_threads; i++) {
		const SessionKeyringEntry *e = task->threads[i].core->thread_core->session_keyring;

		if (!e || !e->has_serial)
			return false;
	}
	return true;
}

int keys_begin(struct restore *rs, const struct rtask *task, struct remote *rm)
{
	return comes_first(task) ? make_session(rs, rm, task->threads[0].core->thread_core->session_keyring) : 0;
}

static int keys_restore(struct thread_restore *tr)
{
	const SessionKeyringEntry *e = tr->core->thread_core->session_keyring;

	if (!e)
		return 0;
	if (comes_first(tr->task) && e->serial == tr->task->threads[0].core->thread_core->session_keyring->serial)
		return 0;
	return make_session(tr->rs, tr->remote, e);
}

const struct task_kind task_kind_keys = {
	.name = "keyrings",
	.ask = keys_ask,
	.check = keys_check,
	.restore = keys_restore,
};

/* With the ids of its user: the link is to the keyring of these. */
static int keys_link(struct thread_restore *tr)
{
	const SessionKeyringEntry *e = tr->core->thread_core->session_keyring;

	if (e && e->has_links_user && e->links_user)
		remote_add(tr->remote, NULL, SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING,
			   KEY_SPEC_SESSION_KEYRING, 0, 0,
			   0); /* it finds the user's keys without it, ignoring */
	return remote_run(tr->remote);
}

const struct task_kind task_kind_key_links = {
	.name = "links of keyrings",
	.restore = keys_link,
};
