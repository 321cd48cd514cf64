/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/policy-remarks.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/parse.h"
#include "basic/sys.h"

static void look_at_program(const struct policy *p, const char *key, const char *path, struct policy_messages *m)
{
	struct stat st;
	int r = sys_fstatat(AT_FDCWD, path, &st, 0);

	if (r < 0)
		policy_messages_add(m, p->path, 0, 0, "%s: '%s': %s", key, path, strerror(-r));
	else if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0)
		policy_messages_add(m, p->path, 0, 0, "%s: '%s' is not a program: it is no regular file that may be executed", key,
				    path);
}

/* @may_be_number: of nobody in particular */
static void look_at_user(const struct policy *p, const char *key, const char *user, bool may_be_number, struct policy_messages *m)
{
	uint32_t number;
	bool known;

	if (!user || strcmp(user, POLICY_USER_ANY) == 0)
		return;
	if (parse_u32(user, 10, &number) == 0)
		known = may_be_number || getpwuid(number);
	else
		known = getpwnam(user) != NULL;
	if (!known)
		policy_messages_add(m, p->path, 0, 0, "%s: there is no user '%s'", key, user);
}

static void look_at_group(const struct policy *p, const char *key, const char *group, struct policy_messages *m)
{
	uint32_t number;

	if (group && parse_u32(group, 10, &number) < 0 && !getgrnam(group))
		policy_messages_add(m, p->path, 0, 0, "%s: there is no group '%s'", key, group);
}

static void look_at_command(const struct policy *p, struct policy_messages *m)
{
	const struct policy_command *c = &p->command;
	struct stat st;
	int r;

	look_at_program(p, "command.exec", c->exec[0], m);
	look_at_user(p, "command.user", c->user, /* may_be_number= */ false, m);
	look_at_group(p, "command.group", c->group, m);
	for (char *const *g = c->supplementary_groups; g && *g; g++)
		look_at_group(p, "command.supplementary-groups", *g, m);
	if (!c->working_directory)
		return;
	r = sys_fstatat(AT_FDCWD, c->working_directory, &st, 0);
	if (r == 0 && !S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	if (r < 0)
		policy_messages_add(m, p->path, 0, 0, "command.working-directory: '%s': %s", c->working_directory, strerror(-r));
}

void policy_remarks(const struct policy *p, struct policy_messages *m)
{
	if (policy_has_command(p))
		look_at_command(p, m);
	for (size_t i = 0; i < p->n_matches; i++)
		look_at_user(p, "match.user", p->matches[i].user, /* may_be_number= */ true, m);
	for (int i = 0; i < POLICY_HOOK_N_; i++)
		if (p->hooks[i].exec)
			look_at_program(p, policy_hook_event_to_string(i), p->hooks[i].exec[0], m);
}

void policy_set_remarks(const struct policy_set *set, struct policy_messages *m)
{
	for (size_t i = 0; i < set->n; i++) {
		const struct policy *p = set->list[i];

		policy_remarks(p, m);
		for (size_t k = 0; k < i; k++) {
			if (!policy_has_command(p) || !policy_command_equal(&p->command, &set->list[k]->command))
				continue;
			policy_messages_add(m, p->path, 0, 0, "policy '%s' has the same command as policy '%s': the program runs twice",
					    p->name, set->list[k]->name);
			break;
		}
	}
}
