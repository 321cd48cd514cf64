/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy loader. What must hold whatever comes in: a policy or messages, never both nor none;
 * messages that print; a policy that whoever reads it can trust as policy.h says.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "scheduler/policy-load.h"

static void check_exec(char *const *exec)
{
	if (exec)
		HOLD(exec[0] && exec[0][0] == '/');
}

static void check_policy(const struct policy *p)
{
	HOLD(policy_has_command(p) != (p->n_matches > 0));
	HOLD(p->version == 1);
	check_exec(p->command.exec);
	for (size_t i = 0; i < p->n_matches; i++) {
		const struct policy_match *m = &p->matches[i];

		HOLD(m->unit || m->exe || m->user || m->args || m->pidfile || m->cgroup);
		HOLD(!m->pidfile || m->pidfile[0] == '/');
		HOLD(m->line > 0 && m->column > 0);
	}
	HOLD(policy_backend_to_string(p->engine.backend));
	HOLD(policy_tcp_to_string(p->engine.tcp));
	HOLD(policy_on_crash_to_string(p->restore.on_crash));
	HOLD(policy_on_boot_to_string(p->restore.on_boot));
	HOLD(policy_give_up_to_string(p->restore.give_up));
	HOLD(policy_end_to_string(p->restore.end));
	HOLD(policy_output_to_string(p->command.output));
	HOLD((p->command.output == POLICY_OUTPUT_APPEND) == (p->command.output_path != NULL));
	HOLD(p->schedule.every >= 10 * NSEC_PER_MSEC);
	HOLD(p->retain.keep_last >= 1);
	HOLD(p->restore.crash_loop.attempts >= 1);
	HOLD(p->restore.backoff.first <= p->restore.backoff.max);
	for (size_t i = 0; i < POLICY_HOOK_N_; i++)
		check_exec(p->hooks[i].exec);
}

void fuzz_one(const uint8_t *data, size_t size)
{
	struct policy_messages m = { 0 };
	struct policy *p = NULL;
	int r = policy_parse("fuzz", "fuzz.yaml", (const char *)data, size, &m, &p);

	HOLD((r == 0) == (p != NULL));
	HOLD((r == 0) == (m.n == 0));
	HOLD(m.n <= POLICY_MESSAGES_MAX);
	for (size_t i = 0; i < m.n; i++) {
		HOLD(m.list[i].text[0]);
		for (const char *c = m.list[i].text; *c; c++)
			HOLD((unsigned char)*c >= 0x20 && *c != 0x7f);
	}
	if (p)
		check_policy(p);
	policy_free(p);
	policy_messages_done(&m);
}
