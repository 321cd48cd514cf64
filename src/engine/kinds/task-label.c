/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * labels - what AppArmor or SELinux let a thread do: CRIU's lsm_profile and lsm_sockcreate
 *
 * Set by the thread itself in /proc/thread-self/attr: no other may. The task sees that through its own root, which may be
 * anything: the label is read back from outside before the thread runs. After the credentials, for the profile may forbid to change
 * them; before no_new_privs, which may forbid to change the profile.
 *
 * Refused: labels of Smack other than the engine's own, a label for the next execve(2), file or key.
 */
#include <string.h>

#include "basic/sys.h"
#include "engine/kinds/task-kind.h"
#include "engine/label.h"

enum { PROFILES_BYTES = 16 << 20 };

#define APPARMOR_PROFILES "/sys/kernel/security/apparmor/profiles"
#define SELINUX_CHECK	  "/sys/fs/selinux/context"
#define CHANGE		  "changeprofile "

/* ---- dump ---- */

static int refuse_next(struct thread_query *q)
{
	static const char *const names[] = { "exec", "fscreate", "keycreate" };
	char text[LABEL_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int r = label_read_next(q->proc_fd, names[i], text);

		if (r < 0)
			return fail(q->dump->failure, r, "cannot read its attr/%s", names[i]);
		if (text[0] && strcmp(text, "unconfined") != 0)
			return fail(q->dump->failure, -EOPNOTSUPP,
				    "its label '%s' of attr/%s cannot be saved", text, names[i]);
	}
	return 0;
}

/* A restore gives what it makes the engine's own label. */
static int refuse_smack(struct thread_query *q, const struct label *its)
{
	_cleanup_close_ int self = sys_open("/proc/thread-self", O_RDONLY | O_DIRECTORY, 0);
	struct label own;
	int r = self < 0 ? self : label_read(self, &own);

	if (r < 0)
		return fail(q->dump->failure, r, "cannot read the engine's own label");
	if (strcmp(own.text, its->text) == 0)
		return 0;
	return fail(q->dump->failure, -EOPNOTSUPP, "its Smack label '%s' cannot be saved",
		    its->text);
}

static int put_sockcreate(struct thread_query *q)
{
	char text[LABEL_BYTES];
	int r = label_read_next(q->proc_fd, "sockcreate", text);

	if (r < 0)
		return fail(q->dump->failure, r, "cannot read its attr/sockcreate");
	if (!text[0])
		return 0;
	q->core->thread_core->creds->lsm_sockcreate = arena_strdup(&q->dump->arena, text);
	return q->core->thread_core->creds->lsm_sockcreate
		       ? 0
		       : fail(q->dump->failure, -ENOMEM, "no memory for a label");
}

static int label_put(struct thread_query *q)
{
	CredsEntry *e = q->core->thread_core->creds;
	struct label its;
	int r;

	r = label_read(q->proc_fd, &its);
	if (r == -EOPNOTSUPP)
		return fail(
			q->dump->failure, r,
			"its AppArmor profile '%s' is stacked or of a policy namespace, and cannot be saved",
			its.text);
	if (r < 0)
		return fail(q->dump->failure, r, "cannot read its security label");
	if (its.module == LABEL_NONE)
		return 0;
	r = its.module == LABEL_SMACK ? refuse_smack(q, &its) : 0;
	if (r == 0)
		r = refuse_next(q);
	if (r < 0 || its.module == LABEL_SMACK)
		return r;
	q->dump->label_module = its.module;
	if (its.text[0]) {
		e->lsm_profile = arena_strdup(&q->dump->arena, its.text);
		if (!e->lsm_profile)
			return fail(q->dump->failure, -ENOMEM, "no memory for a label");
	}
	return its.module == LABEL_SELINUX ? put_sockcreate(q) : 0;
}

/* ---- restore ---- */

/* Return: 1 and the label it is to have, 0 when it keeps the engine's, or -errno after fail(). */
static int choose(struct restore *rs, const CredsEntry *e, struct label *ret)
{
	const char *option = rs->options->lsm_profile;

	*ret = (struct label){};
	if (option) {
		if (label_choose(option, ret) < 0)
			return fail(
				rs->failure, -EINVAL,
				"--lsm-profile '%s': it is apparmor:NAME, selinux:CONTEXT or none:",
				option);
		return ret->module != LABEL_NONE;
	}
	if (rs->inventory->has_lsmtype)
		ret->module = (enum label_module)rs->inventory->lsmtype;
	if (!e->lsm_profile)
		return ret->module == LABEL_APPARMOR; /* unconfined */
	if (ret->module != LABEL_APPARMOR && ret->module != LABEL_SELINUX)
		return fail(rs->failure, -EBADMSG, "the image has a label of no security module");
	if (label_parse(ret->module, e->lsm_profile, strlen(e->lsm_profile), ret) < 0)
		return fail(rs->failure, -EBADMSG, "the image has a label that is not sane");
	return 1;
}

/* Unconfined in AppArmor is nothing to another module. */
static bool is_as_wanted(const struct label *now, const struct label *wanted)
{
	if (!wanted->text[0] && now->module != LABEL_APPARMOR)
		return true;
	return now->module == wanted->module && strcmp(now->text, wanted->text) == 0;
}

static int read_own(struct restore *rs, const char *path, struct label *ret)
{
	_cleanup_close_ int fd = sys_open(path, O_RDONLY | O_DIRECTORY, 0);
	int r = fd < 0 ? fd : label_read(fd, ret);

	return r < 0 ? fail(rs->failure, r, "cannot read the security label of %s", path) : 0;
}

/* Where the lists cannot be read, the kernel says it when the label is set. */
static int check_known(struct restore *rs, const struct label *wanted)
{
	_cleanup_free_ char *profiles = NULL;

	if (wanted->module == LABEL_APPARMOR && wanted->text[0] &&
	    sys_read_file_at(AT_FDCWD, APPARMOR_PROFILES, PROFILES_BYTES, &profiles, NULL) == 0 &&
	    !label_profile_is_loaded(profiles, wanted->text))
		return fail(
			rs->failure, -ENOENT,
			"AppArmor has no profile '%s' here: load it with apparmor_parser, or choose another by --lsm-profile",
			wanted->text);
	if (wanted->module == LABEL_SELINUX &&
	    sys_write_file_at(AT_FDCWD, SELINUX_CHECK, wanted->text) == -EINVAL)
		return fail(
			rs->failure, -EINVAL,
			"SELinux does not know the context '%s' here: install its policy, or choose another by --lsm-profile",
			wanted->text);
	return 0;
}

static int label_check(struct restore *rs, const struct rtask *task, const CoreEntry *core,
		       bool leader)
{
	const CredsEntry *e = core->thread_core->creds;
	struct label wanted, own;
	int r;

	(void)task;
	(void)leader;
	if (!e)
		return 0; /* the next of the kinds says so */
	r = choose(rs, e, &wanted);
	if (r <= 0)
		return r;
	if (e->has_apparmor_data && !rs->options->lsm_profile)
		return fail(rs->failure, -EOPNOTSUPP,
			    "it has an AppArmor policy namespace, which cannot be restored");
	r = read_own(rs, "/proc/thread-self", &own);
	if (r < 0 || is_as_wanted(&own, &wanted))
		return r;
	if (own.module != wanted.module)
		return fail(
			rs->failure, -EOPNOTSUPP,
			"it is confined by %s as '%s', and this machine has %s in force: start it with %s, or "
			"restore without the confinement by --lsm-profile none:",
			label_module_name(wanted.module), wanted.text,
			label_module_name(own.module), label_module_name(wanted.module));
	return check_known(rs, &wanted);
}

static int write_attr(struct thread_restore *tr, const char *name, const char *text)
{
	struct remote *rm = tr->remote;
	size_t size = strlen(text), open_call, write_call;
	char path[64];
	int64_t fd, written;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/thread-self/attr/%s", name);
	r = remote_run(rm);
	if (r < 0)
		return r;
	open_call =
		remote_add(rm, NULL, SYS_openat, AT_FDCWD, remote_push(rm, path, strlen(path) + 1),
			   O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	fd = rm->calls[open_call].ret;
	if (fd < 0)
		return fail(tr->rs->failure, (int)fd, "it cannot open %s", path);
	write_call =
		remote_add(rm, NULL, SYS_write, fd, remote_push(rm, text, size), size, 0, 0, 0);
	remote_add(rm, NULL, SYS_close, fd, 0, 0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	written = rm->calls[write_call].ret;
	if (written != (int64_t)size)
		return fail(tr->rs->failure, written < 0 ? (int)written : -EIO,
			    "cannot set its label '%s' (%s)", text, path);
	return 0;
}

static int set_label(struct thread_restore *tr, const struct label *wanted)
{
	char text[sizeof(CHANGE) + LABEL_BYTES], path[64];
	struct label now;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d", tr->task->pid, tr->thread->tid);
	r = read_own(tr->rs, path, &now);
	if (r < 0 || is_as_wanted(&now, wanted))
		return r;
	if (wanted->module == LABEL_APPARMOR)
		(void)snprintf(text, sizeof(text), CHANGE "%s",
			       wanted->text[0] ? wanted->text : "unconfined");
	else
		(void)snprintf(text, sizeof(text), "%s", wanted->text);
	r = write_attr(tr, "current", text);
	if (r == 0)
		r = read_own(tr->rs, path, &now);
	if (r < 0 || is_as_wanted(&now, wanted))
		return r;
	return fail(tr->rs->failure, -EPERM, "its label is '%s' after '%s' was set", now.text,
		    wanted->text);
}

static int label_restore(struct thread_restore *tr)
{
	const CredsEntry *e = tr->core->thread_core->creds;
	struct label wanted;
	int r = choose(tr->rs, e, &wanted);

	if (r <= 0)
		return r;
	if (wanted.module == LABEL_SELINUX && e->lsm_sockcreate)
		r = write_attr(tr, "sockcreate", e->lsm_sockcreate);
	return r < 0 ? r : set_label(tr, &wanted);
}

const struct task_kind task_kind_label = {
	.name = "labels",
	.put = label_put,
	.check = label_check,
	.restore = label_restore,
};
